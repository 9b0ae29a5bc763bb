"""Checkpoints hold all of a run, know whose they are, and a run's folder has one writer."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import forks
import pytest
import torch

from auditor.embedding.extractor import pack_tensors, unpack_tensors
from auditor.embedding.frames import normalise_windows
from auditor.embedding.network import Network
from auditor.errors import UsageError, WeightsError
from auditor.training.checkpoint import (
    LOCK,
    TrainingState,
    TrainingStatus,
    load_checkpoint,
    lock_run,
    save_checkpoint,
)
from auditor.training.loss import GE2ELoss


def new_state(config, seed: int) -> TrainingState:
    torch.manual_seed(seed)
    network, loss = Network(config), GE2ELoss(10.0, -5.0)
    parameters = [*network.parameters(), *loss.parameters()]
    return TrainingState(network, loss, torch.optim.AdamW(parameters, lr=1e-2))


def step(state: TrainingState) -> None:
    """Take one step, the same for the same state."""
    generator = torch.Generator().manual_seed(state.status.step)
    noise = 20.0 * torch.randn(4, 160, 72, generator=generator)
    windows = torch.from_numpy(normalise_windows(noise.numpy()))
    state.optimiser.zero_grad()
    state.loss(state.network.train()(windows).view(2, 2, -1)).backward()
    state.optimiser.step()
    state.status.step += 1


def everything(state: TrainingState) -> dict[str, torch.Tensor]:
    return state.network.state_dict() | state.loss.state_dict()


@pytest.fixture
def saved(tiny_config, tmp_path) -> tuple[TrainingState, Path]:
    """Return a state after two steps, and the checkpoint of it."""
    state = new_state(tiny_config, 0)
    step(state)
    state.best = {k: v.clone() for k, v in state.network.state_dict().items()}
    step(state)
    state.status = TrainingStatus(2, best_eer=0.125, best_step=1, stale=1, seconds=3.5)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state, identity="settings", data="ab" * 32)
    return state, path


def test_a_loaded_state_goes_on_as_the_saved_one(saved, tiny_config):
    state, path = saved
    loaded = new_state(tiny_config, 1)
    load_checkpoint(path, loaded, identity="settings", data="ab" * 32)
    assert loaded.status == state.status
    assert loaded.best.keys() == state.best.keys()
    assert all(torch.equal(loaded.best[k], state.best[k]) for k in state.best)
    for one in (state, loaded):  # the moments of AdamW count too
        step(one)
        step(one)
    one, two = everything(state), everything(loaded)
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_saving_twice_gives_the_same_bytes(saved):
    state, path = saved
    before = path.read_bytes()
    save_checkpoint(path, state, identity="settings", data="ab" * 32)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_is_on_the_disk_before_it_replaces_the_last(saved, monkeypatch):
    state, path = saved
    synced = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda n: (sync(n), synced.append(os.fstat(n).st_ino)))

    def replace_synced(part, target):
        assert os.stat(part).st_ino in synced
        replace(part, target)

    monkeypatch.setattr(os, "replace", replace_synced)
    save_checkpoint(path, state, identity="settings")
    assert synced


@pytest.mark.parametrize("data", ["cd" * 32, ""])
def test_other_music_is_refused(saved, tiny_config, data):
    message = f"belongs to a run on other music .*'abababab', here '{data[:8]}'.*Give the same fold"
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(saved[1], new_state(tiny_config, 0), identity="settings", data=data)


def test_other_settings_are_told_before_other_music(saved, tiny_config):
    with pytest.raises(WeightsError, match="belongs to a run with other settings"):
        load_checkpoint(saved[1], new_state(tiny_config, 0), identity="other", data="")


@pytest.mark.parametrize("data", ["cd" * 32, ""])
def test_a_checkpoint_that_names_no_music_fits_any(saved, tiny_config, data):
    state, path = saved
    save_checkpoint(path, state, identity="settings")
    tensors, header = unpack_tensors(path.read_bytes())
    assert header == {
        "identity": "settings",
        "state": json.dumps(dataclasses.asdict(state.status)),
    }
    path.write_bytes(pack_tensors(tensors, header))
    loaded = new_state(tiny_config, 1)
    load_checkpoint(path, loaded, identity="settings", data=data)
    assert loaded.status == state.status


def test_a_folder_has_one_run_at_a_time(tmp_path):
    folder = tmp_path / "runs" / "a"
    with lock_run(folder):
        with pytest.raises(UsageError, match="a is in use by another training run. Wait for it"):
            lock_run(folder).__enter__()
        with lock_run(tmp_path / "runs" / "b"):
            pass
    with lock_run(folder):
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from auditor.training.checkpoint import lock_run\n"
        "with lock_run(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child, said = forks.start_reading(code, tmp_path)
    with said, child:
        assert said.readline() == "locked\n"
        with pytest.raises(UsageError, match="is in use by another training run"):
            lock_run(tmp_path).__enter__()
        child.kill()
    with lock_run(tmp_path):
        pass


def test_a_folder_that_cannot_be_one_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot take a training run: .*Give another --output"):
        lock_run(tmp_path / "file").__enter__()
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot take a training run: .*Give another --output"):
        lock_run(tmp_path / "run").__enter__()
