"""``audit review``: decide the flagged pairs one after another, by ear."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.decide import ByOption, open_catalogue, results_of
from auditor.commands.options import DebugOption, WorkspaceOption
from auditor.errors import UsageError
from auditor.records import DECISION_KEYS, CompositionMatch, DecisionKind

if TYPE_CHECKING:
    from rich.console import Console

    from auditor.catalogue.catalogue import Catalogue
    from auditor.commands.player import Player
    from auditor.decisions.apply import Hashes
    from auditor.decisions.review import Case
    from auditor.records import Track

EXAMPLES = """\b
Examples:
  audit review                       the pairs of the last scan or check
  audit review reports/check.json    the pairs of one check
  audit review --play --by Ana
"""

KEYS = {key: kind for kind, key in DECISION_KEYS.items()} | {
    "f": DecisionKind.FALSE_ALARM,
    "y": DecisionKind.CONFIRMED,
}
"""Keys that decide: those of the page of a report, and two more words."""

N_RANGES_SHOWN = 3
HELP = (
    "c confirmed   d false alarm   l licensed   o same owner   v cover",
    "j or s skip   k back   n note   u undo   1 play A   2 play B   x open both   q quit",
)


def review(
    result: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULT.json",
            help="The JSON of a scan or check, beside its report; by default that of the last "
            "scan, or of the last check if there is no scan.",
            show_default=False,
        ),
    ] = None,
    play: Annotated[
        bool, typer.Option("--play", help="Play the first track of each pair automatically.")
    ] = False,
    open_files: Annotated[
        bool, typer.Option("--open", help="Open both files of each pair automatically.")
    ] = False,
    by: ByOption = "",
    workspace: WorkspaceOption = None,
    debug: DebugOption = False,
) -> None:
    """Decide the flagged pairs that have no decision yet.

    Shows the pairs one by one and reads a key for each; every decision is stored immediately.
    Without a terminal, keys are read as lines from stdin.
    """
    from rich.console import Console

    from auditor.commands.player import Player
    from auditor.decisions.apply import standing
    from auditor.decisions.review import cases, undecided

    results = results_of(workspace, result)
    if not results:
        raise UsageError(
            "no scan or check is stored in this workspace. Run: audit scan, or give the JSON "
            "beside a report."
        )
    with open_catalogue(workspace, write=True) as catalogue:
        left = undecided(cases(results[0]), standing(catalogue.decisions()))
        player = Player()
        session = Session(catalogue, player, Console(highlight=False), by=by)
        try:
            session.run(left, play=play, open_files=open_files)
        finally:
            player.close()


class Session:
    """One sitting: what is shown, and what the keys do.

    Parameters
    ----------
    catalogue : Catalogue
        Where decisions go.
    player : Player
    console : rich.console.Console
    by : str
        Who decides.
    read_key, read_line : callable
        Return a key, or a line of text; both raise EOFError when no more will come.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        player: Player,
        console: Console,
        *,
        by: str = "",
        read_key: Callable[[], str] | None = None,
        read_line: Callable[[], str] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._player = player
        self._console = console
        self._by = by
        self._read_key = read_key or _read_key
        self._read_line = read_line or _read_line
        self._copies = contextlib.ExitStack()
        self._copied: dict[str, str] = {}
        self._decided: list[Case] = []
        self._skipped: set[Hashes] = set()

    def run(self, left: list[Case], *, play: bool = False, open_files: bool = False) -> None:
        """Show the cases one after another until they end, or until ``q``."""
        with self._copies:
            self._go_through(left, play=play, open_files=open_files)
        n_left = sum(not self._is_decided(case) for case in left)
        said = f"{len(self._decided):,} decided, {len(self._skipped):,} skipped, {n_left:,} left"
        self._say(said if left else "every flagged pair of this result is decided")

    def _go_through(self, left: list[Case], *, play: bool, open_files: bool) -> None:
        place = 0
        while place < len(left):
            case = left[place]
            if self._is_decided(case):  # by another process, since this one began
                place += 1
                continue
            self._show(case, place + 1, len(left))
            if open_files:
                self._open(case)
            if play:
                self._play(case, "a")
            step = self._ask(case, left[max(0, place - 1)])
            self._player.stop()
            if step is None:
                break
            place = left.index(step) if step is not case else place + 1
            if place == len(left) and (undone := self._ask_at_the_end()):
                place = left.index(undone)

    def _ask_at_the_end(self) -> Case | None:
        """Return the case to go back to after the last one; None to end."""
        if not self._decided:
            return None
        self._say("that was the last pair: u undoes the last decision, any other key ends")
        try:
            return self._undo() if self._read_key() == "u" else None
        except EOFError:
            return None

    def _ask(self, case: Case, before: Case) -> Case | None:
        """Do what the keys say.

        Parameters
        ----------
        case, before : Case
            The one that is shown, and the one before it.

        Returns
        -------
        Case or None
            The same case when it is done with, an earlier one to go back to, None to end.
        """
        note = ""
        while True:
            try:
                key = self._read_key()
                if key == "n":
                    self._console.print("note: ", end="")
                    note = self._read_line()
                    continue
            except EOFError:
                return None
            if key == "q":
                return None
            if key in ("s", "j"):
                self._skipped.add(case.hashes)
                return case
            if key == "k" and before is not case and not self._is_decided(before):
                return before
            if key == "u" and self._decided:
                return self._undo()
            if key in KEYS and self._decide(case, KEYS[key], note):
                return case
            if key in ("1", "2"):
                self._play(case, "a" if key == "1" else "b")
            elif key == "x":
                self._open(case)
            elif key == "u":
                self._say("there is no decision yet")
            elif key == "k":
                self._say("there is no undecided pair before this one; u undoes a decision")
            elif key not in KEYS:
                for line in HELP:
                    self._say(line)

    def _decide(self, case: Case, kind: str, note: str) -> bool:
        try:
            made = self._catalogue.decide(*case.hashes, kind, note=note, by=self._by)
        except ValueError as error:
            self._say(f"{error}; not stored")
            return False
        self._decided.append(case)
        self._say(f"→ {made.kind}" + (f": {made.note}" if made.note else ""))
        return True

    def _undo(self) -> Case:
        from auditor.records import UNDO

        case = self._decided.pop()
        self._catalogue.decide(*case.hashes, UNDO, by=self._by)
        self._say(f"undid the decision on {case.pair.pair_id or 'the previous pair'}")
        return case

    def _is_decided(self, case: Case) -> bool:
        from auditor.decisions.apply import standing

        return case.hashes in standing(self._catalogue.decisions(case.hashes))

    def _play(self, case: Case, side: str) -> None:
        """Play the matched seconds of one track, or the whole of it where none are known."""
        from auditor.report.text.evidence import show_times

        track = case.a if side == "a" else case.b
        if not case.passages:
            self._hear(track, self._player.play)
            return
        part = case.passages[0][:2] if side == "a" else case.passages[0][2:]
        self._hear(track, lambda path: self._player.play(path, part))
        if not self._player.plays_parts():
            self._say(f"listen to {show_times(*part)}: this player cannot play a part alone")

    def _open(self, case: Case) -> None:
        for track in (case.a, case.b):
            self._hear(track, self._player.open)

    def _hear(self, track: Track, how: Callable[[str], bool]) -> None:
        from auditor.decisions.review import find_file

        path = find_file(self._catalogue, track) or self._copy(track)
        if not path:
            self._say(f"{track.path} is missing or has changed since it was compared")
        elif not how(path):
            self._say(f"no program found to open {path}")

    def _copy(self, track: Track) -> str:
        """Return a copy of a track in an object store, kept until the review ends."""
        from auditor.decisions.review import copy_object

        if not self._copied.get(track.sha256):
            self._copied[track.sha256] = copy_object(self._catalogue, track, self._copies)
        return self._copied[track.sha256]

    def _show(self, case: Case, number: int, n_cases: int) -> None:
        from rich.text import Text

        from auditor.decisions.apply import pair_id
        from auditor.errors import show_text
        from auditor.report.text.general import show_score, track_facts

        head = Text(f"{number:,} of {n_cases:,}   score ", style="bold")
        head.append(show_score(case.pair.score))
        if case.pair.verdict:
            head.append(f"   {show_text(case.pair.verdict)}")
        head.append(f"   pair {pair_id(*case.hashes)}", style="dim")
        if badges := _badges_of(case):
            head.append("   " + show_text(", ".join(badges)), style="yellow")
        self._console.print()
        self._console.print(head)
        for side, track in (("A", case.a), ("B", case.b)):
            line = Text(f"  {side}  ", style="bold")
            line.append(show_text(track.label))
            self._console.print(line, soft_wrap=True)
            facts = (track_facts(track), show_text(track.album), show_text(track.date))
            for text in (" · ".join(fact for fact in facts if fact), show_text(track.path)):
                self._console.print(Text(f"     {text}", style="dim"), soft_wrap=True)
        for text in _found_in(case):
            self._console.print(Text(f"  {show_text(text)}"), soft_wrap=True)
        for keys in HELP:
            self._console.print(Text(f"  {keys}", style="cyan"))

    def _say(self, text: str) -> None:
        from rich.text import Text

        from auditor.errors import show_text

        self._console.print(Text(f"  {show_text(' / '.join(text.splitlines()))}"), soft_wrap=True)


