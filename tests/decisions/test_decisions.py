"""Decisions: the table and its migration, the rules, and the CSV file."""

from __future__ import annotations

import dataclasses
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalogue import make_check, make_scan, make_track, make_workspace, put, sha

from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.database import APPLICATION_ID, MIGRATIONS
from auditor.catalogue.decisions import MAX_NOTE, make_decision
from auditor.decisions.apply import (
    OWNER_TAGS,
    apply_decisions,
    find_pair,
    in_order,
    labelled_pairs,
    pair_id,
    standing,
)
from auditor.decisions.csv_file import COLUMNS, lead_formula, read_csv, to_csv, write_csv
from auditor.errors import AuditError, CatalogueError, UsageError
from auditor.records import UNDO, Decision, DecisionKind, Pair

A, B, C, D = (sha(name) for name in "abcd")
WHEN = "2026-01-31T12:00:00.000000Z"


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as opened:
        yield opened


def decided(x: str, y: str, kind: str, **more: str) -> Decision:
    return make_decision(x, y, kind, **{"when": WHEN, **more})


# The table.


def test_the_newest_counts_and_history_is_kept(catalogue):
    first = catalogue.decide(A, B, "licensed", note="until May")
    second = catalogue.decide(B, A, "confirmed", by="Ana")
    assert catalogue.decisions() == [first, second]
    assert first.sha256_a < first.sha256_b
    assert standing(catalogue.decisions()) == {in_order(A, B): second}
    catalogue.decide(A, B, UNDO)
    assert standing(catalogue.decisions()) == {}
    assert [made.kind for made in catalogue.decisions()] == ["licensed", "confirmed", "undo"]


def test_a_decision_comes_after_one_from_a_clock_that_ran_ahead(catalogue):
    ahead = decided(A, B, "cover", when="2900-01-01T00:00:00Z")
    assert catalogue.import_decisions([ahead]) == 1
    made = catalogue.decide(A, B, "confirmed")
    assert made.when == "2900-01-01T00:00:00.000001Z"
    assert standing(catalogue.decisions())[in_order(A, B)].kind == "confirmed"
    assert catalogue.decide(A, C, "cover").when < "2900"


def test_the_same_decision_twice_at_once_is_two(catalogue):
    for kind in ("cover", UNDO) * 20:
        catalogue.decide(A, B, kind)
    catalogue.decide(A, B, "cover")
    history = catalogue.decisions(in_order(A, B))
    assert len(history) == 41
    assert [made.when for made in history] == sorted({made.when for made in history})
    assert standing(history)


def test_decisions_outlive_the_track_and_need_none(catalogue):
    put(catalogue, make_track("a"))
    catalogue.decide(A, sha("never seen"), "false-alarm")
    catalogue.rename("a", "z")
    catalogue.remove(["z"])
    put(catalogue, make_track("a", id="other", path="/else/where.mp3"))
    assert len(standing(catalogue.decisions())) == 1
    assert catalogue.sha256_of("other") == A
    assert catalogue.sha256_of("a") == ""
    assert catalogue.verify()[-1].startswith("track other: /else/where.mp3 is gone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256_a": "xyz"}, "'xyz' is not a SHA-256; 64 hex digits are needed"),
        ({"kind": "fine"}, "'fine' is not a decision; it must be one of false-alarm, licensed"),
        ({"note": "x" * (MAX_NOTE + 1)}, "the note has 2,001 characters; 2,000 are kept"),
        ({"by": "x" * 201}, "the name has 201 characters; 200 are kept"),
        ({"when": "yesterday"}, "'yesterday' is not a time; write it like 2026-"),
        ({"when": "2026-01-01T00:00:00"}, "is not a time"),
        ({"when": "9999-12-31T23:59:59-12:00"}, "is not a time"),
    ],
)
def test_what_cannot_be_stored_is_refused(change, message):
    values = {"sha256_a": A, "sha256_b": B, "kind": "cover", "when": WHEN} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        make_decision(**values)


def test_texts_are_cleaned_and_keep_their_lines():
    made = decided(A.upper(), B, "cover", note=" one\r\ntwo\x00\u202e\tthree \n", by=" A\n B ")
    assert (made.note, made.by) == ("one\ntwo\tthree", "A B")
    assert {made.sha256_a, made.sha256_b} == {A, B}


def test_an_import_is_all_or_nothing_and_knows_what_it_has(catalogue):
    good = decided(A, B, "cover")
    with pytest.raises(ValueError, match="not in the form that is stored"):
        catalogue.import_decisions([good, dataclasses.replace(good, note=" x")])
    assert catalogue.decisions() == []
    assert catalogue.import_decisions([good, good]) == 1
    assert catalogue.import_decisions([good, decided(A, C, "cover")]) == 1


