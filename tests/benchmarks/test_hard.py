"""Libraries of pieces that are hard to tell apart."""

from __future__ import annotations

import hard
import numpy as np
import pytest
from arrangements import Work

LINE = (60, 62, 64, 65, 67, 65, 64, 62, 60, 64, 67, 72, 60)


def chorale(name: str, line: tuple[int, ...] = LINE, n_parts: int = 4) -> Work:
    """Four parts in parallel, the first one the highest."""
    notes = [
        (2.0 + n, 1.0, pitch - 7 * part, part)
        for n, pitch in enumerate(line)
        for part in range(n_parts)
    ]
    return Work(name, "bach", name, tuple(sorted(notes)), n_parts=n_parts)


def test_of_settings_of_one_tune_the_first_is_played():
    higher = chorale("higher", tuple(pitch + 3 for pitch in LINE))
    other = chorale("other", LINE[::-1])
    works = [chorale("one"), higher, other, chorale("five parts", n_parts=5)]
    assert [work.id for work in hard.distinct_works(works)] == ["one", "other"]


@pytest.mark.parametrize(("name", "channels"), [("piano", {0}), ("quartets", {0, 1, 2, 3})])
def test_a_work_is_played_by_its_instruments_from_its_first_note(name, channels):
    events = hard.played(chorale("one"), name)
    notes = [(at_s, message) for at_s, message in events if message[0] & 0xF0 == 0x90]
    assert {message[0] & 0x0F for _, message in notes} == channels
    assert min(at_s for at_s, _ in notes) == pytest.approx(0.01)
    assert len(notes) == 4 * len(LINE)
    ends = [at_s for at_s, message in events if message[0] & 0xF0 == 0x80]
    assert max(ends) == pytest.approx(0.01 + len(LINE) * hard.QUARTER_S["bach"], abs=0.01)
    programs = [message[1] for _, message in events if message[0] & 0xF0 == 0xC0]
    assert programs == ([0] if name == "piano" else list(hard.STRINGS))


def test_a_long_work_is_cut_and_drums_are_left_out():
    notes = [(float(n), 1.0, 40 + n % 30, 9 if n % 2 else 1) for n in range(400)]
    events = hard.played(Work("long", "midi", "long", tuple(notes)), "quartets")
    assert max(at_s for at_s, _ in events) <= hard.SCORE_S
    assert len(events) == len(hard.STRINGS) + 2 * (hard.SCORE_S / hard.QUARTER_S["midi"]) / 2
    pitches = np.array([message[1] for _, message in events if message[0] & 0xF0 == 0x90])
    assert set((pitches % 2).tolist()) == {0}
