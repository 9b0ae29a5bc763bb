"""A workspace that version 0.1.0 wrote: read as it is, and migrated when it is written to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest
from schema_0_1_0 import SCHEMA_0_1_0
from small_catalogue import WEIGHTS, make_track, put, sha

from auditor.catalogue import checksums
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.database import APPLICATION_ID, MIGRATIONS, READABLE_AS_THEY_ARE
from auditor.errors import CatalogueError, DamagedTrackError

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


TABLES = ("tracks", "embeddings", "dvectors", "skipped", "decisions", "spectra")
PUBLISHED = (
    "01da3699991bbea4",
    "4fc3fe35cf5ec750",
    "62a3262b112953d0",
    "6f71fa91ba6beb1a",
    "3dfcc76567a82e43",
    "50fe3d4eb4a92f4b",
    "59295ddd2fd36f6d",
    "b458f91f3014fc1a",
)
"""SHA-256 of each step that a release or its users' catalogues have seen, first 16 digits."""


def test_a_published_migration_is_never_edited():
    digests = [hashlib.sha256("\n".join(s).encode()).hexdigest()[:16] for s in MIGRATIONS]
    assert tuple(digests[: len(PUBLISHED)]) == PUBLISHED


def schema_of(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Return the columns of each table, and the statements of indexes and triggers."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {
        name: {column[1] for column in connection.execute(f"PRAGMA table_info({name})")}
        if kind == "table"
        else {sql}
        for kind, name, sql in rows
    }


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_every_schema_version_opens_and_becomes_that_of_a_new_catalogue(tmp_path, version):
    file = tmp_path / "catalogue.sqlite3"
    write_0_1_0(tmp_path / "source.sqlite3", ("a", "b", "c"))
    if version >= checksums.SINCE:
        with Catalogue.open(tmp_path / "source.sqlite3"):
            pass  # fills in checksums
    with contextlib.closing(sqlite3.connect(file)) as old:
        for statement in (text for step in MIGRATIONS[:version] for text in step):
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {version}")
        old.execute("ATTACH ? AS source", (str(tmp_path / "source.sqlite3"),))
        tables = {name for (name,) in old.execute("SELECT name FROM main.sqlite_master")}
        copied = [table for table in TABLES if table in tables]
        for table in copied:
            here, there = (
                {row[1] for row in old.execute(f"PRAGMA {base}.table_info({table})")}
                for base in ("main", "source")
            )
            columns = ", ".join(sorted(here & there))
            old.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM source.{table}")
        old.commit()
    if version in READABLE_AS_THEY_ARE:
        with Catalogue.open(file, read_only=True) as catalogue:
            before = told(catalogue)
    with Catalogue.open(file) as catalogue:
        after = told(catalogue)
        assert catalogue.set_damaged_aside(WEIGHTS) == {}
        assert not [problem for problem in catalogue.verify() if "checksum" in problem]
    assert version not in READABLE_AS_THEY_ARE or after == before
    assert [track.id for track in after[3]] == ["a", "b", "c"]
    assert after[5] == ([("cover", "live", "Ana")] if "decisions" in copied else [])
    with Catalogue.open(tmp_path / "new.sqlite3"):
        pass
    found = []
    for name in (file, tmp_path / "new.sqlite3"):
        with contextlib.closing(sqlite3.connect(name)) as connection:
            found.append(schema_of(connection))
    assert found[0] == found[1]


