"""The section of compositions in the HTML report: pictures, sound, decisions, hostile results."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from html_page import Page
from hypothesis import given, settings
from hypothesis import strategies as st
from small_compositions import (
    STEP_S,
    check_with_compositions,
    make_compositions,
    make_match,
    media_with_compositions,
    scan_with_compositions,
)
from small_report import HOSTILE, make_check, make_scan

from auditor.records import CompositionMatch, ScanResult
from auditor.report.html.compositions import MAX_STEPS, N_IN_FULL, N_ROWS, draw_roll
from auditor.report.html.page import render_html

BOTH = {"a_start_s": 10.0, "a_end_s": 10.0 + 4 * STEP_S * 10}


def drawn(melody_a, melody_b, **changes) -> CompositionMatch:
    return make_match("x", "y", **{
        "melody_a": tuple(melody_a), "melody_b": tuple(melody_b),
        "chords_a": (), "chords_b": (), **BOTH, **changes,
    })  # fmt: skip


def area(path: str) -> int:
    """Return the steps that a path of notes covers."""
    return sum(int(n) for n in re.findall(r"h(\d+)v1", path))


def test_shared_notes_are_apart_from_those_that_differ():
    roll = draw_roll(drawn([60, 60, 62, 64, 0], [60, 72, 62, 65, 62]))
    assert roll is not None
    # 60 to 72: thirteen rows, the highest on top; two equal steps are one note.
    assert roll.a.shared == "M0 12h2v1h-2zM2 10h1v1h-1z"
    assert roll.a.other == "M3 8h1v1h-1z"
    assert roll.b.shared == "M0 12h1v1h-1zM1 0h1v1h-1zM2 10h1v1h-1z"
    assert roll.b.other == "M3 7h1v1h-1zM4 10h1v1h-1z"
    assert [name for _, name in roll.a.octaves] == ["C4", "C5"]
    assert "At 3 of the 4 moments at which both are heard" in roll.description
    assert roll.a.as_text == "C4 D4 E4 –"


def test_the_axis_has_round_seconds_of_a():
    roll = draw_roll(drawn([60] * 40, [60] * 40, a_start_s=12.0, a_end_s=52.0))
    assert roll is not None
    assert [mark.label for mark in roll.marks] == ["0:20", "0:30", "0:40"]
    assert [mark.x for mark in roll.marks] == [20.0, 45.0, 70.0]


def test_chords_are_named_where_they_hold_for_a_second():
    row = (0,) * 3 + (7,) * 2 + (-1,) * 3 + (21,) * 12
    roll = draw_roll(
        drawn([60] * 20, [60] * 20, chords_a=row, chords_b=row[:8] + (0,) * 12,
              a_start_s=0.0, a_end_s=20 * STEP_S)
    )  # fmt: skip
    assert roll is not None
    assert [name.text for name in roll.chords_a.names] == ["C", "Am"]  # G holds for 0.8 s
    assert roll.chords_a.shared.startswith("M0 0h3") and "M5" not in roll.chords_a.shared
    assert area(roll.chords_a.other) == area(roll.chords_b.other) == 12
    assert [name.text for name in roll.chords_b.names] == ["C", "C"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-300, 300), max_size=60),
    st.lists(st.integers(-300, 300), max_size=60),
    st.lists(st.integers(-50, 50), max_size=80),
    st.lists(st.floats(-1e6, 1e6), max_size=80),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_any_numbers_are_drawn_inside_the_picture(
    melody_a, melody_b, chords, moments, start_s, end_s
):
    match = drawn(melody_a, melody_b, chords_a=tuple(chords), chords_b=tuple(chords[::-1]),
                  moments_b=tuple(moments), a_start_s=start_s, a_end_s=end_s)  # fmt: skip
    roll = draw_roll(match)
    n = min(len(melody_a), len(melody_b))
    heard = [p for p in (*melody_a[:n], *melody_b[:n]) if 0 < p < 128]
    assert (roll is None) == (not heard)
    if roll is None:
        return
    notes = sum(area(p) for panel in (roll.a, roll.b) for p in (panel.shared, panel.other))
    assert notes == len(heard)
    rows = [int(y) for panel in (roll.a, roll.b)
            for y in re.findall(r"M\d+ (-?\d+)h", panel.shared + panel.other)]  # fmt: skip
    assert all(0 <= y < roll.n_rows for y in rows)
    assert all(0.0 <= mark.x <= 92.0 for mark in roll.marks)
    if roll.alignment is not None:
        points = [point.split(",") for point in roll.alignment.points.split()]
        assert all(0 <= int(x) < n and 0 <= int(y) <= 1000 for x, y in points)


def test_the_alignment_rises_with_the_time_of_b():
    moments = tuple(30.0 + 0.2 * k for k in range(50))
    roll = draw_roll(drawn([60] * 50, [60] * 50, moments_b=moments, b_start_s=30.0, b_end_s=50.0))
    assert roll is not None and roll.alignment is not None
    assert roll.alignment.points.split()[0] == "0,1000"
    assert roll.alignment.points.split()[-1] == "49,510"
    assert (roll.alignment.low, roll.alignment.high) == ("0:30", "0:50")
    assert roll.axis_y >= roll.alignment.y + roll.alignment.px
    assert draw_roll(drawn([60], [60])).alignment is None


def test_a_long_alignment_is_thinned():
    roll = draw_roll(
        drawn([60] * 3000, [60] * 3000, moments_b=tuple(map(float, range(3000))), b_end_s=3000.0)
    )
    assert roll is not None and roll.alignment is not None
    assert 300 <= len(roll.alignment.points.split()) <= 402


def test_endless_melodies_are_cut():
    roll = draw_roll(drawn([60, 62] * MAX_STEPS, [60] * (2 * MAX_STEPS)))
    assert roll is not None
    assert roll.n_steps == MAX_STEPS


def page_of(result, media=None) -> Page:
    return Page(render_html(result, media))


@pytest.mark.parametrize("make", [scan_with_compositions, check_with_compositions])
def test_the_section_shows_each_line_with_picture_sound_and_chance(make):
    result = make()
    page = page_of(result, media_with_compositions(result))
    assert len([a for a in page.all("details") if "data-composition" in a]) == 4
    assert [a["data-side"] for a in page.all("audio") if "data-side" in a and "data-range" not in a
            ] == ["a", "b"] * 3  # fmt: skip
    pictures = [a for a in page.all("svg") if a.get("class") == "roll-picture"]
    assert len(pictures) == 4
    assert all("Piano rolls: the melody of A" in str(a["aria-label"]) for a in pictures)
    for said in (
        "2 pairs may be the same composition (at most 10 % of them chance).",
        "Much of the melody is the same from 0:12 to 0:43 in A and from 0:48 to 1:21 in B.",
        "Of the 2 lines down to this one, 0.16 are expected to be chance (95 % 0–1).",
        "The same chords follow each other",
        "A is 3 semitones higher than B", "A is 12 % slower than B", "melody 87 %, harmony 91 %",
        "Not compared are rhythm, lyrics, sound and form",
        "1 track not compared as a composition: no pitched music to compare.",
    ):  # fmt: skip
        assert said in page.text, said
    assert "Same composition 2 at most 10 % of them chance" in page.text
    kinds = [a["data-kind"] for a in page.all("button") if "data-kind" in a]
    assert kinds.count("cover") == 5  # four lines, and the dialog of recordings


def test_nothing_escapes_and_nothing_is_inline():
    scan = scan_with_compositions()
    page = page_of(scan, media_with_compositions(scan))
    assert HOSTILE in page.text.replace("  ", " ") or "window.hurt" in page.text
    assert not page.all("img")
    assert not [a for _, a in page.elements if "style" in a or any(k.startswith("on") for k in a)]
    assert len(page.texts["style"]) == 1
    run = [a for a in page.all("script") if "type" not in a]
    assert len(run) == 1 < len(page.texts["script"])


def test_decisions_know_the_tracks_of_a_line_whatever_pairs_there_are():
    scan = dataclasses.replace(scan_with_compositions(), pairs=(), clusters=())
    data = json.loads(page_of(scan).texts["script"][0])
    found = scan.compositions
    assert found is not None
    assert data["pairs"] == []
    assert [each["id"] for each in data["compositions"]] == [m.pair_id for m in found.matches]
    paths = {track.id: track.path for track in scan.tracks}
    for each, match in zip(data["compositions"], found.matches, strict=True):
        assert data["tracks"][each["a"]][3][15] == paths[match.a]
        assert data["tracks"][each["b"]][3][15] == paths[match.b]


def test_a_result_without_compositions_has_no_section():
    assert "Same composition" not in page_of(make_scan()).text
    assert "Same composition" not in page_of(make_check("clear")).text


def test_the_certificate_names_the_compositions():
    page = page_of(check_with_compositions())
    assert "Certificate: no match found" in page.text
    assert "It speaks of recordings. 2 pairs may be the same composition" in page.text


def long_list(n: int) -> ScanResult:
    scan = make_scan()
    ids = [track.id for track in scan.tracks]
    found = dataclasses.replace(
        make_compositions(scan), matches=tuple(make_match(ids[0], ids[1]) for _ in range(n))
    )
    return dataclasses.replace(scan, compositions=found)


def test_long_lists_are_drawn_in_part_and_counted():
    page = page_of(long_list(N_IN_FULL + N_ROWS + 7))
    assert len([a for a in page.all("svg") if a.get("class") == "roll-picture"]) == N_IN_FULL
    assert f"{N_ROWS} further lines" in page.text
    assert "And 7 more: see the JSON file" in page.text


def test_a_page_without_media_says_so():
    assert "No clips: this page was rendered without" in page_of(scan_with_compositions()).text