STORED = ("sha256_a", "sha256_b", "kind", "note", "decided_at", "decided_by", "crc")


@pytest.mark.parametrize("column", STORED)
def test_whatever_the_disk_changes_in_a_decision_is_named_and_the_others_can_be_kept(
    catalogue, column
):
    catalogue.decide(A, B, "cover", note="live", by="Ana")
    kept = catalogue.decide(A, C, "licensed", note="live", by="Ana")
    good = {"kind": "licensed", "decided_at": WHEN, "crc": 7}.get(column, "b" * 63 + "c")
    catalogue._connection.execute(f"UPDATE decisions SET {column} = ? WHERE id = 1", (good,))
    with pytest.raises(CatalogueError, match="decision 1 .*its checksum is another"):
        catalogue.decisions()
    (problem,) = catalogue.verify()
    damaged: list[str] = []
    assert catalogue.decisions(damaged=damaged) == [kept]
    assert damaged == [problem]
    assert "audit decide --export FILE" in problem


def test_a_value_that_is_no_text_is_named(catalogue):
    catalogue.decide(A, B, "cover")
    catalogue._connection.execute("UPDATE decisions SET kind = X'00'")
    with pytest.raises(CatalogueError, match="decision 1 .* a value that is not text"):
        catalogue.decisions()


def old_catalogue(file: Path) -> None:
    """Write a catalogue of schema version 1 with one track."""
    connection = sqlite3.connect(file)
    for statement in MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_an_old_catalogue_is_read_as_it_is_and_migrated_when_written(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    old_catalogue(file)
    before = file.read_bytes()
    with Catalogue.open(file, read_only=True) as old:
        assert old.decisions() == []
        assert old.tracks() == []
        assert old.verify() == []
    assert file.read_bytes() == before
    with Catalogue.open(file) as migrated:
        put(migrated, make_track("a"))
        migrated.decide(A, B, "cover")
        version = migrated._connection.execute("PRAGMA user_version").fetchone()
        assert version == (len(MIGRATIONS),)
    with Catalogue.open(file, read_only=True) as again:
        assert [made.kind for made in again.decisions()] == ["cover"]
        assert [track.id for track in again.tracks()] == ["a"]


def test_two_processes_decide_at_once(tmp_path):
    file = tmp_path / "catalogue.sqlite3"
    Catalogue.open(file).close()
    script = (
        "import sys\n"
        "from auditor.catalogue.catalogue import Catalogue\n"
        "with Catalogue.open(sys.argv[1], busy_timeout_s=60) as c:\n"
        "    for _ in range(25):\n"
        f"        c.decide({A!r}, {B!r}, 'cover', by=sys.argv[2])\n"
    )
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen([sys.executable, "-c", script, file, who], cwd=root) for who in "xy"
    ]
    assert [process.wait(timeout=240) for process in running] == [0, 0]
    with Catalogue.open(file, read_only=True) as catalogue:
        history = catalogue.decisions()
    assert sorted(made.by for made in history) == ["x"] * 25 + ["y"] * 25
    assert len({made.when for made in history}) == 50


def test_a_full_disk_is_said_and_loses_nothing(catalogue):
    catalogue.decide(A, B, "cover")
    n_pages = catalogue._connection.execute("PRAGMA page_count").fetchone()[0]
    catalogue._connection.execute(f"PRAGMA max_page_count = {n_pages}")
    with pytest.raises(CatalogueError, match="the disk is full.*Free some space"):
        for _ in range(1000):
            catalogue.decide(A, C, "cover", note="x" * MAX_NOTE)
    catalogue._connection.execute("PRAGMA max_page_count = 1000000")
    n_kept = len(catalogue.decisions())
    catalogue.decide(A, D, "confirmed")
    assert len(catalogue.decisions()) == n_kept + 1


# The rules.


def by_pair(pairs):
    return {(pair.a, pair.b): pair for pair in pairs}


def test_decided_pairs_are_no_longer_flagged_and_say_why():
    tracks = {name: make_track(name) for name in "abcd"}
    pairs = [Pair("a", "b", 0.9), Pair("c", "a", 0.85), Pair("c", "d", 0.8), Pair("a", "d", 0.7)]
    history = [
        decided(A, B, "licensed", note="contract"),
        decided(A, C, "confirmed"),
        decided(C, D, "cover"),
        decided(C, D, UNDO, when="2026-02-01T00:00:00Z"),
    ]
    found = by_pair(apply_decisions(pairs, tracks, history))
    licensed = found["a", "b"]
    assert (licensed.flagged, licensed.decision) == (False, "licensed")
    assert licensed.decision_note == "contract"
    assert (found["c", "a"].flagged, found["c", "a"].decision) == (True, "confirmed")
    assert (found["c", "d"].flagged, found["c", "d"].decision) == (True, "")
    assert found["a", "d"].pair_id == pair_id(A, D)
    assert [pair.score for pair in found.values()] == [0.9, 0.85, 0.8, 0.7]


