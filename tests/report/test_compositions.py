"""The list of compositions in the terminal, as CSV and JSON, with tags that try to act."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from small_compositions import (
    check_with_compositions,
    make_compositions,
    make_match,
    scan_with_compositions,
)
from small_report import HOSTILE, make_scan

from auditor.decisions.apply import in_order, pair_id, report_orders
from auditor.errors import ResultError
from auditor.records import (
    CheckResult,
    CompositionMatch,
    NotComparable,
    ScanResult,
    result_from_json,
    to_json,
)
from auditor.report.json_schema import result_schema
from auditor.report.results_csv import compositions_csv, to_csv
from auditor.report.terminal import print_table
from auditor.report.terminal_table import PIPE_WIDTH
from auditor.report.text.compositions import (
    ListedMatch,
    chance_statement,
    composition_sentence,
    compositions_headline,
    listed_matches,
    not_comparable_line,
)
from auditor.report.write import compositions_path, write_report


def printed(result: ScanResult | CheckResult, **options: object) -> str:
    file = io.StringIO()
    print_table(result, Console(file=file, width=80), **options)  # type: ignore[arg-type]
    return file.getvalue()


def with_list(result: ScanResult, **changes: object) -> ScanResult:
    found = make_compositions(result)
    return dataclasses.replace(result, compositions=dataclasses.replace(found, **changes))


def test_flagged_lines_stand_below_the_recordings():
    text = printed(scan_with_compositions())
    recordings, headline, below = text.partition(
        "2 pairs may be the same composition (at most 10 % of them chance)\n"
    )
    assert headline
    assert "3 matching pairs" in recordings and "same composition" not in recordings
    assert below.count("same composition") == 2
    for said in (
        "a 0:12-0:43 = b 0:48-1:21",
        "+3 semitones, tempo +10 %",
        "−1 semitone, tempo −12 %",
        "melody 87 %, harmony 91 %",
        "by chance to this line: 0.16",
        "1 line not flagged: more than 10 % of the list down to there may be chance",
        "1 line not flagged: same chords, no melody",
        "1 track not compared as a composition: no pitched music to compare",
    ):
        assert said in below
    assert max(map(len, text.splitlines())) <= 80
    assert "<img" not in below.replace(HOSTILE[:20], "")


def test_same_chords_and_chance_are_shown_with_verbose_only():
    assert "melody 12 %" not in printed(scan_with_compositions())
    text = printed(scan_with_compositions(), verbose=True)
    assert "melody 12 %" in text
    assert text.count("same composition\n") + text.count("same composition  ") == 3
    assert "-v shows the lines" not in text
    assert "45 of 45 pairs aligned; rate from composition-0a1b2c3d.json" in text


def test_what_decisions_set_aside_is_listed_on_request():
    scan = make_scan()
    ids = [track.id for track in scan.tracks]
    decided = make_match(
        ids[0], ids[5], flagged=False, decision="cover", decision_by="Ana", decision_note="Live\nx"
    )
    scan = with_list(scan, matches=(decided,))
    assert "1 line set aside by decisions" in printed(scan)
    assert "cover, by Ana, Live / x" in printed(scan, show_decided=True)
    assert "cover, by Ana" not in printed(scan)


def test_nothing_is_said_where_it_was_not_asked_for():
    assert "composition" not in printed(make_scan())


def test_many_lines_are_cut_and_counted():
    scan = make_scan()
    ids = [track.id for track in scan.tracks]
    scan = with_list(scan, matches=tuple(make_match(ids[0], ids[k]) for k in range(1, 9)))
    text = printed(scan, n_rows=3)
    assert "… and 5 more lines; the report lists them all." in text
    assert text.count("by chance to this line") == 3


def test_each_submission_has_a_list_of_its_own():
    check = check_with_compositions()
    assert [line.rank for line in listed_matches(check)] == [1, 2, 3, 4]
    other = dataclasses.replace(check.submissions[0], id="newer")
    found = make_compositions(check)
    matches = (*found.matches, dataclasses.replace(found.matches[0], a="newer"))
    check = dataclasses.replace(
        check,
        submissions=(*check.submissions, other),
        compositions=dataclasses.replace(found, matches=matches),
    )
    assert [line.rank for line in listed_matches(check)] == [1, 2, 3, 4, 1]


def test_a_line_of_a_track_that_is_not_listed_is_refused():
    scan = with_list(make_scan(), matches=(make_match("t00000", "gone"),))
    with pytest.raises(ResultError, match="names the track 'gone'"):
        printed(scan)


def line(rank: int, **changes: object) -> ListedMatch:
    tracks = make_scan().tracks
    return ListedMatch(rank, make_match(tracks[0].id, tracks[1].id, **changes), *tracks[:2])


@pytest.mark.parametrize(
    ("rank", "changes", "said"),
    [
        (1, {"expected_by_chance": 0.04},
         "0.04 lines as high as this first one are expected by chance (95 % 0–1)"),
        (20, {"expected_by_chance": 1.0, "chance_share_low": 0.05, "chance_share_high": 0.2},
         "Of the 20 lines down to this one, 1 is expected to be chance (95 % 1–4)"),
        (2, {"expected_by_chance": 7.0}, "2 are expected to be chance"),
        (2, {"chance_share": None}, "is not known: no calibration was found"),
    ],
)  # fmt: skip
def test_the_statement_of_chance(rank, changes, said):
    assert said in chance_statement(line(rank, **changes))


def test_no_flagged_line_says_how_many_pairs_were_compared():
    found = dataclasses.replace(make_compositions(make_scan()), matches=())
    assert compositions_headline(found, []) == (
        "No pair is flagged as the same composition (45 pairs)"
    )


def test_reasons_are_counted_where_there_are_several():
    found = dataclasses.replace(
        make_compositions(make_scan()),
        not_comparable=(
            NotComparable("a", "no pitched music to compare"),
            NotComparable("b", "too short, or no spectrum"),
            NotComparable("c", "no pitched music to compare"),
        ),
    )
    assert not_comparable_line(found) == (
        "3 tracks not compared as compositions: no pitched music to compare (2); "
        "too short, or no spectrum (1)"
    )


def test_compositions_have_a_csv_of_their_own(tmp_path):
    scan = scan_with_compositions()
    rows = list(csv.DictReader(io.StringIO(compositions_csv(scan))))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["flagged"] for row in rows] == ["true", "true", "false", "false"]
    first = rows[0]
    assert (first["a_id"], first["b_id"]) == ("t00000", "t00005")
    assert (first["transposition"], first["tempo"], first["melody"]) == ("3", "1.1", "0.87")
    assert not {"melody_a", "chords_b", "a", "b"} & set(first)
    assert len(list(csv.DictReader(io.StringIO(to_csv(scan))))) == len(scan.pairs)

    _, json_path = write_report(scan, tmp_path / "scan.html")
    path = compositions_path(json_path)
    assert path.name == "scan-compositions.csv"
    assert path.read_bytes().decode() == compositions_csv(scan)
    write_report(make_scan(), tmp_path / "scan.html")
    assert not path.exists()


def test_formulas_in_tags_are_led_by_an_apostrophe():
    scan = scan_with_compositions()
    evil = dataclasses.replace(scan.tracks[0], title='=HYPERLINK("http://x")')
    scan = dataclasses.replace(scan, tracks=(evil, *scan.tracks[1:]))
    row = next(csv.DictReader(io.StringIO(compositions_csv(scan))))
    assert row["a_title"].startswith("'=")


@pytest.mark.parametrize("make", [scan_with_compositions, check_with_compositions, make_scan])
def test_json_follows_the_schema_and_comes_back(make):
    result = make()
    text = to_json(result)
    assert result_from_json(text) == result
    import json

    Draft202012Validator(result_schema(result.kind)).validate(json.loads(text))


def test_every_field_of_a_line_is_described_in_the_schema():
    described = result_schema("scan")["$defs"]["CompositionMatch"]["properties"]
    fields = {field.name for field in dataclasses.fields(CompositionMatch)}
    assert set(described) == fields
    assert all("description" in described[name] for name in fields - {"pair_id"})


def test_a_pair_id_of_the_list_names_its_tracks():
    check = check_with_compositions()
    assert check.compositions is not None
    (new,) = check.submissions
    sha256 = {track.id: track.sha256 for track in check.tracks}
    orders = report_orders([check])
    for match in check.compositions.matches:
        hashes = in_order(new.sha256, sha256[match.b])
        assert pair_id(*hashes) == match.pair_id
        assert orders[hashes] == (new.sha256, sha256[match.b])


def test_in_a_pipe_lines_are_as_long_as_their_text():
    out = io.StringIO()
    print_table(with_list(make_scan()), Console(file=out, width=PIPE_WIDTH))
    lines = out.getvalue().splitlines()
    assert any("same composition" in each for each in lines)
    assert max(map(len, lines)) < 1000
    assert all(each == each.rstrip() for each in lines)


def test_a_line_whose_chords_were_hardly_heard_says_no_more_than_that_it_aligns():
    match = make_match("a", "b", verdict="same chords", melody=0.2, harmony=0.6)
    assert composition_sentence(match).startswith("The same chords follow each other from 0:12")
    said = composition_sentence(dataclasses.replace(match, harmony=0.3))
    assert said.endswith("aligns; neither melody nor chords agree enough.")
