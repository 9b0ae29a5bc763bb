"""What is remembered of examined pairs: the same results as from nothing, whatever happens."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_audit import facts
from tunes import tune

from auditor.api.run import Options
from auditor.api.scan import compare_with_last, scan
from auditor.audio.decode import write_audio
from auditor.records import Evidence, MatchedRange, result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.report.results_csv import to_csv
from auditor.report.terminal import print_table
from auditor.scoring import examine, examined
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=0.45, compositions=False)
NUMBER = st.floats(-1e6, 1e6)
MAYBE = st.none() | NUMBER
RANGE = st.builds(MatchedRange, *[NUMBER] * 6, MAYBE, NUMBER, MAYBE, MAYBE)
EVIDENCE = st.builds(Evidence, NUMBER, st.lists(RANGE, max_size=4).map(tuple), *[NUMBER] * 4)


@given(EVIDENCE, st.binary(min_size=16, max_size=16), st.data())
def test_evidence_comes_back_as_it_was_or_not_at_all(evidence, key, data):
    packed = examined.pack_evidence(key, evidence)
    assert examined.unpack_evidence(key, packed) == evidence
    place = data.draw(st.integers(0, 8 * len(packed) - 1))
    flipped = bytearray(packed)
    flipped[place // 8] ^= 1 << place % 8
    assert examined.unpack_evidence(key, bytes(flipped)) is None
    assert examined.unpack_evidence(key, packed[:-1]) is None
    assert examined.unpack_evidence(key, "text") is None


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for seed in range(3):
        write_audio(folder / f"tune-{seed}.wav", tune(seed, duration_s=20.0), codec="wav")
    write_audio(folder / "copy.mp3", tune(0, duration_s=20.0), codec="mp3", bit_rate=64_000)
    return folder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, library):
    folder = tmp_path_factory.mktemp("scanned") / "ws"
    return folder, run(folder, library)


@pytest.fixture
def workspace(tmp_path, scanned):
    return shutil.copytree(scanned[0], tmp_path / "ws")


def run(folder, *roots, options=OPTIONS, on_pair=None):
    with open_workspace(folder, extractor="excerpt", write=True) as opened:
        return scan(opened, roots, options=options, on_pair=on_pair)


def count(monkeypatch):
    """Return a list that gets every pair that is examined from now on."""
    compared = []
    original = examine.compare_sides

    def compare(examiner, a, b, **how):
        compared.append((a.id, b.id))
        return original(examiner, a, b, **how)

    monkeypatch.setattr(examine, "compare_sides", compare)
    return compared


def test_a_second_scan_examines_nothing_and_says_the_same(workspace, scanned, monkeypatch):
    compared = count(monkeypatch)
    monkeypatch.setattr("auditor.scoring.match.voted_pairs", lambda *a, **k: pytest.fail("voted"))
    done = []
    again = run(workspace, on_pair=lambda *n: done.append(n))
    assert facts(again) == facts(scanned[1])
    assert (compared, done) == ([], [])
    assert any(pair.flagged for pair in again.pairs)


def test_only_pairs_of_what_is_new_are_examined(workspace, scanned, library, tmp_path, monkeypatch):
    more = tmp_path / "more"
    more.mkdir()
    write_audio(more / "again-1.mp3", tune(1, duration_s=20.0), codec="mp3", bit_rate=64_000)
    compared = count(monkeypatch)
    grown = run(workspace, more)
    new = next(t.id for t in grown.tracks if t.path.endswith("again-1.mp3"))
    assert compared and all(new in pair for pair in compared)
    assert facts(grown) == facts(run(tmp_path / "fresh", library, more))
    assert sum(pair.flagged for pair in grown.pairs) == 2
    since = compare_with_last(grown.pairs, scanned[1], grown.provenance.weights_id)
    (is_new,) = (pair for pair in grown.pairs if pair.flagged and new in (pair.a, pair.b))
    assert (since.new, since.gone) == ((is_new.pair_id,), ())
    assert since.when == scanned[1].provenance.created
    back = compare_with_last(scanned[1].pairs, grown, grown.provenance.weights_id)
    assert (back.new, back.gone) == ((), (is_new.pair_id,))
    assert compare_with_last(grown.pairs, grown, "other weights") is None
    assert compare_with_last(grown.pairs, None, grown.provenance.weights_id) is None

    shown = dataclasses.replace(grown, since=since)
    assert result_from_json(to_json(shown)) == shown
    text = io.StringIO()
    print_table(shown, Console(file=text, width=100))
    assert "1 new pair since the last scan" in text.getvalue()
    assert text.getvalue().index(is_new.pair_id) < min(
        text.getvalue().index(pair.pair_id)
        for pair in grown.pairs
        if pair.flagged and pair is not is_new
    )
    rows = {row["pair_id"]: row["new"] for row in csv.DictReader(to_csv(shown).splitlines())}
    assert rows == {p.pair_id: str(p is is_new).lower() for p in grown.pairs}
    assert {row["new"] for row in csv.DictReader(to_csv(grown).splitlines())} == {""}
    page = render_html(shown)
    assert "1 new pair since the last scan" in page and ">new</span>" in page
    assert "since the last scan" not in render_html(grown)


def test_another_threshold_or_other_code_gives_what_it_would_have_given(
    workspace, scanned, monkeypatch
):
    low = Options(threshold=-1.0)  # shows other ranges
    compared = count(monkeypatch)
    shown = run(workspace, options=low)
    assert compared
    shutil.rmtree(workspace / examined.FOLDER)
    assert facts(run(workspace, options=low)) == facts(shown)
    del compared[:]
    monkeypatch.setattr(examined, "code_id", lambda: "another version")
    assert facts(run(workspace)) == facts(scanned[1])
    assert compared


def damage(file, how):
    if how == "other bytes":
        file.write_bytes(b"no database" * 1000)
        return
    with sqlite3.connect(file) as connection:
        if how == "other table":
            connection.execute("DROP TABLE pairs")
            connection.execute("CREATE TABLE pairs (x)")
        elif how == "flipped bit":
            for key, value in connection.execute("SELECT key, value FROM pairs").fetchall():
                other = bytes([value[0] ^ 64]) + value[1:]
                connection.execute("UPDATE pairs SET value = ? WHERE key = ?", (other, key))
        else:
            connection.execute("UPDATE candidates SET value = ?", (how.encode(),))
    connection.close()


@pytest.mark.parametrize("how", ["other bytes", "other table", "flipped bit", "other candidates"])
def test_a_damaged_file_changes_no_result(workspace, scanned, how):
    (file,) = (workspace / examined.FOLDER).glob("*.sqlite3")
    damage(file, how)
    assert facts(run(workspace)) == facts(scanned[1])
    with open_workspace(workspace, extractor="excerpt", write=True) as opened:
        kept = examined.ExaminedPairs(file)
        assert len(kept._rows("SELECT 1 FROM pairs", ())) == scanned[1].n_pairs_compared
        kept.close()
        assert opened.writable


def test_a_file_that_cannot_be_written_stops_no_scan(workspace, scanned):
    shutil.rmtree(workspace / examined.FOLDER)
    (workspace / examined.FOLDER).write_bytes(b"in the way")
    assert facts(run(workspace)) == facts(scanned[1])


def test_what_no_scan_asks_for_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(examined, "MAX_SPARE", 0)
    kept = examined.ExaminedPairs(tmp_path / "x" / "pairs.sqlite3")
    keys = [bytes([n]) * 16 for n in range(9)]
    kept.add(keys, [Evidence(0.1, (), 0.0, 0.0, 1.0, 0.1 * n) for n in range(9)])
    kept.trim(keys[:3])
    assert None not in kept.look_up(keys), "four times as many may stay"
    kept.trim(keys[:2])
    assert [found is not None for found in kept.look_up(keys)] == [True] * 2 + [False] * 7
    rows = np.array([[0, 1], [0, 2]])
    kept.keep_candidates(keys[0], rows)
    assert kept.candidates(keys[0], 3).tolist() == rows.tolist()
    assert kept.candidates(keys[0], 2) is None, "a row beyond the catalogue"
    kept.keep_candidates(keys[1], rows)
    assert kept.candidates(keys[0], 3) is None
    kept.close()
