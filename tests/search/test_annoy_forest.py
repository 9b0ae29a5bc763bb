"""auditor.search.annoy_forest: the same answers as Annoy's, and what works without Annoy."""

from __future__ import annotations

import sys
from pathlib import Path

import forks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tunes import tune

from auditor.audio.decode import write_audio
from auditor.records import result_from_json
from auditor.search import annoy_forest
from auditor.search.annoy_forest import Forest, make_forest, search_forest
from auditor.search.annoy_index import build_index, open_index
from auditor.search.annoy_nodes import check_nodes

annoy = pytest.importorskip("annoy")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_annoy(monkeypatch):
    """Python cannot import Annoy."""
    monkeypatch.setitem(sys.modules, "annoy", None)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clustered(n: int, n_dims: int, seed: int = 0) -> np.ndarray:
    """Return (n, n_dims) unit rows around two hundred centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, n_dims))
    return unit(centres[rng.integers(200, size=n)] + 0.4 * rng.normal(size=(n, n_dims)))


def write(forest, rows: np.ndarray, path: Path, *, n_trees: int = 10, seed: int = 0) -> Path:
    forest.set_seed(seed)
    for row, vector in enumerate(rows.tolist()):
        forest.add_item(row, vector)
    forest.build(n_trees, n_jobs=1)
    forest.save(str(path))
    forest.unload()
    return path


def read(forest, path: Path):
    forest.load(str(path))
    return forest


def both(n_dims: int, path: Path):
    """Return a file as Annoy and as NumPy read it."""
    return read(annoy.AnnoyIndex(n_dims, "angular"), path), read(Forest(n_dims), path)


def builders(n_dims: int):
    return {"annoy": annoy.AnnoyIndex(n_dims, "angular"), "numpy": Forest(n_dims)}


@pytest.mark.parametrize("builder", ["annoy", "numpy"])
@pytest.mark.parametrize(
    ("n", "n_dims", "n_trees", "search_k", "top"),
    [(20_000, 32, 10, 1000, 10), (3000, 8, 5, 60, 7), (600, 64, 20, 5000, 30), (40, 64, 3, 9, 50)],
)
def test_a_search_finds_what_annoy_finds_in_the_same_file(
    tmp_path, builder, n, n_dims, n_trees, search_k, top
):
    rows = clustered(n, n_dims)
    path = write(builders(n_dims)[builder], rows, tmp_path / "x.ann", n_trees=n_trees)
    queries = unit(rows[:: n // 40] + 0.1 * np.random.default_rng(1).normal(size=(1, n_dims)))
    theirs, ours = (search_forest(forest, queries, top, search_k) for forest in both(n_dims, path))
    for expected, actual in zip(theirs[:2], ours[:2], strict=True):
        assert actual.dtype == np.int64
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_allclose(ours[2], theirs[2], atol=2e-4)  # a square root, near 0
    assert ours[2].dtype == np.float32
    assert len(ours[0]) > len(queries)


VALUES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 120), st.just(3)),
    elements=st.integers(-2, 2).map(np.float32),
)


@given(VALUES, VALUES, st.integers(1, 4), st.integers(1, 80), st.sampled_from(["annoy", "numpy"]))
@settings(max_examples=60, deadline=None)
def test_ties_are_broken_as_annoy_breaks_them(
    tmp_path_factory, rows, queries, n_trees, search_k, builder
):
    path = tmp_path_factory.mktemp("ties") / "x.ann"
    write(builders(3)[builder], rows, path, n_trees=n_trees)
    theirs, ours = (search_forest(forest, queries, 9, search_k) for forest in both(3, path))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[2], theirs[2], atol=1e-3)
    if builder == "numpy":
        assert check_nodes_of(path, 3, n_trees) == len(rows)


def check_nodes_of(path: Path, n_dims: int, n_trees: int) -> int:
    """Check the nodes, of rows brought to the norm that ``check_nodes`` demands."""
    nodes = np.fromfile(path, np.int32).reshape(-1, n_dims + 3)
    n_items = int(nodes[-1, 0])
    nodes[:n_items, 1] = 0
    nodes[:n_items, 3:] = 0
    path.write_bytes(nodes.tobytes())
    return check_nodes(path, n_dims, n_trees)


@pytest.mark.parametrize("n", [0, 1, 2, 34, 35, 3000])
def test_annoy_reads_what_is_built_without_it(tmp_path, n):
    rows = clustered(max(n, 1), 32)[:n]
    path = write(Forest(32), rows, tmp_path / "x.ann", n_trees=4)
    assert check_nodes(path, 32, 4) == n
    theirs, ours = both(32, path)
    assert theirs.get_n_items() == ours.get_n_items() == n
    assert path.stat().st_size % (4 * 35) == 0
    for row, vector in enumerate(rows[:5]):
        assert theirs.get_item_vector(row) == vector.tolist()
        assert theirs.get_nns_by_vector(vector.tolist(), 5, 10_000)[0] == row
        assert ours.get_nns_by_vector(vector.tolist(), 5, 10_000)[0] == row
    vector = np.ones(32, np.float32).tolist()
    assert len(ours.get_nns_by_vector(vector, 3)) == min(n, 3)
    items, away = ours.get_nns_by_vector(vector, 3, include_distances=True)
    assert len(items) == len(away) == min(n, 3)


def test_the_trees_built_without_annoy_find_as_much(tmp_path):
    rows = clustered(8000, 32)
    queries = unit(rows[::40] + 0.1 * np.random.default_rng(1).normal(size=(200, 32)))
    exact = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
    recall = {}
    for name, forest in builders(32).items():
        path = write(forest, rows, tmp_path / name)
        which, items, _ = search_forest(read(Forest(32), path), queries, 10, 400)
        hits = [np.isin(exact[i], items[which == i]).mean() for i in range(len(queries))]
        recall[name] = float(np.mean(hits))
    assert recall["annoy"] > 0.7
    assert recall["numpy"] > recall["annoy"] - 0.03


def test_equal_rows_are_cut_in_half_until_they_fit(tmp_path):
    rows = np.repeat(unit(np.ones((1, 4))), 500, axis=0)
    rows[100:150] = 0.0
    path = write(Forest(4), rows, tmp_path / "x.ann", n_trees=2)
    assert check_nodes(path, 4, 2) == 500
    found = read(Forest(4), path).get_nns_by_vector([1.0, 1.0, 1.0, 1.0], 500, 10_000)
    assert sorted(found) == list(range(500))
    assert set(found[:450]).isdisjoint(range(100, 150))


def test_the_same_rows_give_the_same_bytes_and_another_seed_others(tmp_path):
    rows = clustered(2000, 16)
    one, two, three = (
        write(Forest(16), rows, tmp_path / name, seed=seed).read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two != three


def test_many_items_grow_one_tree_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(annoy_forest, "_MAX_ROWS", 1500)
    monkeypatch.setattr(annoy_forest, "_MAX_NODES", 7)
    rows = clustered(1000, 16)
    path = write(Forest(16), rows, tmp_path / "x.ann", n_trees=3)
    assert check_nodes(path, 16, 3) == 1000
    theirs, ours = (search_forest(forest, rows[:50], 5, 200) for forest in both(16, path))
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_vectors_are_searched_in_parts_of_bounded_memory(tmp_path, monkeypatch):
    rows = clustered(2000, 16)
    forest = read(Forest(16), write(Forest(16), rows, tmp_path / "x.ann"))
    whole = forest.search(rows[:100], 5, 300)
    monkeypatch.setattr(annoy_forest, "_CHUNK_BYTES", 50_000)
    for expected, actual in zip(whole, forest.search(rows[:100], 5, 300), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("size", [0, 100])
def test_what_is_no_array_of_nodes_is_refused(tmp_path, size):
    (tmp_path / "x.ann").write_bytes(bytes(size))
    with pytest.raises(OSError, match=f"it has {size} bytes, no multiple of 76"):
        Forest(16).load(str(tmp_path / "x.ann"))


def test_items_come_without_gaps():
    with pytest.raises(ValueError, match="item is 1; 0 was expected"):
        Forest(4).add_item(1, [1.0, 0.0, 0.0, 0.0])


def test_an_index_of_tracks_needs_no_annoy(tmp_path, no_annoy):
    assert isinstance(make_forest(8), Forest)
    ids, rows = [f"t{i:04}" for i in range(500)], clustered(500, 32)
    built = build_index(tmp_path, "0a1b2c3d", ids, rows, n_trees=20)
    opened = open_index(tmp_path, "0a1b2c3d", ids, rows, verify=True)
    queries = clustered(20, 32, seed=1)
    assert built.query(queries, 5) == opened.query(queries, 5)
    assert opened.recall(50, 5) > 0.98


def test_annoy_is_used_where_it_is_installed():
    assert isinstance(make_forest(8), annoy.AnnoyIndex)


WITHOUT_ANNOY = """
import sys
sys.modules["annoy"] = None
from auditor.cli import main
main()
"""


def test_a_scan_without_annoy_flags_the_same_pairs(tmp_path, monkeypatch):
    for seed in range(1, 5):
        write_audio(tmp_path / f"{seed}.flac", tune(seed, duration_s=20.0), codec="flac")
    write_audio(tmp_path / "again.ogg", tune(1, duration_s=20.0), codec="ogg")
    pairs = []
    for name, code in (("with", forks.AUDIT), ("out", WITHOUT_ANNOY)):
        command = [
            "scan",
            str(tmp_path),
            "-w",
            str(tmp_path / name),
            "--search",
            "annoy",
            "-j",
            "1",
        ]
        if code == WITHOUT_ANNOY:  # a fork would have what its parent imported
            monkeypatch.delenv(forks.ADDRESS, raising=False)
        done = forks.run(code, *command, "--no-report", "-q", "--format", "json", text=True)
        assert done.returncode == 1, done.stderr
        pairs.append(result_from_json(done.stdout).pairs)
    assert pairs[0] == pairs[1]
    assert [pair.flagged for pair in pairs[0]].count(True) == 1
