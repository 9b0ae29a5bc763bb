"""auditor.index: against exact search, with tracks that come, change and leave, and bad files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor import index as index_module
from auditor import pairs
from auditor.errors import IndexFileError
from auditor.index import build_index, candidate_pairs, open_index, refresh_index

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


def test_scores_have_the_bits_of_pairs_exact_scores():
    vectors, vector = unit_rows(500, 256), unit_rows(1, 256, seed=1)
    exact = pairs.exact_scores(vector, np.zeros(500, int), np.arange(500), others=vectors)
    assert np.array_equal(index_module._scores(vectors, vector[0]), exact)


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


def test_the_same_tracks_give_the_same_bytes_and_another_seed_others(tmp_path):
    ids, embeddings = names(300), unit_rows(300)
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        build_index(tmp_path / folder, WEIGHTS, ids, embeddings, n_trees=5, seed=seed)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("one", "two", "three")
    )
    assert one == two and set(one) != set(three)
    assert len(one) == 2 and f"{WEIGHTS}.json" in one


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
    assert len(candidate_pairs(index, threshold=0.5).scores) == 0


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


@pytest.mark.parametrize("n_replaced", [0, 1])
def test_a_build_killed_before_either_rename_leaves_the_old_index(built, monkeypatch, n_replaced):
    folder, _, embeddings = built
    before = (folder / f"{WEIGHTS}.json").read_bytes()
    replace, n_calls = os.replace, 0

    def killed(source, target):
        nonlocal n_calls
        n_calls += 1
        if n_calls > n_replaced:
            raise KeyboardInterrupt
        replace(source, target)

    more_ids, more = names(400), np.concatenate([embeddings, unit_rows(100, seed=9)])
    with monkeypatch.context() as patch:
        patch.setattr(index_module.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(folder, WEIGHTS, more_ids, more, n_trees=20)
    assert (folder / f"{WEIGHTS}.json").read_bytes() == before
    index = open_index(folder, WEIGHTS, more_ids, more)
    assert index.n_overlay == 100
    assert index.query(more[350:351], 1)[0][0][0] == 350
    build_index(folder, WEIGHTS, more_ids, more, n_trees=20)
    assert len(list(folder.iterdir())) == 2


def test_a_build_killed_before_the_old_file_goes_leaves_the_new_index(built, monkeypatch):
    folder, _, _ = built

    def killed(self, missing_ok=False):
        raise KeyboardInterrupt

    ids, embeddings = names(50), unit_rows(50, seed=9)
    with monkeypatch.context() as patch:
        patch.setattr(index_module.Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(folder, WEIGHTS, ids, embeddings)
    assert open_index(folder, WEIGHTS, ids, embeddings).n_overlay == 0


def test_without_a_sidecar_the_caller_decides(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path, WEIGHTS, names(3), unit_rows(3))


def ann_file(folder):
    (path,) = folder.glob("*.ann")
    return path


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: os.truncate(path, 1000), r"it has 1,000 bytes of [0-9,]+"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes"),
        (flip_a_byte, "its SHA-256 is not the one in the sidecar"),
    ],
)
def test_a_damaged_annoy_file_is_told_and_rebuilt(built, damage, message):
    folder, ids, embeddings = built
    damage(ann_file(folder))
    with pytest.raises(IndexFileError, match=rf"{WEIGHTS}-\w+\.ann is damaged: {message}.*Delete"):
        open_index(folder, WEIGHTS, ids, embeddings)
    refreshed = refresh_index(folder, WEIGHTS, ids, embeddings, n_trees=20)
    assert refreshed.rebuilt and "is damaged" in refreshed.reason
    assert "Delete" not in refreshed.reason
    assert open_index(folder, WEIGHTS, ids, embeddings).recall(20, 5) > 0.9


def test_large_files_are_hashed_only_when_asked(built, monkeypatch):
    folder, ids, embeddings = built
    monkeypatch.setattr(index_module, "VERIFY_BYTES", 1000)
    path = ann_file(folder)
    data = bytearray(path.read_bytes())
    data[12] ^= 1  # a mantissa bit of the first vector: harmless to Annoy
    path.write_bytes(data)
    open_index(folder, WEIGHTS, ids, embeddings)
    with pytest.raises(IndexFileError, match="SHA-256"):
        open_index(folder, WEIGHTS, ids, embeddings, verify=True)


def edit(**changes):
    def damage(path):
        data = json.loads(path.read_text())
        for name, value in changes.items():
            data[name] = value(data[name]) if callable(value) else value
        path.write_text(json.dumps(data))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "Expecting value"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00garbage"), "is damaged"),
        (lambda path: path.write_text("[" * 100_000), "is damaged"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "is damaged"),
        (lambda path: path.write_text("[]"), "sidecar is a list"),
        (edit(extra=1), "unknown field 'extra'"),
        (edit(format_version=2), "format_version is 2; 1 was expected"),
        (edit(metric="euclidean"), "metric is 'euclidean'; 'angular' was expected"),
        (edit(n_dims="32"), "sidecar.n_dims is '32'; int was expected"),
        (edit(n_dims=0), "n_dims is 0"),
        (edit(n_items=10**9), "n_items is 1000000000, with 300 distinct ids of 300"),
        (edit(ids=lambda ids: ids[:-1] + ids[:1]), "with 299 distinct ids of 300"),
        (edit(checksums=lambda text: text[8:]), "and 299 checksums"),
        (edit(checksums="../x"), "checksums is '../x'; hex digits were expected"),
        (edit(ann_sha256="../../etc/passwd"), "ann_sha256 is .*hex digits were expected"),
        (edit(ann_sha256="0" * 64), "No such file"),
    ],
)
def test_a_damaged_sidecar_is_told_and_rebuilt(built, damage, message):
    folder, ids, embeddings = built
    damage(folder / f"{WEIGHTS}.json")
    with pytest.raises(IndexFileError, match=message):
        open_index(folder, WEIGHTS, ids, embeddings)
    assert refresh_index(folder, WEIGHTS, ids, embeddings, n_trees=20).rebuilt
    open_index(folder, WEIGHTS, ids, embeddings)


def test_an_index_of_other_weights_or_dimension_is_refused_and_kept(built):
    folder, ids, embeddings = built
    (folder / f"{WEIGHTS}.json").rename(folder / "9f8e7d6c.json")
    ann = ann_file(folder)
    ann.rename(folder / ann.name.replace(WEIGHTS, "9f8e7d6c"))
    before = (folder / "9f8e7d6c.json").read_bytes()
    for use in (open_index, refresh_index):
        with pytest.raises(IndexFileError, match=f"weights {WEIGHTS} but .* weights 9f8e7d6c"):
            use(folder, "9f8e7d6c", ids, embeddings)
    (folder / "9f8e7d6c.json").rename(folder / f"{WEIGHTS}.json")
    for use in (open_index, refresh_index):
        with pytest.raises(IndexFileError, match="has 32 dimensions but .* have 16"):
            use(folder, WEIGHTS, ids, unit_rows(300, 16))
    assert (folder / f"{WEIGHTS}.json").read_bytes() == before


def test_recall_falls_when_annoy_may_look_at_little(tmp_path):
    embeddings = unit_rows(2000, 64)
    index = build_index(tmp_path, WEIGHTS, names(2000), embeddings, n_trees=10)
    few, some = (index.recall(100, 10, search_k=nodes) for nodes in (100, 1000))
    assert 0 < few < 0.5 < some < 1
    assert index.recall(100, 10) > 0.95
    assert few == index.recall(100, 10, search_k=100) != index.recall(100, 10, seed=1, search_k=100)


def planted(n: int = 600, n_copies: int = 100) -> np.ndarray:
    embeddings = unit_rows(n, 32, seed=3)
    embeddings[-n_copies:] = embeddings[:n_copies] + 0.05 * unit_rows(n_copies, 32, seed=4)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_candidate_pairs_hold_the_true_pairs_with_the_exact_scores(tmp_path):
    embeddings = planted()
    index = build_index(tmp_path, WEIGHTS, names(600), embeddings)
    seen = []
    found = candidate_pairs(
        index, threshold=0.9, top=5, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (600, 600)
    assert np.all(found.rows_a < found.rows_b)
    keys = list(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    assert keys == sorted(set(keys))
    exact = pairs.exact_scores(embeddings, found.rows_a, found.rows_b)
    assert np.array_equal(found.scores, exact)
    truth = pairs.find_pairs(embeddings, 0.9)
    assert set(zip(truth.rows_a.tolist(), truth.rows_b.tolist(), strict=True)) <= set(keys)
    assert len(truth.rows_a) >= 100
    assert found.recall == 1.0


def test_pair_recall_is_the_true_share_when_every_track_is_sampled(tmp_path):
    embeddings = unit_rows(500, 64, seed=5)
    index = build_index(tmp_path, WEIGHTS, names(500), embeddings, n_trees=1)
    found = candidate_pairs(index, threshold=0.3, top=3)
    truth = pairs.find_pairs(embeddings, 0.3)
    keys = set(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    true_keys = set(zip(truth.rows_a.tolist(), truth.rows_b.tolist(), strict=True))
    assert 0 < found.recall < 1
    assert found.recall == pytest.approx(len(keys & true_keys) / len(true_keys))
    assert candidate_pairs(index, threshold=1.0, top=3).recall is None


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
    with pytest.raises(ValueError, match="threshold is 2"):
        candidate_pairs(index, threshold=2)
    with pytest.raises(ValueError, match="weights_id is '../x'"):
        build_index(folder, "../x", ids, embeddings)
    with pytest.raises(ValueError, match=r"299 ids \(299 distinct\) for 300 embeddings"):
        build_index(folder, WEIGHTS, ids[1:], embeddings)
    with pytest.raises(ValueError, match=r"300 ids \(299 distinct\)"):
        open_index(folder, WEIGHTS, ids[1:] + ids[-1:], embeddings)
    with pytest.raises(ValueError, match="n_trees is 0"):
        build_index(folder, WEIGHTS, ids, embeddings, n_trees=0)
