"""The HTML report: safe with hostile tags, the same bytes twice, whole on disk or not at all."""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import itertools
import json
import os
import re
import resource
from pathlib import Path

import pytest
from html_page import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import AuditError, ResultError
from auditor.records import (
    CheckResult,
    Cluster,
    IdenticalFiles,
    Pair,
    Provenance,
    Recommended,
    RecommendResult,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
    result_from_json,
)
from auditor.report.html import histogram as chart
from auditor.report.html.dossier import N_DOSSIER
from auditor.report.html.page import json_for_script, render_html
from auditor.report.html.scan import N_STATIC_PAIRS
from auditor.report.write import write_report

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "line\nbreak\r\x00\x1b[2J",
    "\u202egnirts\u2028\u2029",
    "lone \ud800 surrogate",
    "<!--<script>",
)
PROVENANCE = Provenance(
    "0.1.0", "audit scan music", "2025-01-02T03:04:05Z", "song", "9f8e7d6c", ".audit"
)
SAME_BYTES = "The two files are identical, byte for byte."
USE = ThresholdUse(0.87, "song-9f8e7d6c.json", 8e-7, 2e-7, 19e-7, 0.8)
HISTOGRAM = {"edges": (0.0, 0.25, 0.5, 0.75, 1.0), "counts": (900.0, 90.0, 0.0, 10.0)}


def make_track(track_id: str, **fields: object) -> Track:
    values = {
        "path": f"music/{track_id}.mp3",
        "sha256": "ab" * 32,
        "size": 4_000_000,
        "duration_s": 222.4,
        "declared_s": None,
        "truncated": False,
        "silent": False,
        "codec": "mp3",
        "container": "mp3",
        "sample_rate_hz": 44_100,
        "n_channels": 2,
        "bit_rate": 128_000,
        "title": f"Title {track_id}",
        "licence": "CC0 1.0",
    }
    return Track(id=track_id, **(values | fields))  # type: ignore[arg-type]


def make_scan(n_pairs: int = 2, **fields: object) -> ScanResult:
    tracks = tuple(make_track(f"{i:06d}") for i in range(2 * n_pairs))
    ids = [(tracks[2 * i].id, tracks[2 * i + 1].id) for i in range(n_pairs)]
    values = {
        "tracks": tracks,
        "pairs": tuple(Pair(a, b, 0.99 - 1e-5 * i) for i, (a, b) in enumerate(ids)),
        "clusters": tuple(Cluster(pair, 0.99) for pair in ids),
        "skipped": (Skipped("music/bad.mp3", "no audio stream"),),
        "n_tracks": 8000,
        "n_pairs_compared": 1_000_000,
        "search": "exact",
        "index_recall": None,
        "histogram": HISTOGRAM,
        "threshold": USE,
        "provenance": PROVENANCE,
    }
    return ScanResult(**(values | fields))  # type: ignore[arg-type]


def make_check() -> CheckResult:
    return CheckResult(
        submissions=(make_track("s"), make_track("n"), make_track("q", silent=True)),
        tracks=(make_track("a", truncated=True), make_track("b")),
        pairs=(Pair("n", "b", 0.5, flagged=False), Pair("s", "a", 0.95, identical_file=True)),
        skipped=(),
        n_tracks=2,
        n_pairs_compared=4,
        search="annoy",
        index_recall=0.993,
        threshold=USE,
        provenance=PROVENANCE,
    )


def make_recommend() -> RecommendResult:
    answers = (
        Recommended(make_track("b"), 0.8, "a"),
        Recommended(make_track("c", sha256="cd" * 32), -0.25),
    )
    return RecommendResult({"like": ("a",), "dislike": ()}, answers, 3, PROVENANCE, notes=("one",))


RESULTS = pytest.mark.parametrize(
    "result", [make_scan(), make_scan(0), make_check(), make_recommend()], ids=lambda r: r.kind
)


