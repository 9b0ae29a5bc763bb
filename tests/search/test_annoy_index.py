"""auditor.search.annoy_index: against exact search, and with tracks that come, change and leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.search import exact as pairs
from auditor.search.annoy_index import build_index, open_index, refresh_index

WEIGHTS = "0a1b2c3d"


def unit_rows(n: int, n_dims: int = 32, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(n: int, start: int = 0) -> list[str]:
    return [f"t{row:05}" for row in range(start, start + n)]


@pytest.fixture
def built(tmp_path):
    """A folder with an index of 300 tracks, their ids and their embeddings."""
    ids, embeddings = names(300), unit_rows(300)
    build_index(tmp_path, WEIGHTS, ids, embeddings, n_trees=20)
    return tmp_path, ids, embeddings


def expected(vector: np.ndarray, embeddings: np.ndarray, top: int) -> list[tuple[int, float]]:
    rows, scores = pairs.nearest(vector[None], embeddings, top)
    return list(zip(rows[0].tolist(), scores[0].tolist(), strict=True))


def test_a_small_index_finds_the_exact_nearest_with_the_exact_scores(built):
    folder, ids, embeddings = built
    index = open_index(folder, WEIGHTS, ids, embeddings)
    assert (len(index), index.n_overlay, index.n_tombstones) == (300, 0, 0)
    queries = unit_rows(20, seed=1)
    answers = index.query(queries, 5, search_k=100_000)
    assert answers == [expected(query, embeddings, 5) for query in queries]
    assert index.query(queries[:0], 5) == []
    assert len(index.query(queries[:1], 1000)[0]) == 300
    assert index.query(queries, 5) == answers
    assert index.recall(50, 5) == 1.0


def test_farthest_is_the_other_end_of_the_full_sort(built):
    folder, ids, embeddings = built
    index = open_index(folder, WEIGHTS, ids, embeddings)
    queries = unit_rows(10, seed=2)
    for query, answer in zip(queries, index.farthest(queries, 300), strict=True):
        everything = expected(query, embeddings, 300)
        assert answer == sorted(everything, key=lambda hit: (hit[1], hit[0]))
    top = index.farthest(queries[:1], 3, exclude=[expected(-queries[0], embeddings, 1)[0][0]])[0]
    assert len(top) == 3 and top == sorted(top, key=lambda hit: hit[1])
    assert top[0][0] != expected(-queries[0], embeddings, 1)[0][0]


def test_excluded_rows_never_come_and_are_made_up_for(built):
    folder, ids, embeddings = built
    index = open_index(folder, WEIGHTS, ids, embeddings)
    nearest = [row for row, _ in expected(embeddings[7], embeddings, 15)]
    answer = index.query(embeddings[7:8], 5, exclude=nearest[:10], search_k=100_000)[0]
    assert [row for row, _ in answer] == nearest[10:]
    assert len(index.query(embeddings[7:8], 10, exclude=range(295))[0]) == 5


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_overlay_and_tombstones_answer_as_if_built_anew(tmp_path_factory, data):
    seed = data.draw(st.integers(0, 2**16))
    n_base = data.draw(st.integers(0, 40))
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("index")
    ids, embeddings = names(n_base), unit_rows(n_base, 8, seed)
    build_index(folder, WEIGHTS, ids, embeddings, n_trees=4)

    kept = rng.random(n_base) < 0.6
    changed = kept & (rng.random(n_base) < 0.3)
    embeddings = embeddings.copy()
    embeddings[changed] = unit_rows(int(changed.sum()), 8, seed + 1)
    n_new = data.draw(st.integers(0, 20))
    now_ids = [i for i, keep in zip(ids, kept, strict=True) if keep] + names(n_new, 1000)
    now = np.concatenate([embeddings[kept], unit_rows(n_new, 8, seed + 2)])
    order = rng.permutation(len(now_ids))
    now_ids, now = [now_ids[row] for row in order], now[order]

    index = open_index(folder, WEIGHTS, now_ids, now)
    assert index.n_overlay == n_new + changed.sum()
    assert index.n_tombstones == changed.sum() + (~kept).sum()
    top = data.draw(st.integers(1, 10))
    query = unit_rows(1, 8, seed + 3)
    answer = index.query(query, top, search_k=100_000)[0]
    assert answer == expected(query[0], now, top)
    assert index.recall(10, 3) == pytest.approx(1, abs=0.2)


def test_a_catalogue_without_tracks_has_an_index_too(tmp_path):
    index = build_index(tmp_path, WEIGHTS, [], unit_rows(0))
    assert index.query(unit_rows(2), 3) == [[], []]
    assert index.recall() == 1.0
    one = open_index(tmp_path, WEIGHTS, ["a"], unit_rows(1))
    assert [row for row, _ in one.query(unit_rows(1), 3)[0]] == [0]


def test_refresh_builds_when_there_is_none_or_too_much_changed(tmp_path):
    ids, embeddings = names(2000), unit_rows(2000, 8)
    first = refresh_index(tmp_path, WEIGHTS, ids[:900], embeddings[:900], n_trees=2)
    assert first.rebuilt and first.reason == "there is no index yet"
    again = refresh_index(tmp_path, WEIGHTS, ids[:1900], embeddings[:1900], n_trees=2)
    assert not again.rebuilt and again.index.n_overlay == 1000
    grown = refresh_index(tmp_path, WEIGHTS, ids[:1901], embeddings[:1901], n_trees=2)
    assert grown.rebuilt and grown.reason.startswith("1,001 tracks came, changed or left")
    assert (grown.index.n_overlay, grown.index.n_tombstones) == (0, 0)
    other = refresh_index(tmp_path, WEIGHTS, ids[:1901], embeddings[:1901], n_trees=3)
    assert other.rebuilt and other.reason == "it has 2 trees of seed 0"
    assert len(list(tmp_path.iterdir())) == 2


def test_recall_falls_when_annoy_may_look_at_little(tmp_path):
    embeddings = unit_rows(2000, 64)
    index = build_index(tmp_path, WEIGHTS, names(2000), embeddings, n_trees=10)
    few, some = (index.recall(100, 10, search_k=nodes) for nodes in (100, 1000))
    assert 0 < few < 0.5 < some < 1
    assert index.recall(100, 10) > 0.95
    assert few == index.recall(100, 10, search_k=100) != index.recall(100, 10, seed=1, search_k=100)


def test_callers_mistakes_name_the_value(built):
    folder, ids, embeddings = built
    index = open_index(folder, WEIGHTS, ids, embeddings)
    with pytest.raises(ValueError, match="vectors have 16 dimensions; the index has 32"):
        index.query(unit_rows(1, 16), 3)
    with pytest.raises(ValueError, match=r"vectors is \(32,\) float32"):
        index.query(embeddings[0], 3)
    with pytest.raises(ValueError, match="row 0 of vectors has norm nan"):
        index.query(np.full((1, 32), np.nan, np.float32), 3)
    with pytest.raises(ValueError, match="top is 0"):
        index.query(embeddings[:1], 0)
    with pytest.raises(ValueError, match="search_k 0"):
        index.query(embeddings[:1], 1, search_k=0)
    with pytest.raises(ValueError, match="exclude runs from -1 to 300; rows are 0 to 299"):
        index.farthest(embeddings[:1], 1, exclude={-1, 300})
    with pytest.raises(ValueError, match="n_queries is 0"):
        index.recall(0)
