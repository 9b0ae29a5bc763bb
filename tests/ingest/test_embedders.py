"""Files embedded by several processes."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import sqlite3

import numpy as np
import pytest
import torch
from small_audit import save_small_extractor, write_tune

from auditor.audio.files import find_audio
from auditor.embedding.extractor import load_extractor
from auditor.embedding.network import Network
from auditor.errors import AudioError, AuditError, UsageError, WeightsError, WorkerDiedError
from auditor.ingest import embedders
from auditor.ingest.embedders import FEW, BatchEmbedder, ProcessEmbedder, make_embedder
from auditor.ingest.prepare import PreparedFile, SerialEmbedder
from auditor.ingest.session import ingest
from auditor.ingest.worker_pool import WorkerPool
from auditor.workspace import open_workspace

N_FILES = FEW + 4


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for i in range(N_FILES - 1):
        write_tune(folder / f"{i:02}.wav", i + 1)
    (folder / "05-bad.mp3").write_bytes(b"no audio at all" * 100)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def extractor(weights):
    return load_extractor(weights)


def made_by(embedder, music, **how):
    return list(embedder.embed(find_audio([music]).files, **how))


def assert_same(one, other):
    assert [made.found for made in one] == [made.found for made in other]
    assert [made.sha256 for made in one] == [made.sha256 for made in other]
    assert [repr(made.error) for made in one] == [repr(made.error) for made in other]
    for a, b in zip(one, other, strict=True):
        if a.prepared is None:
            assert b.prepared is None
            continue
        assert a.prepared.tags == b.prepared.tags
        assert (a.prepared.embedded.spectrum == b.prepared.embedded.spectrum).all()
        (x,), (y,) = (m.prepared.embedded.embeddings.values() for m in (a, b))
        for name in ("embedding", "dvectors", "levels"):
            assert getattr(x, name).tobytes() == getattr(y, name).tobytes()


def test_workers_make_the_same_in_the_same_order(music, extractor):
    alone = made_by(SerialEmbedder([extractor]), music)
    assert len(alone) == N_FILES
    assert sum(made.error is not None for made in alone) == 1
    assert_same(made_by(ProcessEmbedder(extractor, jobs=3), music), alone)
    assert multiprocessing.active_children() == []


def test_known_content_is_only_hashed(music, extractor):
    first = made_by(ProcessEmbedder(extractor, jobs=1), music)
    known = {made.sha256 for made in first[::2]}
    again = made_by(ProcessEmbedder(extractor, jobs=2), music, known=known)
    assert [m.prepared is None and m.error is None for m in again][::2] == [True] * len(first[::2])
    assert [m.sha256 for m in again] == [m.sha256 for m in first]


def test_few_files_start_no_process(music, extractor):
    files = find_audio([music]).files[: FEW - 1]
    for _ in ProcessEmbedder(extractor, jobs=4).embed(files):
        assert multiprocessing.active_children() == []


def test_workers_that_die_once_lose_nothing(music, extractor):
    alone = made_by(SerialEmbedder([extractor]), music)
    made = []
    for one in ProcessEmbedder(extractor, jobs=2).embed(find_audio([music]).files):
        if not made:
            for child in multiprocessing.active_children():
                child.kill()
        made.append(one)
    assert_same(made, alone)


class Deadly(bytes):
    """A path that ends the process which receives it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_file_that_kills_its_worker_twice_is_named_and_skipped(music, extractor):
    files = list(find_audio([music]).files)
    alone = made_by(SerialEmbedder([extractor]), music)
    files[3] = dataclasses.replace(files[3], path=Deadly(files[3].path))
    made = list(ProcessEmbedder(extractor, jobs=2).embed(files))
    died = made.pop(3)
    assert isinstance(died.error, AudioError)
    assert str(died.error).startswith(
        f"{os.fsdecode(files[3].path)}: the decoding process died twice (exit code 3)."
    )
    assert_same(made, alone[:3] + alone[4:])


def test_workers_that_cannot_start_end_the_run_and_condemn_no_file(tmp_path, music, weights):
    moved = shutil.copyfile(weights, tmp_path / weights.name)
    with open_workspace(tmp_path / "ws", extractor=moved, write=True) as opened:
        embedder = ProcessEmbedder(opened.extractor, jobs=2)
        moved.unlink()
        with pytest.raises(WeightsError, match="no extractor"):
            ingest(opened, [music], embedder=embedder)
        assert opened.catalogue.skipped() == []
        assert multiprocessing.active_children() == []


class FailingStart:
    """A work that ends the process which receives it."""

    def __reduce__(self):
        return os._exit, (4,)


def test_workers_that_die_before_they_are_ready_are_not_blamed_on_files(music):
    with (
        WorkerPool(FailingStart(), 2) as pool,
        pytest.raises(AuditError, match=r"no worker process can be started \(exit code 4\)"),
    ):
        list(pool.run(find_audio([music]).files))


