"""The map and the recommendations in a real browser: seen, moved, searched, heard."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_atlas import hostile_atlas, make_atlas
from small_audit import write_tune
from small_catalogue import make_track

from auditor.records import Pair, Provenance, Recommended, RecommendResult
from auditor.report.html.map import write_map
from auditor.report.media.model import Media, TrackMedia
from auditor.report.write import write_report

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
SIZES = ((1440, 900), (390, 844))
FRAMES = """async (n) => {
  const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
  const times = [];
  let last = performance.now();
  for (let i = 0; i < n; i += 1) {
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: i < n / 2 ? -40 : 40,
      clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, cancelable: true }));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  return times.sort((a, b) => a - b)[Math.floor(n / 2)];
}"""
PLAY = """async (player) => {
  await player.play();
  await new Promise((done) => setTimeout(done, 500));
  return [player.currentTime, player.duration, player.error && player.error.message];
}"""
COLOURED = """() => {
  const canvas = document.getElementById("canvas");
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 3; i < pixels.length; i += 4) n += pixels[i] > 127 ? 1 : 0;
  return n;
}"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium is installed")
    arguments = ["--autoplay-policy=no-user-gesture-required"]
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page, and fails afterwards if it complained or fetched."""
    said: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_it(path: Path, **how: object):
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | how))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def middle(page) -> tuple[float, float]:
    box = page.locator("#canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture
def page_of_12(tmp_path, open_page):
    atlas = make_atlas(12)
    write_tune(tmp_path / "music" / "t00003.ogg", 3)
    atlas = replace(
        atlas, paths=tuple(bytes(tmp_path / "music" / f"{t.id}.ogg") for t in atlas.tracks)
    )
    path, _ = write_map(atlas, tmp_path / "pages" / "map.html")
    return open_page(path)


def test_a_track_is_chosen_and_heard(page_of_12):
    page = page_of_12
    assert page.evaluate(COLOURED) > 300
    page.click("#rows button >> nth=3")
    assert page.inner_text("#pick-label") == "Artist t00003 – Title t00003"
    assert page.locator("#near-list li").count() == 5
    assert page.locator("#near-list span").first.inner_text() == "0.9500"
    assert page.get_attribute("#pick-link", "href") == "../music/t00003.ogg"
    time_s, duration_s, error = page.eval_on_selector("#player", PLAY)
    assert error is None
    assert time_s > 0.1
    assert duration_s == pytest.approx(3.0, abs=0.1)
    page.click("#near-list button >> nth=0")
    assert page.inner_text("#pick-label") == "Artist t00004 – Title t00004"
    assert page.evaluate("document.getElementById('player').paused")
    page.click("#pick-clear")
    assert page.is_hidden("#pick")


def test_hover_shows_tags_and_a_click_chooses(page_of_12):
    page = page_of_12
    page.click("#rows button >> nth=5")
    page.focus("#canvas")
    for _ in range(8):  # far in, so that nothing else is near
        page.keyboard.press("+")
    page.click("#near-list button >> nth=0")
    chosen = page.inner_text("#pick-label")
    page.click("#pick-clear")
    page.mouse.move(*middle(page))
    assert page.inner_text("#tip b") == chosen
    page.mouse.click(*middle(page))
    assert page.inner_text("#pick-label") == chosen
    page.mouse.move(middle(page)[0] + 150, middle(page)[1])
    assert page.is_hidden("#tip")


def test_flagged_pairs_are_listed_and_their_lines_can_go(page_of_12):
    page = page_of_12
    page.click("#rows button >> nth=0")
    assert page.inner_text("#pairs-list bdi") == "Artist t00001 – Title t00001"
    page.click("#pick-clear")
    joined = page.evaluate(COLOURED)
    page.uncheck("#lines")
    page.wait_for_timeout(60)
    assert page.evaluate(COLOURED) < joined


def test_search_and_legend_narrow_map_and_table(page_of_12):
    page = page_of_12
    page.fill("#search", "T00007 artist")
    assert page.inner_text("#found") == "1 of 12 tracks"
    assert page.locator("#rows tr").count() == 1
    page.fill("#search", "nothing is called so")
    assert page.inner_text("#found") == "0 of 12 tracks"
    page.fill("#search", "")
    page.select_option("#colour", "licence")
    assert page.locator("#legend bdi").all_inner_texts() == ["CC BY 4.0", "Not known"]
    page.click("#legend button >> nth=1")
    assert page.inner_text("#found") == "4 of 12 tracks"
    assert page.get_attribute("#legend button >> nth=1", "aria-pressed") == "true"
    page.click("#legend button >> nth=1")
    assert page.inner_text("#found") == "12 tracks"
    page.select_option("#colour", "cluster")
    assert page.locator("#legend bdi").all_inner_texts() == ["Cluster C1", "In no flagged pair"]


def test_the_keyboard_does_it_all(page_of_12):
    page = page_of_12
    page.focus("#canvas")
    page.keyboard.press("Enter")
    first = page.inner_text("#pick-label")
    assert first
    page.keyboard.press("n")
    assert page.inner_text("#pick-label") != first
    before = page.evaluate("document.getElementById('canvas').toDataURL()")
    for key in ("ArrowRight", "ArrowDown", "-"):
        page.keyboard.press(key)
    page.wait_for_timeout(60)
    assert page.evaluate("document.getElementById('canvas').toDataURL()") != before
    page.keyboard.press("Escape")
    assert page.is_hidden("#pick")


def test_a_file_that_is_gone_is_said(browser, tmp_path):
    path, _ = write_map(make_atlas(3, files=tmp_path), tmp_path / "map.html")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.click("#rows button >> nth=0")
    page.evaluate("document.getElementById('player').play().catch(() => {})")
    page.wait_for_selector("#pick-error:not([hidden])")
    page.close()


def test_a_finger_drags_and_taps(tmp_path, open_page):
    path, _ = write_map(make_atlas(1), tmp_path / "map.html")
    page = open_page(path, viewport={"width": 390, "height": 844}, has_touch=True)
    page.touchscreen.tap(*middle(page))  # the one track lies in the middle
    assert page.inner_text("#pick-label") == "Artist t00000 – Title t00000"
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_two_fingers_zoom(page_of_12):
    page = page_of_12
    before = page.evaluate("document.getElementById('canvas').toDataURL()")
    page.evaluate(
        """() => {
          const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
          canvas.setPointerCapture = () => {};
          const send = (name, id, x) => canvas.dispatchEvent(new PointerEvent(name, { pointerId: id,
            pointerType: "touch", clientX: box.x + x, clientY: box.y + 200, bubbles: true }));
          send("pointerdown", 1, 200); send("pointerdown", 2, 300);
          for (let i = 1; i <= 10; i += 1) {
            send("pointermove", 1, 200 - 5 * i);
            send("pointermove", 2, 300 + 5 * i);
          }
          send("pointerup", 1, 150); send("pointerup", 2, 350);
        }"""
    )
    page.wait_for_timeout(60)
    assert page.evaluate("document.getElementById('canvas').toDataURL()") != before
    assert page.is_hidden("#pick"), "a pinch chooses nothing"


def test_25_000_tracks_are_smooth(tmp_path, open_page):
    atlas = make_atlas(25_000)
    pairs = tuple((i, i + 1, Pair("a", "b", 0.9)) for i in range(0, 1_000, 2))
    path, _ = write_map(replace(atlas, pairs=pairs), tmp_path / "map.html")
    page = open_page(path)
    drawn = "document.getElementById('canvas').toDataURL()"
    before = page.evaluate(drawn)
    page.evaluate(FRAMES, 1)  # one turn of the wheel
    assert page.evaluate(drawn) != before
    page.fill("#search", "jazz")
    assert re.fullmatch(r"2,\d\d\d of 25,000 tracks, .*", page.inner_text("#found"))
    assert page.locator("#rows tr").count() == 50
    page.click("#more")
    assert page.locator("#rows tr").count() == 200


def test_hostile_tags_execute_nothing(tmp_path, open_page):
    path, _ = write_map(hostile_atlas(), tmp_path / "map.html")
    page = open_page(path)
    page.on("dialog", lambda _: pytest.fail("a tag was run"))
    for colour in ("artist", "album", "genre", "licence"):
        page.select_option("#colour", colour)
    for row in range(7):
        page.click(f"#rows button >> nth={row}")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("#rows")
    assert page.locator("#atlas img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_screen(tmp_path, open_page, size, scheme):
    path, _ = write_map(hostile_atlas(), tmp_path / "map.html")
    width, height = size
    page = open_page(path, viewport={"width": width, "height": height}, color_scheme=scheme)
    page.click("#rows button >> nth=0")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(COLOURED) > 50


def test_recommendations_are_heard_one_at_a_time(tmp_path, open_page):
    links = {}
    for seed, name in enumerate(("a b?.ogg", "c.ogg", "d.ogg")):
        write_tune(tmp_path / "music" / name.replace("?", "x"), seed)
        links[name[0]] = f"../music/{name.replace('?', 'x').replace(' ', '%20')}"
    made = Provenance("0", "audit recommend", "2026-01-01T00:00:00Z", "x", "0a1b2c3d", ".audit")
    answers = tuple(Recommended(make_track(i), 0.9, "a") for i in ("c", "d"))
    result = RecommendResult({"of": (), "like": ("a",), "dislike": ()}, answers, 9, made)
    media = Media(tuple(TrackMedia(i, link=link) for i, link in links.items()))
    path, _ = write_report(result, tmp_path / "pages" / "rec.html", media)
    page = open_page(path)
    players = page.locator("audio")
    assert players.count() == 3
    for i in range(3):
        time_s, _, error = players.nth(i).evaluate(PLAY)
        assert error is None
        assert time_s > 0.1
        paused = [players.nth(j).evaluate("(player) => player.paused") for j in range(3)]
        assert paused == [j != i for j in range(3)]


@pytest.mark.parametrize("size", SIZES)
def test_a_lasso_selects_tracks_and_saves_their_ids(tmp_path, open_page, size):
    atlas = make_atlas(12)
    path, _ = write_map(atlas, tmp_path / "map.html")
    page = open_page(path, viewport={"width": size[0], "height": size[1]})
    box = page.locator("#canvas").bounding_box()
    inset = 3
    corners = [(inset, inset), (box["width"] - inset, inset)]
    corners += [(x, box["height"] - inset) for x, _ in reversed(corners)]
    page.locator("#lasso").click()
    page.mouse.move(box["x"] + corners[0][0], box["y"] + corners[0][1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
    page.mouse.up()
    assert page.locator("#lasso-count").inner_text() == "12 tracks selected"
    assert page.locator("#lasso").get_attribute("aria-pressed") == "false"
    with page.expect_download() as saved:
        page.locator("#lasso-ids").click()
    assert saved.value.suggested_filename == "track-ids.txt"
    assert Path(saved.value.path()).read_text().split() == [track.id for track in atlas.tracks]
    if "SHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["SHOTS"]) / f"map-lasso-{size[0]}.png", full_page=True)
    page.locator("#lasso-clear").click()
    assert page.locator("#lasso-box").is_hidden()
    page.locator("#search").fill(atlas.tracks[3].id)
    page.locator("#lasso-found").click()
    assert page.locator("#lasso-count").inner_text() == "1 track selected"
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_shift_and_drag_selects_and_a_point_selects_nothing(page_of_12):
    page = page_of_12
    x, y = middle(page)
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.locator("#lasso-box").is_hidden()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=3)
    page.mouse.up()
    assert page.locator("#lasso-box").is_hidden(), "without the lasso, a drag moves the map"


def test_names_stand_beside_the_marks_at_close_zoom(tmp_path, open_page):
    path, _ = write_map(make_atlas(3000), tmp_path / "map.html")
    page = open_page(path)
    said = "Array.from({length: 1}, () => window.names).pop()"
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, fill = pen.fillText;"
        " window.names = 0;"
        " pen.fillText = function (...all) { window.names += 1; return fill.apply(this, all); }; }"
    )
    page.locator("#zoom-in").click()
    page.wait_for_timeout(200)
    assert page.evaluate(said) == 0, "3,000 names would cover the map"
    for _ in range(9):
        page.locator("#zoom-in").click()
    page.wait_for_function("window.names > 0")
