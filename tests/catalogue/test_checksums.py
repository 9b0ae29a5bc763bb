"""Rows that the disk changed are named, whatever the value, and no other one stands for them."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from small_catalogue import WEIGHTS, make_track, put, sha

from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.errors import DamagedTrackError
from auditor.records import Skipped

OF_B = {"tracks": "id = 'b'", "embeddings": "track_id = 'b'", "dvectors": "track_id = 'b'"}

LEFT_OUT = [
    ("embeddings", "track_id", "'zz'", "its embedding is lost"),
    ("embeddings", "weights_id", "'zz'", "its embedding is lost"),
    ("embeddings", "n_windows", "5", "its embedding changed"),
    ("tracks", "id", "'zz'", "an embedding belongs to no track"),
    ("tracks", "silent", "4", "its row of tags and facts changed"),
    ("tracks", "missing", "4", "its row of tags and facts changed"),
]
"""What hides a track from a search, and what is said of it."""


def rot(folder, table: str, column: str, value: str) -> None:
    """Change a value of b as a disk does: no trigger and no reference is asked."""
    with contextlib.closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {OF_B[table]}")
        connection.commit()


@pytest.fixture
def folder(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as catalogue:
        for name in "abc":
            put(catalogue, make_track(name))
        assert catalogue.table(WEIGHTS).damaged == ()
    return tmp_path


@pytest.mark.parametrize(("table", "column", "value", "said"), LEFT_OUT)
def test_a_value_that_hides_a_track_from_searches_is_named(folder, table, column, value, said):
    rot(folder, table, column, value)
    file = folder / "catalogue.sqlite3"
    with Catalogue.open(file, read_only=True) as catalogue:
        found = catalogue.table(WEIGHTS)
        assert found.tracks.names() == ["a", "c"]
        ((track_id, problem),) = found.damaged
        assert (track_id, said in problem) == ("b", True)
        assert list(catalogue.verify())
    with Catalogue.open(file) as catalogue:
        aside = catalogue.set_damaged_aside(WEIGHTS)
        assert any(said in p for p in aside.values())
        assert catalogue.table(WEIGHTS).tracks.names() == ["a", "c"]
        assert [name for name, _ in catalogue.table(WEIGHTS).damaged] == ["b"]


@pytest.mark.parametrize("table", ["embeddings", "dvectors"])
def test_a_lost_key_is_named_when_d_vectors_are_read(folder, monkeypatch, table):
    monkeypatch.setattr("auditor.catalogue.catalogue.MIN_TRACKS", 1)
    with Catalogue.open(folder / "catalogue.sqlite3") as catalogue:
        catalogue.table(WEIGHTS)  # it is mapped from now on, and holds what there was
    rot(folder, table, "track_id", "'zz'")
    with Catalogue.open(folder / "catalogue.sqlite3", read_only=True) as catalogue:
        assert catalogue.table(WEIGHTS).tracks.names() == ["a", "b", "c"]
        with pytest.raises(DamagedTrackError, match="track b: its .*audit scan DIR") as raised:
            catalogue.dvectors("b", WEIGHTS)
        assert raised.value.track_id == "b"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("embeddings", "track_id"), ("embeddings", "weights_id"), ("dvectors", "track_id")),
        *(("dvectors", "weights_id"), ("tracks", "id")),
    ],
)
def test_lost_rows_go_once_every_track_has_an_embedding(folder, table, column):
    rot(folder, table, column, "'zz'")
    with Catalogue.open(folder / "catalogue.sqlite3") as catalogue:
        catalogue.drop_lost_rows(WEIGHTS)
        assert list(catalogue.verify())  # they tell of the loss as long as it is one
        put(catalogue, make_track("zz" if table == "tracks" else "b"), "/music/b.mp3")
        catalogue.drop_lost_rows(WEIGHTS)
        assert [p for p in catalogue.verify() if "Run: audit scan" not in p or "row" in p] == []
        assert len(catalogue.table(WEIGHTS).tracks) == 3
        assert catalogue.set_damaged_aside(WEIGHTS) == {}


def test_lost_rows_of_other_weights_stay(folder):
    with contextlib.closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        for table in ("embeddings", "dvectors"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            taken = ", ".join("'ffffffff'" if name == "weights_id" else name for name in names)
            connection.execute(f"INSERT INTO {table} SELECT {taken} FROM {table}")
        connection.execute(f"UPDATE embeddings SET track_id = 'zz' WHERE {OF_B['embeddings']}")
        connection.commit()
    with Catalogue.open(folder / "catalogue.sqlite3") as catalogue:
        put(catalogue, make_track("b"))
        catalogue.drop_lost_rows(WEIGHTS)
        assert set(catalogue.set_damaged_aside(WEIGHTS)) == set()
        assert set(catalogue.set_damaged_aside("ffffffff")) == {"b"}


SKIPPED = {
    "path_bytes": b"/music/y",
    "path": "/music/y",
    "reason": "no audix",
    "code": "silent",
} | {
    "sha256": "ac",
    "size": 4,
    "mtime_ns": 4,
    "crc": 7,
}


@pytest.mark.parametrize("column", SKIPPED)
def test_a_skipped_file_whose_row_the_disk_changed_is_looked_at_again(tmp_path, column):
    file = tmp_path / "catalogue.sqlite3"
    stamp, good, bad = FileStamp(3, 3), b"/music/a", b"/music/x"
    with Catalogue.open(file) as catalogue:
        for path in (good, bad):
            catalogue.put_skipped(path, Skipped("", "no audio", "no-audio", "ab"), stamp)
        assert catalogue.skipped_stamps() == {good: stamp, bad: stamp}
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            f"UPDATE skipped SET {column} = ? WHERE path_bytes = ?", (SKIPPED[column], bad)
        )
    with Catalogue.open(file, read_only=True) as catalogue:
        assert set(catalogue.skipped_stamps()) == {good}
        assert [one.code for one in catalogue.skipped()] == ["no-audio", "damaged-row"]
        (problem,) = catalogue.verify()
        assert "the checksum is another" in problem
    with Catalogue.open(file) as catalogue:
        catalogue.drop_damaged_skipped()
        assert catalogue.verify() == []
        assert [one.path for one in catalogue.skipped()] == ["/music/a"]


def test_rows_from_before_they_had_checksums_get_them(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(file) as catalogue:
        catalogue.put_skipped(b"/music/x", Skipped("", "no audio", "no-audio"), None)
        made = catalogue.decide(sha("a"), sha("b"), "cover")
        skipped = catalogue.skipped()
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        for table in ("decisions", "skipped"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN crc")
        connection.execute("PRAGMA user_version = 10")
    for read_only in (True, False, True):  # read as it is, migrated, read again
        with Catalogue.open(file, read_only=read_only) as catalogue:
            assert (catalogue.skipped(), catalogue.decisions()) == (skipped, [made])
            assert catalogue.verify() == []
    with contextlib.closing(sqlite3.connect(file)) as connection:
        for table in ("decisions", "skipped"):
            assert connection.execute(f"SELECT crc FROM {table}").fetchone()[0] > 0
