"""auditor.search.annoy_nodes: Annoy is given no file in which a pointer leads astray."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tracemalloc

import annoy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import IndexFileError
from auditor.search import annoy_nodes
from auditor.search.annoy_index import build_index, open_index, refresh_index
from auditor.search.annoy_nodes import check_nodes
from auditor.search.excerpts.backends.annoy import ExcerptConfig
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSource, open_excerpts

WEIGHTS, N_DIMS, N_ITEMS, N_TREES = "0a1b2c3d", 4, 60, 3
K = N_DIMS + 2
BEYOND = 0x7FFFFFF0


def unit_rows(n: int, n_dims: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def build(path, n: int, n_dims: int, n_trees: int, *, alike: bool = False) -> np.ndarray:
    """Write an Annoy file; return its nodes as words, (n_nodes, n_dims + 3) int32."""
    index = annoy.AnnoyIndex(n_dims, "angular")
    index.set_seed(1)
    for row, vector in enumerate(unit_rows(n, n_dims)[[0] * n if alike else slice(n)].tolist()):
        index.add_item(row, vector)
    index.build(n_trees, n_jobs=1)
    index.save(str(path))
    index.unload()
    return np.fromfile(path, np.int32).reshape(-1, n_dims + 3)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("n_trees", [1, 2, 10])
@pytest.mark.parametrize("n_dims", [1, 2, 32])
def test_what_annoy_writes_passes_whatever_its_size(tmp_path, n_dims, n_trees, alike):
    for n in (0, 1, 2, 3, n_dims + 1, n_dims + 2, n_dims + 3, 2 * n_dims + 5, 700):
        build(tmp_path / f"{n}.ann", n, n_dims, n_trees, alike=alike)
        assert check_nodes(tmp_path / f"{n}.ann", n_dims, n_trees) == n


@pytest.fixture
def nodes(tmp_path):
    return build(tmp_path / "x.ann", N_ITEMS, N_DIMS, N_TREES)


def splits(nodes: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(nodes[:, 0] > K)
    return rows[(rows >= N_ITEMS) & (rows < len(nodes) - N_TREES)]


def buckets(nodes: np.ndarray) -> np.ndarray:
    return N_ITEMS + np.flatnonzero(nodes[N_ITEMS:, 0] <= K)


def set_word(rows, place: int, word, column: int):
    def damage(nodes: np.ndarray) -> None:
        row = rows(nodes)[place] if callable(rows) else rows
        nodes[row, column] = word(nodes, row) if callable(word) else word

    return damage


def lose_a_node(nodes: np.ndarray) -> np.ndarray:
    return np.delete(nodes, N_ITEMS, axis=0)


def share_a_child(nodes: np.ndarray) -> None:
    parent = splits(nodes)[-1]
    nodes[parent, 1] = nodes[parent, 2] = max(nodes[parent, 1:3])


DAMAGES = {
    "a bucket names an item far beyond": (set_word(buckets, 0, BEYOND, 1), "an item that is not"),
    "a bucket names a node": (set_word(buckets, 2, N_ITEMS, 2), "an item that is not there"),
    "a bucket names an item before the first": (set_word(buckets, 1, -1, 1), "an item that is not"),
    "a split leads far beyond": (set_word(splits, 0, BEYOND, 1), "a child that does not lie"),
    "a split leads before the file": (set_word(splits, 1, -5, 2), "a child that does not lie"),
    "a split leads to itself": (set_word(splits, 2, lambda _, row: row, 1), "a child that does no"),
    "a split leads up": (
        set_word(splits, 0, lambda n, _: splits(n)[-1], 2),
        "a child that does no",
    ),
    "a copied root leads far beyond": (set_word(-1, 0, BEYOND, 1), "a child that does not lie"),
    "a copied root leads to another": (
        set_word(-1, 0, lambda n, _: len(n) - N_TREES, 2),
        "a child that does not lie before it",
    ),
    "a copied root leads elsewhere": (set_word(-1, 0, N_ITEMS, 1), "no root that it repeats"),
    "both children are one": (share_a_child, "two parents"),
    "a root is a child": (
        set_word(lambda n: np.flatnonzero(n[:, 0] == N_ITEMS), 1, lambda _, row: row, 1),
        "a child that does not lie before it",
    ),
    "a root of less": (
        set_word(lambda n: np.flatnonzero(n[:, 0] == N_ITEMS), 0, N_ITEMS - 1, 0),
        "2 roots of 3",
    ),
    "a further root": (set_word(splits, 0, N_ITEMS, 0), "4 roots of 3"),
    "an item that is a split": (set_word(7, 0, N_ITEMS, 0), "its node 7 has a wrong number of"),
    "an item that is a bucket": (set_word(0, 0, 2, 0), "its node 0 has a wrong number of"),
    "an empty bucket": (set_word(buckets, 0, 0, 0), "a wrong number of descendants"),
    "a bucket of less than none": (set_word(buckets, 0, -3, 0), "a wrong number of descendants"),
    "more descendants than items": (set_word(splits, 0, BEYOND, 0), "a wrong number of descend"),
    "no item": (set_word(-1, 0, 0, 0), "a wrong number of descendants"),
    "more items than nodes": (set_word(-1, 0, BEYOND, 0), "its root has 2,147,483,632 items of"),
    "a node less": (lose_a_node, "its node .* has"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("chunk", [1, 1 << 23])
def test_a_pointer_that_leads_astray_is_named(tmp_path, nodes, monkeypatch, name, chunk):
    monkeypatch.setattr(annoy_nodes, "_CHUNK_BYTES", chunk)
    damage, message = DAMAGES[name]
    damaged = damage(nodes)
    (nodes if damaged is None else damaged).tofile(tmp_path / "x.ann")
    with pytest.raises(ValueError, match=message):
        check_nodes(tmp_path / "x.ann", N_DIMS, N_TREES)


@pytest.mark.parametrize("n_words", [0, 7, 20, N_DIMS + 4])
def test_a_file_that_no_nodes_fill_is_refused(tmp_path, n_words):
    path = tmp_path / "x.ann"
    np.zeros(n_words, np.int32).tofile(path)
    with pytest.raises(ValueError, match="6 nodes or more of 28 bytes do not fill"):
        check_nodes(path, N_DIMS, N_TREES)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_passes_is_searched_in_bounded_time(tmp_path_factory, data):
    """Words are changed at random; Annoy then visits each node once at most, or is not asked."""
    path = tmp_path_factory.mktemp("nodes") / "x.ann"
    nodes = build(path, N_ITEMS, N_DIMS, N_TREES)
    word = st.one_of(st.integers(-3, len(nodes) + 3), st.integers(-(2**31), 2**31 - 1))
    for _ in range(data.draw(st.integers(1, 3))):
        row, column = data.draw(st.integers(0, len(nodes) - 1)), data.draw(st.integers(0, 3))
        nodes[row, column] = data.draw(word)
    nodes.tofile(path)
    try:
        n_items = check_nodes(path, N_DIMS, N_TREES)
    except ValueError:
        return
    index = annoy.AnnoyIndex(N_DIMS, "angular")
    index.load(str(path))
    assert index.get_n_items() == n_items == N_ITEMS
    for vector in unit_rows(3, N_DIMS, seed=5).tolist():
        rows = index.get_nns_by_vector(vector, N_ITEMS, 10**6)
        assert len(rows) == len(set(rows)) and set(rows) <= set(range(N_ITEMS))


def test_a_file_is_read_once_a_process_and_again_when_it_changed(tmp_path, nodes, monkeypatch):
    path, n_reads = tmp_path / "x.ann", 0
    read = annoy_nodes._read

    def counted(*args):
        nonlocal n_reads
        n_reads += 1
        return read(*args)

    monkeypatch.setattr(annoy_nodes, "_read", counted)
    assert check_nodes(path, N_DIMS, N_TREES) == N_ITEMS
    first = n_reads
    assert first > 0
    assert check_nodes(path, N_DIMS, N_TREES) == N_ITEMS
    assert n_reads == first
    stat = path.stat()
    nodes[buckets(nodes)[0], 1] = BEYOND
    nodes.tofile(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for _ in range(2):  # a refusal is not remembered as a pass
        with pytest.raises(ValueError, match="an item that is not there"):
            check_nodes(path, N_DIMS, N_TREES)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(annoy_nodes, "_CHUNK_BYTES", 1 << 16)
    build(tmp_path / "x.ann", 20_000, 16, 10)
    tracemalloc.start()
    check_nodes(tmp_path / "x.ann", 16, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600_000 < (tmp_path / "x.ann").stat().st_size / 4


# Both indexes, under a sidecar that agrees with the file.


def lead_astray(path, n_items: int, n_dims: int) -> str:
    """Let all nodes of an Annoy file point beyond it; return its new SHA-256."""
    nodes = np.fromfile(path, np.int32).reshape(-1, n_dims + 3)
    nodes[n_items:, 1:3] = BEYOND
    nodes.tofile(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_hostile_track_index_is_refused_and_built_anew(tmp_path):
    ids, embeddings = [f"t{row:05}" for row in range(300)], unit_rows(300, 32)
    build_index(tmp_path, WEIGHTS, ids, embeddings, n_trees=20)
    (path,), sidecar = tmp_path.glob("*.ann"), tmp_path / f"{WEIGHTS}.json"
    told = json.loads(sidecar.read_bytes())
    told["ann_sha256"] = lead_astray(path, 300, 32)
    path.rename(tmp_path / f"{WEIGHTS}-{told['ann_sha256'][:8]}.ann")
    sidecar.write_text(json.dumps(told))
    with pytest.raises(IndexFileError, match=r"\.ann is damaged: its node 300 has an item .*Delet"):
        open_index(tmp_path, WEIGHTS, ids, embeddings)
    refreshed = refresh_index(tmp_path, WEIGHTS, ids, embeddings, n_trees=20)
    assert refreshed.rebuilt and "its node 300 has an item" in refreshed.reason
    assert refreshed.index.query(embeddings[7:8], 1)[0][0][0] == 7


@pytest.fixture
def shards(tmp_path):
    """A folder with an excerpt index of six tracks, their source, and its three files."""
    tracks = {f"t{i}": unit_rows(60, 32, seed=i) for i in range(6)}

    def read(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        return tracks[track_id].astype(np.float16), np.zeros(60, np.float16)

    source = ExcerptSource(WEIGHTS, 32, dict.fromkeys(tracks, 0), read)
    refresh_excerpts(tmp_path, source, hop_s=0.8, config=ExcerptConfig(step=1))
    (sidecar,) = tmp_path.glob("*.json")
    return tmp_path, source, sidecar


def put_sidecar(path, **changes):
    """Write a sidecar of other fields under the name that its hash gives; move its files along."""
    text = json.dumps(json.loads(path.read_bytes()) | changes).encode()
    new = path.with_name(f"{WEIGHTS}-{hashlib.sha256(text).hexdigest()[:16]}.json")
    for suffix in (".ann", ".rows"):
        path.with_suffix(suffix).rename(new.with_suffix(suffix))
    path.unlink()
    new.write_bytes(text)


def test_a_hostile_shard_is_left_out_and_built_anew(shards):
    folder, source, sidecar = shards
    put_sidecar(sidecar, data_sha256=lead_astray(sidecar.with_suffix(".ann"), 360, 32))
    assert open_excerpts(folder, source, hop_s=0.8).shards == ()
    refreshed = refresh_excerpts(folder, source, hop_s=0.8, config=ExcerptConfig(step=1))
    assert refreshed.n_tracks == 6
    assert "cannot be used: its node 360 has an item that is not" in refreshed.reasons[0]
    query = source.read("t3")[0][10:30]
    assert refreshed.index.candidates(query)[0].track_id == "t3"


def test_a_sidecar_of_other_trees_is_refused(shards):
    folder, source, sidecar = shards
    config = dataclasses.asdict(ExcerptConfig(step=1, n_trees=9))
    put_sidecar(sidecar, config=config)
    assert open_excerpts(folder, source, hop_s=0.8).shards == ()


def test_a_shard_of_axes_that_are_no_numbers_is_left_out(shards):
    folder, source, sidecar = shards
    rows = bytearray(sidecar.with_suffix(".rows").read_bytes())
    rows[:4] = np.float32(np.nan).tobytes()
    sidecar.with_suffix(".rows").write_bytes(rows)
    put_sidecar(sidecar, rows_sha256=hashlib.sha256(rows).hexdigest())
    assert open_excerpts(folder, source, hop_s=0.8).shards == ()


@pytest.mark.parametrize("number", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("column", [1, 3, 34])
def test_a_shard_of_vectors_that_are_no_unit_vectors_is_left_out(shards, number, column):
    folder, source, sidecar = shards
    nodes = np.fromfile(sidecar.with_suffix(".ann"), np.float32).reshape(-1, 35)
    nodes[123, column] = number
    nodes.tofile(sidecar.with_suffix(".ann"))
    data = sidecar.with_suffix(".ann").read_bytes()
    put_sidecar(sidecar, data_sha256=hashlib.sha256(data).hexdigest())
    assert open_excerpts(folder, source, hop_s=0.8).shards == ()
    reasons = refresh_excerpts(folder, source, hop_s=0.8).reasons
    assert "its node 123 has a vector that is not of unit norm" in reasons[0]
