"""A workspace and submissions for services that run as processes of their own."""

from __future__ import annotations

import shutil

import pytest
from small_audit import write_tune
from small_service import make_workspace


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a folder with ``ws`` and ``music``, and the weights of its extractor."""
    folder = tmp_path_factory.mktemp("service")
    return folder, make_workspace(folder)


@pytest.fixture
def workspace(made, tmp_path):
    """Return a copy of the workspace, and the weights."""
    shutil.copytree(made[0] / "ws", tmp_path / "ws")
    return tmp_path / "ws", made[1]


@pytest.fixture(scope="session")
def tunes_of(tmp_path_factory):
    """Return a function that writes the tune of a seed."""
    folder = tmp_path_factory.mktemp("tunes")
    return lambda seed, name=None: write_tune(folder / (name or f"{seed}.wav"), seed)
