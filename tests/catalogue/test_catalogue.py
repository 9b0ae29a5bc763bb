"""Tests of the catalogue: round trips, ids, damage, locks, kills and moved files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sqlite3
import subprocess
import sys
from base64 import b32encode
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.catalogue.database import APPLICATION_ID, MIGRATIONS
from auditor.errors import CatalogueError, WorkspaceLockedError, show_path
from auditor.records import Skipped, Track, TrackEmbedding

WEIGHTS = "0a1b2c3d"
STAMP = FileStamp(1000, 1_700_000_000_123_456_789)


def make_track(number: int, **changes) -> Track:
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    values = {
        "id": f"t{number:05d}",
        "path": f"/music/{number}.mp3",
        "sha256": sha256,
        "size": STAMP.size,
        "duration_s": 12.5,
        "declared_s": None,
        "truncated": False,
        "silent": False,
        "codec": "mp3",
        "container": "mp3",
        "sample_rate_hz": 44100,
        "n_channels": 2,
        "bit_rate": 128000,
        "genres": ("Rock", "Punk"),
    }
    return Track(**{**values, **changes})


def make_embedding(seed: int, n_windows: int = 3, n_dims: int = 8) -> TrackEmbedding:
    rng = np.random.default_rng(seed)
    dvectors = rng.normal(size=(n_windows, n_dims))
    dvectors /= np.linalg.norm(dvectors, axis=1, keepdims=True)
    mean = dvectors.mean(axis=0)
    return TrackEmbedding(
        embedding=(mean / np.linalg.norm(mean)).astype(np.float32),
        dvectors=dvectors.astype(np.float16),
        levels=rng.uniform(-60, 0, size=n_windows).astype(np.float16),
    )


def put(catalogue: Catalogue, number: int, *, path: bytes | None = None, **changes) -> Track:
    track = make_track(number, **changes)
    embedding = make_embedding(number)
    if track.silent:
        embedding = dataclasses.replace(embedding, embedding=np.zeros(8, np.float32))
    catalogue.put(
        track,
        path_bytes=path or os.fsencode(track.path),
        stamp=STAMP,
        embeddings={WEIGHTS: embedding},
    )
    return track


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as opened:
        yield opened


def edit(catalogue: Catalogue, sql: str, *values: object) -> None:
    """Damage the file behind the catalogue's back."""
    connection = sqlite3.connect(catalogue.path)
    with connection:
        connection.execute(sql, values)
    connection.close()


texts = st.text(max_size=20)


@settings(max_examples=25, deadline=None)
@given(
    title=texts,
    genres=st.lists(texts, max_size=3).map(tuple),
    declared_s=st.none() | st.floats(0, 1e6),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    bit_rate=st.none() | st.integers(0, 2**40),
    n_windows=st.integers(0, 4),
    path_bytes=st.binary(min_size=1, max_size=30),
)
def test_what_is_put_is_read_back(
    tmp_path_factory, title, genres, declared_s, flags, bit_rate, n_windows, path_bytes
):
    truncated, silent, missing = flags
    track = make_track(
        1,
        path=show_path(path_bytes),
        title=title,
        genres=genres,
        declared_s=declared_s,
        truncated=truncated,
        silent=silent,
        missing=missing,
        bit_rate=bit_rate,
    )
    embedding = dataclasses.replace(
        make_embedding(1),
        dvectors=make_embedding(2, 4).dvectors[:n_windows],
        levels=make_embedding(2, 4).levels[:n_windows],
    )
    file = tmp_path_factory.mktemp("round") / "c.sqlite3"
    with Catalogue.open(file) as catalogue:
        catalogue.put(track, path_bytes=path_bytes, stamp=STAMP, embeddings={WEIGHTS: embedding})
    with Catalogue.open(file, read_only=True) as catalogue:
        assert catalogue.track(track.id) == track
        assert catalogue.tracks() == [track]
        assert catalogue.path_of(track.id) == path_bytes
        assert catalogue.stamp(path_bytes) == (track.id, STAMP, {WEIGHTS})
        dvectors, levels = catalogue.dvectors(track.id, WEIGHTS)
        ids, matrix = catalogue.embeddings(WEIGHTS, present_only=False)
    np.testing.assert_array_equal(dvectors, embedding.dvectors)
    np.testing.assert_array_equal(levels, embedding.levels)
    assert dvectors.dtype == levels.dtype == np.float16
    assert dvectors.shape == (n_windows, 8)
    assert ids == ([] if silent else [track.id])
    if not silent:
        np.testing.assert_array_equal(matrix, embedding.embedding[None])
        assert matrix.dtype == np.float32


