"""The list of the composition match: chance down to each line, verdicts, what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from melodies import chords_under, random_tune, rows_of

from auditor.calibration.rates import RateTable
from auditor.calibration.thresholds import OperatingPoint, Thresholds
from auditor.evidence.composition.agreement import Agreement
from auditor.evidence.composition.pitches import PitchTrack
from auditor.records import CompositionMatch, CompositionVerdict
from auditor.scoring import composition
from auditor.scoring.composition import (
    _ranked,
    _Scored,
    _verdict,
    _with_evidence,
    normalised,
    score_of,
)
from auditor.search.compositions import StoredPitches


class Rates:
    """Rates that fall tenfold with each 0.1 of the score."""

    class calibration:
        @staticmethod
        def far_at(score, *, one_source=0.0):
            far = min(1.0, 10 ** (-10 * score))
            return far, far / 2, min(1.0, far * 2)


class Reader:
    """Rows of pitches by hash."""

    def __init__(self, **rows):
        self.rows = rows

    def track(self, sha256):
        return PitchTrack(self.rows[sha256])


def line(a="a", b="b", **changes) -> CompositionMatch:
    plain = CompositionMatch(a, b, 0.6, "", True, 1e-6, 0.1, 0.1, 0.0, 0.5)
    return dataclasses.replace(plain, **changes)


def test_each_line_says_how_much_of_the_list_is_chance():
    found = [_Scored(f"a{k}", f"b{k}", score) for k, score in enumerate((0.6, 0.5, 0.3, 0.2))]
    ranked = _ranked(found[::-1], 10_000, Rates(), 0.1)
    assert [match.score for match in ranked] == [0.6, 0.5]  # the third would be chance
    assert [match.expected_by_chance for match in ranked] == pytest.approx([0.01, 0.1])
    assert [match.chance_share for match in ranked] == pytest.approx([0.01, 0.05])
    assert all(m.chance_share_low <= m.chance_share <= m.chance_share_high for m in ranked)
    assert [match.flagged for match in ranked] == [True, True]


def test_a_line_is_flagged_if_the_list_to_a_later_one_holds():
    found = [_Scored("a", "b", 0.35), _Scored("c", "d", 0.349), _Scored("e", "f", 0.348)]
    ranked = _ranked(found, 1000, Rates(), 0.11)
    assert [round(match.chance_share, 2) for match in ranked] == [0.32, 0.16, 0.11]
    assert all(match.flagged for match in _ranked(found, 1000, Rates(), 0.12))
    assert not any(match.flagged for match in _ranked(found, 1000, Rates(), 0.05))


def test_without_rates_nothing_is_flagged():
    (match,) = _ranked([_Scored("a", "b", 0.9)], 10, None, 0.1)
    assert (match.flagged, match.far, match.chance_share) == (False, None, None)


def test_more_lines_are_not_kept_than_asked_for():
    found = [_Scored("a", f"b{k}", 0.9 - 0.001 * k) for k in range(20)]
    assert len(_ranked(found, 10, None, 0.1, n_listed=3)) == 3
    assert len(_ranked(found, 10, Rates(), 0.1, n_listed=3)) == 20  # all of them flagged


def test_a_line_gets_its_passage_and_verdict():
    tune = random_tune(1)
    chords = chords_under(tune, 5)
    reader = Reader(
        a=rows_of(tune, chords=chords),
        b=rows_of(tune, chords=chords, transposition=2, tempo=1.2, seed=3),
    )
    same = _with_evidence(reader.track("a"), reader.track("b"), line("a", "b"))
    assert same.verdict == CompositionVerdict.SAME_COMPOSITION
    assert same.flagged
    assert same.transposition == -2
    assert len(same.melody_a) == len(same.melody_b) == len(same.chords_a) == len(same.chords_b)


@pytest.mark.parametrize(
    ("melody", "harmony", "score", "verdict"),
    [
        (0.2, 0.7, 0.6, CompositionVerdict.SAME_CHORDS),
        (0.37, 0.7, 0.6, CompositionVerdict.SAME_CHORDS),
        (0.2, 0.3, 0.6, CompositionVerdict.SAME_COMPOSITION),  # other chords, a varied melody
        (0.2, 0.3, 0.37, CompositionVerdict.SAME_CHORDS),
        (0.6, 0.7, 0.36, CompositionVerdict.SAME_COMPOSITION),
    ],
)
def test_chords_alone_are_not_a_composition(melody, harmony, score, verdict):
    a, b = PitchTrack(rows_of(random_tune(1))), PitchTrack(rows_of(random_tune(2)))
    said = Agreement(0.0, 60.0, 0.0, 60.0, 0, 1.0, melody, harmony)
    assert _verdict(a, b, said, score) == verdict


def test_two_scales_have_a_figure_in_common():
    scale = [0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2]
    notes = [(0.4 * k, 0.4, 60 + scale[k % 14]) for k in range(150)]
    reader = Reader(a=rows_of(notes), b=rows_of(notes, transposition=2, seed=5))
    said = _with_evidence(reader.track("a"), reader.track("b"), line())
    assert (said.verdict, said.flagged) == (CompositionVerdict.COMMON_FIGURE, False)


def test_a_sum_is_set_against_both_tracks():
    def kept(mean, spread):
        return StoredPitches(np.zeros((0, 37)), np.zeros((0, 1)), mean, spread)

    z = normalised(np.array([150.0]), kept(100.0, 10.0), [kept(140.0, 5.0)])
    assert z == pytest.approx([(5.0 + 2.0) / 2])
    assert score_of(float(z[0])) == pytest.approx(3.5 / 13.5)


def test_rates_are_those_of_the_pitch_model(tmp_path):
    points = (OperatingPoint(0.2, 0.1, 0.08, 0.12), OperatingPoint(0.4, 0.001, 0.0, 0.01))
    made = Thresholds(
        "12345678", "pitches", 0.4, 0.001, points, (), 20, 190, 0, "", "", "", "", "",
        composition.SCORER_ID,
    )  # fmt: skip
    assert isinstance(made.rates, RateTable)
    from auditor.calibration.thresholds import save_thresholds

    save_thresholds(made, tmp_path / "pitches.json")
    assert composition.open_rates("12345678", [tmp_path]).calibration == made
    assert composition.open_rates("87654321", [tmp_path]) is None
