"""The two reports on identifiers, in the terminal and on the page, with hostile tags."""

from __future__ import annotations

import csv
import dataclasses
import io

from html_page import Page
from rich.console import Console
from small_report import HOSTILE, make_check, make_scan

from auditor.commands.check_stream import lines_of, merge_results
from auditor.records import (
    DifferingIdentifiers,
    IdentifierConflicts,
    ScanResult,
    SharedIdentifier,
    result_from_json,
    to_json,
)
from auditor.report.case_file import single_case
from auditor.report.html.identifiers import N_STATIC
from auditor.report.html.page import render_html
from auditor.report.results_csv import identifiers_csv
from auditor.report.terminal import print_table
from auditor.report.text.identifiers import N_NAMED, shared_rows
from auditor.report.write import identifiers_path, write_report
from auditor.scoring.identifiers import conflicts_anew

ONE, TWO = "isrc:USRC17607839", "isrc:GBAYE0601498"


def scan_with_conflicts(n: int = 1) -> ScanResult:
    """Return a scan with conflicts of either kind, one of a hostile scheme and value."""
    result = make_scan()
    a, b, c = (track.id for track in result.tracks[:3])
    shared = tuple(SharedIdentifier(f"{ONE[:-4]}{i:04}", ((a, b), (c,))) for i in range(n))
    pair_id = result.pairs[0].pair_id
    differing = (
        DifferingIdentifiers(pair_id, a, b, (ONE,), (TWO,)),
        DifferingIdentifiers(pair_id, a, b, (f"{HOSTILE}:x",), (f"iswc:{HOSTILE}\x1b[2J",)),
    )
    return dataclasses.replace(result, identifiers=IdentifierConflicts(3, shared, differing))


def printed(result: ScanResult, **how) -> str:
    file = io.StringIO()
    print_table(result, Console(file=file, width=500), **how)
    return file.getvalue()


def test_the_terminal_names_both_and_is_bounded():
    text = printed(scan_with_conflicts(12))
    assert "Same identifier, different audio: 12\n" in text
    assert "Same audio, different identifiers: 2\n" in text
    assert "  ISRC USRC17600000: " in text
    assert "USRC17600011" not in text
    assert "USRC17600011" in printed(scan_with_conflicts(12), n_rows=None)
    assert "\x1b[2J" not in text
    assert "identifier" not in printed(make_scan()).lower()


def test_the_page_has_both_tables_and_no_foreign_element():
    result = scan_with_conflicts(N_STATIC + 1)
    page = Page(render_html(result))
    assert "Same identifier, different audio" in page.text
    assert "USRC17607839" in page.text
    assert f"The first {N_STATIC}; the JSON file" in page.text
    assert not page.all("img")
    assert "Same identifier" not in Page(render_html(make_scan())).text


def test_many_recordings_of_one_identifier_are_counted():
    result = scan_with_conflicts()
    groups = tuple((f"x{i}",) for i in range(N_NAMED + 3))
    groups = ((tuple(track.id for track in result.tracks)), *groups)
    conflicts = IdentifierConflicts(9, (SharedIdentifier(ONE, groups),))
    ((name, said),) = shared_rows(dataclasses.replace(result, identifiers=conflicts))
    assert name == "ISRC USRC17607839"
    assert said[0].endswith(", 5 more")
    assert said[-1] == "4 more tracks"


def test_a_check_names_its_submission_and_says_what_was_compared():
    result = make_check("same recording", "sounds alike")
    submission, a, b = (result.submissions[0].id, *(track.id for track in result.tracks[:2]))
    conflicts = IdentifierConflicts(
        1,
        (SharedIdentifier(ONE, ((submission,), (b,)), n_more=7),),
        (DifferingIdentifiers(result.pairs[0].pair_id, submission, a, (ONE,), (TWO,)),),
    )
    result = dataclasses.replace(result, identifiers=conflicts)
    text = printed(result)
    assert f"  ISRC USRC17607839: Artist new – Release ({submission}) | " in text
    assert "| 7 more tracks" in text
    page = Page(render_html(result)).text
    assert "Same identifier, different audio" in page
    assert "7 more tracks" in page
    assert "among 1 submission with an identifier of a recording" in page
    assert "compared with the submission, not with each other" in page
    assert "Same identifier" not in Page(render_html(make_check("clear"))).text
    assert result_from_json(to_json(result)) == result
    (line,) = lines_of(result)
    assert [entry["identifier"] for entry in line["identifiers"]["shared"]] == [ONE]
    assert [track["id"] for track in line["identifiers"]["tracks"]] == [b]
    assert merge_results([result, result]).identifiers.n_tracks == 2
    alone = single_case(result, result.pairs[0])
    assert alone.identifiers is None


def test_the_csv_has_a_row_for_each_track_and_lies_beside_the_report(tmp_path):
    result = scan_with_conflicts()
    rows = list(csv.DictReader(io.StringIO(identifiers_csv(result))))
    a, b, c = (track.id for track in result.tracks[:3])
    assert [(r["identifier"], r["recording"], r["id"]) for r in rows[:3]] == [
        *((f"{ONE[:-4]}0000", "1", a), (f"{ONE[:-4]}0000", "1", b), (f"{ONE[:-4]}0000", "2", c)),
    ]
    assert {r["report"] for r in rows[3:]} == {"Same audio, different identifiers"}
    assert [(r["identifier"], r["id"]) for r in rows[3:5]] == [(ONE, a), (TWO, b)]
    _, json_path = write_report(result, tmp_path / "scan.html")
    written = identifiers_path(json_path)
    assert written.read_bytes().decode() == identifiers_csv(result)
    write_report(make_scan(), tmp_path / "scan.html")
    assert not written.exists()


def test_decisions_since_a_check_change_what_disagrees():
    result = make_check("same recording", "same recording", "clear")
    submission, tracks = result.submissions[0], result.tracks
    of = {submission.id: (ONE,), tracks[0].id: (ONE,), tracks[1].id: (TWO,), tracks[2].id: (ONE,)}
    result = dataclasses.replace(
        result,
        submissions=(dataclasses.replace(submission, identifiers=of[submission.id]),),
        tracks=tuple(dataclasses.replace(t, identifiers=of.get(t.id, ())) for t in tracks),
    )
    shared = SharedIdentifier(ONE, ((submission.id, tracks[0].id), (tracks[2].id,)), n_more=4)
    pair_id = result.pairs[1].pair_id
    differing = DifferingIdentifiers(pair_id, submission.id, tracks[1].id, (ONE,), (TWO,))
    before = IdentifierConflicts(1, (shared,), (differing,))
    result = dataclasses.replace(result, identifiers=before)
    assert conflicts_anew(result) == before
    denied = tuple(
        dataclasses.replace(pair, decision="false-alarm", flagged=False) for pair in result.pairs
    )
    after = conflicts_anew(dataclasses.replace(result, pairs=denied))
    groups = ((submission.id,), (tracks[0].id,), (tracks[2].id,))
    assert after == IdentifierConflicts(1, (SharedIdentifier(ONE, groups, n_more=4),))


def test_conflicts_come_back_from_json():
    result = scan_with_conflicts()
    assert result_from_json(to_json(result)) == result