def test_embeddings_are_sorted_and_leave_out_silent_and_missing_tracks(catalogue):
    for number in (5, 3, 1, 4, 2):
        put(catalogue, number, silent=number == 4)
    catalogue.mark_missing(["t00002", "unknown"])
    ids, matrix = catalogue.embeddings(WEIGHTS)
    assert ids == ["t00001", "t00003", "t00005"]
    np.testing.assert_array_equal(matrix[1], make_embedding(3).embedding)
    assert catalogue.embeddings(WEIGHTS, present_only=False)[0][1] == "t00002"
    assert [t.id for t in catalogue.tracks(present_only=True)] == [
        "t00001",
        "t00003",
        "t00004",
        "t00005",
    ]
    catalogue.mark_present(["t00002"])
    assert len(catalogue.embeddings(WEIGHTS)[0]) == 4
    ids, matrix = catalogue.embeddings("ffffffff")
    assert ids == [] and matrix.shape == (0, 0)


def test_put_again_keeps_other_weights_until_the_content_changes(catalogue):
    track = put(catalogue, 1)
    path = os.fsencode(track.path)
    catalogue.put(
        track, path_bytes=path, stamp=STAMP, embeddings={"ffffffff": make_embedding(9, 2, 4)}
    )
    assert catalogue.stamp(path)[2] == {WEIGHTS, "ffffffff"}
    assert catalogue.embeddings("ffffffff")[1].shape == (1, 4)
    changed = dataclasses.replace(track, sha256="ab" * 32)
    catalogue.put(changed, path_bytes=path, stamp=STAMP, embeddings={WEIGHTS: make_embedding(7, 5)})
    assert catalogue.stamp(path)[2] == {WEIGHTS}
    assert catalogue.dvectors(track.id, WEIGHTS)[0].shape == (5, 8)
    assert catalogue.tracks() == [changed]
    assert catalogue.verify()[0].endswith("is gone. Run: audit scan DIR")


def test_put_removes_the_skipped_row_of_its_path(catalogue):
    bad = b"/music/\xff\n.mp3"
    catalogue.put_skipped(bad, Skipped("", "no audio", "no-audio", "ab"), None)
    catalogue.put_skipped(b"/music/1.mp3", Skipped("", "truncated \udcff"), STAMP)
    assert catalogue.skipped_stamps() == {bad: None, b"/music/1.mp3": STAMP}
    assert catalogue.skipped() == [
        Skipped("/music/1.mp3", "truncated ?"),
        Skipped(r"/music/\xff\n.mp3", "no audio", "no-audio", "ab"),
    ]
    put(catalogue, 1)
    assert catalogue.skipped_stamps() == {bad: None}
    catalogue.forget_skipped([bad, b"unknown"])
    assert catalogue.skipped() == []


def test_an_id_is_not_taken_from_a_file_that_is_still_there(catalogue):
    put(catalogue, 1)
    with pytest.raises(CatalogueError, match="/other.mp3: its id t00001 belongs to /music/1.mp3"):
        put(catalogue, 1, path=b"/other.mp3")
    catalogue.mark_missing(["t00001"])
    put(catalogue, 1, path=b"/other.mp3")
    assert catalogue.path_of("t00001") == b"/other.mp3"


def test_a_path_stored_under_a_new_id(catalogue):
    old = put(catalogue, 1)
    path = os.fsencode(old.path)
    put(catalogue, 1, id="000001")
    assert [t.id for t in catalogue.tracks()] == ["000001"]
    put(catalogue, 2, path=path)
    assert [(t.id, t.missing) for t in catalogue.tracks()] == [("000001", True), ("t00002", False)]
    assert catalogue.ids_by_sha256(old.sha256) == [("000001", b"")]
    with pytest.raises(CatalogueError, match="track 000001: its file .* was replaced"):
        catalogue.path_of("000001")
    catalogue.mark_present(["000001"])
    assert catalogue.track("000001").missing


