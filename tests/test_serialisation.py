"""Configurations: ranges, and JSON from strangers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor import serialisation
from auditor.embedding.config import PAPER, ExtractorConfig, FeatureConfig
from auditor.serialisation import (
    HELD_SUFFIX,
    PARTIAL_SUFFIX,
    TEMPORARY_PREFIX,
    TemporaryFolder,
    atomic_write,
    from_json,
    parse_json,
    partial_file,
    read_bytes,
    remove_leftovers,
    to_json,
)
from auditor.training.config import TrainConfig

ROOT = str(Path(serialisation.__file__).parents[1])


@dataclass(frozen=True)
class Everything:
    number: int
    rate: float
    name: str
    flag: bool
    maybe: float | None
    many: tuple[int, ...]
    two: tuple[int, str]
    table: dict[str, tuple[float, ...]]
    inner: FeatureConfig
    anything: Any = None


WHOLE = {
    "number": 1,
    "rate": 2,
    "name": "a",
    "flag": True,
    "maybe": None,
    "many": [1, 2],
    "two": [1, "b"],
    "table": {"x": [1, 2.5]},
    "inner": {"layout": "mel"},
}


def test_paper_is_the_network_of_the_paper():
    assert (PAPER.lstm_layers, PAPER.lstm_size, PAPER.n_dims) == (3, 768, 256)
    assert (PAPER.features.layout, PAPER.features.n_bands) == ("mel", 40)
    assert (PAPER.window_frames, PAPER.conv_channels, PAPER.pooling) == (160, (), "last")


def test_frames_are_25_ms_every_10_ms():
    features = FeatureConfig()
    assert (features.frame_length, features.frame_hop) == (400, 160)
    assert ExtractorConfig().window_s == pytest.approx(1.6)
    assert ExtractorConfig().hop_s == pytest.approx(0.8)


def test_from_json_builds_every_kind_of_field():
    built = from_json(Everything, json.loads(json.dumps(WHOLE)))
    assert built.rate == 2.0
    assert isinstance(built.rate, float)
    assert built.many == (1, 2)
    assert built.two == (1, "b")
    assert built.table == {"x": (1.0, 2.5)}
    assert built.inner == FeatureConfig(layout="mel")


@pytest.mark.parametrize("config", [PAPER, ExtractorConfig(), TrainConfig(), FeatureConfig()])
def test_json_round_trip(config):
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@given(
    st.integers(16, 4096),
    st.lists(st.integers(1, 1024), max_size=5),
    st.sampled_from(["last", "mean"]),
    st.integers(8, 2048),
)
def test_any_extractor_config_survives_json(window_frames, conv_channels, pooling, n_dims):
    config = ExtractorConfig(
        window_frames=window_frames,
        hop_frames=window_frames,
        conv_channels=tuple(conv_channels),
        pooling=pooling,
        n_dims=n_dims,
    )
    assert from_json(ExtractorConfig, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 1.0}, r"config\.number is 1\.0; int was expected"),
        ({"number": True}, r"config\.number is True; int was expected"),
        ({"number": None}, r"config\.number is None; int was expected"),
        ({"rate": "2"}, r"config\.rate is '2'; float was expected"),
        ({"rate": True}, r"config\.rate is True"),
        ({"rate": float("nan")}, r"config\.rate is nan; a finite number was expected"),
        ({"rate": 10**400}, r"config\.rate is inf; a finite number was expected"),
        ({"maybe": float("-inf")}, r"config\.maybe is -inf; a finite number was expected"),
        ({"maybe": "x"}, r"config\.maybe is 'x'"),
        ({"flag": 1}, r"config\.flag is 1; bool was expected"),
        ({"many": [1, "2"]}, r"config\.many\[1\] is '2'; int was expected"),
        ({"many": "12"}, r"config\.many is '12'"),
        ({"two": [1]}, r"config\.two is \[1\]"),
        ({"table": [1]}, r"config\.table is \[1\]"),
        ({"table": {"x": ["y"]}}, r"config\.table\.x\[0\] is 'y'"),
        ({"inner": {"layout": "cqt"}}, r"layout is 'cqt'; it must be 'mel' or 'log'"),
        ({"inner": 5}, r"config\.inner is a int; an object was expected"),
        ({"wrong": 1}, r"config has the unknown field 'wrong'"),
    ],
)
def test_from_json_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        from_json(Everything, WHOLE | change)


def test_from_json_names_a_missing_field_and_a_wrong_whole():
    with pytest.raises(ValueError, match="model lacks the field 'rate'"):
        from_json(Everything, {k: v for k, v in WHOLE.items() if k != "rate"}, where="model")
    with pytest.raises(ValueError, match="config is a list; an object was expected"):
        from_json(Everything, [])


def test_messages_stay_short():
    with pytest.raises(ValueError, match=r"config\.name is") as caught:
        from_json(Everything, WHOLE | {"name": ["x" * 10_000]})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_bands": 7}, "n_bands is 7; it must lie between 8 and 512"),
        ({"n_bands": 80}, r"the top band is centred on \d+ Hz; it must stay below 8000 Hz"),
        ({"f_min_hz": 5.0}, "f_min_hz is 5.0; it must lie between 20.0"),
        ({"n_fft": 399}, "n_fft is 399; it must lie between 400"),
        ({"frame_hop_s": 0.03}, "frame_hop_s is 0.03; it must lie between 0.001 and 0.025"),
        ({"bands_per_octave": 3}, "bands_per_octave is 3"),
        ({"frame_s": 0.6}, "frame_s is 0.6"),
    ],
)
def test_feature_config_ranges(values, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window_frames": 15}, "window_frames is 15"),
        ({"hop_frames": 161}, "hop_frames is 161; it must lie between 1 and 160"),
        ({"hop_frames": 0}, "hop_frames is 0"),
        ({"conv_channels": (1,) * 6}, "number of convolutions is 6"),
        ({"conv_channels": (0,)}, "conv_channels is 0"),
        ({"lstm_layers": 0}, "lstm_layers is 0"),
        ({"n_dims": 4}, "n_dims is 4"),
        ({"pooling": "max"}, "pooling is 'max'; it must be 'last' or 'mean'"),
    ],
)
def test_extractor_config_ranges(values, message):
    with pytest.raises(ValueError, match=message):
        ExtractorConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": "artist"}, "classes is 'artist'; it must be track, genre or excerpt"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"n_classes": 1}, "n_classes is 1"),
        ({"n_utterances": 1}, "n_utterances is 1"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"jitter_s": -0.1}, "jitter_s is -0.1"),
        ({"patience": 0}, "patience is 0"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_train_config_ranges(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize(
    "text",
    [
        f"[{'{},' * 10_000_000}{{}}]",
        f"[{'[],' * 10_000_000}[]]",
        f"[{'1e9,' * 30_000_000}1]",
        f'{{"x":{"[" * 30_000_000}',
        f"[{','.join(['[{}]'] * 5_000_000)}]".encode(),
    ],
    ids=["objects", "lists", "numbers", "brackets", "bytes"],
)
def test_json_that_would_take_many_times_its_size_is_refused_before_it_is_made(text):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"its [0-9,]+ characters hold values that take some "):
            parse_json(text)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_json_of_ordinary_density_is_read_whatever_its_size(monkeypatch):
    monkeypatch.setattr(serialisation, "_FREE_BYTES", 0)
    pair = {"a": "mjq2hx5a", "score": 0.98765, "flagged": True, "ranges": [{"start_s": 1.25}] * 3}
    for indent in (1, None):
        text = json.dumps([pair] * 5_000, indent=indent)
        assert parse_json(text) == parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "", "{", b"\xff"]
)
def test_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_no_more_is_read_than_allowed(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(tmp_path / "x", 5) == b"12345"
    with pytest.raises(ValueError, match="it has more than 4 bytes"):
        read_bytes(tmp_path / "x", 4)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    atomic_write(path, b"one")
    with pytest.raises(RuntimeError), partial_file(tmp_path) as partial:
        partial.write_bytes(b"half of tw")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.json"]
    assert path.stat().st_mode & 0o077 == 0o066 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "a.json").symlink_to(tmp_path / "theirs")
    atomic_write(tmp_path / "a.json", b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_partial_file_never_follows_or_overwrites(tmp_path, monkeypatch):
    monkeypatch.setattr(serialisation.secrets, "token_hex", lambda n: "0")
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / f".0{HELD_SUFFIX}").symlink_to(tmp_path / "theirs")
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "a.json", b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_what_a_killed_process_left_is_removed_and_what_is_written_now_stays(tmp_path):
    left, fresh = (tmp_path / f".{name}{PARTIAL_SUFFIX}" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    atomic_write(tmp_path / "a.json", b"whole")
    assert sorted(os.listdir(tmp_path)) == [fresh.name, "a.json"]


def begin(code: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that does something in a folder, says so, and waits."""
    script = (
        "import sys, time\n"
        "from auditor.serialisation import TemporaryFolder, partial_file\n"
        f"with {code} as there:\n    print(flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, folder],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


def test_a_partial_file_is_removed_as_soon_as_its_process_was_killed(tmp_path):
    process = begin("partial_file(sys.argv[1])", tmp_path)
    try:
        (left,) = os.listdir(tmp_path)
        atomic_write(tmp_path / "a.json", b"one")
        assert sorted(os.listdir(tmp_path)) == [left, "a.json"]  # it is being written
    finally:
        kill(process)
    assert sorted(os.listdir(tmp_path)) == [left, "a.json"]
    serialisation._remove_stale.cache_clear()  # as in the next process
    atomic_write(tmp_path / "a.json", b"two")
    assert os.listdir(tmp_path) == ["a.json"]


def test_one_that_its_writer_replaces_is_kept_for_an_hour(tmp_path):
    with partial_file(tmp_path, replaced=True) as partial:
        partial.unlink()
        partial.write_bytes(b"Annoy writes a file of its own")
        serialisation._remove_stale.cache_clear()
        atomic_write(tmp_path / "a.json", b"one")
        assert partial.exists()
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The system's temporary folder, as at the start of a process."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_temporary_folder_is_private_and_gone_at_the_end(temporary):
    with TemporaryFolder() as name:
        assert Path(name).parent == temporary
        assert Path(name).stat().st_mode & 0o777 == 0o700
        Path(name, "copy").write_bytes(b"x")
    assert os.listdir(temporary) == []


def test_temporary_folders_of_killed_processes_are_removed_and_those_in_use_stay(temporary):
    dead, alive = (begin("TemporaryFolder()", temporary) for _ in range(2))
    try:
        both = set(os.listdir(temporary))
        assert len(both) == 2
        (temporary / sorted(both)[0] / "copy").write_bytes(b"x")
        (temporary / sorted(both)[1] / "copy").write_bytes(b"x")
        kill(dead)
        remove_leftovers()
        assert len(set(os.listdir(temporary)) & both) == 1
    finally:
        kill(alive)
    serialisation._remove_folders.cache_clear()
    remove_leftovers()
    assert os.listdir(temporary) == []


def test_nothing_else_in_the_temporary_folder_is_touched(temporary, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    (theirs / ".lock").touch()
    (temporary / f"{TEMPORARY_PREFIX}link").symlink_to(theirs)
    (temporary / f"{TEMPORARY_PREFIX}file").touch()
    for name, mode, locks in (
        ("audit-0", 0o700, [".lock"]),
        (f"{TEMPORARY_PREFIX}open", 0o755, [".lock"]),
        (f"{TEMPORARY_PREFIX}new", 0o700, []),
        (f"{TEMPORARY_PREFIX}full", 0o700, ["music"]),
    ):
        (temporary / name).mkdir(mode)
        for lock in locks:
            (temporary / name / lock).touch()
    linked = temporary / f"{TEMPORARY_PREFIX}linked"
    linked.mkdir(0o700)
    (linked / ".lock").symlink_to(theirs / ".lock")
    os.utime(temporary / f"{TEMPORARY_PREFIX}full", (0, 0))
    before = sorted(temporary.rglob("*"))
    remove_leftovers()
    assert sorted(temporary.rglob("*")) == before
    assert os.listdir(theirs) == [".lock"]
    os.utime(temporary / f"{TEMPORARY_PREFIX}new", (0, 0))  # killed before it had a lock
    serialisation._remove_folders.cache_clear()
    remove_leftovers()
    assert not (temporary / f"{TEMPORARY_PREFIX}new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives a folder away")
def test_the_folders_of_others_stay(temporary):
    folder = temporary / f"{TEMPORARY_PREFIX}theirs"
    folder.mkdir(0o700)
    (folder / ".lock").touch()
    os.chown(folder, 12345, 12345)
    remove_leftovers()
    assert folder.exists()
