"""Shared fixtures: little seeded tunes, and an untrained extractor small enough to run at once."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import forks
import numpy as np
import pytest
from hypothesis import settings
from tunes import tune

from auditor.audio.encode import write_audio
from auditor.embedding.config import ExtractorConfig

settings.register_profile("same", derandomize=True, deadline=None)  # each run tries the same
settings.load_profile("same")

SERVER = pytest.StashKey[forks.ForkServer]()


def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: many tests wait for a process or a port."""
    return len(os.sched_getaffinity(0)) + 1 if sys.platform == "linux" else (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that runs programs; pytest-xdist's workers share it."""
    if not hasattr(config, "workerinput") and sys.platform == "linux":
        config.stash[SERVER] = server = forks.ForkServer()
        os.environ[forks.ADDRESS] = server.address


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of later garbage collections: millions of objects stay."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    if SERVER in config.stash:
        del os.environ[forks.ADDRESS]
        config.stash[SERVER].close()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Let BLAS use one thread: on small arrays several cost more than they give."""
    from auditor.parallel import one_thread

    one_thread()


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

    from auditor.embedding.extractor import save_weights
    from auditor.embedding.network import Network

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("weights")
    weights = Network(tiny_config).weights()
    summary = {"classes": "track", "best_step": 0}
    return save_weights(weights, folder, name="tiny", summary=summary)


@pytest.fixture(scope="session")
def tiny_extractor(tiny_weights):
    """Return the untrained extractor, loaded from its file."""
    from auditor.embedding.extractor import load_extractor

    return load_extractor(tiny_weights)


@pytest.fixture
def store():
    """Return an object store in this process, ``faulty://``, with nothing in it."""
    from small_store import empty_store

    yield empty_store()
    empty_store()


@pytest.fixture
def copies(monkeypatch):
    """Return the folder below which copies of objects are made; a test leaves nothing there.

    Its path is short: processes talk through a socket in it, and a socket's path is short.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        assert os.listdir(folder) == []
