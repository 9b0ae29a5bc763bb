"""The map's page: one safe file, its data whole, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from small_atlas import hostile_atlas, make_atlas
from small_catalogue import make_track

from auditor.commands.map import Colour
from auditor.records import Pair
from auditor.report.html.map import COLOURS, N_STATIC_TRACKS, first_telling, render_map, write_map


def data_of(html: str) -> dict:
    return json.loads(re.search(r'id="map-data">(.*?)</script>', html, re.DOTALL)[1])


def numbers(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def words(data: dict, name: str) -> list[str]:
    column = data["columns"][name]
    return [column["words"][i] for i in numbers(column["of"], "<u4")]


def test_the_page_holds_every_track_with_its_place_and_neighbours():
    atlas = make_atlas(300)
    data = data_of(render_map(atlas, "/reports"))
    assert data["n"] == len(data["ids"]) == len(data["labels"]) == len(data["links"]) == 300
    assert data["ids"] == [track.id for track in atlas.tracks]
    places = numbers(data["positions"], "<u2").reshape(300, 2) / 65535 * 2 - 1
    np.testing.assert_allclose(places, atlas.place.positions, atol=2e-5)
    found = numbers(data["neighbours"], "<u4").reshape(300, data["k"])
    np.testing.assert_array_equal(found, atlas.place.neighbours)
    scores = numbers(data["scores"], "<i2").reshape(300, data["k"]) / 1e4
    np.testing.assert_allclose(scores, atlas.place.scores, atol=6e-5)
    assert words(data, "genre") == [track.genre for track in atlas.tracks]
    assert words(data, "licence") == [track.licence for track in atlas.tracks]
    assert words(data, "cluster") == ["Cluster C1"] * 2 + [""] * 298
    assert data["links"][7] == "../music/t00007.ogg"
    assert data["pairs"] == [[0, 1, "0.9500", ""]]


def test_words_that_differ_in_case_are_one():
    genres = ("rock", "Rock", "Rock", "", "ROCK", "Folk")
    tracks = tuple(make_track(f"t{i}", genre=genre) for i, genre in enumerate(genres))
    data = data_of(render_map(make_atlas(6, tracks=tracks), "/"))
    assert words(data, "genre") == ["Rock", "Rock", "Rock", "", "Rock", "Folk"]


def test_a_genre_path_counts_by_its_top():
    tracks = tuple(make_track(f"t{i}", genre="Grime", genres=("Hip-Hop", "Grime")) for i in "ab")
    data = data_of(render_map(make_atlas(2, tracks=tracks), "/"))
    assert words(data, "genre") == ["Hip-Hop", "Hip-Hop"]


def test_the_policy_names_style_and_script_and_lets_files_play():
    html = render_map(make_atlas(), "/reports")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    for rule, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["media-src"] == "data: 'self' file:"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html), "nothing is fetched"
    assert not re.search(r"<[^>]+\s(?:on\w+|style)=", html), "no inline handler, no inline style"
    assert "innerHTML" not in script


def test_hostile_tags_are_text():
    html = render_map(hostile_atlas(), "/reports", colour="licence")
    assert len(re.findall(r"<script", html)) == 2, "the data and the script"
    assert "<img" not in html
    assert "alert(1)</script>" not in html
    data = data_of(html)
    assert data["labels"][0].startswith("</script><script>alert(1)</script> artist")
    assert words(data, "genre")[3] == "{{7*7}}{% raw %} genre"
    for text in (*data["labels"], *data["facts"], *words(data, "album")):
        assert "\n" not in text
        assert not re.search("[\x00-\x1f\u202a-\u202e\u2028\u2029\ud800-\udfff]", text)


def test_the_same_atlas_gives_the_same_bytes(tmp_path):
    atlas = make_atlas(30)
    path, n_bytes = write_map(atlas, tmp_path / "new/map.html")
    assert path.stat().st_size == n_bytes
    again, _ = write_map(atlas, tmp_path / "new/again.html")
    assert path.read_bytes() == again.read_bytes()
    assert len(list(path.parent.iterdir())) == 2, "no temporary file stays"


def test_the_table_reads_without_scripts():
    atlas = make_atlas(N_STATIC_TRACKS + 5)
    html = render_map(atlas, "/reports")
    rows = re.findall(r'<th scope="row".*?</tr>', html, re.DOTALL)
    assert len(rows) == N_STATIC_TRACKS
    assert "Artist t00000 – Title t00000" in rows[0]
    assert "0.9500" in rows[0]
    assert f"{N_STATIC_TRACKS + 5} tracks, the first {N_STATIC_TRACKS} of them" in html
    assert "A distance on the map is not a score." in html
    assert "infringes" not in html


@pytest.mark.parametrize("n", [1, 2, 5])
def test_small_catalogues_have_a_page(n):
    atlas = make_atlas(n)
    html = render_map(atlas, "/reports")
    assert data_of(html)["k"] == n - 1
    assert f"Map of {n} track" in html
    assert ("flagged pair" in re.search(r"<h1>(.*?)</h1>", html)[1]) == (n > 1)


def test_what_it_is_coloured_by_at_first():
    html = render_map(make_atlas(), "/", colour="album")
    assert '<option value="album" selected>' in html
    assert '<option value="genre" selected>' in render_map(make_atlas(40), "/")
    with pytest.raises(ValueError, match="colour is 'key'; it must be one of genre, artist"):
        render_map(make_atlas(), "/", colour="key")
    assert first_telling({"genre": ["Rock", "rock", ""], "artist": ["a", "b", ""]}) == "artist"
    assert first_telling({"genre": [""], "artist": [""]}) == "genre"
    assert tuple(Colour) == COLOURS


def test_verdicts_stand_beside_the_pairs():
    pair = Pair("t00000", "t00001", 0.9, verdict="same recording")
    atlas = replace(make_atlas(4), pairs=((0, 1, pair),))
    assert data_of(render_map(atlas, "/"))["pairs"] == [[0, 1, "0.9000", "same recording"]]


def test_25_000_tracks_stay_a_few_megabytes():
    assert len(render_map(make_atlas(25_000), "/reports")) < 8_000_000


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_colour_stands_out_from_its_ground():
    html = render_map(make_atlas(), "/")
    found = re.findall(r"--(c\d|rest|unknown): (#\w{6});", html)
    assert len(found) == 24
    light, dark = dict(found[:12]), dict(found[12:])
    for ground, colours in (("#ffffff", light), ("#1b1b1f", dark)):
        assert len(colours) == 12
        for colour in colours.values():
            low, high = sorted((luminance(colour), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 3.0, (colour, ground)
