"""Pitches of two tracks, aligned: the same tune in another key and tempo, and what is not one."""

from __future__ import annotations

import numpy as np
import pytest
from melodies import chords_under, random_tune, rows_of

from auditor.evidence.composition.agreement import agreement
from auditor.evidence.composition.align import align, likely_transpositions, raw_scores
from auditor.evidence.composition.pitches import MAX_STEPS, STEP_S, PitchTrack, transposed
from auditor.evidence.composition.roll import lines_of


def track(seed: int, *, accompanied: int | None = None, **how) -> PitchTrack:
    notes = random_tune(seed)
    chords = () if accompanied is None else chords_under(notes, accompanied)
    return PitchTrack(rows_of(notes, chords=chords, seed=seed + 100, **how))


@pytest.mark.parametrize(("semitones", "tempo"), [(0, 1.0), (4, 1.25), (-5, 0.8), (6, 1.5)])
def test_a_tune_in_another_key_and_tempo_is_found(semitones, tempo):
    a, b = track(1), track(1, transposition=semitones, tempo=tempo)
    others = [track(seed) for seed in range(2, 12)]
    scores, shifts = raw_scores(a, [b, *others])
    assert scores[0] > 1.4 * scores[1:].max()
    assert (shifts[0] + semitones) % 12 == 0
    said = agreement(a, b, align(a, b))
    assert (said.transposition + semitones) % 12 == 0
    assert said.tempo == pytest.approx(1 / tempo, rel=0.05)
    assert said.melody > 0.4
    assert said.a_start_s < 3
    assert said.a_end_s > len(a) * STEP_S - 3


def test_a_score_does_not_depend_on_the_company():
    a = track(1)
    others = [track(seed, tempo=0.6 + 0.1 * seed) for seed in range(2, 12)]
    scores, _ = raw_scores(a, others)
    assert raw_scores(a, others[3:7])[0].tolist() == scores[3:7].tolist()
    assert [raw_scores(a, [other])[0].item() for other in others] == scores.tolist()


def test_similarities_of_single_rows_add_up_to_those_of_the_features():
    a = track(1)
    others = [track(seed, tempo=0.6 + 0.1 * seed) for seed in range(1, 7)]
    others.append(others[0].part(0, 3))  # shorter than a mean along the diagonal
    scores, _ = raw_scores(a, others)
    traced = [align(a, other) for other in others]
    assert scores == pytest.approx([found.raw if found else 0.0 for found in traced], rel=1e-4)


def test_other_chords_under_a_melody_do_not_hide_it():
    a, b = track(1, accompanied=5), track(1, accompanied=6, transposition=3)
    others = [track(seed, accompanied=seed) for seed in range(2, 12)]
    scores, _ = raw_scores(a, [b, *others])
    assert scores[0] > 1.5 * scores[1:].max()
    said = agreement(a, b, align(a, b))
    assert said.melody > 0.5
    assert said.harmony < 0.6


def test_the_same_chords_under_another_melody_agree_in_harmony_only():
    chords = chords_under(random_tune(1), 5)
    a = PitchTrack(rows_of(random_tune(1), chords=chords, seed=1))
    b = PitchTrack(rows_of(random_tune(2), chords=chords, seed=2))
    said = agreement(a, b, align(a, b))
    assert said.harmony > said.melody + 0.2
    assert said.melody < 0.35


def test_a_passage_is_found_where_it_is():
    notes = random_tune(1, 60)
    end = notes[-1][0] + notes[-1][1]
    before = random_tune(2, 60)
    shift = before[-1][0] + before[-1][1]
    medley = PitchTrack(rows_of([*before, *((s + shift, d, p) for s, d, p in notes)]))
    said = agreement(PitchTrack(rows_of(notes)), medley, align(PitchTrack(rows_of(notes)), medley))
    assert said.b_start_s == pytest.approx(shift, abs=3)
    assert said.b_end_s == pytest.approx(shift + end, abs=3)


