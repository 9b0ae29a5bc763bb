"""Two performances of the same notes are told from one recording, however altered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_music import ringing

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import add_noise, change_speed, equalise, reverberate
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra.performance import (
    COPY_SIDE,
    FEATURES,
    LIMITS,
    MAX_DOUBTFUL,
    MIN_CORRELATION,
    _median_of_rows,
    log_odds,
    performance_features,
    played_apart,
)
from auditor.records import MatchedRange
from auditor.scoring.verdict import RULES

LENGTH_S = 40.0
WHOLE = MatchedRange(0.0, LENGTH_S, 0.0, LENGTH_S, 1.0, 0.9, 0.0, 0.0, 0.9)


def perform(seed: int, *, timbre: int, late_s: float) -> np.ndarray:
    """Play the notes of a seed with a timbre; each note is late by a random time.

    Each partial beats, at a rate of its own, over soft noise: that is the sound of one performance
    beyond its notes.
    """
    notes, sound = np.random.default_rng(seed), np.random.default_rng(timbre)
    partials = np.arange(1, 9)
    n_samples = round(LENGTH_S * SAMPLE_RATE_HZ)
    out = 4e-3 * sound.standard_normal(n_samples + 2 * SAMPLE_RATE_HZ)
    colours = 10.0 ** sound.uniform(-2.0, 0.0, (24, 8))
    for start_s in np.arange(0.2, LENGTH_S - 1.0, 0.5):
        for step in notes.integers(0, 24, 2):
            hz = 220.0 * 2.0 ** (step / 12)
            first = round((start_s + sound.uniform(0.0, late_s)) * SAMPLE_RATE_HZ)
            decay = 1.0 / sound.uniform(0.4, 1.2)
            for beat_hz in (0.0, sound.uniform(1.0, 4.0, 8)):
                rates = (2j * np.pi * (partials * hz + beat_hz) - decay) / SAMPLE_RATE_HZ
                out[first : first + SAMPLE_RATE_HZ] += ringing(
                    0.05 * colours[step], rates, SAMPLE_RATE_HZ
                )
    return out[:n_samples].astype(np.float32)


def odds(a: np.ndarray, b: np.ndarray, found: MatchedRange = WHOLE) -> float:
    said = played_apart(found, waveform_spectrum(a), waveform_spectrum(b))
    assert said is not None
    return said


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_performances_differ_where_copies_do_not(seed):
    rng = np.random.default_rng(seed)
    original = perform(seed, timbre=10 + seed, late_s=0.0)
    again = perform(seed, timbre=20 + seed, late_s=0.15)
    apart = odds(again, original, dataclasses.replace(WHOLE, correlation=MIN_CORRELATION))
    copies = [
        equalise(original, bass_db=10.0, treble_db=-10.0),
        add_noise(original, rng, snr_db=10.0),
        reverberate(original, rng, rt60_s=0.6),
    ]
    said = [odds(copy, original) for copy in copies]
    faster = dataclasses.replace(
        WHOLE, a_end_s=LENGTH_S / 1.06, tempo=1.06, pitch_semitones=12 * np.log2(1.06)
    )
    said.append(odds(change_speed(original, 1.06), original, faster))
    assert max(said) < RULES.may_be_played_apart < RULES.played_apart < apart


def test_a_track_and_itself_are_one_recording():
    original = perform(1, timbre=11, late_s=0.0)
    assert odds(original, original) < -5.0


def test_what_is_short_or_not_measured_says_nothing():
    frames = waveform_spectrum(perform(1, timbre=11, late_s=0.0))
    for how in (
        {"a_end_s": 21.0},
        {"pitch_semitones": None},
        {"correlation": None},
        {"correlation": MIN_CORRELATION - 0.01},  # perhaps other notes
    ):
        assert played_apart(dataclasses.replace(WHOLE, **how), frames, frames) is None
    assert played_apart(WHOLE, frames, frames[:1]) is None
    beyond = dataclasses.replace(WHOLE, a_start_s=500.0, a_end_s=540.0)
    assert played_apart(beyond, frames, frames) is None


def test_silence_and_one_tone_give_numbers():
    for value in (0, 80):
        frames = np.full((400, 100), value, np.uint8)
        features = performance_features(WHOLE, frames, frames)
        assert features is None or (
            features.shape[1:] == (len(FEATURES),) and np.isfinite(features).all()
        )


def test_one_stretch_beyond_what_covers_reach_leaves_doubt():
    within = np.array([LIMITS] * 4)
    sure = {"weights": [0.0] * len(FEATURES), "bias": 9.0}
    assert log_odds(within, **sure) == 9.0
    for place, (side, name) in enumerate(zip(COPY_SIDE, FEATURES, strict=True)):
        beyond = within.copy()
        beyond[2, place] += 0.1 * side
        assert log_odds(beyond, **sure) == (MAX_DOUBTFUL if side else 9.0), name
        beyond[2, place] -= 0.2 * side
        assert log_odds(beyond, **sure) == 9.0, name


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_medians_of_rows_leave_out_what_is_not_there(n):
    rng = np.random.default_rng(n)
    values = np.round(rng.normal(0.0, 3.0, (30, n)), 1).astype(np.float32)
    values[rng.random(values.shape) < 0.6] = np.nan
    values[:, 0] = 1.0
    expected = np.nanmedian(values, axis=1, keepdims=True)
    np.testing.assert_array_equal(_median_of_rows(values), expected)