def _badges_of(case: Case) -> tuple[str, ...]:
    from auditor.report.text.general import pair_badges

    if isinstance(case.pair, CompositionMatch):
        return ("licences differ",) if case.pair.licences_differ else ()
    return pair_badges(case.pair, case.a, case.b, sides=("A", "B"))


def _found_in(case: Case) -> list[str]:
    """Return what both tracks of a case share, and when, with what differs there."""
    from auditor.report.text.compositions import (
        agreement_words,
        compare_keys,
        compare_tempos,
        composition_sentence,
    )
    from auditor.report.text.evidence import show_times, verdict_sentence, what_differs
    from auditor.report.text.general import show_count

    if isinstance(case.pair, CompositionMatch):
        differs = f"{compare_keys(case.pair)}; {compare_tempos(case.pair)}"
        return [composition_sentence(case.pair), f"{agreement_words(case.pair)}; {differs}"]
    ranges = case.pair.evidence.ranges if case.pair.evidence else ()
    lines = [verdict_sentence(case.pair)]
    lines += [
        f"A {show_times(r.a_start_s, r.a_end_s)} = B {show_times(r.b_start_s, r.b_end_s)}: "
        f"{what_differs(r)}"
        for r in ranges[:N_RANGES_SHOWN]
    ]
    n_more = len(ranges) - N_RANGES_SHOWN
    return [*lines, f"and {show_count(n_more, 'further range')}"] if n_more > 0 else lines


def _read_key() -> str:
    """Return one key of the terminal in lower case, or the first letter of a line of stdin."""
    if not sys.stdin.isatty():
        return _read_line().strip()[:1].lower()
    key = typer.getchar()
    if key in ("\x03", "\x04"):
        raise KeyboardInterrupt if key == "\x03" else EOFError
    return key.lower()


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