def test_a_renamed_track_keeps_all_that_is_stored_of_it(catalogue):
    track = put(catalogue, 1)
    put(catalogue, 2)
    vectors = catalogue.dvectors("t00001", WEIGHTS)
    embedding = catalogue.embeddings(WEIGHTS)[1][0]
    assert not catalogue.rename("t00001", "t00002"), "the id of another track is not taken"
    assert [t.id for t in catalogue.tracks()] == ["t00001", "t00002"]
    assert catalogue.rename("t00001", "000001")
    assert catalogue.track("000001") == dataclasses.replace(track, id="000001")
    ids, embeddings = catalogue.embeddings(WEIGHTS)
    assert ids == ["000001", "t00002"]
    assert np.array_equal(embeddings[0], embedding)
    for new, old in zip(catalogue.dvectors("000001", WEIGHTS), vectors, strict=True):
        assert np.array_equal(new, old)
    assert all("is gone" in problem for problem in catalogue.verify())
    catalogue.remove(["000001"])
    assert catalogue.embeddings(WEIGHTS)[0] == ["t00002"]
    with pytest.raises(CatalogueError, match="no track has the id 'nosuch'"):
        catalogue.rename("nosuch", "other")


def test_two_files_that_swap_names_keep_their_ids(catalogue):
    put(catalogue, 1)
    put(catalogue, 2)
    catalogue.relocate("t00002", b"/music/1.mp3", FileStamp(1, 2))
    catalogue.relocate("t00001", b"/music/2.mp3", FileStamp(3, 4))
    assert catalogue.stamps() == {
        b"/music/1.mp3": ("t00002", FileStamp(1, 2), {WEIGHTS}),
        b"/music/2.mp3": ("t00001", FileStamp(3, 4), {WEIGHTS}),
    }
    assert [(t.path, t.missing) for t in catalogue.tracks()] == [
        ("/music/2.mp3", False),
        ("/music/1.mp3", False),
    ]
    with pytest.raises(CatalogueError, match="no track has the id 't9'"):
        catalogue.relocate("t9", b"/music/1.mp3", STAMP)
    assert not catalogue.track("t00002").missing  # rolled back


def test_new_ids(catalogue):
    digest = hashlib.sha256(b"x").digest()
    letters = b32encode(digest).decode().lower()
    sha256 = digest.hex()
    for expected in (letters[:8], f"{letters[:8]}-2", f"{letters[:8]}-3"):
        assert catalogue.new_id(sha256) == expected
        put(catalogue, 1, id=expected, sha256=sha256, path=expected.encode())
    other = (digest[:5] + hashlib.sha256(b"y").digest()[5:]).hex()
    longer = catalogue.new_id(other)
    assert len(longer) == 9 and longer.startswith(letters[:8])
    put(catalogue, 2, id=longer, sha256=other, path=b"other")
    assert catalogue.new_id(other) == f"{longer}-2"
    assert catalogue.new_id(sha256) == f"{letters[:8]}-4"
    assert catalogue.ids_by_sha256(sha256) == [
        (i, i.encode()) for i in (letters[:8], f"{letters[:8]}-2", f"{letters[:8]}-3")
    ]


def test_unknown_ids_name_close_ones(catalogue):
    put(catalogue, 1)
    put(catalogue, 2)
    with pytest.raises(CatalogueError, match=r"no track has the id 't0001'. Did you mean t00001"):
        catalogue.track("t0001")
    with pytest.raises(CatalogueError, match="Run: audit catalogue list"):
        catalogue.path_of("zzz")
    with pytest.raises(CatalogueError, match="no track has the id"):
        catalogue.dvectors("zzz", WEIGHTS)
    with pytest.raises(CatalogueError, match="t00001 has no d-vectors of weights ffffffff"):
        catalogue.dvectors("t00001", "ffffffff")
    with pytest.raises(CatalogueError, match="no track has the id"):
        catalogue.update_tags(make_track(7))
    with pytest.raises(CatalogueError, match="no track has the id"):
        catalogue.remove(["t00001", "zzz"])
    assert len(catalogue.tracks()) == 2


