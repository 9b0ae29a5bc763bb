"""``audit.toml`` and ``audit config``: where the file lies, what it may say, what holds."""

from __future__ import annotations

import json

import pytest
from small_catalogue import make_track, make_workspace
from typer.testing import CliRunner

from auditor.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    for name in ("AUDIT_WORKSPACE", "AUDIT_CONFIG", "AUDIT_BY"):
        monkeypatch.delenv(name, raising=False)
    make_workspace(tmp_path / "ws", make_track("a"))
    return tmp_path


def test_the_first_file_above_holds_and_what_is_typed_comes_first(folder, monkeypatch):
    (folder / "audit.toml").write_text(
        f'workspace = "{folder}/ws"\n[catalogue.list]\nformat = "json"\n'
    )
    listed = invoke("catalogue", "list")
    assert listed.exit_code == 0, listed.output
    assert [track["id"] for track in json.loads(listed.stdout)] == ["a"]
    assert f"options from {folder}/audit.toml" in listed.stderr
    assert "Title a" in invoke("catalogue", "list", "--format", "table").stdout
    monkeypatch.setenv("AUDIT_WORKSPACE", str(folder / "none"))
    assert "no catalogue at" in invoke("catalogue", "list").stderr
    monkeypatch.delenv("AUDIT_WORKSPACE")
    (folder / "a" / "audit.toml").write_text("")
    assert "no catalogue at" in invoke("catalogue", "list").stderr
    monkeypatch.setenv("AUDIT_CONFIG", str(folder / "audit.toml"))
    assert invoke("catalogue", "list").exit_code == 0
    monkeypatch.setenv("AUDIT_CONFIG", "")
    assert "options from" not in invoke("catalogue", "list").stderr


def test_config_shows_what_holds_and_from_where(folder, monkeypatch):
    assert invoke("config").stdout == "file: none; no audit.toml here or above\n"
    (folder / "audit.toml").write_text('quiet = true\n[scan]\njobs = 4\nsame-owner = ["artist"]\n')
    monkeypatch.setenv("AUDIT_BY", "Ana")
    said = invoke("config").stdout.splitlines()
    assert said[0] == f"file: {folder}/audit.toml"
    for line in (
        "scan --jobs = 4  (audit.toml)",
        "scan --quiet = True  (audit.toml)",
        "check --quiet = True  (audit.toml)",
        "scan --same-owner = ['artist']  (audit.toml)",
        "decide --by = Ana  (environment variable AUDIT_BY)",
    ):
        assert line in said
    assert not any("(default)" in line for line in said)
    every = invoke("config", "catalogue", "list").stdout
    assert "catalogue list --format = table  (default)" in every
    assert invoke("config", "nothing").exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scan", "is not TOML"),
        ("jbos = 4", "no command has the option 'jbos'"),
        ("[scan]\njbos = 4", "audit scan has no option 'jbos'. Run: audit scan --help"),
        ("[scna]\njobs = 4", "'scna' is no command"),
        ("[scan.jobs]\nx = 4", "'jobs' is a table, not a value"),
        ("[scan]\njobs = 'many'", "Invalid value for '--jobs'"),
        ("#" * (1 << 17), "is larger than 64 KiB"),
    ],
)
def test_what_makes_no_sense_is_refused(folder, text, message):
    (folder / "audit.toml").write_text(text)
    refused = invoke("scan", "--no-report")
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())
