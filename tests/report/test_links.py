"""Links to audio files: relative, quoted, and never anything but a path."""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from auditor.report.links import relative_link
from auditor.report.media.model import TrackMedia

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"\0" not in name and b"/" not in name and name not in (b".", b"..")
)


@given(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["/a/b", "/", "/music", "/a b/#"]))
def test_a_link_leads_to_its_file_whatever_it_is_called(names, folder):
    path = b"/music/" + b"/".join(names)
    link = relative_link(path, folder)
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert link.isascii()
    assert link.isprintable()
    assert not set(link) & set(" \"'<>\\")
    joined = os.path.join(os.fsencode(folder), unquote_to_bytes(link))
    assert os.path.normpath(joined) == os.path.normpath(path)
    assert TrackMedia("x", link=link).link == link, "reports take it"


def test_a_browser_resolves_it():
    link = relative_link("/music/one two?.mp3", "/out/reports")
    assert link == "../../music/one%20two%3F.mp3"
    base = "file:///out/reports/map.html"
    assert urljoin(base, link) == "file:///music/one%20two%3F.mp3"


def test_relative_paths_are_those_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative_link("music/a.mp3", "reports") == "../music/a.mp3"
    assert relative_link(tmp_path / "music/a.mp3", "") == "music/a.mp3"