def test_a_decision_never_flags_what_is_below_the_threshold():
    tracks = {name: make_track(name) for name in "ab"}
    below = [Pair("a", "b", 0.1, flagged=False)]
    for kind in DecisionKind:
        (pair,) = apply_decisions(below, tracks, [decided(A, B, kind)])
        assert (pair.flagged, pair.decision) == (False, kind)
    (pair,) = apply_decisions(below, {n: make_track(n, artist="X") for n in "ab"}, [], ["artist"])
    assert pair.decision == ""


@pytest.mark.parametrize("tag", OWNER_TAGS)
def test_a_shared_tag_sets_a_pair_aside_only_when_asked(tag):
    tracks = {
        "a": make_track("a", **{"artist": "One", tag: "The  Band"}),
        "b": make_track("b", **{"artist": "one", tag: "the band "}),
        "c": make_track("c", **{tag: ""}),
        "d": make_track("d", **{tag: ""}),
    }
    pairs = [Pair("a", "b", 0.9), Pair("c", "d", 0.9), Pair("a", "c", 0.9)]
    found = by_pair(apply_decisions(pairs, tracks, [], [tag]))
    assert found["a", "b"].decision == "same-owner"
    assert found["a", "b"].decision_note == f"same {tag}: The  Band"
    assert not found["a", "b"].flagged
    assert found["c", "d"].flagged
    assert found["a", "c"].flagged
    assert all(pair.flagged for pair in apply_decisions(pairs, tracks, []))
    (confirmed,) = apply_decisions(pairs[:1], tracks, [decided(A, B, "confirmed")], [tag])
    assert (confirmed.flagged, confirmed.decision) == (True, "confirmed")


@pytest.mark.parametrize(
    ("one", "other", "owned"),
    [
        (("Ann", "Greatest Hits"), ("Ben", "Greatest Hits"), False),
        (("Ann", "Greatest Hits"), ("ann", "greatest  hits"), True),
        (("Ann", "Unknown Album"), ("Ann", "Unknown Album"), False),
        (("[unknown]", "Hits"), ("[unknown]", "Hits"), False),
        (("", "Hits"), ("", "Hits"), False),
        (("Ann", "Hits"), ("Ann", "Misses"), False),
    ],
)
def test_an_album_is_that_of_its_artist(one, other, owned):
    tags = {"a": one, "b": other}
    tracks = {n: make_track(n, artist=artist, album=album) for n, (artist, album) in tags.items()}
    (pair,) = apply_decisions([Pair("a", "b", 0.9)], tracks, [], ["album"])
    assert pair.flagged is not owned
    assert pair.decision_note == ("same album: Greatest Hits" if owned else "")


@pytest.mark.parametrize("name", ["[unknown]", "<unknown>", "Unbekannter Interpret", "未知艺人"])
def test_a_placeholder_owns_nothing(name):
    tracks = {n: make_track(n, artist=name) for n in "ab"}
    assert apply_decisions([Pair("a", "b", 0.9)], tracks, [], ["artist"])[0].flagged


def test_nobody_owns_a_sampler():
    tracks = {name: make_track(name, artist="Various Artists") for name in "ab"}
    assert apply_decisions([Pair("a", "b", 0.9)], tracks, [], ["artist"])[0].flagged
    with pytest.raises(ValueError, match="same_owner is 'title'; it must be one of artist"):
        apply_decisions([], {}, [], ["title"])


def test_licences_that_differ_come_first():
    licences = {"a": "CC BY 4.0", "b": "cc  by 4.0", "c": "All rights reserved", "d": ""}
    tracks = {name: make_track(name, licence=text) for name, text in licences.items()}
    pairs = [
        Pair("a", "b", 0.99),
        Pair("a", "d", 0.95),
        Pair("a", "c", 0.9),
        Pair("b", "c", 0.5, flagged=False),
    ]
    found = apply_decisions(pairs, tracks, [])
    assert [(pair.b, pair.licences_differ) for pair in found] == [
        ("c", True),
        ("b", False),
        ("d", False),
        ("c", False),
    ]
    decided_too = apply_decisions(pairs, tracks, [decided(A, C, "licensed")])
    assert [pair.b for pair in decided_too] == ["b", "d", "c", "c"]
    assert decided_too[2].licences_differ


