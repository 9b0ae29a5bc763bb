"""Two performances of the same notes are told from one recording, however altered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_music import ringing

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import add_noise, change_speed, equalise, reverberate
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra.performance import FEATURES, performance_features, played_apart
from auditor.records import MatchedRange
from auditor.scoring.verdict import RULES

LENGTH_S = 40.0
WHOLE = MatchedRange(0.0, LENGTH_S, 0.0, LENGTH_S, 1.0, 0.9, 0.0, 0.0, 0.9)


def perform(seed: int, *, timbre: int, late_s: float) -> np.ndarray:
    """Play the notes of a seed with a timbre; each note is late by a random time."""
    notes, sound = np.random.default_rng(seed), np.random.default_rng(timbre)
    partials = np.arange(1, 9)
    n_samples = round(LENGTH_S * SAMPLE_RATE_HZ)
    out = 1e-4 * sound.standard_normal(n_samples + SAMPLE_RATE_HZ)
    colours = sound.uniform(0.02, 1.0, (24, 8)) / partials**0.5
    for start_s in np.arange(0.2, LENGTH_S - 1.0, 0.3):
        for step in notes.integers(0, 24, 2):
            hz = 220.0 * 2.0 ** (step / 12)
            rates = (2j * np.pi * partials * hz - 1.0 / sound.uniform(0.15, 0.4)) / SAMPLE_RATE_HZ
            first = round((start_s + sound.uniform(0.0, late_s)) * SAMPLE_RATE_HZ)
            out[first : first + SAMPLE_RATE_HZ // 2] += ringing(
                0.05 * colours[step], rates, SAMPLE_RATE_HZ // 2
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
    apart = odds(again, original, dataclasses.replace(WHOLE, correlation=0.5))
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
    assert max(said) < RULES.played_apart < apart


def test_a_track_and_itself_are_one_recording():
    original = perform(1, timbre=11, late_s=0.0)
    assert odds(original, original) < -5.0


def test_what_is_short_or_not_measured_says_nothing():
    frames = waveform_spectrum(perform(1, timbre=11, late_s=0.0))
    for how in ({"a_end_s": 4.0}, {"pitch_semitones": None}, {"correlation": None}):
        assert played_apart(dataclasses.replace(WHOLE, **how), frames, frames) is None
    assert played_apart(WHOLE, frames, frames[:1]) is None
    beyond = dataclasses.replace(WHOLE, a_start_s=500.0, a_end_s=540.0)
    assert played_apart(beyond, frames, frames) is None


def test_silence_and_one_tone_give_numbers():
    for value in (0, 80):
        frames = np.full((400, 100), value, np.uint8)
        features = performance_features(WHOLE, frames, frames)
        assert features is None or (
            features.shape == (len(FEATURES),) and np.isfinite(features).all()
        )