def test_a_score_does_not_depend_on_what_is_aligned_beside():
    a, others = track(1), [track(seed) for seed in range(2, 6)]
    together, _ = raw_scores(a, others)
    alone = [raw_scores(a, [other])[0][0] for other in others]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_a_score_does_not_depend_on_the_order_of_the_tracks():
    a, b = track(1), track(3, tempo=1.2)
    there, back = raw_scores(a, [b])[0][0], raw_scores(b, [a])[0][0]
    assert there == pytest.approx(back, rel=1e-3)


def test_the_path_has_the_sum_of_the_score():
    a, b = track(1), track(1, tempo=1.1)
    found = align(a, b)
    assert found.raw == pytest.approx(float(raw_scores(a, [b])[0][0]), rel=1e-4)
    steps = np.diff(found.path, axis=0)
    assert set(map(tuple, steps.tolist())) <= {(1, 1), (1, 2), (2, 1)}


def test_a_tune_is_found_in_a_mix_of_half_an_hour():
    mix, at = [], 0.0
    for seed in range(20, 40):
        notes = random_tune(seed)
        mix += [(s + at, d, p) for s, d, p in notes]
        at = mix[-1][0] + mix[-1][1]
    whole = PitchTrack(rows_of(mix))
    assert len(whole) > 2 * MAX_STEPS
    wanted, other = PitchTrack(rows_of(random_tune(33), seed=1)), track(50)
    found = align(wanted, whole)
    assert raw_scores(wanted, [whole])[0][0] > 1.7 * raw_scores(other, [whole])[0][0]
    expected = sum(random_tune(s)[-1][0] + random_tune(s)[-1][1] for s in range(20, 33))
    assert found.path[0, 1] * STEP_S == pytest.approx(expected, abs=4)


def test_a_drone_under_different_melodies_counts_for_nothing():
    def with_drone(seed):
        rows = rows_of(random_tune(seed), seed=seed)
        rows[:, 24] = rows[:, 12] = 255
        return PitchTrack(rows)

    plain = raw_scores(track(1), [track(2)])[0][0]
    assert raw_scores(with_drone(1), [with_drone(2)])[0][0] < 1.3 * plain


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (np.zeros((200, 37), np.uint8), "no pitched music"),
        (np.zeros((0, 37), np.uint8), "no pitched music"),
        (rows_of([(0.0, 120.0, 60)]), "hardly changes"),
        (rows_of(random_tune(1, 8)), "no pitched music"),
    ],
)
def test_what_has_no_melody_says_so(rows, problem):
    assert problem in PitchTrack(rows).problem


def test_a_tune_has_no_problem():
    assert track(1).problem == ""


def test_transpositions_are_ranked_by_profile():
    a, b = track(1), track(1, transposition=5)
    assert likely_transpositions(a, b, 2)[0] == -5
    rows = np.arange(24.0)[None]
    assert (transposed(transposed(rows, 5), 7) == rows).all()


def test_lines_are_in_one_key_and_octave():
    a, b = track(1, accompanied=5), track(1, accompanied=5, transposition=-12 + 3)
    found = align(a, b)
    lines = lines_of(a, b, found)
    said = agreement(a, b, found)
    assert len(lines.melody_a) == round((said.a_end_s - said.a_start_s) / STEP_S)
    both = [(x, y) for x, y in zip(lines.melody_a, lines.melody_b, strict=True) if x and y]
    assert np.mean([x == y for x, y in both]) > 0.7
    chords = zip(lines.chords_a, lines.chords_b, strict=True)
    sure = [(x, y) for x, y in chords if x >= 0 and y >= 0]
    assert np.mean([x == y for x, y in sure]) > 0.6


def test_moments_of_b_follow_its_tempo():
    a, b = track(1), track(1, tempo=1.25)
    found = align(a, b)
    said = agreement(a, b, found)
    moments = np.array(lines_of(a, b, found).moments_b)
    assert len(moments) == round((said.a_end_s - said.a_start_s) / STEP_S)
    assert (np.diff(moments) >= 0.0).all()
    assert moments[0] == pytest.approx(said.b_start_s, abs=0.01)
    assert moments[-1] == pytest.approx(said.b_end_s - STEP_S, abs=0.01)
    slope = np.polyfit(np.arange(len(moments)) * STEP_S, moments, 1)[0]
    assert slope == pytest.approx(said.tempo, abs=0.05)
