"""Terminal tables and CSV, with tags that try to act on what shows them."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from auditor.errors import ResultError, show_text
from auditor.records import (
    CheckResult,
    Cluster,
    Evidence,
    IdenticalFiles,
    MatchedRange,
    Pair,
    Provenance,
    Recommended,
    RecommendResult,
    Result,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
)
from auditor.report.results_csv import to_csv
from auditor.report.terminal import console_for, print_table
from auditor.report.text.error_rates import false_alarm_rate, false_pairs, show_rate
from auditor.report.text.general import headline, pair_badges, show_duration

PROVENANCE = Provenance(
    "0.1.0", "audit scan x", "2025-01-02T03:04:05Z", "song", "9f8e7d6c", ".audit"
)
USE = ThresholdUse(0.87, "song-9f8e7d6c.json", 8e-7, 2e-7, 19e-7, 0.8)


def make_track(track_id: str, **fields: object) -> Track:
    values = {
        "path": f"music/{track_id}.mp3",
        "sha256": "ab" * 32,
        "size": 4_000_000,
        "duration_s": 222.4,
        "declared_s": 222.5,
        "truncated": False,
        "silent": False,
        "codec": "mp3",
        "container": "mp3",
        "sample_rate_hz": 44_100,
        "n_channels": 2,
        "bit_rate": None,
        "title": f"Title {track_id}",
        "artist": "Artist",
    }
    return Track(id=track_id, **(values | fields))  # type: ignore[arg-type]


def make_scan(*tracks: Track, pairs: tuple[Pair, ...] = ()) -> ScanResult:
    clusters = (Cluster(tuple(t.id for t in tracks), 0.99),) if pairs else ()
    return ScanResult(
        tracks=tracks,
        pairs=pairs,
        clusters=clusters,
        skipped=(Skipped("music/bad.mp3", "no audio stream"),),
        n_tracks=8000,
        n_pairs_compared=1_000_000,
        search="exact",
        index_recall=None,
        histogram={},
        threshold=USE,
        provenance=PROVENANCE,
    )


def make_check(
    submissions: tuple[Track, ...], tracks: tuple[Track, ...], *pairs: Pair
) -> CheckResult:
    scan = make_scan()
    return CheckResult(
        submissions=submissions,
        tracks=tracks,
        pairs=pairs,
        skipped=(),
        n_tracks=2,
        n_pairs_compared=4,
        search="annoy",
        index_recall=0.993,
        threshold=scan.threshold,
        provenance=scan.provenance,
    )


def printed(result: Result, *, width: int = 80, color: str | None = None, **options: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color is not None, color_system=color)
    print_table(result, console, **options)
    return out.getvalue()


def csv_rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(result), newline="")))


SCAN = make_scan(make_track("a"), make_track("b"), pairs=(Pair("a", "b", 0.98765),))


def test_table_fits_80_columns_and_ends_with_counts_threshold_and_false_pairs() -> None:
    long = make_track("c", title="A title without end " * 20)
    text = printed(make_scan(make_track("a"), long, pairs=(Pair("a", "c", 0.9),)))
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(
        "1 matching pair among 8,000 tracks\n-v shows how the threshold was chosen\n\n Score"
    )
    last = " ".join(text[text.index("1,000,000 pairs") :].split())
    assert last == (
        "1,000,000 pairs compared, threshold 0.8700; "
        "expected false positives: 0.8 (95 % interval 0.2–1.9) "
        "1 file skipped"
    )


WORDS = [f"word{i}" for i in range(60)]
LONG = MatchedRange(3723.0, 3781.0, 7323.0, 7385.5, 1.06, 0.8, -11.5, 0.1, 0.9)


def test_nothing_is_cut_in_a_narrow_terminal() -> None:
    evidence = Evidence(0.8, (LONG, LONG), 0.04, 0.05, 1.06, 0.2)
    long = make_track("c", title=" ".join(WORDS), licence="Creative Commons Attribution 4.0")
    pair = Pair("a", "c", 0.9, verdict="shared excerpt", evidence=evidence, pair_id="dacd20d3")
    text = printed(make_scan(make_track("a"), long, pairs=(pair,)))
    words = text.split()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert not set(WORDS) - set(words)
    for said in ("Attribution", "pitch", "-11.5,", "tempo", "+6.0", "1:02:03-1:03:01", "more"):
        assert said in words


def test_a_pipe_wraps_nothing_and_ends_no_line_in_spaces(monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = make_track("c", title=" ".join(WORDS))
    out = io.StringIO()
    print_table(make_scan(make_track("a"), long, pairs=(Pair("a", "c", 0.9),)), console_for(out))
    lines = out.getvalue().splitlines()
    assert any(" ".join(WORDS) in line for line in lines)
    assert lines == [line.rstrip() for line in lines]
    assert any(line.startswith("1,000,000 pairs compared") and "0.2–1.9)" in line for line in lines)
    monkeypatch.setenv("COLUMNS", "60")
    assert console_for(io.StringIO()).width == 60


def test_tracks_of_one_title_are_told_apart_by_their_paths() -> None:
    one, two = (make_track(i, title="Same", path=f"music/{i}/same.mp3") for i in "ab")
    other = make_track("c", title="Other", path="music/c/other.mp3")
    text = printed(make_scan(one, two, other, pairs=(Pair("a", "b", 0.9), Pair("a", "c", 0.8))))
    assert text.count("music/a/same.mp3") == 2 and "music/b/same.mp3" in text
    assert "music/c/other.mp3" not in text
    result = RecommendResult(
        {}, tuple(Recommended(t, 0.5) for t in (one, two, other)), 3, PROVENANCE
    )
    text = printed(result)
    assert "music/a/same.mp3" in text and "music/b/same.mp3" in text
    assert "music/c/other.mp3" not in text


def test_the_choice_of_the_threshold_is_told_when_asked_for() -> None:
    text = " ".join(printed(SCAN, verbose=True).split())
    assert text.endswith(
        "expected false positives: 0.8 (95 % interval 0.2–1.9) exact search "
        "threshold from song-9f8e7d6c.json; "
        "false alarm rate 8 × 10⁻⁷ per pair (95 % interval 2 × 10⁻⁷–1.9 × 10⁻⁶) 1 file skipped"
    )
    assert "exact search" not in printed(SCAN)
    assert "-v shows how the threshold was chosen" not in text


def test_table_says_the_budget_and_of_how_many_pairs_an_index_proposed_some() -> None:
    use = dataclasses.replace(
        USE, budget=0.5, n_comparisons=31_996_000, expected_low=0.1, expected_high=3.5
    )
    annoy = dataclasses.replace(SCAN, threshold=use, search="annoy", index_recall=0.993)
    text = " ".join(printed(annoy, verbose=True).split())
    assert (
        "1,000,000 of 31,996,000 pairs compared, threshold 0.8700; "
        "expected false positives: 0.8 (95 % interval 0.1–3.5)"
    ) in text
    assert "budget: 0.5 false pairs threshold from" in text


def test_table_shows_markup_controls_and_direction_marks_as_text() -> None:
    hostile = make_track("a", title="[red]x[/red] :smile:\n\x1b[2J\u202e\ud800", artist="")
    scan = make_scan(hostile, make_track("b"), pairs=(Pair("a", "b", 0.9),))
    text = printed(scan, width=140, color="standard")
    assert "[red]x[/red] :smile:\\n\\x1b[2J\\u202e\\ud800" in text
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    text.encode("utf-8")


HEARD = MatchedRange(72.0, 81.0, 103.0, 112.5, 1.06, 0.8, None, 0.1, 0.9)
SHARED = {"far": 3.1e-7, "verdict": "shared excerpt", "similarity": 0.4}


def test_table_and_csv_say_the_verdict_and_the_best_range() -> None:
    evidence = Evidence(0.8, (HEARD, HEARD), 0.04, 0.05, 1.06, 0.2)
    shared = Pair("a", "b", 0.8, evidence=evidence, **SHARED)
    alike = Pair("a", "c", 0.7, flagged=False, verdict="sounds alike")
    tracks = (make_track("a"), make_track("b"), make_track("c"))
    scan = make_scan(*tracks, pairs=(shared, alike))
    text = printed(scan, width=140)
    assert "shared excerpt" in text
    assert "a 1:12-1:21 = b 1:43-1:52, tempo +6.0 %, 1 more" in text
    assert "sounds alike" not in text
    assert "1 pair not flagged; the report lists them" in text
    check = make_check(tracks[:1], tracks[1:], alike)
    assert "sounds alike" in printed(check, width=140)
    first, second = csv_rows(scan)
    assert first["verdict"] == "shared excerpt"
    assert [first[name] for name in ("far", "similarity", "n_ranges")] == ["3.1e-07", "0.4", "2"]
    times = ("a_start_s", "a_end_s", "b_start_s", "b_end_s")
    assert [first[name] for name in times] == ["72.0", "81.0", "103.0", "112.5"]
    assert (first["tempo"], first["pitch_semitones"], first["correlation"]) == ("1.06", "", "0.9")
    assert first["said"].startswith("1:12–1:21 of A matches 1:43–1:52 of B; there A is 6.0 %")
    assert (second["verdict"], second["n_ranges"], second["tempo"]) == ("sounds alike", "", "")


def test_table_says_what_it_leaves_out() -> None:
    tracks = tuple(make_track(f"t{i}") for i in range(6))
    pairs = tuple(Pair("t0", f"t{i}", 0.9) for i in range(1, 6))
    text = printed(make_scan(*tracks, pairs=pairs), n_rows=2)
    assert text.count("Title t0") == 2
    assert "… and 3 more; the report lists them all." in text


def test_table_of_nothing_has_no_header() -> None:
    text = printed(make_scan())
    assert "Score" not in text
    assert text.startswith("No matching pairs among 8,000 tracks\n")


def test_check_table_has_a_verdict_for_every_submission() -> None:
    submissions = (make_track("s"), make_track("q", silent=True), make_track("n"))
    flagged, near = Pair("s", "a", 0.95), Pair("n", "b", 0.5, flagged=False)
    result = make_check(submissions, (make_track("a"), make_track("b")), flagged, near)
    text = printed(result, verbose=True)
    assert text.startswith("1 of 3 submissions matches a track of the catalogue (2 tracks)\n")
    assert "Artist – Title s: flagged: 1 track at or above the threshold\n" in text
    assert "Artist – Title q: not compared: no window is loud enough\n" in text
    assert "Artist – Title n: nothing at or above the threshold\n" in text
    assert "below the threshold" in text
    assert "4 pairs compared, threshold " in text
    assert "annoy search, index recall 99.3 %" in text


def test_recommend_table_and_csv() -> None:
    same = ("=1/b.mp3", "again/b.mp3")
    first = Recommended(make_track("b"), 0.8, "a", same)
    answers = (first, Recommended(make_track("c"), -0.25))
    result = RecommendResult({"like": ("a",)}, answers, 3, PROVENANCE, notes=("a note",))
    text = printed(result)
    assert "−0.2500" in text
    assert text.count("3 identical files") == 1
    assert text.startswith("2 tracks recommended among 3 tracks\n\n")
    assert text.endswith("\na note\n")
    rows = csv_rows(result)
    assert [row["same"] for row in rows] == ["'=1/b.mp3 / again/b.mp3", ""]
    assert [(row["rank"], row["score"], row["nearest_to"], row["id"]) for row in rows] == [
        ("1", "0.8", "a", "b"),
        ("2", "-0.25", "", "c"),
    ]


def test_csv_has_every_field_of_both_tracks() -> None:
    (row,) = csv_rows(SCAN)
    names = [field.name for field in dataclasses.fields(Track)]
    of_pair = {"score", "threshold", "flagged", "identical_file", "pair_id", "licences_differ"}
    of_pair |= {"decision", "decision_note", "decision_by", "decision_when"}
    of_tracks = [f"{side}_{name}" for side in "ab" for name in names]
    n_first = len(of_pair) + len(of_tracks)
    assert set(list(row)[:n_first]) == of_pair | set(of_tracks)
    assert list(row)[n_first] == "verdict"
    assert row["score"] == "0.98765"
    assert row["a_bit_rate"] == ""
    assert row["a_truncated"] == "false"
    assert to_csv(SCAN).endswith("\r\n")


def test_csv_names_the_cluster_and_the_folders() -> None:
    tracks = [make_track(i, path=f"/music/{i}/x.mp3") for i in "abcd"]
    pairs = (Pair("a", "b", 0.9), Pair("c", "d", 0.8), Pair("a", "c", 0.3, flagged=False))
    scan = make_scan(*tracks, pairs=pairs)
    clusters = (Cluster(("a", "b"), 0.9), Cluster(("c", "d"), 0.8))
    rows = csv_rows(dataclasses.replace(scan, clusters=clusters))
    assert [row["cluster"] for row in rows] == ["C1", "C2", ""]
    assert [(row["a_folder"], row["b_folder"]) for row in rows][1] == ("/music/c", "/music/d")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_defuses_formulas(start: str) -> None:
    evil = make_track("a", title=f"{start}HYPERLINK(1)", genres=("-x", "y"), parts_s=(60.0, 90.5))
    (row,) = csv_rows(make_scan(evil, make_track("b"), pairs=(Pair("a", "b", -0.5),)))
    assert row["a_title"] == f"'{start}HYPERLINK(1)"
    assert row["a_parts_s"] == "60.0 / 90.5"
    assert row["a_genres"] == "'-x / y"
    assert row["score"] == "-0.5"


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("  =cmd|' /C calc'!A0", "'  =cmd|' /C calc'!A0"),
        ("\u00a0@SUM(1)", "'\u00a0@SUM(1)"),
        ("＝1+1", "'＝1+1"),
        ("one;=1+1", "one;'=1+1"),
        ("one;  =1+1", "one;'  =1+1"),
        ("one\t=1+1", "one\t'=1+1"),
        ("one\r+1", "one\r'+1"),
        ("one\n-1", "one\n'-1"),
        ("one|@x", "one|'@x"),
        ('one;"=1', "one;'\"=1"),
        ("Live - In Rome, 1+1=2; a-b", "Live - In Rome, 1+1=2; a-b"),
        ("\x1b[2J\u202e\x9b", "\\x1b[2J\\u202e\\x9b"),
    ],
)
def test_csv_defuses_formulas_wherever_a_spreadsheet_separates_cells(title, shown) -> None:
    evil = make_track("a", title=title)
    (row,) = csv_rows(make_scan(evil, make_track("b"), pairs=(Pair("a", "b", 0.5),)))
    assert row["a_title"] == shown


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
def test_csv_round_trips_any_title(title: str) -> None:
    track = make_track("a", title=title)
    text = to_csv(make_scan(track, make_track("b"), pairs=(Pair("a", "b", 0.9),)))
    text.encode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    shown = "".join(c if c in "\t\r\n" else show_text(c) for c in title)
    assert row["a_title"].replace("'", "") == shown.replace("'", "")
    assert not row["a_title"].startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
def test_show_text_is_one_line_without_controls(text: str) -> None:
    shown = show_text(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("\x00\x07\x1b\x7f\x9b\u200f\u202a\u202e\u2066\u2069\ufeff")
    assert show_text(shown) == shown


def test_table_names_the_tracks_that_were_not_wholly_compared() -> None:
    odd = (
        make_track("cut", truncated=True),
        make_track("hush", silent=True),
        make_track("gone", missing=True, path="music/" + "deep/" * 30 + "gone.mp3"),
    )
    text = printed(make_scan(make_track("a"), *odd))
    counts, *paths = text.splitlines()[-4:]
    assert counts == "3 tracks not fully compared: 1 missing, 1 silent, 1 truncated"
    assert paths == [
        f"  music/{'deep/' * 30}gone.mp3: missing",
        "  music/hush.mp3: silent",
        "  music/cut.mp3: truncated",
    ]
    assert "not fully compared" not in printed(SCAN)


def test_table_names_at_most_10_of_them_unless_it_shows_everything() -> None:
    scan = make_scan(*(make_track(f"t{i:02}", missing=True) for i in range(12)))
    text = printed(scan)
    assert "12 tracks not fully compared: 12 missing\n" in text
    assert text.count(".mp3: missing\n") == 10
    assert text.endswith("… and 2 more, see the report.\n")
    assert printed(scan, n_rows=None).count(".mp3: missing\n") == 12


def test_check_table_says_which_submissions_were_not_wholly_compared() -> None:
    submissions = (
        make_track("s", truncated=True),
        make_track("n", truncated=True),
        make_track("q", silent=True),
    )
    check = make_check(submissions, (make_track("a", truncated=True),), Pair("s", "a", 0.95))
    text = printed(check, width=120)
    part = "at or above the threshold; truncated, so only a part was compared\n"
    assert f"Artist – Title s: flagged: 1 track {part}" in text
    assert f"Artist – Title n: nothing {part}" in text
    assert text.endswith(
        "3 submissions not fully compared: 1 silent, 2 truncated\n"
        "  music/q.mp3: silent\n"
        "  music/s.mp3: truncated\n"
        "  music/n.mp3: truncated\n"
    )


@pytest.mark.parametrize(
    ("far_low", "far_high", "shown"),
    [
        (0.0, 1e-9, "0–below 0.001"),
        (1e-10, 1e-9, "below 0.001"),
        (1e-10, 1e-5, "below 0.001–1"),
        (0.0, 1e-5, "0–1"),
        (0.0, 0.0, "0"),
    ],
)
def test_intervals_that_reach_below_what_is_shown(
    far_low: float, far_high: float, shown: str
) -> None:
    use = ThresholdUse(0.9, "song.json", 5e-10, far_low, far_high, 5e-5)
    assert false_pairs(use, 100_000) == f"<0.001 (95 % interval {shown})"


def test_unlisted_track_is_named() -> None:
    scan = make_scan(make_track("a"), pairs=(Pair("a", "zz", 0.9),))
    with pytest.raises(ResultError, match="names the track 'zz' but does not list it"):
        to_csv(scan)
    with pytest.raises(ResultError, match="names the track 'zz' but does not list it"):
        printed(scan)


def test_headlines() -> None:
    assert headline(SCAN) == "1 matching pair among 8,000 tracks"
    three = (Pair("a", "b", 0.9), Pair("b", "c", 0.9))
    larger = make_scan(*map(make_track, "abc"), pairs=three)
    assert headline(larger) == "2 matching pairs in 1 cluster among 8,000 tracks"
    alone = dataclasses.replace(make_scan(), n_tracks=1, n_pairs_compared=0)
    assert headline(alone) == "No pairs to compare among 1 track"
    check = make_check((make_track("s"),), (make_track("a"),), Pair("s", "a", 0.9))
    assert headline(check) == "1 of 1 submission matches a track of the catalogue (2 tracks)"
    clean = dataclasses.replace(check, pairs=(Pair("s", "a", 0.1, flagged=False),))
    assert headline(clean) == "No match: 1 submission, compared with the catalogue (2 tracks)"


def test_unknown_error_rate_is_said() -> None:
    use = ThresholdUse(0.5, "by hand")
    assert (false_pairs(use, 10), false_alarm_rate(use)) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("rate", "shown"), [(9.99e-5, "1 × 10⁻⁴"), (1e-6, "1 × 10⁻⁶"), (0.001, "0.001"), (0.0, "0")]
)
def test_show_rate(rate: float, shown: str) -> None:
    assert show_rate(rate) == shown


def test_show_duration_rounds_up_to_the_next_minute() -> None:
    assert show_duration(59.7) == "1:00"
    assert show_duration(3599.6) == "1:00:00"


def test_badges_name_the_side() -> None:
    cut = make_track("a", truncated=True)
    gone = make_track("b", truncated=True, missing=True)
    assert pair_badges(Pair("a", "b", 0.1, flagged=False), cut, gone, sides=("A", "B")) == (
        "A and B truncated",
        "B missing",
        "below the threshold",
    )


def test_identical_files_are_counted_and_listed_apart() -> None:
    tracks = tuple(make_track(name) for name in ("a", "a-2", "a-3", "b"))
    scan = ScanResult(
        tracks,
        (
            Pair("a", "a-2", 1.0, identical_file=True, n_files_a=3, n_files_b=3),
            Pair("a", "b", 0.9, n_files_a=3),
        ),
        *((), (), 4, 1, "exact", None, {}, USE, PROVENANCE),
        identical=(IdenticalFiles("ab" * 32, ("a", "a-2", "a-3")),),
    )
    said = printed(scan)
    assert "3 files have the same content as another, in 1 group; one of each" in " ".join(
        said.split()
    )
    assert said.count("3 identical files") == 2
    rows = list(csv.DictReader(io.StringIO(to_csv(scan))))
    assert rows[0]["same"] == "music/a.mp3 / music/a-2.mp3 / music/a-3.mp3"
    assert [(row["n_files_a"], row["n_files_b"]) for row in rows] == [("3", "3"), ("3", "1")]
    assert rows[1]["same"] == ""
