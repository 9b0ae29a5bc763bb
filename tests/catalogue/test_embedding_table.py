"""The table of a catalogue: mapped from files while it is of this state, read anew otherwise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib

import numpy as np
import pytest
from typer.testing import CliRunner

from auditor.catalogue import catalogue as catalogue_module
from auditor.catalogue import embedding_table as catalogue_table
from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.cli import app
from auditor.records import Skipped, Track, TrackEmbedding
from auditor.search.excerpts.index import ExcerptSource

WEIGHTS = "0a1b2c3d"


@pytest.fixture(autouse=True)
def _few_tracks_are_many(monkeypatch):
    monkeypatch.setattr(catalogue_module, "MIN_TRACKS", 3)


@pytest.fixture
def reads(monkeypatch):
    """How often a table was read from SQLite."""
    calls = []
    read = catalogue_table.read_table
    monkeypatch.setattr(
        catalogue_module, "read_table", lambda *a, **how: calls.append(1) or read(*a, **how)
    )
    return calls


def put(catalogue: Catalogue, n: int, seed: int | None = None) -> Track:
    rows = np.random.default_rng(n if seed is None else seed).normal(size=(3, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sha256 = hashlib.sha256(str((n, seed)).encode()).hexdigest()
    track = Track(
        f"t{n}", f"/m/{n}.mp3", sha256, 1, 9.0, None, False, False, "mp3", "mp3", 44_100, 2, None
    )
    made = TrackEmbedding(rows[0].astype("f4"), rows.astype("f2"), np.zeros(3, "f2"))
    catalogue.put(
        track, path_bytes=track.path.encode(), stamp=FileStamp(1, 1), embeddings={WEIGHTS: made}
    )
    return track


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as opened:
        for n in range(5):
            put(opened, n)
        yield opened


def test_a_writer_leaves_it_and_a_reader_maps_the_same(catalogue, tmp_path, reads):
    written = catalogue.table(WEIGHTS)
    assert [p.suffix for p in sorted((tmp_path / "tables").iterdir())] == [".npy", ".npy"]
    with Catalogue.open(catalogue.path, read_only=True) as reader:
        mapped = reader.table(WEIGHTS)
        assert reader.embeddings(WEIGHTS)[0] == ["t0", "t1", "t2", "t3", "t4"]
    assert len(reads) == 1
    assert isinstance(mapped.embeddings, np.memmap)
    assert dict(mapped.tracks) == dict(written.tracks)
    assert np.array_equal(mapped.hashes, written.hashes)
    assert np.array_equal(mapped.embeddings, written.embeddings)
    assert mapped.tracks["t3"] == zlib.crc32(written.embeddings[3])


CHANGES = {
    "another track": lambda c: put(c, 7),
    "a new embedding of the last one": lambda c: put(c, 4, seed=99),
    "one that is missing": lambda c: c.mark_missing(["t1"]),
    "one that left": lambda c: c.remove(["t2"]),
    "another id": lambda c: c.rename("t2", "x2"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_a_change_it_is_read_anew(catalogue, tmp_path, reads, change):
    catalogue.table(WEIGHTS)
    change(catalogue)
    with Catalogue.open(catalogue.path, read_only=True) as reader:
        now = reader.table(WEIGHTS)
    assert len(reads) == 2  # a reader writes nothing
    assert dict(catalogue.table(WEIGHTS).tracks) == dict(now.tracks)
    assert dict(catalogue.table(WEIGHTS).tracks) == dict(now.tracks)
    assert len(reads) == 3
    assert len(list((tmp_path / "tables").iterdir())) == 2


def test_what_changes_no_embedding_leaves_it_as_it_is(catalogue, reads):
    track = dataclasses.replace(catalogue.track("t1"), title="Another")
    catalogue.table(WEIGHTS)
    catalogue.update_tags(track)
    catalogue.put_skipped(b"/m/x", Skipped("", "why"), None)
    catalogue.table(WEIGHTS)
    assert len(reads) == 1


@pytest.mark.parametrize("name", ["embeddings", "tracks"])
@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\x00", b"\xff" * 4000])
def test_damaged_files_are_passed_over(catalogue, tmp_path, reads, name, data):
    whole = catalogue.table(WEIGHTS)
    (path,) = (tmp_path / "tables").glob(f"*.{name}.npy")
    path.write_bytes(data)
    assert dict(catalogue.table(WEIGHTS).tracks) == dict(whole.tracks)
    assert len(reads) == 2


def test_missing_tracks_are_asked_of_sqlite(catalogue):
    catalogue.mark_missing(["t0"])
    assert len(catalogue.table(WEIGHTS).tracks) == 4
    assert len(catalogue.table(WEIGHTS, present_only=False).tracks) == 5


def test_embeddings_by_id_and_rows_by_content(catalogue):
    table = catalogue.table(WEIGHTS)
    assert np.array_equal(table.by_id["t2"], table.embeddings[2])
    assert "t9" not in table.by_id
    assert list(table.by_id) == ["t0", "t1", "t2", "t3", "t4"]
    assert table.rows_of_content(catalogue.track("t3").sha256).tolist() == [3]
    source = ExcerptSource.of_table(WEIGHTS, table, lambda i: catalogue.dvectors(i, WEIGHTS))
    known = ExcerptSource.of(catalogue, WEIGHTS, catalogue.embeddings(WEIGHTS))
    assert dict(source.versions) == dict(known.versions)
    assert source.n_dims == 4


def verify(folder) -> list[str]:
    """What the command says of the tables; the files of these tracks are nowhere."""
    done = CliRunner().invoke(
        app, ["catalogue", "verify", "--workspace", str(folder), "--format", "json"]
    )
    assert done.exit_code == 1, done.output
    return [told for told in json.loads(done.stdout) if "is gone" not in told]


def other_embedding(rows, names):
    rows[[1, 3]] = rows[[3, 1]]


def other_id(rows, names):
    names["id"][4] = b"t9"


def other_version(rows, names):
    names["version"][0] ^= 1


def other_hash(rows, names):
    names["sha256"][2] = b"0" * 64


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (other_embedding, "the embedding of track t1 is another"),
        (other_id, "the id of track t4 is another"),
        (other_version, "the version of track t0 is another"),
        (other_hash, "the hash of track t2 is another"),
        (lambda rows, names: names["id"].sort() or names["id"].__setitem__(0, b"z"), "be read"),
    ],
)
def test_verify_names_a_table_that_is_not_what_sqlite_holds(catalogue, tmp_path, damage, said):
    catalogue.table(WEIGHTS)
    assert verify(tmp_path) == []
    files = [next((tmp_path / "tables").glob(f"*.{name}.npy")) for name in ("embeddings", "tracks")]
    arrays = [np.load(file) for file in files]
    damage(*arrays)
    for file, array in zip(files, arrays, strict=True):
        np.save(file, array)
    (told,) = verify(tmp_path)
    assert f"the table of weights {WEIGHTS}" in told
    assert said in told
    assert told.endswith("Remove this folder and run: audit scan")
    for file in files:
        file.unlink()
    assert verify(tmp_path) == []
    catalogue.table(WEIGHTS)  # as a scan does
    assert verify(tmp_path) == []
    assert all(file.exists() for file in files)


def test_verify_names_a_table_with_too_few_tracks(catalogue, tmp_path):
    catalogue.table(WEIGHTS)
    for file in (tmp_path / "tables").iterdir():
        np.save(file, np.load(file)[:4])
    (told,) = verify(tmp_path)
    assert "it holds 4 x 4 numbers, and the catalogue 5 x 4" in told
