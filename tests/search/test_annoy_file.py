"""auditor.search.annoy_file: its files through a kill, damage, and folders of any name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from auditor.errors import IndexFileError
from auditor.search import annoy_file
from auditor.search.annoy_index import build_index, open_index, refresh_index

WEIGHTS = "0a1b2c3d"


def unit_rows(n: int, n_dims: int = 32, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(n: int) -> list[str]:
    return [f"t{row:05}" for row in range(n)]


@pytest.fixture
def built(tmp_path):
    """A folder with an index of 300 tracks, their ids and their embeddings."""
    ids, embeddings = names(300), unit_rows(300)
    build_index(tmp_path, WEIGHTS, ids, embeddings, n_trees=20)
    return tmp_path, ids, embeddings


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
        patch.setattr(os, "replace", killed)
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
        patch.setattr(Path, "unlink", killed)
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
    monkeypatch.setattr(annoy_file, "VERIFY_BYTES", 1000)
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


@pytest.fixture
def undecodable(tmp_path) -> Path:
    """A folder whose name is not UTF-8; the test is skipped where there can be none."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    return folder


def test_a_folder_whose_name_is_not_utf8_holds_an_index_like_any_other(
    undecodable, tmp_path, monkeypatch
):
    ids, embeddings = names(300), unit_rows(300)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    for folder in (undecodable / "index", Path(undecodable.name, "beside")):
        made = build_index(folder, WEIGHTS, ids, embeddings, n_trees=20)
        opened = open_index(folder, WEIGHTS, ids, embeddings, verify=True)
        assert made.query(embeddings[:9], 5) == opened.query(embeddings[:9], 5)
        assert not refresh_index(folder, WEIGHTS, ids, embeddings, n_trees=20).rebuilt
        assert len(list(folder.iterdir())) == 2
    assert not list(temporary.iterdir())
    flip_a_byte(ann_file(folder))
    with pytest.raises(IndexFileError, match=r"caf\\xe9/beside/.* is damaged: its SHA-256"):
        open_index(folder, WEIGHTS, ids, embeddings)


@pytest.mark.parametrize(
    ("temporary", "reason"),
    [(b"missing", "No such file or directory"), (b"\xff", "its own path is not UTF-8")],
)
def test_without_a_link_such_a_folder_is_refused(
    undecodable, tmp_path, monkeypatch, temporary, reason
):
    ids, embeddings = names(30), unit_rows(30)
    build_index(undecodable, WEIGHTS, ids, embeddings)
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / os.fsdecode(temporary)))
    message = rf"caf\\xe9 is not UTF-8, which Annoy needs, .*: {reason}\. Rename it, or set TMPDIR"
    for use in (build_index, open_index, refresh_index):
        with pytest.raises(IndexFileError, match=message):
            use(undecodable, WEIGHTS, ids, embeddings)


def test_callers_mistakes_name_the_value(built):
    folder, ids, embeddings = built
    with pytest.raises(ValueError, match="weights_id is '../x'"):
        build_index(folder, "../x", ids, embeddings)
    with pytest.raises(ValueError, match=r"299 ids \(299 distinct\) for 300 embeddings"):
        build_index(folder, WEIGHTS, ids[1:], embeddings)
    with pytest.raises(ValueError, match=r"300 ids \(299 distinct\)"):
        open_index(folder, WEIGHTS, ids[1:] + ids[-1:], embeddings)
    with pytest.raises(ValueError, match="n_trees is 0"):
        build_index(folder, WEIGHTS, ids, embeddings, n_trees=0)
    with pytest.raises(ValueError, match=r"embeddings is \(0, 0\); at least one dimension"):
        build_index(folder, WEIGHTS, [], np.zeros((0, 0), np.float32))