def test_remove_takes_embeddings_and_dvectors_along(catalogue):
    put(catalogue, 1)
    put(catalogue, 2)
    catalogue.remove(["t00001"])
    assert catalogue.embeddings(WEIGHTS)[0] == ["t00002"]
    connection = sqlite3.connect(catalogue.path)
    assert connection.execute("SELECT track_id FROM dvectors").fetchall() == [("t00002",)]
    connection.close()


def test_update_tags_changes_tags_only(catalogue):
    track = put(catalogue, 1)
    new = dataclasses.replace(
        track, title="<b>T", genres=("Folk",), source="fma", licence="CC BY", codec="flac"
    )
    catalogue.update_tags(new)
    assert catalogue.track(track.id) == dataclasses.replace(new, codec="mp3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": np.ones(8, np.float32)}, "the embedding is not a unit vector"),
        ({"embedding": np.zeros(8, np.float32)}, "the embedding is not a unit vector"),
        ({"embedding": np.full(8, np.nan, np.float32)}, "the embedding is not a unit vector"),
        ({"embedding": np.eye(1, 7)[0]}, "do not fit together"),
        ({"levels": np.zeros(2)}, "do not fit together"),
        ({"levels": np.full(3, np.nan)}, "levels hold NaN"),
        ({"dvectors": np.zeros(8)}, "have 1, 1 and 1 axes"),
        ({"dvectors": np.ones((3, 8))}, "dvectors are not unit vectors"),
    ],
)
def test_put_refuses_arrays_that_do_not_fit(catalogue, changes, message):
    embedding = dataclasses.replace(make_embedding(1), **changes)
    with pytest.raises(ValueError, match=message):
        catalogue.put(make_track(1), path_bytes=b"/a", stamp=STAMP, embeddings={WEIGHTS: embedding})
    assert catalogue.tracks() == []


def test_put_refuses_a_duration_that_is_no_number(catalogue):
    with pytest.raises(ValueError, match="its duration is nan"):
        put(catalogue, 1, duration_s=float("nan"))


def test_missing_catalogue_read_only(tmp_path):
    with pytest.raises(
        CatalogueError, match=r"no catalogue at .*none.sqlite3; run: audit scan DIR"
    ):
        Catalogue.open(tmp_path / "none.sqlite3", read_only=True)
    (tmp_path / "empty.sqlite3").touch()  # a run killed before its first byte
    with pytest.raises(CatalogueError, match="no catalogue at"):
        Catalogue.open(tmp_path / "empty.sqlite3", read_only=True)
    with Catalogue.open(tmp_path / "empty.sqlite3") as catalogue:
        assert catalogue.tracks() == []


def test_reading_only_writes_nothing(tmp_path, catalogue):
    put(catalogue, 1)
    with Catalogue.open(catalogue.path, read_only=True) as reader:
        with pytest.raises(CatalogueError, match="it cannot be written to"):
            put(reader, 2)
        assert len(reader.tracks()) == 1


@pytest.mark.parametrize("content", [b"hello", b"hello " * 1000, b"\0" * 5000])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_not_sqlite_is_left_as_it_is(tmp_path, content, read_only):
    file = tmp_path / "c.sqlite3"
    file.write_bytes(content)
    with pytest.raises(CatalogueError, match="not an SQLite file.*--workspace"):
        Catalogue.open(file, read_only=read_only)
    assert file.read_bytes() == content
    assert os.listdir(tmp_path) == ["c.sqlite3"]


def test_sqlite_files_of_others_and_of_newer_versions_are_left_as_they_are(tmp_path):
    file = tmp_path / "c.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(CatalogueError, match="an SQLite file of another program"):
        Catalogue.open(file)
    assert file.read_bytes() == before
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(CatalogueError, match="99; this audit knows up to 11. Install the"):
        Catalogue.open(file)
    assert file.read_bytes() == before


