"""Progress on stderr: a bar on a terminal, plain lines in a log.

The rates are those of the last half minute, or of the later half of the run if that is longer, so
that the time left is right although files that are unchanged pass in no time, and does not jump.
Names of files are strangers' text and are shown escaped.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from auditor.errors import show_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from auditor.ingest.session import IngestEvent

LINE_EVERY_S = 10.0
"""Seconds between two plain lines."""

RATE_OVER_S = 30.0
"""Seconds that the rates are taken over, at least."""

RATE_OVER = 0.5
"""Share of the time so far that the rates are taken over, if that is more: the longer a run takes,
the less a slow minute changes the estimate of the time left."""


class Progress:
    """Says how far a batch has come; used in a ``with`` and called with each ``IngestEvent``.

    Parameters
    ----------
    quiet : bool
        Say no progress; which files were skipped, and why, is said all the same.
    noun : str
        What is counted.
    console : rich.console.Console, optional
        Where to; stderr by default.
    clock : callable
        Returns seconds; for tests.

    Attributes
    ----------
    outcomes : collections.Counter
        Files by their outcome.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        noun: str = "files",
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console

        self.outcomes: Counter[str] = Counter()
        self._quiet = quiet
        self._noun = noun
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._started = self._last_line = clock()
        self._recent = deque([(self._started, 0, 0.0)])
        self._n_done = self._n_total = 0
        self._audio_s = 0.0
        self._said = True
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close_bar()
        if not self._said and not self._quiet:
            self._print(self._line())

    def __call__(self, event: IngestEvent) -> None:
        """Take note of one file."""
        self.outcomes[event.outcome] += 1
        if event.outcome == "skipped":
            self.say_skipped(event.path, event.reason)
        self.advance(event.n_done, event.n_total, audio_s=event.audio_s)

    def say_skipped(self, path: str, reason: str) -> None:
        """Say that a file was skipped and why, quiet or not."""
        self._print(f"skipped {show_path(path)}: {show_path(reason)}")

    def advance(self, n_done: int, n_total: int, *, audio_s: float = 0.0) -> None:
        """Show that ``n_done`` files of ``n_total`` are done, with ``audio_s`` seconds of audio.

        With none done yet, what is counted begins now.
        """
        now = self._clock()
        if n_done == 0:
            self._started = self._last_line = now
            self._recent.clear()
        self._n_done, self._n_total, self._audio_s = n_done, n_total, audio_s
        self._recent.append((now, n_done, audio_s))
        over_s = max(RATE_OVER_S, RATE_OVER * (now - self._started))
        while len(self._recent) > 2 and now - self._recent[1][0] > over_s:
            self._recent.popleft()
        self._said = False
        if self._quiet:
            return
        if n_done >= n_total:  # before what comes next, which may take long or draw its own bar
            self._close_bar()
            self._said = True
            self._print(self._summary())
        elif self._console.is_terminal:
            self._show_bar()
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line, self._said = now, True
            self._print(self._line())

    def rates(self) -> tuple[float, float]:
        """Return tracks/s and seconds of audio per second, of the last half minute or more."""
        (then, n_then, audio_then), (now, n_now, audio_now) = self._recent[0], self._recent[-1]
        seconds = max(now - then, 1e-9)
        return (n_now - n_then) / seconds, (audio_now - audio_then) / seconds

    def _facts(self) -> str:
        tracks_per_s, real_time = self.rates()
        told = tracks_per_s > 0 and self._n_done > 1  # one file alone says little of the others
        left = (self._n_total - self._n_done) / tracks_per_s if told else None
        facts = [f"{tracks_per_s:,.1f} {'tracks' if self._noun == 'files' else self._noun}/s"]
        facts += [f"{real_time:,.0f} x real time"] if self._audio_s else []
        facts += [f"{show_seconds(left)} left"] if left is not None else []
        return ", ".join(facts)

    def _line(self) -> str:
        return f"{self._n_done:,} of {self._n_total:,} {self._noun}, {self._facts()}"

    def _summary(self) -> str:
        seconds = max(self._recent[-1][0] - self._started, 1e-9)
        known = ("embedded", "identical", "unchanged", "moved", "skipped")
        names = (*known, *sorted(set(self.outcomes) - set(known)))
        counts = [f"{self.outcomes[name]:,} {name}" for name in names if self.outcomes[name]]
        said = f"{', '.join(counts) or f'{self._n_done:,} {self._noun}'} in {show_seconds(seconds)}"
        if not self._audio_s:
            return said
        n_embedded = self.outcomes["embedded"] or self._n_done
        speed = f"{n_embedded / seconds:,.1f} tracks/s, {self._audio_s / seconds:,.0f} x real time"
        return f"{said} ({speed})"

    def _show_bar(self) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}")
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task("", total=self._n_total, facts="")
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0],
            completed=self._n_done,
            total=self._n_total,
            facts=self._facts(),
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def show_seconds(seconds: float) -> str:
    """Return a duration as people read it.

    Examples
    --------
    >>> show_seconds(7.42), show_seconds(42.0), show_seconds(75), show_seconds(3671)
    ('7.4 s', '42 s', '1:15', '1:01:11')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    hours, rest = divmod(total, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