def test_a_file_whose_worker_died_is_tried_again_by_the_next_run(tmp_path, music, weights):
    class Dying(SerialEmbedder):
        def embed(self, files, *, known=frozenset()):
            for made in super().embed(files, known=known):
                died = made.found.path.endswith(b"03.wav")
                error = WorkerDiedError(f"{os.fsdecode(made.found.path)}: died twice")
                yield PreparedFile(made.found, error=error) if died else made

    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        first = ingest(opened, [music], embedder=Dying([opened.extractor]))
        assert "03.wav" in {os.path.basename(s.path) for s in first.skipped}
        again = ingest(opened, [music])
        assert again.counts["embedded"] == 1
        assert "03.wav" not in {os.path.basename(s.path) for s in again.skipped}


def test_a_run_that_is_left_early_ends_its_workers(music, extractor):
    run = ProcessEmbedder(extractor, jobs=2).embed(find_audio([music]).files)
    next(run)
    assert len(multiprocessing.active_children()) == 2
    run.close()
    assert multiprocessing.active_children() == []


def rows_of(path):
    """Return all rows, but for when they were added."""
    rows = {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in ("tracks", "embeddings", "dvectors", "spectra", "skipped"):
            found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
            names = [column[0] for column in found.description]
            kept = [i for i, name in enumerate(names) if name != "added_at"]
            rows[table] = [tuple(row[i] for i in kept) for row in found]
    return rows


def test_a_catalogue_does_not_depend_on_the_number_of_jobs(tmp_path, music, weights):
    for jobs in (1, 2):
        with open_workspace(tmp_path / str(jobs), extractor=weights, write=True) as opened:
            done = ingest(opened, [music], embedder=ProcessEmbedder(opened.extractor, jobs=jobs))
            assert done.counts["embedded"] == N_FILES - 1
    assert rows_of(tmp_path / "1" / "catalogue.sqlite3") == rows_of(
        tmp_path / "2" / "catalogue.sqlite3"
    )


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_across_tracks_change_nothing_but_rounding(music, extractor, batch):
    write_tune(music / "z-short.wav", 1, duration_s=0.3)
    try:
        alone = made_by(SerialEmbedder([extractor]), music)
        made = made_by(BatchEmbedder(extractor, jobs=2, batch=batch), music)
    finally:
        (music / "z-short.wav").unlink()
    assert [m.sha256 for m in made] == [m.sha256 for m in alone]
    assert [repr(m.error) for m in made] == [repr(m.error) for m in alone]
    for a, b in zip(made, alone, strict=True):
        if a.prepared is not None and b.prepared is not None:
            (x,), (y,) = (m.prepared.embedded.embeddings.values() for m in (a, b))
            np.testing.assert_allclose(x.embedding, y.embedding, atol=1e-5)
            np.testing.assert_allclose(x.dvectors, y.dvectors, atol=1e-3)
            assert (x.levels == y.levels).all()
            assert (a.prepared.embedded.spectrum == b.prepared.embedded.spectrum).all()
            assert a.prepared.embedded.silent == b.prepared.embedded.silent


def test_the_last_file_may_fill_the_batch(music, extractor):
    embedder = BatchEmbedder(extractor, jobs=1, batch=1)
    files = [f for f in find_audio([music]).files if b"short" not in f.path]
    assert [one.error for one in embedder.embed(files[-1:])] == [None]
    assert list(embedder.embed([])) == []


def test_what_is_too_long_for_a_batch_is_embedded_piece_by_piece(music, extractor):
    embedder = BatchEmbedder(extractor, jobs=2, max_decoded_s=1.0)
    assert_same(made_by(embedder, music), made_by(SerialEmbedder([extractor]), music))


def test_without_a_gpu(extractor):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert isinstance(make_embedder(extractor, jobs=1, device="auto"), ProcessEmbedder)
    with pytest.raises(UsageError, match="no GPU that torch can use. Give --device cpu"):
        make_embedder(extractor, jobs=1, device="cuda")


def test_torch_is_asked_only_where_the_system_has_a_gpu(extractor, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(embedders, "_has_gpu", lambda: asked.append(1))
    monkeypatch.setattr(embedders, "GPU_FILES", (str(tmp_path / "gpu"),))
    for device in ("auto", "cpu"):
        assert isinstance(make_embedder(extractor, jobs=1, device=device), ProcessEmbedder)
    assert asked == []
    (tmp_path / "gpu").touch()
    assert isinstance(make_embedder(extractor, jobs=1, device="auto"), ProcessEmbedder)
    assert asked == [1]


def test_what_cannot_be_asked_for(extractor, tiny_config):
    with pytest.raises(ValueError, match="jobs is 0"):
        ProcessEmbedder(extractor, jobs=0)
    with pytest.raises(ValueError, match="batch 0"):
        BatchEmbedder(extractor, jobs=1, batch=0)
    with pytest.raises(ValueError, match="not loaded from a file"):
        ProcessEmbedder(Network(tiny_config).extractor(), jobs=2)


def test_a_fault_in_a_worker_is_raised_here(music, extractor):
    files = [dataclasses.replace(f, path=None) for f in find_audio([music]).files]
    with pytest.raises(TypeError):
        list(ProcessEmbedder(extractor, jobs=2).embed(files))
    assert multiprocessing.active_children() == []
