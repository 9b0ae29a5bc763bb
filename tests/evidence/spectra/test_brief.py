"""Passages of seconds, found in the spectra alone."""

from __future__ import annotations

import numpy as np
import pytest
from tunes import tune

from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.match_score import LOWEST_THRESHOLD
from auditor.evidence.side import Side, compare_sides
from auditor.evidence.spectra.brief import BLOCK, brief_line, brief_score, with_brief
from auditor.evidence.spectra.lines import MAX_CELLS, TrackSpectrum
from auditor.records import Evidence

NOTHING = Evidence(-0.2, (), 0.0, 0.0, 1.0, 0.1)
HOP_S = SPECTRUM.frame_hop_s


def music(n_frames: int, *, seed: int = 0) -> np.ndarray:
    """Return levelled frames of which no two moments are alike."""
    return np.random.default_rng(seed).normal(0.0, 9.0, (n_frames, SPECTRUM.n_bands))


def spectrum(waveform: np.ndarray) -> TrackSpectrum:
    return TrackSpectrum(waveform_spectrum(waveform), len(waveform) / 16_000)


def test_three_seconds_inside_other_music_are_found():
    a, b = music(400, seed=1), music(900, seed=2)
    a[120:152] = b[500:532]
    found = brief_line(a, b)
    assert found.correlation == pytest.approx(1.0)
    assert found.offset == 380
    assert 114 <= found.first <= 126
    assert 146 <= found.last <= 158
    assert found.repetition < 0.3
    assert found.n_blocks == (400 - BLOCK) // 6 + 1


def test_what_returns_in_the_track_is_repetition():
    b = np.tile(music(90), (5, 1))
    assert brief_line(b[30:70], b).repetition == pytest.approx(1.0)


def test_too_short_or_too_long_tracks_have_no_line():
    assert brief_line(music(BLOCK - 1), music(200)) is None
    assert brief_line(music(200), music(BLOCK - 1)) is None
    long = np.zeros((round(3 * MAX_CELLS**0.5), SPECTRUM.n_bands))
    assert brief_line(long, long) is None


def test_a_fade_is_no_passage():
    chord = music(1)
    fade = np.linspace(1.0, 0.0, 2 * BLOCK)[:, None] * chord + 0.02 * music(2 * BLOCK, seed=1)
    track = np.concatenate([music(300, seed=2), fade])
    assert brief_line(fade, track) is None
    both = brief_line(np.concatenate([music(200, seed=3), fade]), track)
    assert both.correlation < 0.6


def test_the_end_of_a_piece_is_no_passage():
    a = music(200, seed=4)
    b = np.concatenate([music(300, seed=5), a[-BLOCK:]])
    steady = np.full(200, 100.0)
    ending = np.concatenate([steady[:-BLOCK], np.linspace(100.0, 30.0, BLOCK)])
    assert brief_line(a, b, steady).correlation > 0.9
    assert brief_line(a, b, ending).correlation < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_strangers_stay_below_every_threshold(seed):
    found = brief_line(music(600, seed=seed), music(2000, seed=seed + 50))
    assert brief_score(found) < LOWEST_THRESHOLD


def test_the_passage_becomes_a_range_beside_those_it_does_not_touch():
    b = spectrum(tune(1, duration_s=40.0))
    other = tune(2, duration_s=20.0)
    other[6 * 16_000 : 9 * 16_000] = tune(1, duration_s=40.0)[24 * 16_000 : 27 * 16_000]
    told = with_brief(NOTHING, spectrum(other), b)
    (found,) = told.ranges
    assert (found.a_start_s, found.a_end_s) == pytest.approx((6.0, 9.0), abs=0.7)
    assert found.b_start_s - found.a_start_s == pytest.approx(18.0, abs=2 * HOP_S)
    assert found.match_score > LOWEST_THRESHOLD
    assert (found.tempo, found.pitch_semitones) == (1.0, 0.0)
    assert told.share_a == pytest.approx((found.a_end_s - found.a_start_s) / 20.0)
    again = with_brief(told, spectrum(other), b)
    assert again.ranges == told.ranges  # what is told already is told once


def test_only_a_side_that_asks_for_it_is_searched_for_seconds():
    class NoExaminer:
        def evidence(self, a, b) -> Evidence:
            return NOTHING

    frames = waveform_spectrum(tune(1, duration_s=40.0))
    clip = waveform_spectrum(tune(1, duration_s=40.0)[12 * 16_000 : 15 * 16_000])

    def side(name: str, frames: np.ndarray, **how: float) -> Side:
        duration_s = len(frames) * HOP_S
        return Side(name, name, duration_s, windows=lambda: None, frames=lambda: frames, **how)

    assert compare_sides(NoExaminer(), side("a", clip), side("b", frames)).ranges == ()
    free = compare_sides(NoExaminer(), side("a", clip, brief_cost=0.0), side("b", frames))
    found = compare_sides(NoExaminer(), side("a", clip, brief_cost=0.1), side("b", frames))
    scores = [evidence.ranges[0].match_score for evidence in (free, found)]
    assert scores[0] - scores[1] == pytest.approx(0.1)
    assert found.ranges[0].b_start_s == pytest.approx(12.0, abs=2 * HOP_S)
    assert found.share_a > 0.9
