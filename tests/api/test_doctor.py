"""auditor.api.doctor: a sound installation has no problems, and each problem is found for real."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import forks
import pytest
from jsonschema import Draft202012Validator
from small_audit import THRESHOLD, make_library, save_small_extractor, write_tune
from typer.testing import CliRunner

from auditor.api import doctor
from auditor.api.doctor import Finding, State, diagnose
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio import isolated
from auditor.cli import app
from auditor.embedding.extractor import PRETRAINED
from auditor.report.json_schema import result_schema
from auditor.workspace import open_workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, weights) -> Path:
    """A workspace after a scan with the Annoy index."""
    folder = tmp_path_factory.mktemp("doctor")
    library = make_library(folder / "music")
    with open_workspace(folder / "ws", extractor=weights, write=True) as opened:
        scan(opened, [library], options=Options(threshold=THRESHOLD, search="annoy"))
    return folder / "ws"


@pytest.fixture
def workspace(tmp_path, scanned) -> Path:
    """A copy of the scanned workspace, to damage."""
    return Path(shutil.copytree(scanned, tmp_path / "ws"))


@contextlib.contextmanager
def small_disk(folder: Path, *, options: str = "size=1m"):
    """Mount a file system of its own on a folder."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def found_of(part: str, directory: Path, **options) -> list[Finding]:
    return [f for f in diagnose(directory, **options).findings if f.part.startswith(part)]


def only(part: str, directory: Path, **options) -> Finding:
    (finding,) = found_of(part, directory, **options)
    return finding


def test_a_sound_installation_has_no_problem(tmp_path):
    diagnosis = diagnose(tmp_path / "new")
    assert [f for f in diagnosis.findings if f.state is State.PROBLEM] == []
    assert diagnosis.count(State.PROBLEM) == 0
    parts = [finding.part for finding in diagnosis.findings]
    assert parts[:4] == ["python", "audit", "numpy", "scipy"]
    assert {"decoder", "weights", "annoy", "threads", "gpu", "space", "temporary"} <= set(parts)
    assert not (tmp_path / "new").exists(), "nothing is made"
    by_part = {finding.part: finding for finding in diagnosis.findings}
    assert by_part["decoder"].text == "decodes MP3, FLAC, AAC, OPUS in a process of its own"
    assert "FFmpeg" in by_part["av"].text
    assert by_part["weights"].text.startswith("excerpt-ece99d6c.safetensors, weights ece99d6c")
    assert by_part["threshold"].text == "excerpt-ece99d6c-match.json"
    assert by_part["workspace"].remedy == "audit scan DIR makes it"


def test_a_scanned_workspace_is_described_and_left_as_it_is(workspace, weights):
    before = {p: p.read_bytes() for p in sorted(workspace.rglob("*")) if p.is_file()}
    diagnosis = diagnose(workspace, extractor=weights)
    assert diagnosis.count(State.PROBLEM) == 0
    texts = {f"{f.part.split()[0]}: {f.text}" for f in diagnosis.findings}
    assert f"workspace: {workspace} can be written" in texts
    assert any(t.startswith("catalogue: 8 tracks, 0.0 h, schema ") for t in texts)
    assert "index: no excerpt index yet; audit scan builds it" in texts
    assert any(t.startswith("index: tracks: ") for t in texts)
    after = {p: p.read_bytes() for p in before}
    assert after == before


def test_weights_that_are_missing_or_damaged_are_a_problem(tmp_path):
    missing = only("weights", tmp_path, extractor=tmp_path / "gone.safetensors")
    assert missing.state is State.PROBLEM
    assert "gone.safetensors" in missing.text
    (shipped,) = PRETRAINED.glob("excerpt-*.safetensors")
    data = bytearray(shipped.read_bytes())
    data[-1] ^= 1
    (tmp_path / shipped.name).write_bytes(data)
    damaged = only("weights", tmp_path, extractor=tmp_path / shipped.name)
    assert damaged.state is State.PROBLEM
    assert shipped.name in damaged.text


def test_no_calibration_of_other_weights_is_a_note(tmp_path, weights):
    finding = only("threshold", tmp_path, extractor=weights)
    assert finding.state is State.NOTE
    assert "Run: audit calibrate" in finding.remedy


def test_a_damaged_calibration_is_a_problem(workspace, weights):
    (workspace / "thresholds").mkdir()
    (workspace / "thresholds/mine.json").write_text("{}")
    finding = found_of("threshold", workspace, extractor=weights)[0]
    assert finding.state is State.PROBLEM
    assert "mine.json is damaged" in finding.text


