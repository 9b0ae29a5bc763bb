"""Shared fixtures: little seeded tunes, and an untrained extractor small enough to run at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from auditor.config import SAMPLE_RATE_HZ, ExtractorConfig
from auditor.encode import write_audio

N_SCALE_DEGREES = 14

settings.register_profile("same", derandomize=True, deadline=None)  # each run tries the same
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Let torch use one thread: on small tensors several cost more than they give."""
    import torch

    torch.set_num_threads(1)


def tune(seed: int, *, duration_s: float = 12.0, level: float = 0.4) -> np.ndarray:
    """Return (n,) float32 at 16 kHz: seeded notes over a bass, every seed another track."""
    rng = np.random.default_rng(seed)
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    waveform = np.zeros(n_samples)
    key_hz = 110.0 * 2.0 ** (rng.integers(0, 12) / 12.0)
    scale = np.cumsum(rng.choice([1, 2, 2, 3], size=N_SCALE_DEGREES))
    for lowest, share in ((0, 1.0), (12, 0.7)):  # a bass and a melody, each of its own timbre
        partials = rng.uniform(0.05, 1.0, size=6) / np.arange(1, 7)
        decay_s = rng.uniform(0.15, 0.6)
        step_s = rng.choice([0.2, 0.25, 0.33, 0.4]) * (2.0 if lowest == 0 else 1.0)
        start_s = 0.0
        while start_s < duration_s:
            first = round(start_s * SAMPLE_RATE_HZ)
            time_s = np.arange(min(n_samples - first, SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            hz = key_hz * 2.0 ** ((lowest + rng.choice(scale)) / 12.0)
            harmonics = np.arange(1, 7)[:, None] * hz * time_s
            note = (partials[:, None] * np.sin(2.0 * np.pi * harmonics)).sum(axis=0)
            waveform[first : first + len(time_s)] += share * note * np.exp(-time_s / decay_s)
            start_s += step_s
    waveform += rng.normal(0.0, 1e-3, n_samples)
    return (level * waveform / np.abs(waveform).max()).astype(np.float32)


@pytest.fixture(scope="session")
def make_tune() -> Callable[..., np.ndarray]:
    """Return the function that makes a tune of a seed."""
    return tune


@pytest.fixture
def write_tune(tmp_path) -> Callable[..., Path]:
    """Return a function that writes the tune of a seed below the test's folder."""

    def write(name: str, seed: int, *, codec: str = "wav", **how: float) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, tune(seed, **how), codec=codec)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_config() -> ExtractorConfig:
    """Return a config of the real features and a very small network."""
    return ExtractorConfig(conv_channels=(4, 8), lstm_size=16, n_dims=16)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory, tiny_config) -> Path:
    """Return the weights file of an untrained extractor."""
    import torch

    from auditor.extractor import Extractor, save_extractor

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("weights")
    return save_extractor(
        Extractor(tiny_config), folder, name="tiny", summary={"classes": "track", "best_step": 0}
    )


@pytest.fixture(scope="session")
def tiny_extractor(tiny_weights):
    """Return the untrained extractor, loaded from its file."""
    from auditor.extractor import load_extractor

    return load_extractor(tiny_weights)


@pytest.fixture
def store():
    """Return an object store in this process, ``faulty://``, with nothing in it."""
    from small_store import empty_store

    yield empty_store()
    empty_store()


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """Return the folder below which copies of objects are made; a test leaves nothing there."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []
