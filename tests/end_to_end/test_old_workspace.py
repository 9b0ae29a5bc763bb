"""A workspace of version 0.1.0: a scan finds nothing new, and results and decisions are kept."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3

import pytest
from schema_0_1_0 import SCHEMA_0_1_0
from small_audit import THRESHOLD, Log, facts, ids_by_name, make_library, save_small_extractor
from typer.testing import CliRunner

from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.cli import app
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=THRESHOLD)
TABLES = ("tracks", "embeddings", "dvectors", "skipped", "decisions", "spectra")


def make_old(file) -> None:
    """Make a catalogue what 0.1.0 would have written: its tables, columns and version."""
    new = file.rename(file.with_suffix(".new"))
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_0_1_0)
        connection.execute("ATTACH ? AS new", (str(new),))
        for table in TABLES:
            names = ", ".join(
                row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")
            )
            connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new.{table}")
        connection.commit()
    new.unlink()


@pytest.mark.parametrize("index", ["kept", "gone"])
def test_a_scan_of_an_old_workspace_finds_nothing_new_and_keeps_what_was_decided(tmp_path, index):
    weights = save_small_extractor(tmp_path)
    library = make_library(tmp_path / "music")
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        first = scan(workspace, [library], options=OPTIONS)
        a, b = (track.sha256 for track in first.tracks[:2])
        workspace.catalogue.decide(a, b, "cover", note="live", by="Ana")
        expected = facts(scan(workspace, options=OPTIONS))
        ids = ids_by_name(workspace.catalogue)
    make_old(tmp_path / "ws" / "catalogue.sqlite3")
    shutil.rmtree(tmp_path / "ws" / "tables", ignore_errors=True)
    if index == "gone":
        shutil.rmtree(tmp_path / "ws" / "index", ignore_errors=True)
    verified = CliRunner().invoke(app, ["catalogue", "verify", "-w", str(tmp_path / "ws")])
    assert (verified.exit_code, verified.stderr) == (0, "no problems found\n"), verified.output
    log = Log()
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        found = scan(workspace, [library], options=OPTIONS, on_event=log)
        assert set(log.outcomes.values()) == {"unchanged"}
        assert facts(found) == expected
        assert ids_by_name(workspace.catalogue) == ids
        (decision,) = workspace.catalogue.decisions()
        assert (decision.kind, decision.note, decision.by) == ("cover", "live", "Ana")
    verified = CliRunner().invoke(app, ["catalogue", "verify", "-w", str(tmp_path / "ws")])
    assert (verified.exit_code, verified.stderr) == (0, "no problems found\n"), verified.output
    listed = CliRunner().invoke(app, ["decide", "--export", "-", "-w", str(tmp_path / "ws")])
    assert json.dumps("live")[1:-1] in listed.stdout