def test_a_decoder_that_does_not_start_is_a_problem(tmp_path, monkeypatch):
    isolated._close_all()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    findings = found_of("decoder", tmp_path)
    assert [f.state for f in findings] == [State.PROBLEM] * len(doctor.CODECS)
    assert "MP3: " in findings[0].text
    assert "the process that decodes audio does not start" in findings[0].text


def test_a_library_that_is_too_old_or_missing_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy>=99.1", "av>=14"])
    numpy = only("numpy", tmp_path)
    assert numpy.state is State.PROBLEM
    assert numpy.text.endswith("; 99.1 or later is needed")
    assert numpy.remedy == "Run: pip install 'numpy>=99.1'"
    monkeypatch.setattr(doctor, "LIBRARIES", ("nothing-of-that-name",))
    gone = only("nothing", tmp_path)
    assert gone.state is State.PROBLEM
    assert gone.text.startswith("cannot be imported: ModuleNotFoundError")


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("1.26", (1, 26)), ("3.0rc1", (3, 0, 1))]
)
def test_versions_compare_by_their_numbers(version, numbers):
    assert doctor._numbers(version) == numbers


def test_without_annoy_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "annoy", None)
    finding = only("annoy", tmp_path)
    assert finding.state is State.NOTE
    assert finding.text == "not installed: NumPy builds and reads the same index, more slowly"
    assert "auditor[annoy]" in finding.remedy


def test_whether_manifests_are_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "can_be_read", lambda: False)
    finding = only("c2pa", tmp_path)
    assert finding.state is State.OK
    assert finding.text == "not installed: C2PA manifests of files are not read (optional)"
    monkeypatch.setattr(doctor, "can_be_read", lambda: True)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    broken = only("c2pa", tmp_path)
    assert (broken.state, broken.text[:26]) == (State.NOTE, "installed, but not usable:")
    monkeypatch.undo()
    pytest.importorskip("c2pa")
    assert only("c2pa", tmp_path).text.endswith("manifests are read without network")


