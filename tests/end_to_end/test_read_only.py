"""A workspace that cannot be written to: another user's, or on a read-only disk."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import forks
import pytest
from small_audit import THRESHOLD, calibrate_by_hand, save_small_extractor, write_tune

from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.records import to_json
from auditor.workspace import open_workspace

COMMANDS = """
import contextlib, io, json, os, sys
from pathlib import Path
from typer.testing import CliRunner
from auditor.cli import app

folder, weights, track, pair = sys.argv[1:]
os.chdir(folder)

def run(workspace):
    end = ["--workspace", str(workspace)]
    how = [*end, "--extractor", weights]
    out = {}
    for name, words in {
        "check": ["check", "in.wav", *how, "--format", "json", "--no-report"],
        "recommend": ["recommend", track, *how, "--format", "json"],
        "map": ["map", *how, "--output", "out/map.html"],
        "list": ["catalogue", "list", *end, "--format", "json"],
        "verify": ["catalogue", "verify", *end],
        "decide": ["decide", pair, *end],
        "export": ["decide", "--export", "-", *end],
        "scan": ["scan", *how, "--no-report"],
        "decide --as": ["decide", pair, "--as", "cover", *end],
        "remove": ["catalogue", "remove", track, "--yes", *end],
    }.items():
        done = CliRunner().invoke(app, words)
        text = done.stdout
        if name in ("check", "recommend"):
            text = json.loads(text)
            text.pop("provenance")
        out[name] = [done.exit_code, text, done.stderr]
    return out

warm = run("warm")  # what is imported late is imported by now
if os.geteuid() == 0:  # the superuser may write everything: another user tries
    os.setgid(65534)
    os.setuid(65534)
found = run("ws")
print("\\nRESULT" + json.dumps([warm, found]))
"""

READS = ("check", "recommend", "map", "list", "verify", "decide", "export")


@pytest.fixture
def folder():
    """Return a folder that any user may enter, with music, weights and a scanned workspace."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        weights = save_small_extractor(folder)
        for i, tune in enumerate(("a.wav", "b.flac", "c.wav"), start=1):
            write_tune(folder / "music" / tune, i)
        write_tune(folder / "music" / "a-again.ogg", 1)
        write_tune(folder / "in.wav", 1)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)
        options = Options(threshold=THRESHOLD, compositions=False)
        with open_workspace(folder / "ws", extractor=weights, write=True) as workspace:
            calibrate_by_hand(folder / "ws", workspace.weights_id)
            scan(workspace, [folder / "music"], options=options)
            scan(workspace, options=Options(threshold=THRESHOLD, search="annoy"))
        yield folder
        for path in (folder, folder / "ws", *(folder / "ws").rglob("*")):
            path.chmod(0o755)


def run_as_another(folder: Path) -> tuple[dict, dict]:
    weights = next(folder.glob("*.safetensors"))
    shutil.copytree(folder / "ws", folder / "warm")
    with open_workspace(folder / "warm", extractor=weights, write=True) as workspace:
        result = scan(workspace, options=Options(threshold=THRESHOLD, compositions=False))
        track, pair = result.tracks[0].id, result.pairs[0].pair_id
        scanned = folder / "warm" / "last-scan.json"
        scanned.write_text(to_json(result))
    shutil.copy(scanned, folder / "ws")
    for path in sorted((folder / "ws").rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "ws").chmod(0o555)
    before = {p: p.read_bytes() for p in (folder / "ws").rglob("*") if p.is_file()}
    done = forks.run(COMMANDS, folder, weights, track, pair, text=True)
    assert done.returncode == 0, done.stderr
    warm, found = json.loads(done.stdout.rpartition("\nRESULT")[2])
    assert {p: p.read_bytes() for p in (folder / "ws").rglob("*") if p.is_file()} == before
    return warm, found


def assert_reads_and_refuses(warm: dict, found: dict) -> None:
    for name in READS:
        assert found[name][:1] == warm[name][:1], (name, found[name])
        if name != "map":
            assert found[name][1] == warm[name][1], name
    for name in ("scan", "decide --as", "remove"):
        code, text, said = found[name]
        assert (code, text) == (2, ""), name
        assert len(said.splitlines()) == 1, said
        assert "cannot be" in said and "writ" in said


def test_a_workspace_that_cannot_be_written_to_is_read(folder):
    warm, found = run_as_another(folder)
    assert warm["check"][0] == 1, "it finds the copy"
    assert_reads_and_refuses(warm, found)


def test_changes_in_a_wal_that_was_left_are_read_too(folder):
    """What a killed run left beside the file; the file itself says nothing of it."""
    file = folder / "ws" / "catalogue.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("INSERT INTO skipped (path_bytes, path, reason) VALUES (X'2F78', '/x', 'y')")
    connection.commit()
    left = {end: Path(f"{file}{end}").read_bytes() for end in ("", "-wal")}
    connection.close()
    Path(f"{file}-shm").unlink(missing_ok=True)
    for end, data in left.items():
        Path(f"{file}{end}").write_bytes(data)
    assert b"/x" in left["-wal"] and b"/x" not in left[""]
    script = """
import os, sys, tempfile
from pathlib import Path
from auditor.catalogue import database
from auditor.catalogue.catalogue import Catalogue
from auditor.errors import CatalogueError
file, temporary = Path(sys.argv[1]), Path(sys.argv[2])
tempfile.tempdir = str(temporary)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
with Catalogue.open(file, read_only=True) as catalogue:
    print([skipped.path for skipped in catalogue.skipped()], len(catalogue.tracks()))
    print(os.listdir(temporary))
database.MAX_COPY_BYTES = 1
try:
    Catalogue.open(file, read_only=True)
except CatalogueError as error:
    print(error)
"""
    for path in (folder / "ws").iterdir():
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "ws").chmod(0o555)
    done = forks.run(script, file, folder / "out", text=True)
    assert done.returncode == 0, done.stderr
    first, temporary, refused = done.stdout.splitlines()
    assert (first, temporary) == ("['/x'] 4", "[]")
    assert "changes lie in the -wal file" in refused and "Let its owner run" in refused
    assert {end: Path(f"{file}{end}").read_bytes() for end in left} == left
    assert not os.path.exists(f"{file}-shm")
