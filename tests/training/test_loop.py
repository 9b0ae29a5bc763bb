"""Training: batches, validation, and runs that are killed, stopped, damaged and resumed."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.augment.bands import BandAlterations
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.extractor import (
    load_extractor,
    pack_tensors,
    read_weights,
    unpack_tensors,
)
from auditor.embedding.frames import LogBands
from auditor.embedding.network import Network, read_network
from auditor.errors import UsageError, WeightsError
from auditor.training import batches
from auditor.training.checkpoint import CHECKPOINT, CURVE, CURVE_COLUMNS
from auditor.training.config import TrainConfig
from auditor.training.loop import learning_rate, train_extractor, validate
from auditor.training.sampling import gather_tracks

REPOSITORY = Path(__file__).parents[2]
N_TRAIN, N_VALIDATION = 8, 5
SHORT = TrainConfig(
    n_classes=3,
    n_utterances=2,
    n_steps=12,
    warmup_steps=3,
    evaluate_every=4,
    learning_rate=3e-3,
)


def tracks_from(frames: list[np.ndarray], first: int):
    return gather_tracks(
        frames,
        labels=["ab"[i % 2] for i in range(len(frames))],
        groups=range(first, first + len(frames)),
        albums=[str(i // 2) for i in range(len(frames))],
        window_frames=160,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Train in one thread: so little work is slower in more, and the killed child has one too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames(make_tune) -> list[np.ndarray]:
    bands = LogBands(ExtractorConfig().features)
    waveforms = (make_tune(i, duration_s=7.0) for i in range(N_TRAIN + N_VALIDATION))
    return [bands(w).astype(np.float16) for w in waveforms]


@pytest.fixture(scope="module")
def music(frames):
    """Return tracks to train on and tracks to validate on."""
    return tracks_from(frames[:N_TRAIN], 0), tracks_from(frames[N_TRAIN:], N_TRAIN)


@pytest.fixture(scope="module")
def train(music, tiny_config):
    """Return a function that runs a training in a folder."""

    def run(directory: Path, settings: TrainConfig = SHORT, **how):
        how = {"config": tiny_config, "name": "track", "data": {"n_tracks": 8}} | how
        return train_extractor(*music, train=settings, directory=directory, **how)

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory) -> Path:
    """Return the weights of a run that nothing disturbed."""
    return train(tmp_path_factory.mktemp("whole"))


def curve_of(weights: Path) -> list[dict[str, str]]:
    """Return the rows of a run's curve but for the time they took."""
    with (weights.parent / CURVE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


# A run


def test_a_run_leaves_weights_that_load(whole, tiny_config):
    extractor = load_extractor(whole)
    assert extractor.name == "track"
    assert extractor.config == tiny_config
    summary = extractor.summary
    assert summary["classes"] == "track"
    assert summary["data"] == {"n_tracks": 8}
    assert summary["train"] == json.loads(json.dumps(dataclasses.asdict(SHORT)))
    assert summary["steps"] == 12
    assert summary["best_step"] in (4, 8, 12)
    assert 0.0 <= summary["validation_eer"] <= 1.0


def test_a_run_leaves_its_curve(whole):
    rows = curve_of(whole)
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    assert (whole.parent / CURVE).read_text().splitlines()[0] == ",".join(CURVE_COLUMNS)
    best = min(rows, key=lambda row: float(row["eer"]))
    summary = load_extractor(whole).summary
    assert summary["best_step"] == int(best["step"])
    assert summary["validation_eer"] == float(best["eer"])
    assert all(math.isfinite(float(v)) for row in rows for v in row.values())
    assert not list(whole.parent.glob(".*.audit-part"))


def test_the_same_settings_give_the_same_weights(whole, train, tmp_path):
    rows = []
    again = train(tmp_path, report=rows.append)
    assert again.name == whole.name
    assert again.read_bytes() == whole.read_bytes()
    assert curve_of(again) == curve_of(whole)
    assert [row["step"] for row in rows] == [4, 8, 12]


def test_another_seed_gives_other_weights(whole, train, tmp_path):
    other = train(tmp_path, dataclasses.replace(SHORT, seed=1))
    assert other.name != whole.name


def test_a_run_starts_from_the_weights_it_is_given(whole, train, tiny_config, tmp_path):
    start = read_network(whole)
    still = dataclasses.replace(SHORT, learning_rate=1e-8, weight_decay=0.0, seed=7)
    further = read_network(train(tmp_path / "further", still, start=start))
    fresh = read_network(train(tmp_path / "fresh", still))
    weight = start.projection.weight.detach()
    torch.testing.assert_close(further.projection.weight, weight, atol=2e-3, rtol=0.0)
    assert float((fresh.projection.weight.detach() - weight).abs().max()) > 0.1
    assert further.summary["train"]["start"] == start.weights_id
    assert fresh.summary["train"]["start"] == ""
    other = dataclasses.replace(tiny_config, n_dims=tiny_config.n_dims + 8)
    with pytest.raises(
        UsageError, match=f"{start.weights_id} does not have the shape of the network"
    ):
        train(tmp_path / "other", config=other, start=start)


def test_the_rate_of_each_step_is_that_of_the_schedule(train, tmp_path):
    settings = dataclasses.replace(SHORT, n_steps=4, warmup_steps=4)
    steep = dataclasses.replace(settings, warmup_steps=0)
    one, two = (
        read_weights(train(tmp_path / str(i), s)).tensors["projection.weight"]
        for i, s in enumerate((settings, steep))
    )
    assert not np.allclose(one, two, atol=1e-3)


def test_the_loss_goes_down(train, tiny_config, tmp_path):
    settings = dataclasses.replace(
        SHORT, n_steps=60, evaluate_every=20, precision="float32", learning_rate=1e-2
    )
    config = dataclasses.replace(tiny_config, pooling="mean")
    clean = BandAlterations(clean=1.0, clean_first=1.0)
    path = train(tmp_path, settings, config=config, alterations=clean)
    losses = [float(row["loss"]) for row in curve_of(path)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("classes", "n_classes"), [("genre", 2), ("excerpt", 6)])
def test_other_classes_train_too(train, tmp_path, classes, n_classes):
    settings = dataclasses.replace(
        SHORT, classes=classes, n_classes=n_classes, n_steps=2, evaluate_every=2
    )
    assert load_extractor(train(tmp_path, settings)).summary["classes"] == classes


# Runs that are cut off


KILLED = """
import dataclasses, json, sys, time
from pathlib import Path
import numpy as np
from auditor.embedding.config import ExtractorConfig
from auditor.training import batches
from auditor.training.config import TrainConfig
from auditor.serialisation import from_json
from auditor.training.loop import train_extractor

batches.N_TALKS, batches.TALK_S = json.loads(sys.argv[4])
from test_loop import N_TRAIN, SHORT, tracks_from

frames = [np.load(path) for path in sorted(Path(sys.argv[1]).glob("*.npy"))]

def report(row):
    print(row["step"], flush=True)
    if row["step"] == 8:
        time.sleep(60)

train_extractor(
    tracks_from(frames[:N_TRAIN], 0),
    tracks_from(frames[N_TRAIN:], N_TRAIN),
    config=from_json(ExtractorConfig, json.loads(sys.argv[3])),
    train=SHORT,
    directory=Path(sys.argv[2]),
    name="track",
    data={"n_tracks": 8},
    report=report,
)
"""


def test_a_killed_run_resumes_to_the_same_weights(whole, train, frames, tiny_config, tmp_path):
    for i, array in enumerate(frames):
        np.save(tmp_path / f"{i:02d}.npy", array)
    directory = tmp_path / "run"
    config, talk = dataclasses.asdict(tiny_config), [batches.N_TALKS, batches.TALK_S]
    arguments = [str(tmp_path), str(directory), json.dumps(config), json.dumps(talk)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(
                str(REPOSITORY / folder) for folder in (".", "tests/support", "tests/training")
            ),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "4\n"
        child.kill()  # somewhere between the checkpoint of step 4 and the end
        assert child.wait() == -signal.SIGKILL
    assert not list(directory.glob("track-*"))
    resumed = train(directory)
    assert resumed.read_bytes() == whole.read_bytes()
    assert curve_of(resumed) == curve_of(whole)


@pytest.mark.parametrize("at_step", [4, 8, 12])
def test_an_interrupted_run_resumes_to_the_same_weights(whole, train, tmp_path, at_step):
    def interrupt(row):
        if row["step"] == at_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=interrupt)
    resumed = train(tmp_path)
    assert resumed.read_bytes() == whole.read_bytes()
    assert curve_of(resumed) == curve_of(whole)


def test_a_run_cut_off_between_curve_and_checkpoint(whole, train, tmp_path):
    kept = None

    def interrupt(row):
        nonlocal kept
        if row["step"] == 4:
            kept = (tmp_path / CHECKPOINT).read_bytes()
        if row["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=interrupt)
    (tmp_path / CHECKPOINT).write_bytes(kept)  # the curve has a row more than the checkpoint
    resumed = train(tmp_path)
    assert resumed.read_bytes() == whole.read_bytes()
    assert curve_of(resumed) == curve_of(whole)


def test_a_finished_run_has_nothing_left_to_do(whole, train, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes((whole.parent / CHECKPOINT).read_bytes())
    rows = []
    again = train(tmp_path, report=rows.append)
    assert rows == []
    assert again.read_bytes() == whole.read_bytes()


def test_a_run_stops_early_and_stays_stopped(train, tmp_path):
    # A rate of next to nothing changes nothing, so that only the first validation improves.
    settings = dataclasses.replace(
        SHORT, learning_rate=1e-8, n_steps=40, evaluate_every=1, patience=2, warmup_steps=0
    )
    rows = []
    path = train(tmp_path, settings, report=rows.append)
    eers = [row["eer"] for row in rows]
    assert len(rows) < 40
    summary = load_extractor(path).summary
    assert summary["steps"] == len(rows)
    assert summary["best_step"] == len(rows) - 2
    assert min(eers) == eers[-3]
    more = []
    assert train(tmp_path, settings, report=more.append).read_bytes() == path.read_bytes()
    assert more == []


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 1e-4}, {"seed": 5}, {"n_steps": 13}, {"classes": "genre", "n_classes": 2}],
)
def test_a_run_with_other_settings_is_refused(whole, train, change):
    message = f"{CHECKPOINT} belongs to a run with other settings. Give the same ones to resume"
    with pytest.raises(WeightsError, match=message):
        train(whole.parent, dataclasses.replace(SHORT, **change))


