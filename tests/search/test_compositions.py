"""What is kept of pitches: whole or not at all, and the nearest summaries."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from auditor.errors import IndexFileError
from auditor.search.compositions import PitchStore, StoredPitches, Summaries, nearest_contents


def item(seed: int, *, n_windows: int = 4, problem: str = "") -> StoredPitches:
    rng = np.random.default_rng(seed)
    summaries = rng.normal(size=(n_windows, 8)).astype(np.float16)
    pitches = rng.integers(0, 256, (50, 37)).astype(np.uint8)
    return StoredPitches(pitches, summaries, 100.0 + seed, 12.5, problem)


@pytest.fixture
def store(tmp_path):
    store = PitchStore(tmp_path, "12345678", writable=True)
    yield store
    store.close()


def test_what_is_kept_comes_back(store, tmp_path):
    store.put([("a" * 64, item(1)), ("b" * 64, item(2, problem="no pitched music to compare"))])
    reader = PitchStore(tmp_path, "12345678", writable=False)
    back = reader.get("a" * 64)
    np.testing.assert_array_equal(back.pitches, item(1).pitches)
    np.testing.assert_array_equal(back.summaries, item(1).summaries)
    assert (back.mean, back.spread, back.problem) == (101.0, 12.5, "")
    assert reader.get("b" * 64).problem == "no pitched music to compare"
    assert reader.get("c" * 64) is None
    assert reader.hashes() == {"a" * 64, "b" * 64}
    assert [sha256 for sha256, _ in reader.all_summaries()] == ["a" * 64]
    reader.close()


def test_without_a_file_there_is_nothing_and_none_is_made(tmp_path):
    reader = PitchStore(tmp_path, "12345678", writable=False)
    assert reader.get("a" * 64) is None
    assert reader.hashes() == set()
    assert list(reader.all_summaries()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["mean = mean + 1", "n_dims = 4", "problem = 'x'"])
def test_a_changed_value_counts_as_absent(store, column):
    store.put([("a" * 64, item(1))])
    with sqlite3.connect(store.path) as other:
        other.execute(f"UPDATE pitches SET {column}")
    assert store.get("a" * 64) is None
    assert list(store.all_summaries()) == []
    assert store.hashes() == set()  # so the next scan makes it again


@pytest.mark.parametrize("column", ["summaries", "pitches"])
def test_a_flipped_byte_of_a_blob_counts_as_absent(store, column):
    store.put([("a" * 64, item(1))])
    with sqlite3.connect(store.path) as other:
        (blob,) = other.execute(f"SELECT {column} FROM pitches").fetchone()
        other.execute(f"UPDATE pitches SET {column} = ?", (blob[:-3] + b"\x55" + blob[-2:],))
    assert store.get("a" * 64) is None


def test_a_file_that_is_no_database_is_made_again(tmp_path):
    (tmp_path / "pitches-12345678.sqlite3").write_bytes(b"rubbish" * 1000)
    reader = PitchStore(tmp_path, "12345678", writable=False)
    assert reader.hashes() == set()
    assert reader.get("a" * 64) is None
    reader.close()
    store = PitchStore(tmp_path, "12345678", writable=True)
    store.put([("a" * 64, item(1))])
    assert store.hashes() == {"a" * 64}
    store.close()


def test_the_nearest_contents_come_first():
    rng = np.random.default_rng(0)
    contents = []
    for k in range(300):
        rows = rng.normal(size=(int(rng.integers(1, 6)), 16))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        contents.append((f"{k:03}", rows.astype(np.float16)))
    assert nearest_contents(contents[42][1], contents, top=1) == ["042"]
    assert len(nearest_contents(contents[7][1], contents, top=25)) == 25
    hostile = [("bad", np.ones((3, 7), np.float16)), ("none", np.ones((0, 16), np.float16))]
    assert nearest_contents(contents[42][1], hostile + contents, top=1) == ["042"]
    assert nearest_contents(np.zeros((0, 16), np.float16), contents, top=5) == []
    assert nearest_contents(contents[7][1], [], top=5) == []
    known = Summaries(contents, 16)
    for _, summaries in contents[:5]:
        assert known.nearest(summaries, top=9) == nearest_contents(summaries, contents, top=9)
    assert known.nearest(np.ones((2, 8), np.float16), top=5) == []


@pytest.mark.parametrize(("mean", "spread"), [(float("inf"), 1.0), (1.0, 0.0), (1.0, -1.0)])
def test_statistics_that_no_scan_writes_count_as_absent(store, mean, spread):
    store.put([("a" * 64, StoredPitches(item(1).pitches, item(1).summaries, mean, spread))])
    assert store.get("a" * 64) is None


def test_a_full_disk_is_a_message_and_loses_nothing(store):
    store.put([("a" * 64, item(1))])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(IndexFileError, match="full"):
        store.put([(f"{k:064x}", item(k, n_windows=400)) for k in range(50)])
    assert store.hashes() == {"a" * 64}


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IndexFileError, match="pitches cannot be written"):
        PitchStore(tmp_path / "file", "12345678", writable=True)
