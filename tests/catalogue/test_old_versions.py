"""A workspace that version 0.1.0 wrote: read as it is, and migrated when it is written to."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest
from small_catalogue import WEIGHTS, make_track, put, sha

from auditor.catalogue.catalogue import Catalogue
from auditor.errors import CatalogueError, DamagedTrackError

SCHEMA_0_1_0 = """
CREATE TABLE tracks (
    id TEXT PRIMARY KEY NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, duration_s REAL NOT NULL, declared_s REAL,
    truncated INTEGER NOT NULL, silent INTEGER NOT NULL,
    codec TEXT NOT NULL, container TEXT NOT NULL,
    sample_rate_hz INTEGER NOT NULL, n_channels INTEGER NOT NULL, bit_rate INTEGER,
    title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, genre TEXT NOT NULL,
    genres TEXT NOT NULL, date TEXT NOT NULL, licence TEXT NOT NULL,
    source TEXT NOT NULL, missing INTEGER NOT NULL,
    path_bytes BLOB UNIQUE, mtime_ns INTEGER NOT NULL, added_at INTEGER NOT NULL);
CREATE INDEX tracks_sha256 ON tracks (sha256);
CREATE TABLE embeddings (
    track_id TEXT NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
    weights_id TEXT NOT NULL, n_windows INTEGER NOT NULL, n_dims INTEGER NOT NULL,
    embedding BLOB NOT NULL,
    PRIMARY KEY (track_id, weights_id));
CREATE TABLE dvectors (
    track_id TEXT NOT NULL, weights_id TEXT NOT NULL,
    dvectors BLOB NOT NULL, levels BLOB NOT NULL,
    PRIMARY KEY (track_id, weights_id),
    FOREIGN KEY (track_id, weights_id)
        REFERENCES embeddings (track_id, weights_id) ON DELETE CASCADE);
CREATE TABLE skipped (
    path_bytes BLOB PRIMARY KEY NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256_a TEXT NOT NULL, sha256_b TEXT NOT NULL, kind TEXT NOT NULL,
    note TEXT NOT NULL, decided_at TEXT NOT NULL, decided_by TEXT NOT NULL,
    UNIQUE (sha256_a, sha256_b, decided_at, kind, note, decided_by));