@RESULTS
def test_policy_allows_its_own_style_and_script_and_nothing_else(result: ScanResult) -> None:
    page = Page(render_html(result))
    policy = page.policy
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    if result.kind != "recommend":  # plays files that lie beside it
        assert policy["media-src"] == "data: blob:"
    scripts = [
        text
        for text, attributes in zip(page.texts.get("script", []), page.all("script"), strict=True)
        if attributes.get("type") not in ("application/json", "application/gzip")
    ]
    (style,) = page.texts["style"]
    for directive, texts in (("style-src", [style]), ("script-src", scripts)):
        for text in texts:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert policy[directive] == f"'sha256-{digest}'"
    assert len(scripts) == (result.kind != "recommend" and bool(result.pairs))


@RESULTS
def test_page_loads_nothing_and_has_no_inline_handlers(result: ScanResult) -> None:
    page = Page(render_html(result))
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "img", "base", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert "src" not in attributes
        if "href" in attributes:
            assert (attributes["href"] or "").startswith(("#", "data:,"))
    assert "url(" not in page.texts["style"][0]
    assert "@import" not in page.texts["style"][0]


@RESULTS
def test_page_has_its_structure(result: ScanResult) -> None:
    page = Page(render_html(result))
    tags = [tag for tag, _ in page.elements]
    assert (
        tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == 1
    )
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(later <= before + 1 for before, later in itertools.pairwise(levels))
    assert tags.count("caption") == tags.count("table")
    assert all(attributes.get("scope") for attributes in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("href", "aria-labelledby"):
            target = (attributes.get(name) or "data:").removeprefix("#")
            assert target.startswith("data:") or target in ids
    assert "Similarity is not infringement." in page.text
    assert "not a probability" in page.text
    assert re.search(r"Weights 9f8e7d6c", page.text)


@RESULTS
def test_same_result_same_bytes(result: ScanResult, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_report(result, tmp_path / "one.html")]
    second = [path.read_bytes() for path in write_report(result, tmp_path / "two.html")]
    assert first == second


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_tags_are_text(text: str, tmp_path: Path) -> None:
    fields = ("title", "artist", "album", "genre", "date", "licence", "path", "codec")
    scan = make_scan(1, skipped=(Skipped(text, text),))
    plain = Page(render_html(scan))
    evil = make_track("000000", **dict.fromkeys(fields, text), genres=(text,))
    scan = dataclasses.replace(
        scan,
        tracks=(evil, scan.tracks[1]),
        provenance=dataclasses.replace(PROVENANCE, command=text, workspace=text),
        threshold=dataclasses.replace(USE, source=text),
    )
    html = render_html(scan)
    page = Page(html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not re.search("[\x00\x1b\r\u2028\u2029\u202e\ud800]", html)
    data = json.loads(page.texts["script"][0])
    assert data["tracks"][0][3][1] in page.text or "\\" in data["tracks"][0][3][1]
    html_path, json_path = write_report(scan, tmp_path / "r.html")
    assert (tmp_path / "r.csv").read_text("utf-8").startswith("score,threshold,")
    assert html_path.read_text("utf-8") == html
    assert result_from_json(json_path.read_text("utf-8")) == scan


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_any_title_leaves_the_structure_alone(title: str) -> None:
    scan = make_scan(1)
    tags = [tag for tag, _ in Page(render_html(scan)).elements]
    tracks = (dataclasses.replace(scan.tracks[0], title=title), scan.tracks[1])
    html = render_html(dataclasses.replace(scan, tracks=tracks))
    html.encode("utf-8")
    assert [tag for tag, _ in Page(html).elements] == tags


@given(st.recursive(st.text(st.characters(exclude_categories=["Cs"])), st.lists, max_leaves=5))
def test_embedded_json_reads_back_and_cannot_end_its_element(data: object) -> None:
    text = str(json_for_script(data))
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")


@RESULTS
def test_json_reads_back(result: ScanResult, tmp_path: Path) -> None:
    _, json_path = write_report(result, tmp_path / "r.html")
    assert result_from_json(json_path.read_text("utf-8")) == result


def test_scan_says_its_numbers() -> None:
    text = Page(render_html(make_scan())).text
    assert "2 matching pairs among 8,000 tracks; expected false pairs 0.8" in text
    assert "Expected false pairs: 0.8 among 1,000,000 pairs; 95 % interval 0.2–1.9. " in text
    assert "Error budget" not in text
    assert "Pairs compared 1,000,000 exact search" in text
    assert "music/bad.mp3 no audio stream" in text
    assert "the false alarm rate is 8 × 10⁻⁷ per pair" in text
    assert "threshold 0.8700" in text


def test_scan_says_its_budget_and_the_interval_of_all_comparisons() -> None:
    use = dataclasses.replace(
        USE, budget=1.0, n_comparisons=32_000_000, expected_low=0.1, expected_high=3.5
    )
    text = Page(render_html(make_scan(threshold=use))).text
    assert "Expected false pairs: 0.8 among 32,000,000 pairs (1,000,000 of" in text
    assert "Error budget 1 false pair" in text


def test_clean_scan_without_known_error_rate() -> None:
    scan = make_scan(
        0, histogram={}, threshold=ThresholdUse(0.5, "by hand", note="Not calibrated.")
    )
    page = Page(render_html(scan))
    assert "No matching pairs among 8,000 tracks" in page.text
    assert "Expected false pairs: unknown" in page.text
    assert "The error rate is not known." in page.text
    assert "Not calibrated." in page.text
    assert not page.all("svg")


def test_every_truncated_track_counts() -> None:
    scan = make_scan()  # lists 4 of 8,000 tracks, and among them every truncated one
    cut = tuple(dataclasses.replace(track, truncated=True) for track in scan.tracks[:3])
    text = Page(render_html(dataclasses.replace(scan, tracks=cut + scan.tracks[3:]))).text
    assert "Not fully compared 3 3 truncated" in text
    assert " listed" not in text
    assert "Not fully compared 1 1 silent" in Page(render_html(make_check())).text


def test_scan_lists_the_tracks_that_were_not_wholly_compared() -> None:
    heading = "Tracks not compared or compared in part"
    assert heading not in Page(render_html(make_scan())).text
    odd = (
        make_track("cut", truncated=True),
        make_track("hush", silent=True, title="<b>Hush</b>"),
        make_track("gone", missing=True, truncated=True),
    )
    scan = make_scan()
    html = render_html(dataclasses.replace(scan, tracks=scan.tracks + odd))
    text = Page(html).text
    section = text[text.index("it may still be a copy") : text.index("Skipped files")]
    assert heading in text
    assert "Title gone gone · 3:42 · mp3 · CC0 1.0 music/gone.mp3 missing: the scanned" in section
    assert "<b>Hush</b> hush · 3:42 · mp3 · CC0 1.0 music/hush.mp3 silent: no window" in section
    assert "Title cut cut · 3:42 · mp3 · CC0 1.0 music/cut.mp3 truncated: the file" in section
    assert section.index("Title gone") < section.index("Hush") < section.index("Title cut")
    assert "000000" not in section


def test_a_scan_says_that_silent_and_missing_tracks_are_not_among_those_it_counts() -> None:
    assert "Tracks 8,000 Pairs compared" in Page(render_html(make_scan())).text
    odd = (make_track("hush", silent=True), make_track("gone", missing=True, silent=True))
    scan = make_scan()
    text = Page(render_html(dataclasses.replace(scan, tracks=scan.tracks + odd))).text
    assert "Tracks 8,000 plus 2 silent or missing Pairs compared" in text


def test_many_tracks_not_wholly_compared_unfold() -> None:
    missing = tuple(make_track(f"m{i}", missing=True) for i in range(30))
    page = Page(render_html(make_scan(0, tracks=missing)))
    assert "18 more" in page.text
    assert all(f"music/m{i}.mp3 missing: " in page.text for i in range(30))


def test_check_says_that_a_submission_is_truncated() -> None:
    check = make_check()
    cut = tuple(dataclasses.replace(track, truncated=True) for track in check.submissions)
    text = Page(render_html(dataclasses.replace(check, submissions=cut))).text
    assert text.count("at or above the threshold; truncated, so only a part was compared") == 2
    assert "Title q not compared: no window is loud enough" in text


def test_badges_of_a_pair() -> None:
    scan = make_scan(1)
    tracks = (
        dataclasses.replace(scan.tracks[0], truncated=True),
        dataclasses.replace(scan.tracks[1], missing=True),
    )
    pairs = (dataclasses.replace(scan.pairs[0], identical_file=True),)
    page = Page(render_html(dataclasses.replace(scan, tracks=tracks, pairs=pairs)))
    said = f"Identical file {SAME_BYTES} A truncated B missing"
    assert f"0.9900 Case 1 {said}" in page.text
    (pair,) = json.loads(page.texts["script"][0])["pairs"]
    assert (pair["score"], pair["a"], pair["b"]) == ("0.9900", 0, 1)
    assert pair["badges"] == ["A truncated", "B missing"]


def test_pairs_come_best_first() -> None:
    scan = make_scan(3)
    shuffled = dataclasses.replace(scan, pairs=scan.pairs[::-1])
    data = json.loads(Page(render_html(shuffled)).texts["script"][0])
    assert [pair["score"] for pair in data["pairs"]] == ["0.9900", "0.9900", "0.9900"]
    assert [data["tracks"][pair["a"]][3][0] for pair in data["pairs"]] == [
        "000000",
        "000002",
        "000004",
    ]


def test_check_has_a_verdict_per_submission() -> None:
    text = Page(render_html(make_check())).text
    assert "1 of 3 submissions matches a track of the catalogue (2 tracks)" in text
    assert "Title s flagged: 1 track at or above the threshold" in text
    assert "Title n nothing at or above the threshold" in text
    assert "Title q not compared: no window is loud enough" in text
    assert f"Identical file {SAME_BYTES} track truncated" in text
    assert "0.5000 Case 2 Below the threshold The score does not reach the threshold." in text
    assert "annoy search, index recall 99.3 %" in text


def test_recommendations_in_order() -> None:
    text = Page(render_html(make_recommend())).text
    assert "2 tracks recommended among 3 tracks" in text
    assert text.index("Title b") < text.index("Title c")


def test_5000_pairs_stay_small() -> None:
    html = render_html(make_scan(5000))
    page = Page(html)
    rows = [a for a in page.all("tbody") if (a.get("class") or "").startswith("pair")]
    assert len(rows) == N_STATIC_PAIRS
    assert len(page.all("article")) == N_DOSSIER
    data = json.loads(page.texts["script"][0])
    assert (len(data["pairs"]), len(data["tracks"])) == (5000, 10_000)
    assert "The first 200 of 5,000 pairs" in page.text
    assert len(html) < 9_000_000


def test_large_cluster_and_many_clusters_unfold() -> None:
    scan = make_scan(20)
    whole = Cluster(tuple(track.id for track in scan.tracks), 0.99)
    text = Page(render_html(dataclasses.replace(scan, clusters=(whole,)))).text
    assert "28 more" in text
    assert "8 more" in Page(render_html(scan)).text


def test_identical_files_have_a_section() -> None:
    assert "Identical files" not in Page(render_html(make_scan())).text
    scan = make_scan(2)
    ids = tuple(track.id for track in scan.tracks)
    group = IdenticalFiles("ab" * 32, ids)
    text = Page(render_html(dataclasses.replace(scan, identical=(group,)))).text
    assert "4 files have the same content as another, in 1 group" in text
    assert all(text.count(track.path) >= 1 for track in scan.tracks)


def test_unlisted_track_is_named() -> None:
    scan = make_scan(1, clusters=(Cluster(("000000", "zz"), 0.9),))
    with pytest.raises(ResultError, match="names the track 'zz' but does not list it"):
        render_html(scan)


@pytest.mark.parametrize(
    "histogram",
    [
        {"edges": (0.0, 1.0), "counts": (1.0, 2.0)},
        {"edges": (1.0, 0.0), "counts": (1.0,)},
        {"edges": (0.0, 1.0), "counts": (-1.0,)},
        {"edges": (0.0, 1.0)},
    ],
)
def test_inconsistent_histogram_is_refused(histogram: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ResultError, match="rising edges, one more than counts, are needed"):
        render_html(make_scan(1, histogram=histogram))


def test_chart_splits_bars_at_the_threshold_on_a_log_axis() -> None:
    drawn = chart.draw(chart.bins(HISTOGRAM), 0.87, width=1040)
    assert [tick.label for tick in drawn.y_ticks] == ["1", "10", "100", "1 k"]
    heights = [a.at - b.at for a, b in zip(drawn.y_ticks[:-1], drawn.y_ticks[1:], strict=True)]
    assert max(heights) - min(heights) < 0.2
    assert (drawn.below.count("M"), drawn.above.count("M")) == (3, 1)
    assert drawn.above.startswith(f"M{drawn.threshold_x} ")
    assert (drawn.x_ticks[0].label, drawn.x_ticks[-1].label) == ("0.0", "1.0")


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=40).filter(any),
    st.floats(-1.5, 1.5),
    st.sampled_from([350, 1040]),
)
def test_chart_stays_in_its_box(counts: list[int], threshold: float, width: int) -> None:
    edges = [-1 + 2 * i / len(counts) for i in range(len(counts) + 1)]
    drawn = chart.draw(chart.bins({"edges": edges, "counts": counts}), threshold, width=width)
    for x in re.findall(r"[MH](-?[\d.]+)", drawn.below + drawn.above):
        assert drawn.left - 0.1 <= float(x) <= drawn.right + 0.1
    for y in re.findall(r"V(-?[\d.]+)", drawn.below + drawn.above):
        assert drawn.top - 0.1 <= float(y) <= drawn.bottom
    assert drawn.left <= drawn.threshold_x <= drawn.right
    assert len(drawn.x_ticks) >= 2


