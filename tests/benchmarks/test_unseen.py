"""The alterations of benchmarks/unseen.py do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from tunes import tune
from unseen import UNSEEN, render

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.alterations import ALTERATIONS

ORIGINAL = tune(1, duration_s=30.0)


def altered(kind: str, waveform: np.ndarray = ORIGINAL) -> np.ndarray:
    return UNSEEN[kind][1](waveform, np.random.default_rng(0))


def levels(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return np.fft.rfftfreq(len(waveform), 1.0 / SAMPLE_RATE_HZ), power / power.sum()


@pytest.mark.parametrize("kind", UNSEEN)
def test_every_alteration_makes_other_finite_sound_and_leaves_the_original(kind):
    before = ORIGINAL.copy()
    made = altered(kind)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.sqrt(np.mean(made**2)) > 0.01 * np.sqrt(np.mean(ORIGINAL**2))
    assert len(made) != len(ORIGINAL) or np.abs(made - ORIGINAL).max() > 1e-3
    np.testing.assert_array_equal(altered(kind), made)
    np.testing.assert_array_equal(before, ORIGINAL)


def test_none_is_one_of_those_that_training_and_calibration_know():
    assert not set(UNSEEN) & set(ALTERATIONS)


@pytest.mark.parametrize(
    ("kind", "low_hz", "high_hz"),
    [("telephone", 250, 4000), ("lowpass", 0, 900), ("highpass", 1600, 8000)],
)
def test_bands(kind, low_hz, high_hz):
    noise = np.random.default_rng(1).normal(0.0, 0.1, 10 * SAMPLE_RATE_HZ).astype(np.float32)
    frequencies, power = levels(altered(kind, noise))
    assert power[(frequencies >= low_hz) & (frequencies <= high_hz)].sum() > 0.8


@pytest.mark.parametrize(("kind", "share"), [("gapped", 0.8), ("nightcore", 1 / 1.3)])
def test_lengths(kind, share):
    assert len(altered(kind)) == pytest.approx(share * len(ORIGINAL), rel=0.01)


def test_a_fifth_of_the_time_is_silent():
    noise = np.random.default_rng(1).normal(0.0, 0.1, 100 * SAMPLE_RATE_HZ).astype(np.float32)
    assert (altered("dropouts", noise) == 0.0).mean() == pytest.approx(0.2, abs=0.05)


def test_few_bits_are_few_values():
    assert len(np.unique(altered("crush"))) <= 2**5 + 1


def test_a_tone_becomes_two_and_a_wavering_one_stays_near():
    t = np.arange(8 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.sin(2.0 * np.pi * 1000.0 * t).astype(np.float32)
    frequencies, power = levels(altered("ring", tone))
    assert sorted(frequencies[np.argsort(power)[-2:]]) == pytest.approx([960.0, 1040.0], abs=0.5)
    frequencies, power = levels(altered("wow", tone))
    assert power[np.abs(frequencies - 1000.0) < 12.0].sum() > 0.95
    assert power[np.abs(frequencies - 1000.0) < 1.0].sum() < 0.5


def test_pieces_are_all_there():
    made = altered("shuffled")
    assert sorted(made.tolist()) == sorted(ORIGINAL.tolist())


def test_the_table_counts_what_is_flagged():
    asked = [{"kind": "echo", "verdicts": ["same recording", "clear"], "n_others": 3}]
    assert "| echoes every 0.37 s | 1 of 2 | 0.09–0.91 | clear 1, same recording 1 | 3 |" in render(
        asked, 0.4
    )
