"""The two reports on identifiers, in the terminal and on the page, with hostile tags."""

from __future__ import annotations

import dataclasses
import io

from html_page import Page
from rich.console import Console
from small_report import HOSTILE, make_scan

from auditor.records import (
    DifferingIdentifiers,
    IdentifierConflicts,
    ScanResult,
    SharedIdentifier,
    result_from_json,
    to_json,
)
from auditor.report.html.page import render_html
from auditor.report.html.scan import N_STATIC_PAIRS
from auditor.report.terminal import print_table
from auditor.report.text.identifiers import N_NAMED, shared_rows

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
    result = scan_with_conflicts(N_STATIC_PAIRS + 1)
    page = Page(render_html(result))
    assert "Same identifier, different audio" in page.text
    assert "USRC17607839" in page.text
    assert f"The first {N_STATIC_PAIRS}; the JSON file" in page.text
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
    assert said[-1] == "4 more recordings"


def test_conflicts_come_back_from_json():
    result = scan_with_conflicts()
    assert result_from_json(to_json(result)) == result