def test_a_licence_that_names_nobody_is_another_licence_all_the_same():
    licences = {"a": "CC BY 4.0", "b": "Unknown", "c": "n/a"}
    tracks = {name: make_track(name, licence=text) for name, text in licences.items()}
    found = apply_decisions([Pair("a", "b", 0.9), Pair("b", "c", 0.8)], tracks, [])
    assert all(pair.licences_differ for pair in found)


def test_labelled_pairs(catalogue):
    for other, kind in ((B, "confirmed"), (C, "false-alarm"), (D, "cover"), (A, "confirmed")):
        catalogue.decide(A, other, kind)
    catalogue.decide(B, C, "licensed")
    catalogue.decide(C, D, "false-alarm")
    catalogue.decide(C, D, UNDO)
    matching, nonmatching = labelled_pairs(catalogue)
    assert set(matching) == {in_order(A, B), in_order(B, C)}
    assert nonmatching == (in_order(A, C),)


@given(st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_a_pair_id_is_the_same_for_both_orders(x, y):
    assert pair_id(sha(x), sha(y)) == pair_id(sha(y), sha(x))
    assert re.fullmatch("[0-9a-f]{8}", pair_id(sha(x), sha(y)))
    assert (pair_id(sha(x), sha(y)) == pair_id(A, B)) == ({x, y} == {"a", "b"})


# Naming a pair.


def test_a_pair_is_named_in_many_ways(tmp_path, catalogue):
    file = tmp_path / "new song.mp3"
    file.write_bytes(b"a")
    for name in "bc":
        put(catalogue, make_track(name))
    new = make_track("a", id="new-1")
    check = make_check((new,), (make_track("b"),), (Pair("new-1", "b", 0.9),))
    wanted = in_order(A, B)
    for words in (
        [pair_id(A, B)],
        [pair_id(A, B).upper()],
        ["new-1", "b"],
        ["b", str(file)],
        [A, "b"],
        [f"new-1 {B.upper()}"],
    ):
        assert find_pair(words, catalogue, [check]) == wanted, words
    missing = r"no pair of the last scan or check has the id .*--result"
    with pytest.raises(UsageError, match=missing):
        find_pair([pair_id(A, B)], catalogue)
    catalogue.decide(A, B, "cover")
    assert find_pair([pair_id(A, B)], catalogue) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["b", "b"], "b was given twice"),
        (["b", "c", "d"], "'b c d' does not name a pair. Give a pair id, or two tracks"),
        (["b"], "'b' does not name a pair. Give a pair id"),
        ([A[:7]], "does not name a pair"),
        (["b", "x"], "x is not a file, and no track has the id 'x'"),
        (["b", "/nowhere/x.mp3"], "/nowhere/x.mp3 is not a file, and no track"),
        (["b", "."], ". cannot be read: Is a directory"),
        (["b", "/dev/null"], "/dev/null: "),
    ],
)
def test_what_names_no_pair(catalogue, words, message):
    put(catalogue, make_track("b"))
    with pytest.raises(AuditError, match=message):
        find_pair(words, catalogue)


def test_a_pair_id_of_two_pairs_is_refused(catalogue, monkeypatch):
    monkeypatch.setattr("auditor.decisions.apply._pair_digest", lambda hashes: "0" * 64)
    tracks = tuple(make_track(name) for name in "abc")
    scan = make_scan(tracks, (Pair("a", "b", 0.9), Pair("a", "c", 0.9)))
    with pytest.raises(UsageError, match="2 pairs have the id 00000000. Give both tracks"):
        find_pair(["00000000"], catalogue, [scan])


# The CSV file.

TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="=+-@＝'\t\n\r,;|\"a \u00a0", max_size=12),
)
MADE = st.builds(
    lambda x, y, kind, note, by, n: make_decision(
        sha(x), sha(y), kind, note=note, by=by, when=f"2026-01-01T00:00:00.{n:06d}Z"
    ),
    st.sampled_from("abcd"),
    st.sampled_from("abcd"),
    st.sampled_from((*DecisionKind, UNDO)),
    TEXTS,
    TEXTS,
    st.integers(0, 999_999),
)


@settings(deadline=None)
@given(st.lists(MADE, max_size=5), TEXTS)
def test_csv_comes_back_exactly(tmp_path_factory, made, name):
    file = tmp_path_factory.mktemp("csv") / "d.csv"
    names = {A: name.encode("utf-8", "replace").decode()}
    write_csv(to_csv(made, names), file)
    assert read_csv(file) == made
    assert to_csv(read_csv(file), names).encode() == file.read_bytes()


