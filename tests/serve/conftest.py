"""A workspace that is made once, and services on copies of it."""

from __future__ import annotations

import shutil

import pytest
from small_audit import write_tune
from small_service import RunningService, make_workspace

from auditor.serve.settings import Settings


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a folder with ``ws``, ``music`` and the weights of its extractor."""
    folder = tmp_path_factory.mktemp("served")
    weights = make_workspace(folder)
    return folder, weights


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Return submissions by name: a copy, two that are new, and one that is no audio."""
    folder = tmp_path_factory.mktemp("submissions")
    found = {
        "copy": write_tune(folder / "copy.mp3", 1),
        "fresh": write_tune(folder / "fresh.wav", 51),
        "other": write_tune(folder / "other.wav", 52),
        "third": write_tune(folder / "third.wav", 53),
    }
    found["bad"] = folder / "bad.mp3"
    found["bad"].write_bytes(b"this is no audio" * 64)
    return found


@pytest.fixture(scope="session")
def settings_of(made, tmp_path_factory):
    """Return a function that makes settings, each with a copy of the workspace."""
    folder, weights = made

    def make(**how):
        workspace = tmp_path_factory.mktemp("ws") / "ws"
        shutil.copytree(folder / "ws", workspace)
        return Settings(workspace, extractor=str(weights), **{"rate_per_minute": 1_000_000, **how})

    return make


@pytest.fixture(scope="module")
def served(settings_of, made):
    """Return a service of this module that allows everything of this machine."""
    settings = settings_of(
        roots=(bytes(made[0] / "music"),),
        callback_hosts=("127.0.0.1",),
        private_callbacks=True,
        max_upload_bytes=3_000_000,
        stall_s=0.5,
    )
    with RunningService(settings) as running:
        yield running
