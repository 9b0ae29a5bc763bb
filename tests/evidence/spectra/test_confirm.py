"""Ranges looked at again in the spectra: times, tempo, and what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import change_speed, plant, shift_pitch, stretch_time
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.match_score import CLEAR_CORRELATION, match_score, range_score
from auditor.evidence.spectra import range_search
from auditor.evidence.spectra.confirm import MAX_CONFIRMED_RANGES, confirm
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.evidence.spectra.range_search import ALIKE, MAYBE_ALIKE, _moved_correlations
from auditor.records import Evidence, MatchedRange

WEAK = MatchedRange(0.0, 60.0, 0.0, 60.0, 1.0, 0.25, None, 0.0)


def of(*ranges, score=0.25) -> Evidence:
    return Evidence(score, ranges, 1.0, 1.0, 1.0, 0.1)


def confirmed(evidence, a, b, *, a_duration_s=60.0, **how) -> Evidence:
    sides = ((a, a_duration_s), (b, 60.0))
    return confirm(evidence, *(TrackSpectrum(waveform_spectrum(w), s) for w, s in sides), **how)


def test_a_range_is_cut_back_to_where_the_spectra_agree():
    original = tune(1, duration_s=60.0)
    host = plant(original[20 * 16_000 : 40 * 16_000], tune(2, duration_s=60.0), position_s=20.0)
    (found,) = confirmed(of(WEAK), host, original).ranges
    assert (found.a_start_s, found.a_end_s) == pytest.approx((20.0, 40.0), abs=0.8)
    assert (found.b_start_s, found.b_end_s) == pytest.approx((20.0, 40.0), abs=0.8)
    evidence = confirmed(of(WEAK), host, original)
    assert evidence.share_a == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(("ratio", "guess"), [(1.0, 1.03), (1.05, 1.0), (0.94, 0.97)])
def test_a_tempo_that_was_a_little_off_moves_the_ends_not_the_middle(ratio, guess):
    original = tune(1, duration_s=60.0)
    copy = change_speed(original, ratio)
    length_s = min(len(copy) / SAMPLE_RATE_HZ, 60.0 / guess, 50.0)
    first_s = 0.5 * (len(copy) / SAMPLE_RATE_HZ - length_s)
    middle_s = ratio * (first_s + 0.5 * length_s)
    roughly = MatchedRange(
        first_s,
        first_s + length_s,
        middle_s - 0.5 * guess * length_s,
        middle_s + 0.5 * guess * length_s,
        guess,
        0.25,
        None,
        0.0,
    )
    (found,) = confirmed(of(roughly), copy, original).ranges
    assert found.tempo == pytest.approx(ratio, rel=0.004)
    assert found.b_start_s == pytest.approx(ratio * found.a_start_s, abs=0.5)
    assert found.b_end_s == pytest.approx(ratio * found.a_end_s, abs=0.5)
    length = found.a_end_s - found.a_start_s
    assert (found.b_end_s - found.b_start_s) / length == pytest.approx(found.tempo, rel=0.01)
    assert length > 0.85 * length_s


def test_strangers_keep_their_score_and_nothing_is_shown_of_them():
    evidence = confirmed(of(WEAK), tune(1, duration_s=60.0), tune(2, duration_s=60.0))
    assert evidence.ranges == ()
    assert (evidence.share_a, evidence.score) == (0.0, 0.25)
    shown = confirmed(of(WEAK), tune(1, duration_s=60.0), tune(2, duration_s=60.0), shown_from=0.2)
    assert len(shown.ranges) == 1


def test_where_one_range_agrees_those_that_do_not_are_left_out():
    music = tune(1, duration_s=60.0)
    right = dataclasses.replace(WEAK, a_end_s=30.0, b_end_s=30.0, score=0.6)
    wrong = dataclasses.replace(right, b_start_s=25.0, b_end_s=55.0, score=0.5)
    kept = confirmed(of(right, wrong, score=0.6), music, music)
    assert [r.b_start_s < 5.0 for r in kept.ranges] == [True]


def test_ranges_of_evidence_that_is_too_weak_are_not_compared():
    original = tune(1, duration_s=60.0)
    weak = of(dataclasses.replace(WEAK, score=0.12), score=0.12)
    found = confirmed(weak, tune(2, duration_s=60.0), original, shown_from=0.1)
    assert [r.correlation for r in found.ranges] == [None]


MISSED = Evidence(-0.2, (), 0.0, 0.0, 1.0, 0.1)


def test_what_the_d_vectors_missed_is_found_in_the_spectra():
    original = tune(1, duration_s=60.0)
    drowned = original[15 * SAMPLE_RATE_HZ : 45 * SAMPLE_RATE_HZ].copy()
    noise = np.random.default_rng(0).normal(0.0, drowned.std(), len(drowned))
    found = confirmed(MISSED, (drowned + noise).astype(np.float32), original, a_duration_s=30.0)
    (only,) = found.ranges
    assert (only.a_start_s, only.a_end_s) == pytest.approx((0.0, 30.0), abs=2.5)
    assert only.b_start_s - only.a_start_s == pytest.approx(15.0, abs=0.3)
    assert (only.tempo, only.pitch_semitones) == pytest.approx((1.0, 0.0), abs=0.1)
    assert match_score(found) == pytest.approx(range_score(only))
    assert match_score(found) > 0.5
    assert found.score == -0.2


def test_the_range_that_leads_stands_for_those_of_the_d_vectors():
    original = tune(1, duration_s=60.0)
    noise = np.random.default_rng(0).normal(0.0, 4.0 * original.std(), len(original))
    heard = dataclasses.replace(WEAK, score=0.3, repetition=0.2, a_end_s=50.0, b_end_s=50.0)
    found = confirmed(of(heard), (original + noise).astype(np.float32), original)
    (only,) = found.ranges
    assert only.a_end_s > 52.0
    assert (heard.repetition, only.repetition) == (0.2, 0.0)
    assert match_score(found) > range_score(heard)


def cut(waveform, start_s, end_s):
    return waveform[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]


def planted(original, *places, ratio=1.0):
    """Return 60 s of other music that hold 10 s of an original, from when in it to when."""
    host = tune(2, duration_s=60.0)
    for at_s, start_s in places:
        excerpt = change_speed(cut(original, start_s, start_s + 10.0 * ratio), ratio)
        host = plant(excerpt, host, position_s=at_s)
    return host


def times(found):
    return found.a_start_s, found.a_end_s, found.b_start_s, found.b_end_s


@pytest.mark.parametrize("ratio", [1.0, 1.05])
def test_what_the_d_vectors_missed_is_found_at_the_tempo_and_pitch_of_what_agrees(ratio):
    original = tune(1, duration_s=60.0)
    host = planted(original, (5.0, 40.0), (25.0, 8.0), (45.0, 25.0), ratio=ratio)
    heard = MatchedRange(5.0, 15.0, 40.0, 40.0 + 10.0 * ratio, ratio, 0.4, None, 0.2)
    evidence = confirmed(of(heard, score=0.4), host, original)
    assert [r.score > 0.3 for r in evidence.ranges] == [True, False, False]
    truth = [(5.0, 40.0), (25.0, 8.0), (45.0, 25.0)]
    ranges = sorted(evidence.ranges, key=times)
    for found, (a_s, b_s) in zip(ranges, truth, strict=True):
        assert times(found) == pytest.approx((a_s, a_s + 10.0, b_s, b_s + 10.0 * ratio), abs=1.0)
        assert found.correlation > CLEAR_CORRELATION
        assert found.pitch_semitones == pytest.approx(12.0 * np.log2(ratio), abs=0.2)
    assert match_score(evidence) == range_score(evidence.ranges[0])
    assert evidence.share_a == pytest.approx(0.5, abs=0.05)


def test_two_excerpts_that_were_taken_for_one_are_told_apart_and_the_score_stays(monkeypatch):
    original = tune(1, duration_s=60.0)
    host = planted(original, (5.0, 40.0), (22.0, 3.2), (33.0, 15.2))
    first = MatchedRange(5.0, 15.0, 40.0, 50.0, 1.0, 0.2, None, 0.0)
    joined = MatchedRange(22.0, 43.0, 3.7, 24.7, 1.0, 0.6, None, 0.3)
    with monkeypatch.context() as patch:
        patch.setattr("auditor.evidence.spectra.lines.MAX_CELLS", 0)
        before = confirmed(of(joined, first, score=0.6), host, original)
    assert len(before.ranges) == 2
    evidence = confirmed(of(joined, first, score=0.6), host, original)
    assert sorted(round(r.a_start_s) for r in evidence.ranges) == [5, 22, 33]
    assert max(r.a_end_s - r.a_start_s for r in evidence.ranges) < 12.0
    assert match_score(evidence) == pytest.approx(match_score(before))
    assert [r.repetition for r in evidence.ranges if r.a_start_s > 20.0] == [0.3, 0.3]


def test_no_range_of_the_spectra_raises_the_score_of_a_pair():
    original = tune(1, duration_s=60.0)
    host = planted(original, (5.0, 40.0), (25.0, 8.0))
    host[5 * SAMPLE_RATE_HZ : 15 * SAMPLE_RATE_HZ] += cut(tune(4, duration_s=10.0), 0.0, 10.0)
    heard = MatchedRange(5.0, 15.0, 40.0, 50.0, 1.0, 0.5, None, 0.0)
    evidence = confirmed(of(heard, score=0.5), host, original, shown_from=0.1)
    heard, found = sorted(evidence.ranges, key=times)
    assert (heard.score, found.score < 0.5) == (0.5, True)
    assert found.correlation > heard.correlation + 0.1
    assert match_score(evidence) == pytest.approx(range_score(heard))


def test_silence_in_both_tracks_is_no_range():
    original, host = tune(1, duration_s=60.0), tune(2, duration_s=60.0)
    original[20 * SAMPLE_RATE_HZ : 50 * SAMPLE_RATE_HZ] = 0.0
    host[30 * SAMPLE_RATE_HZ :] = 0.0
    host = plant(cut(original, 5.0, 15.0), host, position_s=10.0)
    heard = MatchedRange(10.0, 20.0, 5.0, 15.0, 1.0, 0.5, None, 0.0)
    assert len(confirmed(of(heard, score=0.5), host, original).ranges) == 1


def test_tracks_too_long_to_be_searched_have_the_ranges_of_their_d_vectors(monkeypatch):
    original = tune(1, duration_s=60.0)
    host = planted(original, (5.0, 40.0), (25.0, 8.0))
    heard = MatchedRange(5.0, 15.0, 40.0, 50.0, 1.0, 0.4, None, 0.0)
    assert len(confirmed(of(heard, score=0.4), host, original).ranges) == 2
    assert len(confirmed(MISSED, host, original).ranges) == 2
    for limit, value in (("MAX_FRAMES", 100), ("MAX_CELLS", 1000)):
        with monkeypatch.context() as patch:
            patch.setattr(f"auditor.evidence.spectra.lines.{limit}", value)
            patch.setattr(TrackSpectrum, "levelled", pytest.fail)  # nor is memory taken
            assert confirmed(MISSED, host, original).ranges == ()
            assert len(confirmed(of(heard, score=0.4), host, original).ranges) == 1


def test_a_range_that_hardly_agrees_is_left_out_where_another_explains_the_music():
    original = tune(1, duration_s=60.0)
    host = planted(original, (5.0, 40.0))
    right = MatchedRange(5.0, 15.0, 40.0, 50.0, 1.0, 0.5, None, 0.0)
    unheard = dataclasses.replace(right, b_start_s=2.0, b_end_s=12.0, score=0.4)
    elsewhere = dataclasses.replace(unheard, a_start_s=30.0, a_end_s=40.0)
    evidence = of(*[right] * MAX_CONFIRMED_RANGES, unheard, elsewhere, score=0.5)
    kept = confirmed(evidence, host, original).ranges
    assert [round(r.a_start_s) for r in kept] == [5, 30]


@pytest.mark.parametrize(("noise", "starts"), [(0.02, [8, 40]), (0.07, [40])])
def test_a_likeness_is_no_range_where_the_same_moments_agree_better_elsewhere(noise, starts):
    original = tune(1, duration_s=60.0)
    again = cut(original, 40.0, 50.0)
    again = again + noise * np.random.default_rng(0).normal(size=len(again)).astype(np.float32)
    original[8 * SAMPLE_RATE_HZ : 18 * SAMPLE_RATE_HZ] = again
    host = planted(original, (5.0, 40.0))
    right = MatchedRange(40.0, 50.0, 5.0, 15.0, 1.0, 0.5, None, 0.0)
    kept = confirmed(of(right, score=0.5), original, host).ranges
    assert sorted(round(r.a_start_s) for r in kept) == starts


@pytest.mark.parametrize("ratio", [1.25, 0.75])
def test_a_whole_track_at_another_speed_is_found_though_the_d_vectors_say_nothing(ratio):
    original = tune(1, duration_s=60.0)
    copy = change_speed(original, ratio)
    found = confirmed(MISSED, copy, original, a_duration_s=len(copy) / SAMPLE_RATE_HZ)
    (only,) = found.ranges
    assert only.tempo == pytest.approx(ratio, rel=0.004)
    assert only.pitch_semitones == pytest.approx(12.0 * np.log2(ratio), abs=0.2)
    assert (only.b_start_s, only.b_end_s) == pytest.approx((0.0, 60.0), abs=2.0)
    assert match_score(found) > 0.6


def test_a_whole_track_at_another_pitch_is_found_though_the_d_vectors_say_nothing():
    original = tune(1, duration_s=60.0)
    copy = shift_pitch(original, 4.0)
    (only,) = confirmed(MISSED, copy, original).ranges
    assert (only.tempo, only.pitch_semitones) == pytest.approx((1.0, 4.0), abs=0.2)


def bells(seed: int, *, duration_s: float = 60.0, n: int = 3) -> np.ndarray:
    """Return single notes of one pitch in near silence."""
    rng = np.random.default_rng(seed)
    out = rng.normal(0.0, 1e-4, round(duration_s * SAMPLE_RATE_HZ))
    pitch_hz, powers = 220.0 * 2.0 ** rng.uniform(0.0, 2.0), rng.uniform(0.2, 1.0, 6)
    for start_s in rng.uniform(0.0, duration_s - 2.0, n):
        start = round(start_s * SAMPLE_RATE_HZ)
        time_s = np.arange(len(out) - start) / SAMPLE_RATE_HZ
        tones = [p * np.sin(2 * np.pi * pitch_hz * (k + 1) * time_s) for k, p in enumerate(powers)]
        out[start:] += 0.2 * np.exp(-time_s / rng.uniform(0.6, 1.5)) * sum(tones)
    return out.astype(np.float32)


def test_single_notes_of_other_pitches_are_not_moved_onto_each_other():
    notes = [bells(seed, duration_s=20.0, n=2) for seed in range(6)]
    scores = [
        match_score(confirmed(MISSED, a, b, a_duration_s=20.0, shown_from=0.15))
        for i, a in enumerate(notes)
        for b in notes[:i]
    ]
    assert max(scores) < 0.3


def test_a_guess_counts_where_the_spectra_agree_beyond_doubt_or_lead_for_long(monkeypatch):
    original = tune(1, duration_s=60.0)
    noise = np.random.default_rng(0).normal(0.0, 4.0 * original.std(), len(original))
    copy = change_speed((original + noise).astype(np.float32), 1.2)
    duration_s = len(copy) / SAMPLE_RATE_HZ
    semitones = 12.0 * np.log2(1.2)
    monkeypatch.setattr(
        "auditor.evidence.spectra.range_search.mean_spectrum_shift", lambda a, b: semitones
    )
    (only,) = confirmed(MISSED, copy, original, a_duration_s=duration_s).ranges
    assert only.tempo == pytest.approx(1.2, abs=0.01)
    assert only.correlation < 0.4  # drowned in noise, and it leads for all of its 50 seconds
    monkeypatch.setattr("auditor.evidence.spectra.range_search._LEADS", 0.4)
    assert confirmed(MISSED, copy, original, a_duration_s=duration_s).ranges == ()
    monkeypatch.setattr("auditor.evidence.spectra.range_search.CLEAR_CORRELATION", 0.1)
    (again,) = confirmed(MISSED, copy, original, a_duration_s=duration_s).ranges
    assert again.tempo == pytest.approx(1.2, abs=0.01)


def with_echoes(music: np.ndarray) -> np.ndarray:
    echoes = music.copy()
    for delay_s, gain in ((0.08, 0.5), (0.16, 0.4), (0.24, 0.3), (0.32, 0.2)):
        n = round(delay_s * SAMPLE_RATE_HZ)
        echoes[n:] += gain * music[:-n]
    return 0.5 * echoes


@pytest.mark.parametrize("ratio", [0.7, 1.43])
def test_a_whole_copy_far_slower_or_faster_with_echoes_is_found(ratio):
    original = tune(1, duration_s=60.0)
    copy = change_speed(original, ratio)
    duration_s = len(copy) / SAMPLE_RATE_HZ
    found = confirmed(MISSED, with_echoes(copy), original, a_duration_s=duration_s)
    assert found.ranges[0].tempo == pytest.approx(ratio, abs=0.01)
    assert match_score(found) > 0.9


def medley() -> np.ndarray:
    """Return a piece of three tunes, of which the mean spectrum is none of theirs."""
    return np.concatenate([tune(2, duration_s=60.0), tune(1, duration_s=60.0), tune(3)])


@pytest.mark.parametrize("ratio", [0.75, 1.35])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_excerpt_far_slower_or_faster_with_echoes_is_found(ratio, swapped):
    original = medley()
    copy = with_echoes(change_speed(original[60 * SAMPLE_RATE_HZ : 118 * SAMPLE_RATE_HZ], ratio))
    sides = [TrackSpectrum(waveform_spectrum(w), len(w) / SAMPLE_RATE_HZ) for w in (copy, original)]
    alike = _moved_correlations(*(s.mean_spectrum for s in sides), 14).max()
    assert MAYBE_ALIKE <= alike < ALIKE, "else its speed is tried without a probe"
    found = confirm(MISSED, *(sides[::-1] if swapped else sides))
    assert found.ranges[0].tempo == pytest.approx(1.0 / ratio if swapped else ratio, abs=0.01)
    assert match_score(found) > 0.9


def test_what_may_be_alike_and_is_not_is_tried_no_further(monkeypatch):
    tried = []
    looked = range_search.leading_line
    monkeypatch.setattr(
        range_search, "leading_line", lambda a, b: tried.append(len(a)) or looked(a, b)
    )
    monkeypatch.setattr(range_search, "ALIKE", 2.0)
    monkeypatch.setattr(
        range_search, "mean_spectrum_shift", lambda a, b, alike=ALIKE: 5.0 if alike < 0.5 else None
    )
    confirmed(MISSED, tune(1, duration_s=60.0), tune(2, duration_s=60.0))
    probe, as_it_is = tried
    assert probe < 320 < 620 < as_it_is, "its middle was probed, and that was all"
    tried.clear()
    confirmed(MISSED, tune(1, duration_s=30.0), tune(2, duration_s=60.0), a_duration_s=30.0)
    assert len(tried) == 1, "clips are not probed"


def test_the_tempo_of_a_range_that_was_never_looked_at_is_no_guess():
    original = tune(1, duration_s=60.0)
    copy = stretch_time(cut(original, 30.0, 54.0), 1.2)
    weak = MatchedRange(0.0, 20.0, 0.0, 24.0, 1.2, 0.12, None, 0.0)
    assert confirmed(of(weak, score=0.12), copy, original, a_duration_s=20.0).ranges == ()


def test_every_tempo_is_tried_where_the_d_vectors_are_sure_of_what_the_spectra_deny():
    original = tune(1, duration_s=60.0)
    copy = stretch_time(original, 1.2)
    wrong = MatchedRange(0.0, 50.0, 5.0, 60.0, 1.1, 0.45, None, 0.7)
    found = confirmed(of(wrong, score=0.45), copy, original, a_duration_s=50.0)
    assert found.ranges[0].tempo == pytest.approx(1.2, abs=0.01)
    assert found.ranges[0].repetition == 0.0
    assert match_score(found) > 0.9
    unsure = dataclasses.replace(wrong, score=0.35)
    found = confirmed(of(unsure, score=0.35), copy, original, a_duration_s=50.0)
    assert found.ranges[0].tempo != pytest.approx(1.2, abs=0.01)


def test_a_range_that_agrees_counts_by_its_lead_where_its_d_vectors_say_little():
    original = tune(1, duration_s=60.0)
    noise = np.random.default_rng(0).normal(0.0, 0.3 * original.std(), len(original))
    copy = (original + noise).astype(np.float32)
    weak = dataclasses.replace(WEAK, score=0.16, repetition=0.3)
    found = confirmed(of(weak, score=0.16), copy, original)
    assert found.ranges[0].correlation > CLEAR_CORRELATION
    assert match_score(found) == found.ranges[0].match_score == 1.0
    assert found.ranges[0].score == 0.0  # the d-vectors did not find this one
    # Beats lead nowhere, and stay what they were.
    beats = np.tile(original[: SAMPLE_RATE_HZ // 2], 120)
    found = confirmed(of(weak, score=0.16), beats, beats.copy())
    assert match_score(found) < 0.7
    assert found.ranges[0].repetition == 0.3
