"""Messages as lines of JSON: each line of stderr is one object, and stdout stays as it is."""

from __future__ import annotations

import io
import json

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from auditor.commands.log_format import JsonLog


def test_lines_are_objects_and_empty_ones_are_left_out():
    target = io.StringIO()
    log = JsonLog(target)
    print("one \u202e", "two", file=log)
    log.write("\n\nthree")
    assert not log.isatty()
    assert [json.loads(x)["message"] for x in target.getvalue().splitlines()] == ["one \u202e two"]
    assert "\u202e" not in target.getvalue(), "nothing acts on the terminal"
    log.close()
    lines = [json.loads(x) for x in target.getvalue().splitlines()]
    assert lines[1]["message"] == "three"
    assert set(lines[0]) == {"time", "pid", "message"}


@pytest.mark.parametrize("environment", [False, True])
def test_what_a_command_says_on_stderr_is_json(tmp_path, monkeypatch, environment):
    arguments = ["catalogue", "list", "-w", str(tmp_path / "nowhere")]
    if environment:
        monkeypatch.setenv("AUDIT_LOG_FORMAT", "json")
    else:
        arguments = ["--log-format", "json", *arguments]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "no catalogue at" in json.loads(line)["message"]
    assert done.stdout == ""


def test_text_is_the_default(tmp_path):
    done = CliRunner().invoke(app, ["catalogue", "list", "-w", str(tmp_path / "nowhere")])
    assert done.stderr.startswith("audit: ")