def test_a_folder_in_the_way(tmp_path):
    with pytest.raises(CatalogueError, match="cannot be read or written"):
        Catalogue.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CatalogueError, match="--workspace"):
        Catalogue.open(tmp_path / "file" / "c.sqlite3")


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_damaged_pages_are_reported(tmp_path, damage):
    file, empty = tmp_path / "c.sqlite3", tmp_path / "empty.sqlite3"
    Catalogue.open(empty).close()
    with Catalogue.open(file) as catalogue:
        for number in range(60):
            put(catalogue, number)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        n_empty = empty.stat().st_size  # the schema, which is not damaged here
        file.write_bytes(content[:n_empty] + b"\xa5" * (len(content) - n_empty))
    before = file.read_bytes()
    with (
        pytest.raises(CatalogueError, match=r"damaged \(.*audit scan DIR"),
        Catalogue.open(file) as catalogue,
    ):
        catalogue.tracks()
    assert file.read_bytes() == before
    if damage == "overwritten":
        with Catalogue.open(file, read_only=True) as catalogue:
            assert any("damaged" in problem for problem in catalogue.verify())


def test_a_full_disk_is_said_and_loses_nothing(catalogue):
    put(catalogue, 0)
    n_pages = catalogue._connection.execute("PRAGMA page_count").fetchone()[0]
    catalogue._connection.execute(f"PRAGMA max_page_count = {n_pages + 4}")
    n_stored = 1
    with pytest.raises(CatalogueError, match="the disk is full.*Free some space"):
        for number in range(1, 10_000):
            put(catalogue, number)
            n_stored += 1
    catalogue._connection.execute("PRAGMA max_page_count = 1000000")
    assert len(catalogue.tracks()) == n_stored
    put(catalogue, 10_000)
    assert len(catalogue.embeddings(WEIGHTS)[0]) == n_stored + 1


def test_two_writers(tmp_path, catalogue):
    other = sqlite3.connect(catalogue.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Catalogue.open(catalogue.path, busy_timeout_s=0.05) as second:
        with pytest.raises(WorkspaceLockedError, match="another process is writing.*again"):
            put(second, 1)
        assert second.tracks() == []  # readers do not wait
        other.execute("ROLLBACK")
        put(second, 1)
    other.close()
    assert len(catalogue.tracks()) == 1


def test_opening_locked_by_a_writer_that_makes_the_schema(tmp_path):
    file = tmp_path / "c.sqlite3"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(WorkspaceLockedError, match="another process is writing"):
        Catalogue.open(file, busy_timeout_s=0.05)
    other.close()


def test_a_killed_process_loses_only_its_open_transaction(tmp_path, catalogue):
    put(catalogue, 1)
    script = """
import os, sys
from auditor.catalogue.catalogue import Catalogue
catalogue = Catalogue.open(sys.argv[1])
catalogue.mark_missing(["t00001"])
connection = catalogue._connection
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM tracks")
os._exit(9)
"""
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script, catalogue.path], cwd=root, check=False)
    assert killed.returncode == 9
    assert catalogue.track("t00001").missing
    put(catalogue, 2)


def test_a_failed_migration_leaves_the_file_as_it_was(tmp_path, monkeypatch, catalogue):
    put(catalogue, 1)
    broken = (*MIGRATIONS, ("ALTER TABLE tracks ADD COLUMN mood TEXT", "nonsense"))
    monkeypatch.setattr("auditor.catalogue.database.MIGRATIONS", broken)
    with pytest.raises(CatalogueError, match="version 11; 12 is needed. Run: audit scan DIR"):
        Catalogue.open(catalogue.path, read_only=True)
    with pytest.raises(CatalogueError, match="nonsense"):
        Catalogue.open(catalogue.path)
    good = (*MIGRATIONS, ("ALTER TABLE tracks ADD COLUMN mood TEXT",))
    monkeypatch.setattr("auditor.catalogue.database.MIGRATIONS", good)
    with Catalogue.open(catalogue.path) as migrated:
        assert migrated.track("t00001") == make_track(1)
        assert migrated._connection.execute("PRAGMA user_version").fetchone() == (len(good),)


