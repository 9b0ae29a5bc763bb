"""The pages of the service in a real browser: an inbox decided by keyboard, and the case view."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from mutagen.id3 import ID3, TIT2, TPE1
from small_audit import calibrate_by_hand, save_small_extractor, write_tune
from small_service import RunningService

from auditor.api.scan import scan
from auditor.serve.settings import Settings
from auditor.workspace import open_workspace

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
HOSTILE = (
    '"><img src=x onerror=document.title="owned"></script><script>document.title="owned"</script>'
)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium is installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


def tag(path: Path, title: str, artist: str) -> Path:
    tags = ID3()
    tags.add(TIT2(encoding=3, text=title))
    tags.add(TPE1(encoding=3, text=artist))
    tags.save(path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return a service with a hostile track and three cases."""
    folder = tmp_path_factory.mktemp("browsed")
    weights = save_small_extractor(folder / "weights")
    for n in range(1, 4):
        tag(write_tune(folder / f"music/{n}.mp3", n), f"{HOSTILE} {n}", HOSTILE)
    with open_workspace(folder / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(folder / "ws", opened.weights_id)
        scan(opened, [folder / "music"])
    settings = Settings(folder / "ws", extractor=str(weights), rate_per_minute=1_000_000)
    with RunningService(settings) as running:
        for n in range(1, 4):
            copy = tag(write_tune(folder / f"new/{n}.mp3", n), f"Copy {n} {HOSTILE}", "Ana")
            found = running.post_file(copy, name=f"{HOSTILE} {n}.mp3").json
            assert found["severity"] == "block"
        yield running


@pytest.fixture
def open_page(browser, served):
    """Return a function that opens a page, and fails afterwards if it complained."""
    said, contexts, fetched = [], [], []

    def open_it(target="/inbox", **how):
        context = browser.new_context(**{"viewport": WIDE, **how})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(served.url + target)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in fetched if not url.startswith((served.url, "data:", "blob:"))] == []