def test_a_container_with_less_than_its_cores_is_told_how_many_jobs(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(doctor, "CPU_LIMIT", tmp_path / "cpu.max")
    finding = only("threads", tmp_path)
    assert (finding.state, finding.remedy) == (State.NOTE, "Give scan and check --jobs 1")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert only("threads", tmp_path).state is State.OK


def test_a_workspace_that_cannot_be_written_is_a_problem(tmp_path, weights):
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        finding = found_of("workspace", disk, extractor=weights)[0]
    assert finding.state is State.PROBLEM
    assert finding.text.endswith("cannot be written: Read-only file system")
    assert "--workspace" in finding.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_without_permission_is_a_problem(workspace, weights):
    workspace.chmod(0o500)
    try:
        assert found_of("workspace", workspace, extractor=weights)[0].state is State.PROBLEM
    finally:
        workspace.chmod(0o700)


def test_a_disk_with_no_space_is_a_problem(tmp_path, weights):
    with small_disk(tmp_path / "disk") as disk:
        little = only("space", disk / "ws", extractor=weights)
        (disk / "file").write_bytes(bytes((1 << 20) - 4096))
        with contextlib.suppress(OSError), (disk / "rest").open("wb") as file:
            file.write(bytes(1 << 20))
        full = found_of("workspace", disk, extractor=weights)[0]
    assert little.state is State.PROBLEM
    assert little.text == f"1 MB free in {disk}"
    assert full.state is State.PROBLEM
    assert full.text.endswith("cannot be written: No space left on device")


def run_doctor(*arguments: str, **environment: str) -> dict[str, dict]:
    """Run the command in a process of its own; return its findings by their part."""
    arguments = ("doctor", "--format", "json", *arguments)
    done = forks.run(forks.AUDIT, *arguments, env={**os.environ, **environment})
    return {f["part"]: f for f in json.loads(done.stdout)["findings"]} | {"code": done.returncode}


def test_a_temporary_folder_that_cannot_be_used_is_told(tmp_path, weights):
    options = ("--extractor", str(weights), "-w", str(tmp_path / "ws"))
    gone = run_doctor(*options, TMPDIR=str(tmp_path / "gone"))
    assert gone["temporary"]["text"].endswith(f" free in {tempfile.gettempdir()}")
    assert gone["TMPDIR"]["state"] == "note"
    assert "which cannot be used" in gone["TMPDIR"]["text"]
    with small_disk(tmp_path / "disk") as disk:
        small = run_doctor(*options, TMPDIR=str(disk))
    assert small["code"] == 2
    assert small["temporary"]["state"] == "problem"
    assert small["temporary"]["text"] == f"1 MB free in {disk}"


HOLD = """
import sys
import tempfile
from pathlib import Path
from auditor.workspace import lock_workspace
with lock_workspace(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_holds_the_lock_is_named(workspace, weights):
    assert found_of("lock", workspace, extractor=weights) == []
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workspace)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        finding = only("lock", workspace, extractor=weights)
    finally:
        process.communicate("")
    assert finding.state is State.NOTE
    assert f"held by process {process.pid}: {sys.executable} -c" in finding.text
    assert found_of("lock", workspace, extractor=weights) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "not an SQLite file"),
        (lambda path: set_version(path, 999), "its schema has version 999"),
    ],
)
def test_a_catalogue_that_does_not_open_is_a_problem(workspace, weights, damage, said):
    damage(workspace / "catalogue.sqlite3")
    finding = only("catalogue", workspace, extractor=weights)
    assert finding.state is State.PROBLEM
    assert said in finding.text


def set_version(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory) -> Path:
    """A workspace after a scan with the default extractor, which has an excerpt index."""
    folder = tmp_path_factory.mktemp("excerpts")
    for seed in (1, 2, 3):
        write_tune(folder / f"music/{seed}.wav", seed, duration_s=12.0)
    with open_workspace(folder / "ws", write=True) as opened:
        scan(opened, [folder / "music"])
    return folder / "ws"


def test_an_excerpt_index_is_described_and_damage_is_a_problem(tmp_path, excerpts):
    folder = Path(shutil.copytree(excerpts, tmp_path / "ws"))
    sound = only("index", folder)
    assert sound.state is State.OK
    assert re.fullmatch(r"excerpts: \d+ windows, 1 shard of annoy", sound.text)
    (path,) = (folder / "index/excerpts").glob("*.rows")
    path.write_bytes(path.read_bytes()[:-1])
    damaged = only("index", folder)
    assert damaged.state is State.PROBLEM
    assert path.name in damaged.text
    path.unlink()
    path.with_suffix(".json").unlink()
    assert only("index", folder).text == "no excerpt index yet; audit scan builds it"


def test_a_damaged_index_is_a_problem(workspace, weights):
    (path,) = (workspace / "index").glob("*.ann")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    findings = found_of("index", workspace, extractor=weights)
    (problem,) = [f for f in findings if f.state is State.PROBLEM]
    assert "SHA-256" in problem.text


def test_missing_files_and_other_weights_are_notes(tmp_path, weights):
    write_tune(tmp_path / "music/a.wav", 1)
    write_tune(tmp_path / "music/b.wav", 2)
    for _ in range(2):
        with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
            scan(
                opened,
                [tmp_path / "music"],
                options=Options(threshold=THRESHOLD, compositions=False),
            )
        (tmp_path / "music/b.wav").unlink(missing_ok=True)
    other = save_small_extractor(tmp_path, seed=8)
    notes = found_of("catalogue", tmp_path / "ws", extractor=other)
    assert [f.state for f in notes] == [State.OK, State.NOTE, State.NOTE]
    assert notes[1].text == "tracks whose file is missing: 1"
    assert "no track is embedded by weights" in notes[2].text


def test_an_unforeseen_failure_is_a_problem_and_the_rest_goes_on(tmp_path, monkeypatch):
    def fail():
        raise ZeroDivisionError("by\nzero")
        yield

    monkeypatch.setattr(doctor, "_gpu", fail)
    diagnosis = diagnose(tmp_path)
    (finding,) = [f for f in diagnosis.findings if f.part == "gpu"]
    assert finding.state is State.PROBLEM
    assert finding.text == "ZeroDivisionError: by zero"
    assert diagnosis.findings[-1].part == "temporary"


def test_what_is_printed_follows_its_schema(tmp_path, weights):
    made = dataclasses.asdict(diagnose(tmp_path, extractor=weights))
    Draft202012Validator(result_schema("doctor")).validate(json.loads(json.dumps(made)))


def test_the_command_prints_findings_and_exits_with_0_or_2(tmp_path, weights):
    arguments = ["doctor", "-w", str(tmp_path / "ws"), "--extractor"]
    good = CliRunner().invoke(app, [*arguments, str(weights)])
    assert good.exit_code == 0, good.output
    assert good.stdout.startswith("ok       python")
    assert "note     workspace" in good.stdout
    assert "no problems found, " in good.stderr
    bad = CliRunner().invoke(app, [*arguments, "nosuch", "--problems"])
    assert bad.exit_code == 2
    assert "problem  weights" in bad.stdout
    assert "ok " not in bad.stdout
    assert bad.stderr.startswith("1 problem")


def test_a_gpu_without_torch_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "GPU_FILES", (str(tmp_path / "gpu"),))
    (finding,) = doctor._gpu()
    assert (finding.state, finding.remedy) == (State.OK, "")
    (tmp_path / "gpu").touch()
    (finding,) = doctor._gpu()
    assert finding.state is State.NOTE
    assert "pip install 'auditor[train]'" in finding.remedy