def test_a_run_with_another_network_or_other_alterations_is_refused(whole, train, tiny_config):
    for how in (
        {"config": dataclasses.replace(tiny_config, lstm_size=24)},
        {"alterations": BandAlterations(clean=0.5)},
    ):
        with pytest.raises(WeightsError, match="belongs to a run with other settings"):
            train(whole.parent, **how)


def test_a_run_on_other_music_is_refused(train, tmp_path):
    short = dataclasses.replace(SHORT, n_steps=4)
    one = train(tmp_path, short, music_sha256="1" * 64)
    assert train(tmp_path, short, music_sha256="1" * 64) == one
    with pytest.raises(WeightsError, match=r"a run on other music .*'1{8}', here '2{8}'"):
        train(tmp_path, short, music_sha256="2" * 64)


def test_a_run_whose_checkpoint_names_no_music_resumes_and_names_it(whole, train, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes((whole.parent / CHECKPOINT).read_bytes())
    _, header = unpack_tensors((tmp_path / CHECKPOINT).read_bytes())
    assert "data" not in header
    data = {"n_tracks": 8, "sha256": "1" * 64}
    again = train(tmp_path, data=data, music_sha256="2" * 64)
    assert load_extractor(again).summary["data"] == data


def test_two_runs_in_one_folder_do_not_mix(train, tmp_path):
    messages = []

    def run_another(row):
        with pytest.raises(UsageError) as caught:
            train(tmp_path / "run", short)
        messages.append(str(caught.value))

    short = dataclasses.replace(SHORT, n_steps=4)
    train(tmp_path / "run", short, report=run_another)
    (message,) = messages
    assert message.endswith(
        "run is in use by another training run. Wait for it to end, or give another --name."
    )
    train(tmp_path / "run", short)  # the lock went with the first


def without(key: str):
    def change(tensors, header):
        return {k: v for k, v in tensors.items() if k != key}, header

    return change


def with_state(text: str):
    return lambda tensors, header: (tensors, header | {"state": text})


@pytest.mark.parametrize(
    "change",
    [
        without("model.projection.bias"),
        without("best.projection.bias"),
        without("loss.log_scale"),
        with_state("{"),
        with_state("{}"),
        with_state("[]"),
        with_state(
            '{"step": null, "best_eer": 1, "best_step": 1, "stale": 0, "seconds": 1, "loss": 1}'
        ),
        lambda tensors, header: (tensors, {}),
        lambda tensors, header: (
            tensors | {"model.projection.bias": np.zeros(3, np.float32)},
            header,
        ),
        lambda tensors, header: (tensors | {"optimiser.x.step": np.zeros(1, np.float32)}, header),
    ],
)
def test_a_damaged_checkpoint_is_told(whole, train, tmp_path, change):
    data = (whole.parent / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(pack_tensors(*change(*unpack_tensors(data))))
    with pytest.raises(WeightsError, match=f"{CHECKPOINT} is damaged: .* Delete it to restart"):
        train(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 10, -1])
def test_a_truncated_checkpoint_is_told(whole, train, tmp_path, n_bytes):
    (tmp_path / CHECKPOINT).write_bytes((whole.parent / CHECKPOINT).read_bytes()[:n_bytes])
    with pytest.raises(WeightsError, match=f"{CHECKPOINT} is damaged"):
        train(tmp_path)


@pytest.mark.parametrize("text", ["step\n4\n", ",".join(CURVE_COLUMNS) + "\n4,x,1,1,1,1,1\n"])
def test_a_damaged_curve_is_told(whole, train, tmp_path, text):
    (tmp_path / CHECKPOINT).write_bytes((whole.parent / CHECKPOINT).read_bytes())
    (tmp_path / CURVE).write_text(text)
    with pytest.raises(WeightsError, match=f"{CURVE} is damaged: .*Delete it"):
        train(tmp_path)


# Too little, too wild


def test_too_little_music_is_told_before_anything_is_written(train, music, tiny_config, tmp_path):
    with pytest.raises(UsageError, match="too little music to train on: 8 tracks with 2 audible"):
        train(tmp_path / "run", dataclasses.replace(SHORT, n_classes=9))
    one = tracks_from([music[1].frames[0]], 99)
    with pytest.raises(UsageError, match="too little music to validate on: 1 tracks with 2"):
        train_extractor(
            music[0],
            one,
            config=tiny_config,
            train=SHORT,
            directory=tmp_path / "run",
            name="x",
            data={},
        )
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_run(music, tiny_config, tmp_path):
    broken = tracks_from([np.full_like(f, np.nan) for f in music[0].frames], 0)
    broken = dataclasses.replace(broken, pool=music[0].pool)
    with pytest.raises(UsageError, match=r"the loss is nan at step 1; .* rate below 0\.003"):
        train_extractor(
            broken,
            music[1],
            config=tiny_config,
            train=SHORT,
            directory=tmp_path,
            name="x",
            data={},
        )
    assert not (tmp_path / CHECKPOINT).exists()


# The parts


def test_the_rate_warms_up_and_falls_as_a_cosine():
    settings = TrainConfig(n_steps=1000, warmup_steps=100, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[99] == rates[100] == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.505)
    assert rates[1000] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[100:]))


def test_validation_is_the_same_every_time_and_knows_chance(music, tiny_config):
    torch.manual_seed(0)
    network = Network(tiny_config)
    how = {"train": SHORT, "alterations": BandAlterations()}
    one = validate(network, music[1], **how)
    torch.manual_seed(1)
    assert validate(network, music[1], **how) == one
    assert 0.1 < one[0] < 0.7
    assert 0.0 <= one[1] <= 1.0
