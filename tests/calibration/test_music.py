"""Whether the scores of a run are those of music like the calibration's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from small_thresholds import make, make_tailed

from auditor.calibration.music import MORE_ALIKE, score_note, scores_apart
from auditor.calibration.thresholds import AlterationRecall
from auditor.records import ThresholdUse

N_TRACKS, TOP = 100, 0.93
USE = ThresholdUse(0.97, "a file", n_comparisons=N_TRACKS * (N_TRACKS - 1) // 2)
LEVEL = 0.7
"""What 1 % of unrelated pairs reach in the calibration, 2 % by its upper bound."""


def calibration(**changes):
    """Return one whose 200 altered copies score 0.93 or more, all but one, which scores 0.75."""
    scores = (0.75, *np.linspace(TOP, 1.0, 199).tolist())
    recall = AlterationRecall("mp3, 32 kbit/s", 200, 199, 0.9, 1.0, scores)
    return make_tailed(recalls=(recall,), **changes)


def pairs_of(n_tracks: int):
    return itertools.combinations([f"t{row}" for row in range(n_tracks)], 2)


def crowd(n: int, score: float = 0.72) -> list[tuple[str, str, float]]:
    """Return n pairs of 100 tracks with a score."""
    return [(a, b, score) for a, b in itertools.islice(pairs_of(N_TRACKS), n)]


def clique(name: str, n: int, *, below: int = 0) -> list[tuple[str, str, float]]:
    """Return the pairs of n copies of one track; so many of them score as strangers may."""
    pairs = list(itertools.combinations([f"{name}{row}" for row in range(n)], 2))
    return [(a, b, 0.8 if row < below else 0.99) for row, (a, b) in enumerate(pairs)]


def n_said(pairs) -> int:
    """Return the number of pairs that the note names; 0 without one."""
    said = score_note(calibration(), pairs, USE)
    return int(said.split()[0].replace(",", "")) if said else 0


def test_more_pairs_than_the_interval_of_the_calibration_are_told():
    said = score_note(calibration(), crowd(300), USE)
    expects = f"300 pairs score {LEVEL:.2f} to {TOP:.2f}, where the calibration expects"
    assert said.startswith(expects) and said.endswith(MORE_ALIKE)
    most = int(said.removeprefix(expects).split()[0])
    assert n_said(crowd(most)) == 0, "as many are expected"
    assert n_said(crowd(most + 1)) == most + 1
    assert most > USE.n_comparisons * 0.02, "above the upper bound of the rate, by chance"
    assert n_said(crowd(300, 0.69)) == 0, "below every level"


def test_few_pairs_far_above_are_told_where_many_below_are_not():
    assert n_said(crowd(40)) == 0
    assert n_said(crowd(4, 0.925)) == 0, "excerpts that tracks really share, perhaps"
    assert n_said(crowd(40, 0.9)) == 40


def test_a_catalogue_of_copies_is_like_the_calibration():
    copies = [pair for name in "abcdefgh" for pair in clique(name, 37, below=60)]
    assert n_said(copies) == 0, "pairs inside a group of copies are explained"
    apart = [(f"a{row}", f"b{row}", 0.8) for row in range(37)]
    assert n_said(copies + [(a, b, 0.8) for a, b, _ in crowd(20)] + apart) == 0
    assert scores_apart(clique("a", 3) + clique("b", 3) + apart[:3], TOP) == ([0.8], 6)


def test_as_many_pairs_as_copies_leave_are_expected_besides():
    assert n_said(crowd(200)) == 200
    found = [(f"x{row}", f"y{row}", 0.99) for row in range(19_900)]  # of 200 copies one is missed
    assert n_said(crowd(200) + found) == 0
    assert n_said(crowd(350) + found) == 350


def test_without_scores_of_copies_flagged_pairs_tell_nothing():
    flagged = crowd(300, 0.98)
    assert score_note(make_tailed(), flagged, USE) == ""
    assert "300 pairs score 0.89 to 0.97" in score_note(make_tailed(), crowd(300, 0.96), USE)


def test_nothing_is_said_where_nothing_is_known():
    assert score_note(calibration(), [], USE) == ""
    assert score_note(calibration(), crowd(300), ThresholdUse(0.97, "a file")) == ""
    only_first = make(operating_points=make().operating_points[:1])
    assert score_note(only_first, crowd(300), USE) == ""


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_pairs_changes_nothing(order):
    pairs = clique("a", 5, below=3) + crowd(30) + [("a1", "t3", 0.99), ("t3", "a9", 0.85)]
    scores, n = scores_apart(pairs[::order], TOP)
    assert (len(scores), n) == (31, 8)
    assert scores == sorted(scores)