@pytest.mark.parametrize(
    ("sql", "value", "message"),
    [
        ("UPDATE embeddings SET embedding = ?", b"1234567", "its embedding has 7 bytes; 32 bytes"),
        ("UPDATE embeddings SET embedding = ?", "x", "its embedding has a str; 32 bytes"),
        ("UPDATE embeddings SET embedding = ?", b"\xff" * 32, "has the norm nan; 1 was"),
        ("UPDATE embeddings SET embedding = ?", b"\0" * 32, "has the norm 0; 1 was"),
        ("UPDATE embeddings SET n_dims = ?", -8, "its embedding has no size"),
        ("UPDATE embeddings SET n_dims = ?", "many", "its embedding has no size"),
    ],
)
def test_untrusted_embeddings(catalogue, sql, value, message):
    put(catalogue, 1)
    put(catalogue, 2)
    edit(catalogue, f"{sql} WHERE track_id = 't00002'", value)
    with pytest.raises(CatalogueError, match=f"track t00002: .*{message}.*remove t00002"):
        catalogue.embeddings(WEIGHTS)
    assert any("track t00002" in problem for problem in catalogue.verify())


def test_embeddings_of_two_sizes_name_both_tracks(catalogue):
    put(catalogue, 1)
    catalogue.put(
        make_track(2),
        path_bytes=b"/2",
        stamp=STAMP,
        embeddings={WEIGHTS: make_embedding(2, n_dims=4)},
    )
    with pytest.raises(CatalogueError, match="t00002 has 4 dimensions but track t00001 has 8"):
        catalogue.embeddings(WEIGHTS)


@pytest.mark.parametrize(
    ("sql", "value", "message"),
    [
        ("UPDATE dvectors SET dvectors = ?", b"12", "d-vectors has 2 bytes; 48 bytes"),
        ("UPDATE dvectors SET levels = ?", b"", "levels has 0 bytes; 6 bytes"),
        ("UPDATE embeddings SET n_windows = ?", 2**40, "d-vectors has 48 bytes"),
        ("UPDATE dvectors SET weights_id = ?", "ffffffff", "d-vectors has a NoneType"),
    ],
)
def test_untrusted_dvectors(catalogue, sql, value, message):
    put(catalogue, 1)
    edit(catalogue, sql, value)
    with pytest.raises(CatalogueError, match=message):
        catalogue.dvectors("t00001", WEIGHTS)
    assert any(message in problem for problem in catalogue.verify())


@pytest.mark.parametrize(
    ("sql", "value", "message"),
    [
        ("UPDATE tracks SET title = ?", b"\xff", "as its title"),
        ("UPDATE tracks SET size = ?", "big", "'big' as its size"),
        ("UPDATE tracks SET genres = ?", "[1]", "as its genres"),
        ("UPDATE tracks SET genres = ?", "[" * 100_000, "as its genres"),
        ("UPDATE tracks SET duration_s = ?", float("inf"), "inf as its duration_s"),
        ("UPDATE tracks SET title = CAST(x'ff' AS TEXT) WHERE ?", 1, "damaged .*UTF-8"),
        ("ALTER TABLE tracks RENAME TO ?", None, "damaged .*no such table"),
    ],
)
def test_untrusted_tracks(catalogue, sql, value, message):
    put(catalogue, 1)
    if value is None:
        edit(catalogue, sql.replace("?", "other"))
    else:
        edit(catalogue, sql, value)
    with pytest.raises(CatalogueError, match=message):
        catalogue.tracks()
    assert catalogue.verify()


