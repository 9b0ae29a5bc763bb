"""The map of a service: drawn when it is asked for, anew when the catalogue has changed."""

from __future__ import annotations

import json
import re
import time

from small_service import RunningService, start_thread, track_rows

from auditor.catalogue.catalogue import Catalogue
from auditor.errors import UsageError
from auditor.serve import map_maker
from auditor.serve.settings import Settings


def drawn(running, patience_s=60.0):
    """Ask for the map until it is there."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = running.get("/map")
        if b"map-data" in answer.body:
            return answer
        assert b"is being drawn" in answer.body and answer.status == 200
        time.sleep(0.05)
    raise AssertionError("no map is drawn")


def ids_of(answer):
    text = re.search(r'id="map-data">(.*?)</script>', answer.body.decode(), re.DOTALL)[1]
    return json.loads(text)["ids"]


def test_the_map_is_drawn_once_for_each_state_of_the_catalogue(settings_of, monkeypatch):
    with RunningService(settings_of()) as running:
        workspace = running.settings.workspace
        first = drawn(running)
        page = first.body.decode()
        assert len(ids_of(first)) > 2
        assert set(ids_of(first)) <= {row[0] for row in track_rows(workspace)}
        assert "script-src 'self'" in first.headers["content-security-policy"]
        assert "<style" not in page and "http-equiv" not in page
        for url in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page):
            assert running.get(url).status == 200
        assert set(json.loads(re.search(r'"links":(\[.*?\])', page)[1])) == {""}
        (stored,) = running.settings.map_folder.iterdir()
        assert running.get("/map").body == first.body

        gone = ids_of(first)[0]
        with Catalogue.open(workspace / "catalogue.sqlite3") as catalogue:
            catalogue.remove([gone])
        assert gone in ids_of(running.get("/map"))  # what was drawn before is shown for a while
        monkeypatch.setattr(map_maker, "AGAIN_S", 0.0)
        deadline = time.monotonic() + 60.0
        while gone in ids_of(drawn(running)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [path.name for path in running.settings.map_folder.iterdir()] != [stored.name]


def test_why_there_is_no_map_is_said(made, tmp_path):
    async def start(settings):
        if not started:
            started.append(True)
            return await start_thread(settings)
        raise UsageError("<b>no room</b>")

    started = []
    settings = Settings(tmp_path / "empty", extractor=str(made[1]))
    with RunningService(settings, start_worker=start) as running:
        deadline = time.monotonic() + 30.0
        while (answer := running.get("/map")).status == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer.status == 503
        assert b"There is no map" in answer.body
        assert b"&lt;b&gt;no room" in answer.body


def test_the_map_is_for_those_who_decide(settings_of):
    with RunningService(settings_of()) as running:
        store = running.service.store
        key, _ = store.add_key("ingest", ["check"])
        cookie = {"Cookie": f"audit_session={store.add_session(key, lasts_s=60.0)}"}
        answer = running.get("/map", headers=cookie)
        assert answer.status == 303
        assert answer.headers["location"] == "/login?next=%2Fmap"