def test_a_damaged_identifier_is_found(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(file) as catalogue:
        put(catalogue, make_track("a", identifiers=("isrc:USRC17607839",)))
        put(catalogue, make_track("b", record_label="A Label"))
        put(catalogue, make_track("c"))
        assert catalogue.set_damaged_aside(WEIGHTS) == {}
        assert catalogue.track("a").identifiers == ("isrc:USRC17607839",)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE tracks SET identifiers = '[]' WHERE id = 'a'")
        connection.execute("UPDATE tracks SET record_label = 'B' WHERE id IN ('b', 'c')")
        connection.commit()
    with Catalogue.open(file) as catalogue:
        assert set(catalogue.set_damaged_aside(WEIGHTS)) == {"a", "b", "c"}


def test_a_manifest_is_kept_and_rows_without_one_have_the_checksum_they_had(tmp_path):
    file, marks = tmp_path / "catalogue.sqlite3", ("state:valid", "source:trainedAlgorithmicMedia")
    with Catalogue.open(file) as catalogue:
        put(catalogue, make_track("a", identifiers=("isrc:USRC17607839",)))
        put(catalogue, make_track("b", c2pa=marks))
        put(catalogue, make_track("c"))
        assert catalogue.track("b").c2pa == marks
    with contextlib.closing(sqlite3.connect(file)) as connection:
        columns = ", ".join(name for name in checksums.SUMMED if name != "c2pa")
        row = connection.execute(f"SELECT {columns}, crc FROM tracks WHERE id = 'a'").fetchone()
        assert checksums.checksum(row[:-1]) == row[-1], "as versions without manifests wrote it"
        connection.execute("UPDATE tracks SET c2pa = '[]' WHERE id = 'b'")
        connection.execute("UPDATE tracks SET c2pa = '[1]' WHERE id = 'c'")
        connection.commit()
    with Catalogue.open(file) as catalogue:
        assert set(catalogue.set_damaged_aside(WEIGHTS)) == {"b", "c"}
        catalogue.update_tags(make_track("a", c2pa=marks))
        assert catalogue.track("a").c2pa == marks


def holders(catalogue: Catalogue, *identifiers: str) -> list[str]:
    return [track.id for track in catalogue.holders(identifiers)]


def test_tracks_are_found_by_their_identifiers_whatever_becomes_of_them(tmp_path):
    one, two = "isrc:USRC17607839", "isrc:GBAYE0601498"
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as catalogue:
        put(catalogue, make_track("a", identifiers=(one, two)))
        put(catalogue, make_track("b", identifiers=(two,)))
        put(catalogue, make_track("c"))
        assert (holders(catalogue, one), holders(catalogue, one, two)) == (["a"], ["a", "b"])
        assert holders(catalogue) == holders(catalogue, "isrc:none") == []
        many = [*(f"isrc:{i}" for i in range(1200)), two]
        assert holders(catalogue, *many) == ["a", "b"]
        catalogue.update_tags(make_track("a", identifiers=(two,)))
        catalogue.rename("b", "d")
        catalogue.relocate("c", b"/elsewhere.mp3", catalogue.stamp(b"/music/c.mp3")[1])
        assert (holders(catalogue, one), holders(catalogue, two)) == ([], ["a", "d"])
        catalogue.remove(["d"])
        put(catalogue, make_track("a", identifiers=(one,)))
        assert (holders(catalogue, one), holders(catalogue, two)) == (["a"], [])
        assert not [p for p in catalogue.verify() if "identifiers" in p or "checksum" in p]


def test_a_catalogue_that_knew_no_holders_is_filled_in(tmp_path):
    file, one = tmp_path / "catalogue.sqlite3", "isrc:USRC17607839"
    with Catalogue.open(file) as catalogue:
        for name, own in (("a", (one,)), ("b", ()), ("c", (one,))):
            put(catalogue, make_track(name, identifiers=own))
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE tracks SET identifiers = '[' WHERE id = 'c'")
        connection.execute("DROP TABLE identifiers")
        connection.execute("ALTER TABLE tracks DROP COLUMN c2pa")
        connection.execute("ALTER TABLE decisions DROP COLUMN crc")
        connection.execute("ALTER TABLE skipped DROP COLUMN crc")
        connection.execute("PRAGMA user_version = 8")
        connection.commit()
    with Catalogue.open(file, read_only=True) as old:
        assert holders(old, one) == []
    with Catalogue.open(file) as migrated:
        assert holders(migrated, one) == ["a"]


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


def test_a_text_that_is_no_unicode_any_more_is_damage_and_no_bug(tmp_path):
    path = tmp_path / "catalogue.sqlite3"
    with Catalogue.open(path) as catalogue:
        put(catalogue, make_track("t00001"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tracks SET title = CAST(x'ff96' AS TEXT)")
    with Catalogue.open(path) as catalogue, pytest.raises(CatalogueError, match="damaged"):
        catalogue.tracks()