def test_verify_compares_files_with_what_was_scanned(tmp_path, catalogue):
    for number in range(4):
        file = tmp_path / f"{number}.mp3"
        file.write_bytes(b"x" * 10)
        catalogue.put(
            make_track(number, sha256=hashlib.sha256(b"x" * 10).hexdigest(), size=10),
            path_bytes=os.fsencode(file),
            stamp=FileStamp(10, file.stat().st_mtime_ns),
            embeddings={WEIGHTS: make_embedding(number)},
        )
    assert catalogue.verify(hashes=True) == []
    (tmp_path / "0.mp3").unlink()
    (tmp_path / "1.mp3").write_bytes(b"longer than it was")
    stamp = (tmp_path / "2.mp3").stat()
    (tmp_path / "2.mp3").write_bytes(b"y" * 10)
    os.utime(tmp_path / "2.mp3", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    problems = catalogue.verify()
    assert len(problems) == 2
    assert "0.mp3 is gone" in problems[0] and "1.mp3 has changed" in problems[1]
    assert "2.mp3 has other bytes" in catalogue.verify(hashes=True)[2]
    catalogue.mark_missing(["t00000"])
    assert len(catalogue.verify()) == 1


def test_verify_finds_vectors_and_rows_that_do_not_belong(catalogue):
    put(catalogue, 1)
    half = (np.eye(1, 8)[0] / 2).astype("<f4").tobytes()
    edit(catalogue, "UPDATE embeddings SET embedding = ?", half)
    assert "the embedding is not a unit vector" in catalogue.verify()[0]
    edit(catalogue, "UPDATE dvectors SET levels = ?", np.full(3, np.nan, "<f2").tobytes())
    assert "a d-vector is not a unit vector" in catalogue.verify()[1]
    edit(catalogue, "DELETE FROM tracks")  # foreign keys are off behind the catalogue's back
    assert "of embeddings belongs to nothing in tracks" in catalogue.verify()[0]


def test_stats(catalogue):
    empty = catalogue.stats(None)
    assert empty["n_tracks"] == 0 and empty["hours"] == 0 and empty["n_bytes"] > 0
    put(catalogue, 1, duration_s=3600.0)
    put(catalogue, 2, duration_s=1800.0, truncated=True, codec="flac", container="flac")
    put(catalogue, 3, duration_s=0.0, silent=True)
    catalogue.put_skipped(b"/x", Skipped("", "no audio"), STAMP)
    catalogue.mark_missing(["t00001"])
    stats = catalogue.stats(WEIGHTS)
    del stats["n_bytes"]
    assert stats == {
        "n_tracks": 3,
        "hours": 1.5,
        "n_missing": 1,
        "n_truncated": 1,
        "n_silent": 1,
        "n_skipped": 1,
        "n_embedded": 3,
        "n_windows": 9,
        "by_codec": {"flac": 1, "mp3": 2},
        "by_weights": {WEIGHTS: 3},
    }
    assert catalogue.stats("ffffffff")["n_windows"] == 0


def test_paths_with_marks_of_addresses(tmp_path):
    file = tmp_path / "a?b#c%20" / "c.sqlite3"
    with Catalogue.open(file) as catalogue:
        put(catalogue, 1)
    assert file.exists()
    with Catalogue.open(file, read_only=True) as catalogue:
        assert len(catalogue.tracks()) == 1


def steps_of(catalogue, work) -> int:
    """Return how many tens of steps SQLite's machine takes for a piece of work."""
    n_steps = 0

    def count() -> None:
        nonlocal n_steps
        n_steps += 1

    catalogue._connection.set_progress_handler(count, 10)
    work()
    catalogue._connection.set_progress_handler(None, 0)
    return n_steps


def test_a_track_costs_the_same_among_many_as_among_few(catalogue):
    def put_some(first: int) -> None:
        for number in range(first, first + 50):
            catalogue.put(
                make_track(number),
                path_bytes=b"/music/%d" % number,
                stamp=STAMP,
                embeddings={WEIGHTS: make_embedding(1, 1)},
            )

    n_steps = [steps_of(catalogue, lambda n=n: put_some(n)) for n in range(0, 400, 50)]
    assert n_steps[0] > 0
    assert n_steps[-1] < 2 * n_steps[0]
    assert len(catalogue.stamps()) == 400
    assert catalogue.embeddings(WEIGHTS)[1].shape == (400, 8)
    marking = [
        steps_of(catalogue, lambda n=n: catalogue.mark_missing(f"t{i:05d}" for i in range(n)))
        for n in (50, 400)
    ]
    assert marking[1] < 16 * marking[0]  # in proportion, not with the square
    assert catalogue.tracks(present_only=True) == []


def test_tracks_of_an_artist_are_counted_else_those_of_an_album(catalogue):
    tags = [("A", "X"), ("a", "Y"), ("Various Artists", "Y"), ("", "X"), ("B", "")]
    for number, (artist, album) in enumerate(tags):
        put(catalogue, number, artist=artist, album=album)

    def count(artist, album):
        return catalogue.n_of_source(make_track(99, artist=artist, album=album))

    assert count(" A ", "Z") == 2
    assert count("Various Artists", "y") == 2, "an album by nobody"
    assert count("", "Z") == count("C", "X") == count("unknown", "") == 0
