"""Frames on disk: computed once, whole or not at all, bad files named."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.embedding.config import FeatureConfig
from auditor.embedding.frames import LogBands
from auditor.errors import AuditError
from auditor.training.frame_store import store_frames

LOG = FeatureConfig()


class Deadly(type(Path())):
    """A path that kills the process it is sent to."""

    def __reduce__(self):
        return os._exit, (1,)


def files_of(folder) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_stored_frames_are_those_of_the_waveform(write_tune, make_tune, tmp_path):
    path = write_tune("a.wav", 1, duration_s=3.0)
    (stored,) = store_frames([path], tmp_path / "frames", LOG)
    assert stored.error == ""
    assert stored.source == path
    assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    frames = stored.load()
    assert frames.dtype == np.float16
    rounded = np.round(make_tune(1, duration_s=3.0) * 32767.0) / 32768.0  # 16 bit
    expected = LogBands(LOG)(rounded.astype(np.float32))
    loud = expected > -60.0
    assert frames.shape == expected.shape
    assert frames.astype(np.float32)[loud] == pytest.approx(expected[loud], abs=0.2)


def test_a_file_is_decoded_once(write_tune, tmp_path):
    path = write_tune("a.wav", 1, duration_s=2.0)
    folder = tmp_path / "frames"
    (one,) = store_frames([path], folder, LOG)
    stamp = one.path.stat().st_mtime_ns
    copy = path.with_name("copy.wav")
    copy.write_bytes(path.read_bytes())
    two, three = store_frames([path, copy], folder, LOG)
    assert one.path == two.path == three.path
    assert two.path.stat().st_mtime_ns == stamp
    assert files_of(folder) == {one.path.name}


def test_another_feature_config_has_frames_of_its_own(write_tune, tmp_path):
    path = write_tune("a.wav", 1, duration_s=2.0)
    mel = FeatureConfig(layout="mel", n_bands=40, f_min_hz=0.0)
    (one,), (two,) = (store_frames([path], tmp_path / "frames", f) for f in (LOG, mel))
    assert one.path != two.path
    assert (one.load().shape[1], two.load().shape[1]) == (72, 40)


def test_bad_files_are_named_and_the_rest_goes_on(write_tune, tmp_path):
    good = write_tune("good.wav", 1, duration_s=2.0)
    text = tmp_path / "text.mp3"
    text.write_text("hello")
    short = write_tune("short.wav", 1, duration_s=0.02)
    gone = tmp_path / "gone.mp3"
    seen = []
    stored = store_frames(
        [text, good, short, gone], tmp_path / "frames", LOG, on_progress=lambda *n: seen.append(n)
    )
    assert [s.source for s in stored] == [text, good, short, gone]
    assert [bool(s.error) for s in stored] == [True, False, True, True]
    assert "is not audio that FFmpeg can read" in stored[0].error
    assert stored[2].error == "too short for one frame"
    assert "No such file" in stored[3].error
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert files_of(tmp_path / "frames") == {stored[1].path.name}


@pytest.mark.parametrize("n_bytes", [0, 100, -1])
def test_damaged_frames_are_computed_again(write_tune, tmp_path, n_bytes):
    path = write_tune("a.wav", 1, duration_s=2.0)
    (one,) = store_frames([path], tmp_path / "frames", LOG)
    data = one.path.read_bytes()
    one.path.write_bytes(data[:n_bytes])
    (two,) = store_frames([path], tmp_path / "frames", LOG)
    assert two.path == one.path
    assert two.path.read_bytes() == data


def test_names_may_be_any_bytes(write_tune, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n.wav")
    os.rename(write_tune("a.wav", 1, duration_s=2.0), path)
    (stored,) = store_frames([type(tmp_path)(os.fsdecode(path))], tmp_path / "frames", LOG)
    assert stored.error == ""


def test_the_number_of_threads_is_left_alone(write_tune, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        store_frames([write_tune("a.wav", 1, duration_s=2.0)], tmp_path / "frames", LOG)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_processes_give_the_same_frames_in_order(write_tune, tmp_path):
    paths = [write_tune(f"{i}.wav", i, duration_s=2.0) for i in range(3)]
    paths.insert(1, tmp_path / "gone.wav")
    alone = store_frames(paths, tmp_path / "alone", LOG)
    together = store_frames(paths, tmp_path / "together", LOG, jobs=2)
    assert [s.source for s in together] == paths
    assert [s.path.name for s in together] == [s.path.name for s in alone]
    assert together[1].error == alone[1].error
    for a, b in zip(alone, together, strict=True):
        if not a.error:
            assert np.allclose(a.load(), b.load(), atol=0.1)


def test_a_process_that_dies_is_told(write_tune, tmp_path):
    paths = [write_tune("a.wav", 1, duration_s=2.0), Deadly(tmp_path / "b.wav")]
    with pytest.raises(AuditError, match=r"died after [01] of 2 files; .* with --jobs 1"):
        store_frames(paths, tmp_path / "frames", LOG, jobs=2)
    (stored,) = store_frames(paths[:1], tmp_path / "frames", LOG)
    assert stored.error == ""


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.mp3")
    (stored,) = store_frames([tmp_path / "fifo.mp3"], tmp_path / "frames", LOG)
    assert "is not a regular file" in stored.error