@settings(deadline=None)
@given(TEXTS)
def test_no_cell_is_a_formula(text):
    led = lead_formula(text)
    assert not led.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert not any(c.strip(' "').startswith(tuple("=+-@")) for c in re.split(r"[;|\t\r\n]", led))


def test_notes_keep_their_apostrophes(tmp_path):
    file = tmp_path / "d.csv"
    notes = [
        "a;  =1",
        "a;=b",
        "a;'=b",
        "a; ' =b",
        "' =1",
        "'\t=",
        "'tis fine",
        "'=1",
        "=1",
        "''",
        "'",
        "-",
        "a\n=b",
        '"q", x; y',
    ]
    made = [decided(A, B, "cover", note=note) for note in notes]
    write_csv(to_csv(made), file)
    assert [d.note for d in read_csv(file)] == notes
    assert "'=1" in file.read_text().split(",")


def row(**cells: str) -> str:
    values = {"kind": "cover", "sha256_a": A, "sha256_b": B, "when": WHEN} | cells
    return ",".join(values.get(name, "") for name in COLUMNS)


HEADER = ",".join(COLUMNS)


def test_files_of_spreadsheets_and_pages_are_read(tmp_path):
    file = tmp_path / "d.csv"
    lines = ["\ufeffSHA256_B;Kind;extra;sha256_a;note", f"{B};Licensed;1;{A};two", "", ";;;;", ""]
    file.write_text("\r\n".join(lines), encoding="utf-8")
    (made,) = read_csv(file)
    assert (made.kind, made.note, made.by) == ("licensed", "two", "")
    assert {made.sha256_a, made.sha256_b} == {A, B}
    assert made.when > "2026"
    file.write_text(f"{HEADER}\n{row(when='2026-01-31T13:00:00.5+01:00')}")
    assert read_csv(file)[0].when == "2026-01-31T12:00:00.500000Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "d.csv is empty; a header with kind, sha256_a, sha256_b is needed"),
        ("a,b\n", "line 1: the column kind is missing"),
        (f"{HEADER},note\n", "line 1: there are two columns note"),
        (f"{HEADER}\n{row()}\n{row(kind='fals')}\n", "line 3: 'fals' is not a decision"),
        (
            f"{HEADER}\n{row(note=chr(34) + 'x' + chr(10) + 'y' + chr(34))}\n{row(sha256_a='1')}",
            "line 4: '1' is not a SHA-256",
        ),
        (f"{HEADER}\n{row(when='soon')}", "line 2: 'soon' is not a time"),
        (f"{HEADER}\n{row(when='2999-01-01T00:00:00Z')}", "line 2: its time, 2999.* has not come"),
        (f"{HEADER}\n{row()},more", "line 2: 10 cells under a header of 9"),
        (f"{HEADER}\n{row(note='x' * 2001)}", "line 2: the note has 2,001 characters"),
        (f"{HEADER}\n{row(note='x' * 200_000)}", "line 2: field larger than field limit"),
        (f'{HEADER}\n"', "line 2: unexpected end of data"),
        (f"{HEADER}\n\udcff", "line 2: not UTF-8"),
    ],
)
def test_bad_files_name_the_line(tmp_path, text, message):
    file = tmp_path / "d.csv"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UsageError, match=message):
        read_csv(file)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    file = tmp_path / "d.csv"
    file.write_text(f"{HEADER}\n{row()}\n{row()}\n")
    monkeypatch.setattr("auditor.decisions.csv_file.MAX_ROWS", 1)
    with pytest.raises(UsageError, match="more than 1 decisions. Split the file"):
        read_csv(file)
    with file.open("wb") as sparse:
        sparse.truncate((64 << 20) + 1)
    with pytest.raises(UsageError, match="larger than 64 MiB"):
        read_csv(file)
    with pytest.raises(UsageError, match="nowhere.csv cannot be read: No such file"):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match="cannot be read|not a regular file"):
        read_csv(tmp_path)
    with pytest.raises(UsageError, match="not a regular file"):
        read_csv("/dev/null")


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path):
    file = tmp_path / "d.csv"
    write_csv("old", file)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(UsageError, match=r"d.csv cannot be written: File too large. Free"):
            write_csv("x" * 10_000, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_a_workspace_of_the_helper_is_sound(tmp_path):
    make_workspace(tmp_path, make_track("a"), make_track("b"))
    with Catalogue.open(tmp_path / "catalogue.sqlite3", read_only=True) as catalogue:
        assert [track.id for track in catalogue.tracks()] == ["a", "b"]