def test_names_of_the_files(tmp_path: Path) -> None:
    scan = make_scan(1)
    for given_name, html_name in (
        ("a/b/r.html", "a/b/r.html"),
        ("r.htm", "r.htm"),
        ("r.json", "r.html"),
        ("scan-2025.v1", "scan-2025.v1.html"),
    ):
        html_path, json_path = write_report(scan, tmp_path / given_name)
        assert html_path == tmp_path / html_name
        assert json_path == html_path.with_suffix(".json")
        assert html_path.is_file()
        assert json_path.is_file()


def test_full_disk_leaves_the_old_report_and_no_remains(tmp_path: Path) -> None:
    paths = write_report(make_scan(1), tmp_path / "r.html")
    before = [path.read_bytes() for path in paths]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[1]) + 4096, hard))  # the JSON fits
    try:
        with pytest.raises(AuditError, match=r"r\.html: the report could not be written: .*Free"):
            write_report(make_scan(2), tmp_path / "r.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted((*paths, tmp_path / "r.csv"))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            errno.EROFS,
            "folder .* is read-only \\(Read-only file system\\). Make it writable, or",
        ),
        (errno.EACCES, "the folder .* is read-only \\(Permission denied\\). Make it writable, or"),
        (errno.ENOSPC, "written: No space left on device. Free some space, or choose another"),
        (errno.EIO, "written: Input/output error. Choose another place with --output"),
    ],
)
def test_why_a_report_cannot_be_written_is_said(tmp_path, monkeypatch, number, message) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("auditor.serialisation.os.open", refused)
    with pytest.raises(AuditError, match=message):
        write_report(make_scan(1), tmp_path / "r.html")


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AuditError, match="the report could not be written"):
        write_report(make_scan(1), tmp_path / "file" / "r.html")