def test_hostile_titles_are_text_in_every_page(open_page, served):
    check = served.get("/v1/cases").json["items"][0]["check"]
    for target in ("/inbox", f"/cases/{check}", f"/v1/checks/{check}/report", "/inbox?status=all"):
        page = open_page(target)
        assert "owned" not in page.title()
        assert page.locator("img[src=x]").count() == 0
        assert "onerror=" in page.locator("body").inner_text()
        assert (
            page.evaluate("document.querySelectorAll('script:not([src]):not([type])').length") == 0
        )
        assert page.evaluate("document.querySelectorAll('style, [style]').length") == 0
    page = open_page("/inbox?q=" + "%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    assert page.locator("img[src=x]").count() == 0


def test_no_page_runs_what_is_not_a_file_of_the_service(browser, served):
    page = browser.new_page()
    page.goto(served.url)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'owned'";
      document.body.append(script);
    }""")
    assert page.title() != "owned"
    assert "Content Security Policy" in said[0]
    page.context.close()


def test_pages_fit_and_are_accessible(open_page, served):
    check = served.get("/v1/cases").json["items"][0]["check"]
    for viewport in (WIDE, NARROW):
        for target in ("/inbox", f"/cases/{check}", "/login"):
            page = open_page(target, viewport=viewport)
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            assert page.locator("h1").count() == 1
            assert page.locator("html[lang=en]").count() == 1
            assert page.locator("main").count() == 1
            unnamed = page.evaluate("""() => [...document.querySelectorAll(
              "input:not([type=hidden]), select, textarea")].filter((one) =>
              one.checkVisibility() && !one.labels.length && !one.ariaLabel).length""")
            assert unnamed == 0
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the cases"


def test_the_inbox_is_decided_by_keyboard(open_page, served):
    page = open_page()
    rows = page.locator("tr[data-pair]")
    n = rows.count()
    page.locator("#by").fill("Ana")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    pair = page.locator("tr.current").get_attribute("data-pair")
    page.keyboard.press("a")
    page.locator(f'tr[data-pair="{pair}"] [data-f=assigned]').wait_for()
    page.keyboard.press("l")
    page.locator(f'tr[data-pair="{pair}"]').wait_for(state="detached")
    assert rows.count() == n - 1
    assert f"pair {pair}, licensed" in page.locator("#said").inner_text()
    decided = served.get(f"/v1/pairs/{pair}/decision").json
    assert (decided["standing"], decided["history"][0]["by"]) == ("licensed", "Ana")

    page.goto(served.url + "/inbox?status=decided")
    assert rows.count() == 1
    page.keyboard.press("j")
    page.keyboard.press("u")
    rows.first.wait_for(state="detached")
    assert served.get(f"/v1/pairs/{pair}/decision").json["standing"] is None
    page.goto(f"{served.url}/inbox?q={pair}+copy")
    assert rows.count() == 1
    page.locator("select[name=status]").select_option("all")
    page.wait_for_url(re.compile("status=all"))
    assert page.locator("#search").input_value() == f"{pair} copy"


def test_new_cases_come_by_themselves(open_page, served):
    page = open_page("/inbox?status=all")
    before = page.title()
    n = page.locator("tr[data-pair]").count()
    folder = served.settings.workspace.parent
    copy = tag(write_tune(folder / "new/again.mp3", 2), "Once more", "Ben")
    served.post_file(copy)
    page.wait_for_function("(n) => document.querySelectorAll('tr[data-pair]').length > n", arg=n)
    assert page.title() != before


def test_a_case_is_decided_in_its_page(open_page, served):
    case = served.get("/v1/cases").json["items"][-1]
    page = open_page()
    page.locator(f'tr[data-pair="{case["pair_id"]}"] a').click()
    page.locator("dialog[open]").wait_for()
    page.locator("#note").fill("by mistake")
    page.locator("#case-title").click()
    page.keyboard.press("d")
    page.locator('#kinds [data-kind="false-alarm"][aria-pressed=true]').wait_for()
    found = served.get(f"/v1/pairs/{case['pair_id']}/decision").json
    assert found["standing"] == "false-alarm"
    assert found["history"][-1]["note"] == "by mistake"
    assert "is self-contained" not in page.locator("footer").inner_text()
    page.reload()
    page.locator("dialog[open]").wait_for()
    assert "Decided: false alarm" in page.locator('[data-f="decided"]').inner_text()
    page.locator('#kinds [data-kind="undo"]').click()
    page.locator('#kinds [data-kind="false-alarm"][aria-pressed=false]').wait_for()
    page.wait_for_function("!document.querySelector('#kinds [aria-pressed=true]')")
    assert served.get(f"/v1/pairs/{case['pair_id']}/decision").json["standing"] is None


def test_the_map_comes_by_itself_and_is_moved_by_keyboard(open_page, served):
    for viewport in (WIDE, NARROW):
        page = open_page("/inbox", viewport=viewport)
        page.get_by_role("link", name="Map").click()
        page.locator("#canvas").wait_for()
        page.locator("#canvas").focus()
        page.keyboard.press("Enter")
        page.locator("#pick").wait_for()
        assert "onerror=" in page.locator("#pick-label").inner_text()
        assert page.locator("#pick-link").is_hidden()
        assert page.locator("img[src=x]").count() == 0
        assert "owned" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_with_keys_the_pages_ask_for_one(browser, tmp_path, served):
    workspace = tmp_path / "ws"
    shutil.copytree(served.settings.workspace, workspace, ignore=shutil.ignore_patterns("service"))
    settings = Settings(workspace, extractor=served.settings.extractor)
    with RunningService(settings) as locked:
        store = locked.service.store
        _, weak = store.add_key("ingest", ["check"])
        _, key = store.add_key("ana", ["decide"])
        context = browser.new_context(viewport=NARROW)
        page = context.new_page()
        page.goto(locked.url + "/inbox")
        assert page.url.endswith("/login?next=%2Finbox")
        for wrong, message in (("audit_x", "no key in use"), (weak, "lacks the scope decide")):
            page.get_by_label("Key").fill(wrong)
            page.get_by_role("button", name="Sign in").click()
            assert message in page.get_by_role("alert").inner_text()
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(locked.url + "/inbox")
        (cookie,) = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        page.get_by_role("button", name="Sign out").click()
        page.goto(locked.url + "/inbox")
        assert "/login" in page.url
        context.close()