CREATE TABLE spectra (sha256 TEXT PRIMARY KEY NOT NULL, layout TEXT NOT NULL, frames BLOB NOT NULL);
CREATE TABLE revision (token BLOB NOT NULL);
INSERT INTO revision VALUES (randomblob(16));
CREATE TRIGGER revision_0 AFTER INSERT ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_1 AFTER UPDATE ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_2 AFTER DELETE ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_3 AFTER UPDATE OF id, sha256, silent, missing ON tracks
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE INDEX tracks_artist ON tracks (artist COLLATE NOCASE);
CREATE INDEX tracks_album ON tracks (album COLLATE NOCASE);
PRAGMA application_id = 0x41554454;
PRAGMA user_version = 5;
"""
SPECTRUM = np.arange(40, dtype=np.uint8).reshape(1, 40)


def write_0_1_0(file: Path, names: tuple[str, ...]) -> None:
    """Write the catalogue as version 0.1.0 did, without any code of this version."""
    unit = np.eye(4)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_0_1_0)
        for n, name in enumerate(names):
            facts = (f"/music/{name}.mp3", sha(name), 1000, 12.5, None, 0, 0, "mp3", "mp3")
            tags = (
                44100,
                2,
                128000,
                f"Title {name}",
                f"Artist {name}",
                "",
                "",
                json.dumps(["Rock"]),
            )
            row = (name, *facts, *tags, "", "CC BY", "file", 0, f"/music/{name}.mp3".encode(), n, 7)
            connection.execute(f"INSERT INTO tracks VALUES ({', '.join('?' * len(row))})", row)
            vector, windows = unit[n % 4].astype("<f4"), unit.astype("<f2")
            connection.execute(
                "INSERT INTO embeddings VALUES (?, ?, 4, 4, ?)", (name, WEIGHTS, vector.tobytes())
            )
            levels = np.zeros(4, "<f2").tobytes()
            row = (name, WEIGHTS, windows.tobytes(), levels)
            connection.execute("INSERT INTO dvectors VALUES (?, ?, ?, ?)", row)
            frames = zlib.compress(SPECTRUM.tobytes())
            connection.execute("INSERT INTO spectra VALUES (?, 'x', ?)", (sha(name), frames))
        when = "2026-01-01T00:00:00.000000Z"
        connection.execute(
            "INSERT INTO decisions VALUES (1, ?, ?, 'cover', 'live', ?, 'Ana')",
            (*sorted((sha("a"), sha("b"))), when),
        )
        connection.execute("INSERT INTO skipped VALUES (X'2F78', '/x', 'no audio', 3, 4)")
        connection.commit()


def told(catalogue: Catalogue) -> list[object]:
    ids, embeddings = catalogue.embeddings(WEIGHTS)
    windows = [catalogue.dvectors(i, WEIGHTS)[0].tolist() for i in ids]
    decisions = [(made.kind, made.note, made.by) for made in catalogue.decisions()]
    stamps = catalogue.stamps()
    facts = catalogue.tracks(), catalogue.skipped(), decisions, sorted(stamps)
    return [ids, embeddings.tolist(), windows, *facts]


def test_a_workspace_of_0_1_0_is_read_as_it_is(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    write_0_1_0(file, ("a", "b", "c"))
    before = file.read_bytes()
    with Catalogue.open(file, read_only=True) as old:
        ids, _, _, tracks, skipped, decisions, stamps = told(old)
        assert not [p for p in old.verify() if "checksum" in p]
    assert file.read_bytes() == before
    assert ids == ["a", "b", "c"]
    assert tracks[0] == make_track("a", genres=("Rock",), licence="CC BY")
    assert (skipped[0].path, decisions) == ("/x", [("cover", "live", "Ana")])
    assert stamps == [b"/music/a.mp3", b"/music/b.mp3", b"/music/c.mp3"]


def test_a_workspace_of_0_1_0_is_filled_in_when_it_is_written_to(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    write_0_1_0(file, ("a", "b", "c"))
    with Catalogue.open(file, read_only=True) as old:
        before = told(old)
    with Catalogue.open(file) as migrated:
        assert told(migrated) == before
        assert migrated.set_damaged_aside(WEIGHTS) == {}
        put(migrated, make_track("d"))
        migrated.mark_missing(["b"])
        assert migrated.set_damaged_aside(WEIGHTS) == {}
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE tracks SET licence = 'CC BZ' WHERE id = 'a'")
        connection.execute("UPDATE dvectors SET levels = X'0100000000000000' WHERE track_id = 'c'")
        connection.commit()
    with Catalogue.open(file, read_only=True) as rotten:
        with pytest.raises(DamagedTrackError, match="track a: its row .* Run audit scan DIR"):
            rotten.tracks()
        damaged: dict[str, str] = {}
        assert [track.id for track in rotten.tracks(damaged=damaged)] == ["b", "c", "d"]
        assert set(damaged) == {"a"}
        with pytest.raises(DamagedTrackError, match="track c: its d-vectors"):
            rotten.dvectors("c", WEIGHTS)
        problems = [p for p in rotten.verify() if "checksum" in p]
    assert [problem[:8] for problem in problems] == ["track a:", "track c:"]


def test_every_way_of_writing_a_track_keeps_its_checksum(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as catalogue:
        for name in "abc":
            put(catalogue, make_track(name))
        stamp = catalogue.stamp(b"/music/a.mp3")[1]
        catalogue.relocate("a", b"/music/b.mp3", stamp)  # b is displaced
        catalogue.rename("c", "000003")
        catalogue.mark_missing(["000003"])
        catalogue.mark_present(["000003"])
        catalogue.update_tags(make_track("a", artist="Another"))
        put(catalogue, make_track("a", title="Again"), path="/music/b.mp3")
        assert catalogue.set_damaged_aside(WEIGHTS) == {}
        assert [track.id for track in catalogue.tracks()] == ["000003", "a", "b"]


@pytest.mark.parametrize("what", ["embeddings", "tracks"])
def test_a_flipped_bit_of_a_mapped_table_is_not_taken_for_what_was_stored(
    tmp_path, monkeypatch, what
):
    monkeypatch.setattr("auditor.catalogue.catalogue.MIN_TRACKS", 1)
    file = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(file) as catalogue:
        for name in "abc":
            put(catalogue, make_track(name))
        good = catalogue.table(WEIGHTS)
    (mapped,) = (tmp_path / "tables").glob(f"*.{what}.npy")
    data = bytearray(mapped.read_bytes())
    data[-7] ^= 1
    mapped.write_bytes(data)
    with Catalogue.open(file, read_only=True) as catalogue:
        table = catalogue.table(WEIGHTS)
        assert np.array_equal(table.embeddings, good.embeddings)
        assert np.array_equal(table.hashes, good.hashes)
        assert any("is damaged" in problem for problem in catalogue.verify())
    shutil.rmtree(tmp_path / "tables")


def test_an_embedding_whose_track_is_another_on_the_disk_is_named(tmp_path):
    path = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(path) as catalogue:
        put(catalogue, make_track("t00001"))
        put(catalogue, make_track("t00002"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE embeddings SET track_id = 't00009' WHERE track_id = 't00002'")
    with Catalogue.open(path) as catalogue:
        damaged = catalogue.set_damaged_aside(WEIGHTS)
        assert set(damaged) == {"t00009"}
        assert "belongs to no track" in damaged["t00009"]
        assert catalogue.shown_path("t00009") == "t00009"


def test_a_text_that_is_no_unicode_any_more_is_damage_and_no_bug(tmp_path):
    path = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(path) as catalogue:
        put(catalogue, make_track("t00001"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tracks SET title = CAST(x'ff96' AS TEXT)")
    with Catalogue.open(path) as catalogue, pytest.raises(CatalogueError, match="damaged"):
        catalogue.tracks()
