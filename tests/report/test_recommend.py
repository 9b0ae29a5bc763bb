"""The page of recommendations: what is played, why it is there, identical files only once."""

from __future__ import annotations

import re
import shutil

import pytest
from small_audit import make_library, save_small_extractor, write_tune
from small_catalogue import make_track
from typer.testing import CliRunner

from auditor.cli import app
from auditor.records import Provenance, Recommended, RecommendResult, result_from_json
from auditor.report.html.page import render_html
from auditor.report.html.recommend import recommend_view
from auditor.report.media.model import Media, TrackMedia, media_from_json

PROVENANCE = Provenance("0", "audit recommend", "2026-01-01T00:00:00Z", "x", "0a1b2c3d", ".audit")
MEDIA = Media(
    (
        TrackMedia("a", link="../music/one%20two.ogg"),
        TrackMedia("c", link="../music/c.ogg"),
        TrackMedia("new.mp3", link="../new.mp3"),
    )
)


def make_result(**query: tuple[str, ...]) -> RecommendResult:
    answers = (
        Recommended(make_track("c"), 0.9, "a", same=("/again/c.mp3",)),
        Recommended(make_track("d"), 0.8, "new.mp3"),
        Recommended(make_track("e"), -0.1),
    )
    query = query or {"of": ("new.mp3",), "like": ("a",), "dislike": (), "farthest": ("yes",)}
    return RecommendResult(query, answers, 9, PROVENANCE)


def test_identical_files_are_one_entry_with_a_count():
    answers = recommend_view(make_result())["recommendations"]
    assert [answer.track.values[0] for answer in answers] == ["c", "d", "e"]
    assert (answers[0].n_files, answers[0].same) == ("2 identical files", ("/again/c.mp3",))
    assert (answers[1].n_files, answers[1].same) == ("", ())


def test_why_names_the_favourite_that_is_nearest():
    view = recommend_view(make_result(), MEDIA)
    assert [(one.role, one.id, one.name) for one in view["favourites"]] == [
        ("Start", "new.mp3", "new.mp3"),
        ("Liked", "a", "one two.ogg"),
    ]
    assert [answer.why and answer.why.id for answer in view["recommendations"]] == [
        "a",
        "new.mp3",
        None,
    ]
    assert view["query"] == [("farthest", "yes")]
    html = render_html(make_result(), MEDIA)
    assert "<dt>Nearest to</dt><dd><bdi>one two.ogg</bdi></dd>" in html
    assert "<bdi>one two.ogg</bdi>" not in render_html(make_result()), "ids, where no link names it"


def test_only_what_has_a_link_can_be_played():
    html = render_html(make_result(), MEDIA)
    sources = re.findall(r'<audio controls preload="none" src="([^"]*)"', html)
    assert sources == ["../new.mp3", "../music/one%20two.ogg", "../music/c.ogg"]
    assert re.findall(r'href="(\.\.[^"]*)"', html) == sources
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert "media-src data: 'self' file:" in policy.replace("&#39;", "'")
    assert "<script>" in html


@pytest.mark.parametrize("media", [None, Media()])
def test_without_media_the_page_is_whole_and_silent(media):
    html = render_html(make_result(), media)
    assert "<audio" not in html
    assert "<script" not in html
    assert "Title c" in html
    assert "0.9000" in html


def test_hostile_names_are_text():
    evil = "<img src=x onerror=alert(1)>\u202e"
    answers = (Recommended(make_track("x", title=evil, path=evil), 0.5, evil),)
    result = RecommendResult({"of": (evil,), "like": ()}, answers, 1, PROVENANCE)
    html = render_html(result, Media((TrackMedia(evil, link="%3Cimg%20src%3Dx%3E%E2%80%AE"),)))
    assert "<img" not in html
    assert "\u202e" not in html
    assert not re.search(r"<[^>]+\son\w+=", html)


# the command


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    weights = save_small_extractor(folder)
    music = make_library(folder / "music")
    shutil.copyfile(music / "b.wav", music / "b same?.wav")
    common = ("-w", folder / "ws", "--extractor", weights)
    scan = invoke("scan", music, *common, "--no-report", "--exit-zero", "--threshold", "0.98")
    assert scan.exit_code == 0, scan.output
    return folder, common


def test_the_command_links_what_it_recommends_and_renders_the_same_again(scanned, tmp_path):
    folder, common = scanned
    new = write_tune(tmp_path / "näw.wav", 9)
    page = folder / "pages" / "rec.html"
    result = invoke("recommend", new, *common, "-o", page, "--format", "json")
    assert result.exit_code == 0, result.output
    html = page.read_text(encoding="utf-8")
    sources = re.findall(r'<audio controls preload="none" src="([^"]*)"', html)
    assert sources[0].endswith("/n%C3%A4w.wav")
    assert any(source in ("../music/b.wav", "../music/b%20same%3F.wav") for source in sources)
    assert "2 identical files" in html
    kept = result_from_json(page.with_suffix(".json").read_text(encoding="utf-8"))
    media = media_from_json(page.with_suffix(".media.json").read_text(encoding="utf-8"))
    assert render_html(kept, media) == html


def test_html_writes_a_page_into_reports(scanned, tmp_path, monkeypatch):
    folder, common = scanned
    monkeypatch.chdir(tmp_path)
    assert invoke("recommend", folder / "music/c.flac", *common).exit_code == 0
    assert not (tmp_path / "reports").exists()
    result = invoke("recommend", folder / "music/c.flac", *common, "--html")
    assert result.exit_code == 0
    assert "report: reports/recommend-" in result.stderr
    names = sorted(path.suffixes[-1] for path in (tmp_path / "reports").iterdir())
    assert names == [".csv", ".html", ".json", ".json"]
