"""The scan and check reports in a real browser: sorted, heard, decided, exported, and safe."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_catalogue import make_workspace, open_workspace_file
from small_compositions import media_with_compositions, scan_with_compositions
from small_report import (
    CLIP_S,
    HOSTILE,
    make_check,
    make_large_scan,
    make_media,
    make_pair,
    make_scan,
    make_tracks,
)
from small_two_sides import make_two_sides
from tunes import tune
from typer.testing import CliRunner

from auditor.audio.encode import encode, write_audio
from auditor.cli import app
from auditor.records import Result
from auditor.report import case_file
from auditor.report.write import write_report

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ALTERED, SHARED, IDENTICAL, ALIKE = range(4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium is installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page, and fails afterwards if it complained or fetched."""
    said: list[str] = []
    fetched: list[str] = []
    contexts = []

    def judge(route: Any) -> None:
        if route.request.is_navigation_request():
            route.continue_()
        else:
            fetched.append(route.request.url)
            route.abort()

    def open_it(path: Path, *, address: str = "", **how: object) -> Any:
        context = browser.new_context(**{"viewport": WIDE, **how})
        contexts.append(context)
        context.route(lambda url: not url.startswith(("data:", "blob:")), judge)
        page = context.new_page()
        page.set_default_timeout(60_000)  # busy machines
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri() + address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert said == []
    assert fetched == []


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a report, with media unless told otherwise."""

    def write(result: Result, *, media: bool = True) -> Path:
        return write_report(result, tmp_path / "r.html", make_media(result) if media else None)[0]

    return write


def test_compositions_are_drawn_played_and_decided(open_page, tmp_path):
    scan = scan_with_compositions()
    path, _ = write_report(scan, tmp_path / "r.html", media_with_compositions(scan))
    for viewport in (NARROW, WIDE):
        page = open_page(path, viewport=viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.locator("#composition-1").get_attribute("open") is not None
        box = page.locator("#composition-1 .roll-picture").bounding_box()
        assert box["width"] > 0.7 * viewport["width"] / 1.5
        line = page.locator("#composition-1 .alignment").bounding_box()
        assert line["width"] > 0.95 * box["width"] and 60 < line["height"] < 80
        wide_names = page.locator("#composition-1 text.wide").first
        assert wide_names.is_visible() == (viewport is WIDE)

    first, third = page.locator("#composition-1"), page.locator("#composition-3")
    first.locator('[data-f="both"]').click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#composition-1 audio')]"
        ".some((audio) => !audio.paused && audio.currentTime > 0.2)"
    )
    assert first.locator('[data-f="playhead"]').get_attribute("visibility") == "visible"
    first.locator('[data-f="both"]').click()

    first.locator('[data-f="note"]').fill("=live at the Roxy")
    first.locator('[data-kind="cover"]').click()
    assert "cover, in this page" in first.locator('[data-f="decided"]').inner_text()
    third.locator("summary").first.click()
    third.locator('[data-kind="false-alarm"]').click()
    assert "2 decisions made in this page." in page.locator("#decision-bar").inner_text()
    with page.expect_download() as download:
        page.locator("#decision-bar [data-export]").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    lines = scan.compositions.matches
    assert [(row["pair_id"], row["kind"]) for row in rows] == [
        (lines[0].pair_id, "cover"),
        (lines[2].pair_id, "false-alarm"),
    ]
    assert rows[0]["note"] == "'=live at the Roxy"
    first.locator('[data-kind="undo"]').click()
    assert "none yet" in first.locator('[data-f="decided"]').inner_text()


def test_a_scan_of_compositions_alone_can_be_decided(open_page, tmp_path):
    scan = dataclasses.replace(scan_with_compositions(), pairs=(), clusters=())
    page = open_page(write_report(scan, tmp_path / "r.html")[0])
    page.locator('#composition-1 [data-kind="licensed"]').click()
    assert (
        "licensed, in this page" in page.locator('#composition-1 [data-f="decided"]').inner_text()
    )


def shown_cases(page: Any) -> list[str]:
    return page.locator("#pairs-table [data-open]").all_inner_texts()


def open_case(page: Any, place: int) -> Any:
    link = page.locator(f'[data-open="{place}"]').first
    link.evaluate("link => { const fold = link.closest('details'); if (fold) fold.open = true; }")
    link.click()
    dialog = page.locator("#case")
    dialog.wait_for(state="visible")
    return dialog


def playing(page: Any, side: str, at_least_s: float = 0.3) -> float:
    """Wait until a player is heard, and return its place in seconds."""
    page.wait_for_function(
        "([id, s]) => { const a = document.getElementById(id);"
        " return !a.paused && !a.error && a.currentTime > s; }",
        arg=[f"audio-{side}", at_least_s],
    )
    return page.evaluate(f"document.getElementById('audio-{side}').currentTime")


def paused(page: Any, side: str) -> bool:
    return page.evaluate(f"document.getElementById('audio-{side}').paused")


# The table.


def test_rows_are_sorted_filtered_and_searched(open_page, report):
    page = open_page(report(make_scan()))
    assert shown_cases(page) == ["Case 1", "Case 2", "Case 3"]
    page.get_by_text("Filter and sort").click()
    page.get_by_role("button", name="Score").click()
    page.get_by_role("button", name="Score").click()
    assert shown_cases(page) == ["Case 3", "Case 2", "Case 1"]
    head = page.locator('th[data-sort="score"]')
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("combobox", name="Verdict").select_option("shared excerpt")
    assert shown_cases(page) == ["Case 2"]
    page.get_by_role("combobox", name="Verdict").select_option("")
    page.get_by_role("searchbox", name="Artist").fill("koala")
    assert shown_cases(page) == ["Case 3", "Case 2"]
    page.get_by_role("searchbox", name="Artist").fill("")
    page.locator("#filter").fill("t00004 title")
    assert shown_cases(page) == ["Case 3"]
    page.locator("#filter").fill("")
    page.get_by_role("combobox", name="Verdict").select_option("sounds alike")
    assert shown_cases(page) == ["Case 4"]
    page.get_by_role("combobox", name="Verdict").select_option("")
    page.locator("#filter").fill("nowhere")
    assert page.locator("#shown").inner_text() == "No pair fits the filter (3 flagged in all)"
    page.locator("#filter").fill("")
    page.get_by_role("button", name="Show its pairs").nth(1).click()
    assert page.get_by_role("textbox", name="Cluster").input_value() == "C2"
    assert shown_cases(page) == ["Case 2"]
    page.get_by_role("textbox", name="Cluster").fill("c1")
    assert shown_cases(page) == ["Case 1"]
    page.get_by_role("textbox", name="Cluster").fill("")
    page.get_by_role("spinbutton", name="Score from").fill("0.8")
    assert shown_cases(page) == ["Case 2", "Case 1"]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_files_of_a_report_can_be_downloaded(open_page, report, size):
    result = make_scan()
    path = report(result)
    page = open_page(path, viewport=size)
    for label, written in (("CSV", ".csv"), ("JSON", ".json")):
        with page.expect_download() as saved:
            page.locator(".downloads").get_by_role("button", name=label).click()
        assert saved.value.suggested_filename == f"audit-scan-20260102T030405Z{written}"
        assert Path(saved.value.path()).read_bytes() == path.with_suffix(written).read_bytes()
    decisions = page.locator(".downloads").get_by_role("button", name="Decisions")
    assert decisions.is_disabled()
    open_case(page, 0)
    page.keyboard.press("l")
    page.keyboard.press("Escape")
    with page.expect_download() as saved:
        decisions.click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [row["kind"] for row in rows] == ["licensed"]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_link_leads_to_a_filter(open_page, report):
    path = report(make_scan())
    page = open_page(path)
    assert page.locator("#filter-link").is_hidden()
    page.get_by_text("Filter and sort").click()
    page.get_by_role("combobox", name="Sort by").select_option("durations")
    page.get_by_role("searchbox", name="Artist").fill("koala & co")
    page.get_by_role("searchbox", name="Artist").fill("koala")
    shown = shown_cases(page)
    address = page.locator("#filter-link").get_attribute("href")
    assert address == "#pairs?artist=koala&sort=durations"
    assert page.evaluate("location.hash") == address
    open_case(page, 1)
    page.keyboard.press("Escape")
    assert page.evaluate("location.hash") == address
    again = open_page(path, address=address)
    assert shown_cases(again) == shown
    assert again.get_by_role("searchbox", name="Artist").input_value() == "koala"
    assert again.get_by_role("combobox", name="Sort by").input_value() == "durations"
    odd = open_page(path, address="#pairs?sort=constructor&verdict=%3Cb%3E&from=x")
    assert shown_cases(odd) == ["Case 1", "Case 2", "Case 3"]


def test_5000_pairs_turn_pages(open_page, report):
    page = open_page(report(make_large_scan(5000), media=False))
    assert page.locator("#pairs-table tbody tr").count() == 50, "few rows are why it opens at once"
    assert page.locator("#shown").inner_text() == "1–50 of 5,000 flagged"
    page.locator("#filter").fill("t09998")
    assert shown_cases(page) == ["Case 5000"]
    page.locator("#filter").fill("")
    page.locator("#next").click()
    assert page.locator("#shown").inner_text() == "51–100 of 5,000 flagged"
    dialog = open_case(page, 50)
    assert dialog.locator("h2").inner_text() == "Shared excerpt"


# The case.


def test_a_case_says_what_was_copied_and_how(open_page, report):
    page = open_page(report(make_scan()))
    dialog = open_case(page, ALTERED)
    assert dialog.locator("h2").inner_text() == "Altered recording"
    said = "0:00–0:09 of A matches 0:12–0:21 of B; there A is 4.0 % faster and 0.7 semitones"
    assert said in dialog.inner_text()
    assert "1 in 3.2 million unrelated pairs score this high" in dialog.inner_text()
    assert HOSTILE in dialog.inner_text()
    assert "Matched share of A" in dialog.inner_text()
    for name in ("map", "matrix-image"):
        box = dialog.locator(f'[data-f="{name}"]').bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
    assert dialog.locator(".map .range rect").count() == 2
    line = dialog.locator('[data-f="matrix-lines"] line')
    assert line.evaluate("one => getComputedStyle(one).display") == "inline"
    dialog.get_by_label("show them").uncheck()
    assert line.evaluate("one => getComputedStyle(one).display") == "none"
    assert dialog.get_by_role("link", name="open A").get_attribute("href") == "music/0.mp3#t=0"


def test_in_the_dark_the_matrix_is_said_to_be_light_where_alike(open_page, report):
    for scheme, tone in (("light", "darker"), ("dark", "lighter")):
        page = open_page(report(make_scan()), color_scheme=scheme)
        caption = open_case(page, ALTERED).locator('[data-f="matrix"] figcaption')
        assert f"{tone} means more similar." in caption.inner_text()


def test_clips_play_and_a_range_jumps_to_its_clip(open_page, report):
    page = open_page(report(make_scan()))
    dialog = open_case(page, SHARED)
    dialog.get_by_role("button", name="Play A").click()
    place_s = playing(page, "a")
    assert playing(page, "a", place_s) > place_s
    assert page.evaluate("document.getElementById('audio-a').duration") == pytest.approx(5, abs=0.2)
    dialog.locator('.range[data-range="1"] rect').nth(1).click()
    playing(page, "b")
    assert paused(page, "a")
    assert dialog.locator('[data-f="clip-b"]').inner_text() == "B 0:20–0:25"
    assert dialog.locator(".ranges .selected td").first.inner_text() == "2:20–2:29"
    dialog.get_by_role("button", name="Play range 3").click()
    playing(page, "a")
    assert dialog.locator('[data-f="clip-a"]').inner_text() == "A 0:10–0:15"
    assert dialog.locator(".playhead").first.get_attribute("visibility") == "visible"


def test_both_play_in_turn_from_the_same_musical_moment(open_page, report):
    page = open_page(report(make_scan()))
    open_case(page, ALTERED)
    page.keyboard.press("3")
    playing(page, "a")
    page.wait_for_function(
        "() => document.getElementById('audio-a').paused"
        " && !document.getElementById('audio-b').paused"
    )
    a_s, b_s = page.evaluate(
        "['a', 'b'].map((s) => document.getElementById('audio-' + s).currentTime)"
    )
    assert 2.9 < a_s < 3.5
    assert 1.04 * 2.9 < b_s < 1.04 * 4.0
    page.keyboard.press("1")  # the same moment again, of A
    assert playing(page, "a", 2.9) > b_s / 1.04 - 0.2
    page.keyboard.press("1")
    assert paused(page, "a")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_is_heard_left_and_b_right_at_the_speed_of_a(open_page, report, size):
    page = open_page(report(make_scan()), viewport=size)
    dialog = open_case(page, ALTERED)
    button = dialog.get_by_role("button", name="A left, B right")
    button.click()
    playing(page, "a")
    playing(page, "b")
    b = "document.getElementById('audio-b')"
    assert page.evaluate(f"[{b}.playbackRate, {b}.preservesPitch]") == [1.04, False]
    assert page.locator("#playing").inner_text() == "A left, B right"
    times = page.evaluate(f"[document.getElementById('audio-a').currentTime, {b}.currentTime]")
    assert abs(times[1] - 1.04 * times[0]) < 0.5, "the same moment of the music"
    if "SHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["SHOTS"]) / f"sides-{size['width']}.png")
    button.click()
    assert paused(page, "a") and paused(page, "b")
    assert page.evaluate(f"{b}.playbackRate") == 1
    page.keyboard.press("4")
    playing(page, "b")
    page.keyboard.press("2")
    playing(page, "b", 0.1)
    assert paused(page, "a"), "one player alone again"
    assert page.evaluate(f"{b}.playbackRate") == 1


def test_a_player_goes_on_when_another_is_left_before_it_is_heard(open_page, report):
    page = open_page(report(make_scan()))
    open_case(page, ALTERED)
    page.evaluate(
        "() => { for (const key of ['4', '2'])"
        " document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })); }"
    )
    playing(page, "b")
    assert paused(page, "a")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_spectra_lie_above_each_other_with_a_cursor_that_scrubs(open_page, report, size, scheme):
    page = open_page(report(make_scan()), viewport=size, color_scheme=scheme)
    dialog = open_case(page, ALTERED)
    box = page.locator("#spectra")
    box.wait_for()
    page.wait_for_function("() => document.getElementById('spectra').dataset.view")
    assert [span.inner_text() for span in box.locator(".spectra-times span").all()] == [
        *("0:00", "0:05", "0:12", "0:17"),
    ]
    tones = """(id) => {
        const canvas = document.getElementById(id);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(data).size;
    }"""
    assert page.evaluate(tones, "spectrum-a") > 50
    assert page.evaluate(tones, "spectrum-b") > 50
    left, right = (box.locator(f"#spectrum-{side}").bounding_box() for side in "ab")
    assert (left["x"], left["width"]) == (right["x"], right["width"])
    assert left["y"] + left["height"] <= right["y"]
    cursor = box.locator('[data-f="cursor"]')
    scrub = page.locator("#scrub")
    scrub.focus()
    assert cursor.get_attribute("x1") == "0%"
    page.keyboard.press("End")
    assert float(cursor.get_attribute("x1").rstrip("%")) > 95
    page.keyboard.press("Home")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert float(cursor.get_attribute("x1").rstrip("%")) == pytest.approx(2.0 / 4.81 * 100, abs=2)
    assert scrub.get_attribute("aria-valuetext") == "A 0:02, B 0:14"
    page.keyboard.press("1")
    assert playing(page, "a", 2.1) < 3.5
    page.keyboard.press("+")
    page.wait_for_function("() => document.getElementById('spectra').dataset.view !== '0.00 4.81'")
    page.keyboard.press("1")
    page.keyboard.press("-")
    page.keyboard.press("-")
    page.wait_for_function("() => document.getElementById('zoom-out').disabled")
    box.scroll_into_view_if_needed()
    place = box.locator("#spectrum-b").bounding_box()
    page.mouse.click(place["x"] + place["width"] / 4, place["y"] + 10)
    assert float(cursor.get_attribute("x1").rstrip("%")) == pytest.approx(25, abs=1)
    if "SHOTS" in os.environ:
        name = f"spectra-{size['width']}-{scheme}.png"
        page.screenshot(path=Path(os.environ["SHOTS"]) / name)
    assert dialog.is_visible()


def test_a_copy_at_another_pitch_and_tempo_looks_like_its_original(open_page, report):
    result = make_scan()
    media = make_media(result)
    waveform = tune(5, duration_s=CLIP_S)
    slower = np.interp(np.arange(0, len(waveform), 1 / 1.04), np.arange(len(waveform)), waveform)
    clips = []
    for clip in media.pairs[ALTERED].clips:
        heard = waveform if clip.side == "a" else slower.astype(np.float32)
        opus = encode(heard, codec="opus", sample_rate_hz=16_000, bit_rate=64_000)
        ends = {"end_s": clip.start_s + len(heard) / 16_000}
        clips.append(dataclasses.replace(clip, audio=base64.b64encode(opus).decode(), **ends))
    pairs = (dataclasses.replace(media.pairs[ALTERED], clips=tuple(clips)), *media.pairs[1:])
    path = report(result)
    write_report(result, path, dataclasses.replace(media, pairs=pairs))
    page = open_page(path)
    open_case(page, ALTERED)
    page.wait_for_function("() => document.getElementById('spectra').dataset.view")
    read = """(id) => {
        const canvas = document.getElementById(id);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return Array.from(data).filter((_, i) => i % 4 === 0);
    }"""
    a, b = (np.reshape(page.evaluate(read, f"spectrum-{side}"), (-1, 900)) for side in "ab")
    alike = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert alike > 0.9
    assert alike > np.corrcoef(a[1:].ravel(), b[:-1].ravel())[0, 1] + 0.1, "another pitch"
    assert alike > np.corrcoef(a[:, 40:].ravel(), b[:, :-40].ravel())[0, 1] + 0.05, "another time"


def test_b_is_heard_at_the_pitch_and_tempo_of_a(open_page, report):
    page = open_page(report(make_scan()))
    dialog = open_case(page, ALTERED)
    dialog.locator("#audio-c").wait_for()
    c = "document.getElementById('audio-c')"
    speed = 2 ** (0.7 / 12)
    page.wait_for_function(f"() => {c}.duration > 0")
    assert page.evaluate(f"{c}.duration") == pytest.approx(5.0 / speed, abs=0.1)
    dialog.get_by_role("button", name="B as A").click()
    playing(page, "c")
    assert page.evaluate(f"{c}.playbackRate") == pytest.approx(1.04 / speed, abs=1e-3)
    assert page.evaluate(f"{c}.preservesPitch")
    assert page.locator("#playing").inner_text() == "B as A plays"
    page.keyboard.press("2")  # the same moment of B itself
    before = page.evaluate(f"{c}.currentTime")
    assert playing(page, "b", speed * before - 0.2) < speed * before + 1.5
    assert paused(page, "c")
    page.keyboard.press("5")
    playing(page, "c")
    page.keyboard.press(" ")
    page.wait_for_function(f"() => {c}.paused")


def test_a_range_whose_clips_cannot_be_decoded_has_the_plain_players(open_page, report):
    result = make_scan()
    media = make_media(result)
    broken = base64.b64encode(b"no Ogg").decode()
    pairs = [
        dataclasses.replace(
            pair, clips=tuple(dataclasses.replace(clip, audio=broken) for clip in pair.clips)
        )
        for pair in media.pairs
    ]
    path = report(result)
    write_report(result, path, dataclasses.replace(media, pairs=tuple(pairs)))
    page = open_page(path)
    dialog = open_case(page, ALTERED)
    assert dialog.get_by_role("button", name="Play A").is_enabled()
    assert dialog.get_by_role("button", name="B as A").is_disabled()
    assert not page.locator("#spectra").is_visible()


def test_keys_go_through_the_cases_and_decide_but_not_while_typing(open_page, report):
    page = open_page(report(make_scan()))
    page.keyboard.press("j")
    title = page.locator("#case-title")
    assert title.inner_text() == "Altered recording"
    page.keyboard.press("j")
    assert title.inner_text() == "Shared excerpt"
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert title.inner_text() == "Altered recording"
    page.keyboard.press("c")
    assert page.locator('[data-kind="confirmed"]').get_attribute("aria-pressed") == "true"
    page.get_by_role("textbox", name="Note").fill("")
    page.get_by_role("textbox", name="Note").press_sequentially("jdc")
    assert title.inner_text() == "Altered recording"
    page.locator("#case-body").focus()
    page.keyboard.press("j")
    page.get_by_role("textbox", name="Note").fill("a draft")
    page.locator("#case-body").focus()
    page.keyboard.press("j")
    assert page.get_by_role("textbox", name="Note").input_value() == ""
    page.keyboard.press("k")
    assert page.get_by_role("textbox", name="Note").input_value() == "a draft"
    page.keyboard.press("d")
    assert "Decided: false alarm, in this page, 20" in page.locator("#case").inner_text()
    page.keyboard.press("?")
    assert "both alternately" in page.locator("#keys").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#case").is_visible()
    page.wait_for_function(f"document.activeElement.dataset.open === '{SHARED}'")
    badges = page.locator('#pairs-table [data-f="badges"]').all_inner_texts()
    assert "decided here: confirmed" in badges[ALTERED]
    assert "decided here: false alarm" in badges[SHARED]
    page.get_by_text("Filter and sort").click()
    page.get_by_role("combobox", name="Decision").select_option("undecided")
    assert shown_cases(page) == ["Case 3"]
    assert page.locator("#tile-flagged").inner_text() == "1 to decide, 1 confirmed, 1 set aside"


def test_a_case_has_an_address(open_page, report):
    path = report(make_scan())
    page = open_page(path, address="#case-2")
    assert page.locator("#case-title").inner_text() == "Shared excerpt"
    page.locator("#case").get_by_role("button", name="Next").click()
    assert page.url.endswith("#case-3")


# Decisions.


def test_decisions_stay_are_exported_and_imported(open_page, report, tmp_path):
    scan = make_scan()
    path = report(scan)
    page = open_page(path)
    open_case(page, ALTERED)
    page.get_by_role("textbox", name="Note").fill('=1+1, "quoted"\nsecond line 😀')
    page.locator('#case [data-kind="licensed"]').click()
    page.keyboard.press("Escape")
    open_case(page, SHARED)
    page.locator("#case-body").focus()
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    page.reload()
    assert "2 decisions made in this page." in page.locator("#decision-bar").inner_text()
    assert "Enter your name to record who decided." in page.locator("#decision-bar").inner_text()
    dialog = open_case(page, SHARED)
    dialog.get_by_label("Your name").fill("Ana")
    assert "Enter your name" not in dialog.inner_text()
    page.keyboard.press("Escape")
    assert page.get_by_label("Decided by").input_value() == "Ana"
    with page.expect_download() as download:
        page.get_by_role("button", name="Export decisions").click()
    assert download.value.suggested_filename == "decisions.csv"
    file = tmp_path / "decisions.csv"
    download.value.save_as(file)
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8"), newline="")))
    assert [row["pair_id"] for row in rows] == [pair.pair_id for pair in scan.pairs[:2]]
    assert rows[0]["note"].startswith("'=1+1")
    sha256 = {track.id: track.sha256 for track in scan.tracks}
    for row, pair in zip(rows, scan.pairs, strict=False):
        assert (row["sha256_a"], row["sha256_b"]) == (sha256[pair.a], sha256[pair.b])
        assert row["track_a"].startswith(f"{pair.a} ")
        assert row["track_b"].startswith(f"{pair.b} ")

    workspace = make_workspace(tmp_path / "ws", *scan.tracks)
    arguments = ["decide", "--import", str(file), "-w", str(workspace)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "2 decisions imported, 0 already known" in done.stderr
    with open_workspace_file(workspace) as catalogue:
        made = {d.kind: d for d in catalogue.decisions()}
    assert set(made) == {"licensed", "false-alarm"}
    assert made["licensed"].note == '=1+1, "quoted"\nsecond line 😀'
    assert made["licensed"].by == "Ana"
    assert "0 decisions imported, 2 already known" in CliRunner().invoke(app, arguments).stderr


def test_who_decided_and_when_is_told(open_page, report):
    tracks = make_tracks(4)
    made = {"decision": "licensed", "flagged": False, "decision_note": "contract"}
    by = {"decision_by": HOSTILE, "decision_when": "2026-05-03T12:00:00.000000Z"}
    pair = make_pair(tracks[0], tracks[2], 0.9, "shared excerpt", **made, **by)
    page = open_page(report(make_scan(tracks=tracks, pairs=(pair,), clusters=())))
    page.get_by_text("Pairs and reasons").click()
    told = f"by {HOSTILE}, 2026-05-03 12:00 UTC"
    assert f"{told}: contract" in page.locator("tr[data-row]").inner_text()
    dialog = open_case(page, 0)
    assert f"Decided: licensed, {told}." in dialog.inner_text()
    page.keyboard.press("c")
    assert "Decided: confirmed, in this page, 20" in dialog.inner_text()


def test_pairs_of_the_same_contents_are_heard_each_in_its_own_order(open_page, report):
    tracks = make_tracks(4)
    again = dataclasses.replace(tracks[0], id="t00009")
    first = make_pair(tracks[0], tracks[2], 0.9, "altered recording")
    turned = make_pair(tracks[2], again, 0.8, "shared excerpt")
    assert first.pair_id == turned.pair_id
    scan = make_scan(tracks=(*tracks, again), pairs=(first, turned), clusters=())
    page = open_page(report(scan))
    for place, clip in enumerate(("A 0:00–0:05", "A 1:12–1:17")):
        dialog = open_case(page, place)
        assert dialog.locator('[data-f="clip-a"]').inner_text() == clip
        page.keyboard.press("1")
        playing(page, "a")
        page.keyboard.press("Escape")


def test_a_decision_can_be_taken_back(open_page, report, tmp_path):
    tracks = make_tracks(4)
    old = make_pair(tracks[0], tracks[2], 0.9, "shared excerpt", decision="confirmed")
    new = make_pair(tracks[2], tracks[3], 0.8, "shared excerpt")
    page = open_page(report(make_scan(tracks=tracks, pairs=(old, new), clusters=())))
    for place in (0, 1):
        open_case(page, place)
        if place == 1:
            page.keyboard.press("c")
        page.get_by_role("button", name="Undo").click()
        assert "Not decided yet" in page.locator("#case").inner_text()
        page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export decisions").click()
    text = Path(download.value.path()).read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["pair_id"], row["kind"]) for row in rows] == [(old.pair_id, "undo")]


def test_a_browser_that_keeps_nothing_is_told_of(open_page, report, browser):
    page = open_page(report(make_scan()))
    page.evaluate("Object.defineProperty(window, 'localStorage', { get() { throw Error('no'); } })")
    open_case(page, ALTERED)
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    assert "export them before you close it" in page.locator("#decision-bar").inner_text()


# Pages without this and that.


def test_hostile_tags_run_nothing(open_page, report):
    page = open_page(report(make_scan()))
    for place in range(4):
        open_case(page, place)
        page.keyboard.press("Escape")
    page.locator("#filter").fill(HOSTILE[:20])
    assert shown_cases(page) == ["Case 1"]
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0
    assert HOSTILE in page.locator("#pairs-table").inner_text()


def test_without_media_a_case_says_where_to_listen(open_page, report):
    page = open_page(report(make_scan(), media=False))
    dialog = open_case(page, SHARED)
    assert (
        "No clips: this page was rendered without a .media.json file, or none"
        in dialog.inner_text()
    )
    assert "Listen to A at 1:12 and to B at 1:43" in dialog.inner_text()
    assert not dialog.get_by_role("button", name="Play A").is_visible()
    assert dialog.locator(".map .range rect").count() == 6
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("j")
    assert "The two files are identical, byte for byte." in dialog.inner_text()
    assert not dialog.locator(".map").is_visible()


def test_without_evidence_a_case_reads(open_page, report):
    scan = make_scan()
    bare = tuple(
        dataclasses.replace(pair, evidence=None, verdict="", far=None, flagged=True)
        for pair in scan.pairs
    )
    page = open_page(report(make_scan(pairs=bare), media=False))
    dialog = open_case(page, ALTERED)
    assert dialog.locator("h2").inner_text() == "High score"
    assert "no aligned passage is known" in dialog.inner_text()
    assert not dialog.get_by_role("heading", name="Evidence").is_visible()


def test_without_scripts_every_case_reads_and_plays(open_page, report):
    page = open_page(report(make_scan()), java_script_enabled=False)
    assert page.locator("#toolbar").is_hidden()
    page.get_by_role("link", name="Case 2").click()
    case = page.locator("#case-2")
    assert case.is_visible()
    said = "1:12–1:21 of A matches 1:43–1:52 of B, at the same speed and pitch; 2 more such"
    assert said in case.inner_text()
    assert case.locator("audio").count() == 6
    assert page.locator("#case").is_hidden()


def test_print_is_a_dossier(open_page, report):
    page = open_page(report(make_scan()))
    open_case(page, ALTERED)
    page.keyboard.press("c")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    case = page.locator("#case-1")
    assert case.is_visible()
    assert "Decision: confirmed" in case.inner_text()
    assert page.locator("#case").is_hidden()
    assert page.locator("#toolbar").is_hidden()
    assert len(page.pdf()) > 20_000


# The check.


def test_a_check_has_the_same_cases(open_page, report):
    page = open_page(report(make_check("shared excerpt", "clear")))
    dialog = open_case(page, 0)
    dialog.get_by_role("button", name="Play A").click()
    playing(page, "a")
    page.keyboard.press("c")
    page.keyboard.press("j")
    assert dialog.locator("h2").inner_text() == "Clear"
    page.keyboard.press("Escape")
    assert "decided here: confirmed" in page.locator(".submission").inner_text()
    assert not page.locator(".certificate").count()


def test_a_clear_check_has_its_certificate(open_page, report):
    page = open_page(report(make_check("clear")))
    certificate, small_print = page.locator(".certificate").all()
    assert page.locator(".grades").inner_text().strip() == "No match"
    assert "This recording was compared with 8,000 tracks" in certificate.inner_text()
    assert "96.4–99.7 %" not in small_print.inner_text(), "it is folded"
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert "96.4–99.7 %" in small_print.inner_text()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert "96.4–99.7 %" not in small_print.inner_text()
    page.emulate_media(media="print")
    assert certificate.is_visible()
    tops = [
        one.bounding_box()["y"] for one in (certificate, small_print, page.locator("#submissions"))
    ]
    assert tops == sorted(tops), "all of it is on the first sheet"
    assert page.locator(".summary").is_hidden(), "the certificate is the first sheet"


# Two collections, splits, mixes, generated music.

TWO_SIDES = ("compare", "leak", "tracklist", "generated")


@pytest.mark.parametrize("kind", TWO_SIDES)
def test_pages_of_two_sides_are_heard_and_run_nothing_hostile(open_page, report, kind):
    page = open_page(report(make_two_sides(kind)))
    for folded in page.locator("#main details").all():
        folded.evaluate("fold => { fold.open = true; }")
    dialog = open_case(page, 0)
    for side in "AB":
        dialog.get_by_role("button", name=f"Play {side}").click()
        playing(page, side.lower())
    page.keyboard.press("l")
    assert page.locator("#decision-bar").inner_text().startswith("1 decision made in this page")
    page.keyboard.press("Escape")
    assert HOSTILE in page.locator("#main").inner_text()
    assert page.evaluate("window.hurt") is None
    assert page.locator("img:not([src^='data:'])").count() == 0


@pytest.mark.parametrize("kind", ["tracklist", "generated"])
def test_a_passage_leads_to_its_case(open_page, report, kind):
    page = open_page(report(make_two_sides(kind)))
    for folded in page.locator("#main details").all():
        folded.evaluate("fold => { fold.open = true; }")
    link = page.locator('a.open[href="#case-2"]').first
    link.click()
    dialog = page.locator("#case")
    dialog.wait_for(state="visible")
    assert page.url.endswith("#case-2")
    dialog.get_by_role("button", name="Play B").click()
    playing(page, "b")


@pytest.mark.parametrize("kind", TWO_SIDES)
def test_pages_of_two_sides_read_without_scripts(open_page, report, kind):
    page = open_page(report(make_two_sides(kind)), java_script_enabled=False)
    said = page.locator("#main").inner_text()
    expected = {
        "compare": "3 files are in both collections",
        "leak": "Groups on several sides",
        "tracklist": "No track of the catalogue was found at",
        "generated": "1 of H.",
    }
    assert expected[kind] in said


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_of_a_case_prints_on_one_sheet(open_page, tmp_path, size):
    result = make_scan()
    case = case_file.single_case(result, result.pairs[0])
    side = case_file.SideArrays(np.zeros((2, 4), "<f2"), np.zeros(2, "<f2"), None)
    stored = [case_file.stored_side(track, side) for track in case_file.sides_of(case)]
    manifest = case_file.CaseManifest(
        *(case.pairs[0].pair_id, "audit case --verify case.zip", "0.1.0-0a1b", "excerpt"),
        *("0a1b2c3d", "ab" * 32, "t.json", "cd" * 32, 0.8, 3.2, 0.62, *stored, "ef" * 32),
    )
    content = case_file.write_case(case, manifest, make_media(case), (side, side))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (tmp_path / "case.html").write_bytes(archive.read("case.html"))
    page = open_page(tmp_path / "case.html", viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    clip = page.locator("audio").first
    assert clip.is_visible() and clip.evaluate("a => a.play().then(() => !a.paused)")
    assert "ab" * 32 in page.locator("#basis ~ dl").inner_text()
    if "SHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["SHOTS"]) / f"case-{size['width']}.png")
    assert page.pdf(format="A4").count(b"/Type /Page\n") == 1


# A scan of real music.


def test_a_real_scan_is_heard_and_seen(open_page, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    tunes = [tune(seed, duration_s=30.0) for seed in range(3)]
    rate = 16_000
    tunes[1][12 * rate : 22 * rate] = tunes[0][5 * rate : 15 * rate]
    for i, waveform in enumerate(tunes):
        write_audio(music / f"{i}.wav", waveform, codec="wav")
    write_audio(music / "copy.mp3", tunes[2], codec="mp3", bit_rate=64_000)
    html = tmp_path / "r.html"
    arguments = ["scan", str(music), "-w", str(tmp_path / "ws"), "-o", str(html), "-q"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1, done.output
    page = open_page(html)
    rows = page.locator("#pairs-table tbody:not(.below)").all_inner_texts()
    (copy,) = [i for i, text in enumerate(rows) if "copy.mp3" in text and "2.wav" in text]
    (excerpt,) = [i for i, text in enumerate(rows) if "0.wav" in text and "1.wav" in text]
    assert "Same recording" in rows[copy]
    assert "Shared excerpt" in rows[excerpt]
    for place in (copy, excerpt):
        dialog = open_case(page, place)
        assert dialog.locator(".map path.wave").count() == 2
        assert dialog.locator('[data-f="matrix-image"]').is_visible()
        dialog.get_by_role("button", name="Play A").click()
        playing(page, "a")
        dialog.get_by_role("button", name="Play B").click()
        playing(page, "b")
        page.keyboard.press("Escape")


# What it looks like; SHOTS=folder keeps the pictures.


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["scan", "check", "clear", *TWO_SIDES])
def test_nothing_is_cut_off(open_page, report, size, scheme, kind):
    made = {
        "scan": make_scan,
        "check": lambda: make_check("shared excerpt", "clear"),
        "clear": lambda: make_check("clear"),
    }
    result = make_two_sides(kind) if kind in TWO_SIDES else made[kind]()
    page = open_page(report(result), viewport=size, color_scheme=scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"]
    keep = Path(os.environ["SHOTS"]) if "SHOTS" in os.environ else None
    name = f"{kind}-{size['width']}-{scheme}"
    if keep:
        page.screenshot(path=keep / f"{name}.png", full_page=True)
    for place in range(4 if kind == "scan" else 1):
        open_case(page, place)
        inner, outer = page.evaluate(
            "(() => { const b = document.getElementById('case-body');"
            " return [b.scrollWidth, b.clientWidth]; })()"
        )
        assert inner <= outer
        buttons = page.locator("#kinds button:visible")
        assert buttons.count() == 5
        edges = buttons.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().right)")
        assert max(edges) <= size["width"], "no button to decide with is out of sight"
        if keep:
            page.screenshot(path=keep / f"{name}-case{place + 1}.png")
        page.keyboard.press("Escape")
