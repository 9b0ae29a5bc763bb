"""Progress: plain lines, the bar, rates, and strangers' file names."""

from __future__ import annotations

import io
import itertools
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from auditor.commands.progress import LINE_EVERY_S, Progress, show_seconds


def event(outcome="embedded", *, n_done, n_total, audio_s=0.0, path="/m/a.mp3", reason=""):
    """Return the fields of an ``IngestEvent``; the real one pulls in torch."""
    return SimpleNamespace(
        path=path, outcome=outcome, reason=reason, n_done=n_done, n_total=n_total, audio_s=audio_s
    )


class Clock:
    """A clock that a test moves by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def listening(*, terminal=False, **options):
    stream, clock = io.StringIO(), Clock()
    console = Console(
        file=stream, force_terminal=terminal, width=120, color_system=None, legacy_windows=False
    )
    return Progress(console=console, clock=clock, **options), clock, stream


def test_at_most_one_plain_line_every_ten_seconds_and_one_at_the_end():
    progress, clock, stream = listening()
    with progress:
        for n in range(1, 101):
            clock.now_s += 0.5
            progress(event(n_done=n, n_total=100, audio_s=30.0 * n))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 100 * 0.5 // LINE_EVERY_S  # the fifth one, at 50 s, is the summary
    assert lines[0] == "20 of 100 files, 2.0 tracks/s, 60 x real time, 40 s left"
    assert lines[-1] == "100 embedded in 50 s (2.0 tracks/s, 60 x real time)"


def test_the_time_left_is_that_of_the_last_half_minute():
    progress, clock, stream = listening()
    for n in range(1, 1001):
        progress(event("unchanged", n_done=n, n_total=1100))
    for n in range(1001, 1041):
        clock.now_s += 1.0
        progress(event(n_done=n, n_total=1100, audio_s=10.0 * (n - 1000)))
    tracks_per_s, real_time = progress.rates()
    assert tracks_per_s == pytest.approx(1.0, rel=0.05)
    assert real_time == pytest.approx(10.0, rel=0.05)
    assert stream.getvalue().splitlines()[-1].endswith("1:00 left")


def test_the_time_left_does_not_jump_where_the_speed_does():
    progress, clock, stream = listening()
    with progress:
        for n in range(1, 601):
            clock.now_s += 5.0 if n // 12 % 2 else 1.0  # a minute of slow files, then fast ones
            progress(event(n_done=n, n_total=600))
            if n == 1:
                clock.now_s += LINE_EVERY_S
    told = [line.rpartition(", ")[2] for line in stream.getvalue().splitlines()]
    left = [
        60 * int(m) + int(s) for m, s in re.findall(r"^(\d+):(\d\d) left$", "\n".join(told), re.M)
    ]
    later = left[len(left) // 4 :]
    assert len(later) > 30
    assert all(b < 1.25 * a + 30.0 for a, b in itertools.pairwise(later))


def test_outcomes_are_counted_in_the_summary():
    progress, _, stream = listening()
    with progress:
        for n, outcome in enumerate(("moved", "skipped", "unchanged", "unchanged"), start=1):
            progress(event(outcome, n_done=n, n_total=4, reason="no"))
    assert stream.getvalue().splitlines()[-1].startswith("2 unchanged, 1 moved, 1 skipped in ")
    assert progress.outcomes == {"unchanged": 2, "moved": 1, "skipped": 1}


@pytest.mark.parametrize("terminal", [False, True])
def test_skipped_files_are_named_escaped_and_never_markup(terminal):
    progress, _, stream = listening(terminal=terminal)
    with progress:
        progress(
            event(
                "skipped",
                n_done=1,
                n_total=2,
                path="/m/[red]a\x1b[2J\n\udcff.mp3",
                reason="is not audio",
            )
        )
    said = stream.getvalue()
    assert r"skipped /m/[red]a\x1b[2J\n\xff.mp3: is not audio" in said
    assert "\x1b[2J\n" not in said


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end():
    progress, clock, stream = listening(terminal=True)
    with progress:
        for n in range(1, 4):
            clock.now_s += 1.0
            progress(event(n_done=n, n_total=3, audio_s=20.0 * n))
    said = stream.getvalue()
    assert "2/3" in said
    assert "1.0 tracks/s, 20 x real time, 1.0 s left" in said
    assert said.rstrip().endswith("3 embedded in 3.0 s (1.0 tracks/s, 20 x real time)")
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") > 0  # the cursor is back


def test_an_interrupted_run_says_how_far_it_came_and_gives_the_cursor_back():
    progress, clock, stream = listening(terminal=True)

    def run():
        with progress:
            clock.now_s += 1.0
            progress(event(n_done=1, n_total=3, audio_s=20.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    said = stream.getvalue()
    assert "1 of 3 files" in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") > 0


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_hides_progress_and_no_skipped_file(terminal):
    progress, clock, stream = listening(quiet=True, terminal=terminal)
    with progress:
        for n in range(1, 40):
            clock.now_s += 1.0
            progress(event(n_done=n, n_total=41))
        progress(event("skipped", n_done=40, n_total=41, path="/m/b\u202e.mp3", reason="no"))
        progress(event(n_done=41, n_total=41))
    assert stream.getvalue() == "skipped /m/b\\xe2\\x80\\xae.mp3: no\n"


def test_no_event_no_word():
    progress, _, stream = listening()
    with progress:
        pass
    assert stream.getvalue() == ""


def test_other_things_than_files_are_counted_by_their_noun():
    progress, clock, stream = listening(noun="copies")
    with progress:
        clock.now_s += 20.0
        progress.advance(10, 20)
        clock.now_s += 20.0
        progress.advance(20, 20)
    assert stream.getvalue().splitlines() == [
        "10 of 20 copies, 0.5 copies/s, 20 s left",
        "20 copies in 40 s",
    ]


@given(st.floats(0, 1e6))
def test_show_seconds_is_right_to_a_second(seconds):
    shown = show_seconds(seconds)
    if shown.endswith(" s"):
        assert float(shown.removesuffix(" s")) == pytest.approx(seconds, abs=0.51)
    else:
        value = 0
        for part in shown.split(":"):
            value = 60 * value + int(part)
        assert value == pytest.approx(seconds, abs=0.51)
