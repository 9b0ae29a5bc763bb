"""``audit catalogue``: what strangers wrote acts on no terminal."""

from __future__ import annotations

import json

import pytest
from small_catalogue import make_track, make_workspace
from typer.testing import CliRunner

from auditor.cli import app

EVIL = "\x1b[2J\u202ex\x9b1m\u2066"
ESCAPED = "\\x1b[2J\\u202ex\\x9b1m\\u2066"
ACTING = set(EVIL) - set("[2Jx1m")


@pytest.fixture
def workspace(tmp_path):
    tracks = make_track(f"a{EVIL}"), make_track("b", title=EVIL, missing=True, path=f"/{EVIL}")
    return make_workspace(tmp_path / "ws", *tracks)


@pytest.mark.parametrize(
    "arguments",
    [
        ["catalogue", "list"],
        ["catalogue", "list", "--format", "json"],
        ["catalogue", "show", f"a{EVIL}"],
        ["catalogue", "show", f"a{EVIL}", "--format", "json"],
        ["catalogue", "show", EVIL],
        ["catalogue", "remove", f"a{EVIL}"],
        ["catalogue", "verify"],
        ["catalogue", "verify", "--format", "json"],
        ["catalogue", "stats"],
        ["decide", f"a{EVIL}", "b", "--as", "cover", "--note", EVIL],
    ],
)
def test_ids_and_tags_are_printed_escaped(workspace, arguments):
    done = CliRunner().invoke(app, [*arguments, "--workspace", str(workspace)])
    assert not ACTING & set(done.output), repr(done.output)


def test_the_id_is_shown_and_json_means_the_same(workspace):
    listed = CliRunner().invoke(app, ["catalogue", "list", "-w", str(workspace)]).stdout
    assert listed.startswith(f"a{ESCAPED}  ")
    text = (
        CliRunner()
        .invoke(app, ["catalogue", "list", "-w", str(workspace), "--format", "json"])
        .stdout
    )
    assert {track["id"] for track in json.loads(text)} == {f"a{EVIL}", "b"}
