"""The command line: every command with a success and a failure, exit codes, help, and streams."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pytest
import torch
import typer
from synthetic_music import synthesise_track
from typer.testing import CliRunner

import auditor
from auditor.api import scan as scan_api
from auditor.audio import isolated
from auditor.audio.encode import encode
from auditor.calibration.thresholds import load_thresholds
from auditor.cli import app, explain
from auditor.commands.running import report_path
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.extractor import save_weights
from auditor.embedding.network import Network
from auditor.errors import AuditError
from auditor.records import CheckResult, RecommendResult, ScanResult, result_from_json
from auditor.workspace import lock_workspace

ODD_NAME = b"co\xffpy\n<script>[red].wav"
THRESHOLD = "0.99999"


def tune(seed: int, *, seconds: float = 4.0) -> np.ndarray:
    """Return a few beating tones, (n,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16_000)) / 16_000
    tones = [
        np.sin(2 * np.pi * f * t) * (np.sin(2 * np.pi * rng.uniform(0.5, 3) * t) > 0)
        for f in rng.uniform(120, 3000, 6)
    ]
    return (0.1 * np.sum(tones, axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = ExtractorConfig(conv_channels=(4, 8), lstm_size=16, n_dims=16)
    folder = tmp_path_factory.mktemp("weights")
    return save_weights(Network(config).weights(), folder, name="tiny", summary={})


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Four tunes, a copy of the first under an odd name, and a text file named .mp3."""
    folder = tmp_path_factory.mktemp("music")
    for seed in range(4):
        (folder / f"tune{seed}.wav").write_bytes(encode(tune(seed), codec="wav"))
    shutil.copy(folder / "tune0.wav", os.path.join(os.fsencode(folder), ODD_NAME))
    (folder / "text.mp3").write_text("this is no music")
    return folder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, weights, music) -> Path:
    """A workspace with the music in it; tests must leave it as it is."""
    workspace = tmp_path_factory.mktemp("scanned") / "ws"
    result = invoke("scan", music, "-w", workspace, *given(weights), "--no-report")
    assert result.exit_code == 1, result.output
    return workspace


@pytest.fixture
def workspace(tmp_path, scanned) -> Path:
    """A copy of the scanned workspace, to change."""
    return Path(shutil.copytree(scanned, tmp_path / "ws"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDIT_WORKSPACE", raising=False)


def given(weights: Path, threshold: str = THRESHOLD) -> list[str]:
    return ["--extractor", str(weights), "--threshold", threshold]


def invoke(*arguments: object, text: str | None = None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=text)


def ids_of(workspace: Path) -> dict[str, str]:
    """Return file name to id."""
    listed = invoke("catalogue", "list", "-w", workspace, "--format", "json")
    return {os.path.basename(t["path"]): t["id"] for t in json.loads(listed.stdout)}


def run(*arguments: object, **options) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own."""
    root = str(Path(auditor.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root} | options.pop("env", {})
    command = [sys.executable, "-m", "auditor.cli", *arguments]
    options = {"capture_output": True, "timeout": 60, **options}
    return subprocess.run(command, env=environment, **options)


# compare


def test_compare_finds_the_copy_across_two_folders(tmp_path, weights, music, workspace):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(music / "tune1.wav", other / "again<b>.wav")
    given_here = ("-w", workspace, *given(weights), "-o", tmp_path / "out.html")
    result = invoke("compare", music, other, *given_here)
    assert result.exit_code == 1, result.output
    assert f"1 matching pair between {music} (5 tracks) and {other} (1 track)" in " ".join(
        result.stdout.split()
    )
    page = (tmp_path / "out.html").read_text()
    assert "Comparison report" in page
    assert "again&lt;b&gt;.wav" in page
    assert "again<b>" not in page
    assert invoke("report", tmp_path / "out.json", "-o", tmp_path / "2.html").exit_code == 0
    assert (tmp_path / "2.html").read_text().count("<section") == page.count("<section")
    assert invoke("compare", music, other, *given_here, "--exit-zero").exit_code == 0
    pair = re.search(r"^([0-9a-f]{8}) ", result.stdout, re.M)[1]
    assert invoke("decide", pair, "--as", "licensed", "-w", workspace).exit_code == 0
    assert invoke("compare", music, other, *given_here).exit_code == 0


def test_compare_refuses_what_it_cannot_compare(weights, music, workspace):
    result = invoke("compare", music, music, "-w", workspace, *given(weights))
    assert result.exit_code == 2
    assert "are the same 5 files" in result.stderr
    result = invoke("compare", music, "none", "-w", workspace, *given(weights))
    assert result.exit_code == 2
    assert "none does not exist" in result.stderr


def test_leak_exits_with_1_and_writes_its_lists(tmp_path, weights, music, workspace):
    for name, tunes in (("train", (0, 1)), ("test", (1, 2))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in tunes:
            shutil.copy(music / f"tune{i}.wav", tmp_path / "data" / name / f"=<b>{i}.wav")
    how = ("-w", workspace, *given(weights), "-o", tmp_path / "out.html")
    lists = ("--drop", "test", "--regroup", "grouped.csv", "--groups", "groups.csv")
    result = invoke("leak", tmp_path / "data", *how, *lists)
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("1 leak between train (2 files) and test (2 files)")
    assert "1 file of 2 leaks; train holds 50 %" in " ".join(result.stdout.split())
    (row,) = csv.DictReader(Path("remove.csv").read_text().splitlines())
    assert row["path"].endswith("test/=<b>1.wav")
    page = (tmp_path / "out.html").read_text()
    assert "Leak report" in page
    assert "&lt;b&gt;1.wav" in page
    assert "<b>1.wav" not in page
    (tmp_path / "data" / "test" / "=<b>1.wav").unlink()
    again = invoke("leak", tmp_path / "data", *how)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("No leak between train (2 files) and test (1 file)")
    assert invoke("report", tmp_path / "out.json", "-o", tmp_path / "2.html").exit_code == 0


def test_tracklist_writes_a_timeline_and_a_cue_sheet(tmp_path):
    pieces = [synthesise_track(seed, duration_s=20.0) for seed in range(2)]
    (tmp_path / "music").mkdir()
    for seed, waveform in enumerate(pieces):
        (tmp_path / "music" / f"{seed}.wav").write_bytes(encode(waveform, codec="wav"))
    (tmp_path / "mix.wav").write_bytes(encode(np.concatenate(pieces), codec="wav"))
    assert invoke("scan", tmp_path / "music", "--no-report", "--quiet").exit_code == 0
    result = invoke("tracklist", tmp_path / "mix.wav", "-o", tmp_path / "mix.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 tracks of the catalogue (2 tracks) were found in a mix")
    assert "0.wav (from 0:00" in result.stdout
    assert (tmp_path / "mix.cue").read_text().count("TRACK") == 2
    assert 'class="timeline"' in (tmp_path / "mix.html").read_text()


def test_generated_states_the_excess_and_carries_columns_through(tmp_path):
    for name, seed in (("train/1.wav", 1), ("train/2.wav", 2), ("held/3.wav", 3), ("out/x.wav", 4)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        waveform = synthesise_track(seed, duration_s=11.0)
        (tmp_path / name).write_bytes(encode(waveform, codec="wav"))
    shutil.copy(tmp_path / "train/2.wav", tmp_path / "out/=<i>y.wav")
    (tmp_path / "out.csv").write_text("path,prompt\nout/x.wav,<u>\nout/=<i>y.wav,loud\n")
    how = ("--training", tmp_path / "train", "--heldout", tmp_path / "held", "--no-power")
    how += ("--jobs", 1)
    result = invoke("generated", tmp_path / "out.csv", *how, "-o", tmp_path / "result.html")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("1 of 2 outputs repeats the training music (2 tracks)")
    said = " ".join(result.stdout.split())
    assert "of 2 outputs" in said
    assert "beyond what held-out music explains; 0 of H" in said
    page = (tmp_path / "result.html").read_text()
    assert "Generated music" in page
    assert "&lt;i&gt;y.wav" in page
    assert "<i>y" not in page
    rows = list(csv.DictReader((tmp_path / "result.csv").read_text().splitlines()))
    assert {row["manifest_prompt"] for row in rows} == {"<u>", "loud"}
    assert invoke("report", tmp_path / "result.json", "-o", tmp_path / "2.html").exit_code == 0


def test_generated_refuses_what_it_cannot_compare(weights, music, workspace):
    sides = ("--training", music, "--heldout", music)
    result = invoke("generated", music, *sides, "-w", workspace, *given(weights))
    assert (result.exit_code, "cannot compare segments" in result.stderr) == (2, True)
    result = invoke("generated", music, *sides)
    assert (result.exit_code, "are the same" in result.stderr) == (2, True)
    assert invoke("generated", music).exit_code == 2


def test_tracklist_needs_an_extractor_that_can_be_aligned(weights, music, workspace):
    how = ("-w", workspace, *given(weights))
    result = invoke("tracklist", music / "tune0.wav", *how)
    assert result.exit_code == 2
    assert "makes no tracklist" in result.stderr


def test_leak_refuses_options_that_do_not_fit(weights, music, workspace):
    how = ("-w", workspace, *given(weights))
    result = invoke("leak", music, *how)
    assert result.exit_code == 2
    assert "has no layout that is known" in result.stderr
    result = invoke("leak", music, "--drop-list", "x.csv", *how)
    assert (result.exit_code, "requires --drop" in result.stderr) == (2, True)
    result = invoke("leak", music, "--val", music, *how)
    assert (result.exit_code, "requires two collections" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_pairs_as_parquet(tmp_path, weights, music, workspace, command):
    pq = pytest.importorskip("pyarrow.parquet")
    sides = (music, f"@folder={music}/tune0.wav") if command == "compare" else ()
    how = ("-w", workspace, *given(weights, "0.3"), "--no-report", "--quiet")
    result = invoke(command, *sides, *how, "--format", "parquet")
    assert result.exit_code == 1, result.output
    (tmp_path / "pairs.parquet").write_bytes(result.stdout_bytes)
    table = pq.read_table(tmp_path / "pairs.parquet")
    rows = list(
        csv.DictReader(io.StringIO(invoke(command, *sides, *how, "--format", "csv").stdout))
    )
    assert table.num_rows == len(rows) > 0
    assert table.column_names == list(rows[0])
    assert table["score"].to_pylist() == [float(row["score"]) for row in rows]
    assert table["flagged"].to_pylist() == [row["flagged"] == "true" for row in rows]
    assert table["a_path"].to_pylist() == [row["a_path"] for row in rows]


# scan


def test_scan_flags_the_copy_and_writes_a_report(tmp_path, weights, music):
    result = invoke("scan", music, *given(weights))
    assert result.exit_code == 1
    assert "1 matching pair among 5 tracks" in result.stdout
    assert "skipped" in result.stderr
    assert "text.mp3" in result.stderr
    assert "4 embedded, 1 identical, 1 skipped" in result.stderr
    assert (tmp_path / ".audit" / "catalogue.sqlite3").exists()
    html = Path(re.search(r"^report: (.*)$", result.stderr, re.M)[1])
    assert re.fullmatch(r"reports/scan-\d{8}-\d{6}(-\d+)?\.html", str(html))
    assert html.read_text().startswith("<!")
    stored = result_from_json(html.with_suffix(".json").read_text())
    assert isinstance(stored, ScanResult)
    assert len(stored.pairs) == 1
    assert stored.provenance.command.startswith("audit scan /")


def test_scan_writes_what_to_keep_and_what_to_drop(tmp_path, weights, scanned):
    given_ = ("scan", "-w", scanned, *given(weights), "--no-report", "--keep-drop")
    result = invoke(*given_, tmp_path / "list.csv")
    assert result.exit_code == 1
    assert "1 files to keep, 1 to drop, 0 to review: " in result.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "list.csv").read_text())))
    assert [row["action"] for row in rows] == ["keep", "drop"]
    assert rows[0]["sha256"] == rows[1]["sha256"]
    invoke(*given_, tmp_path / "move.sh")
    moves = [x for x in (tmp_path / "move.sh").read_bytes().split(b"\n") if x.startswith(b"move ")]
    assert len(moves) == 1 and moves[0].endswith(b"'")
    refused = invoke(*given_, tmp_path / "list.txt")
    assert refused.exit_code == 2
    assert "--keep-drop writes .csv" in refused.stderr


def test_scan_with_redacted_paths_names_no_folder(tmp_path, weights, scanned, music):
    arguments = ("scan", "-w", scanned, *given(weights), "--redact-paths", "--format", "json")
    result = invoke(*arguments, "-o", tmp_path / "out" / "scan.html")
    assert result.exit_code == 1
    written = [path.read_text() for path in sorted((tmp_path / "out").iterdir())]
    assert len(written) >= 3
    for text in (result.stdout, *written):
        assert str(music) not in text
        assert str(scanned) not in text
    assert json.loads(result.stdout)["tracks"][0]["path"].startswith("folder-1/")
    last = json.loads((scanned / "last-scan.json").read_text())
    assert last["tracks"][0]["path"].startswith(str(music)), "audit review finds the files"


def test_scan_json_is_the_result_and_nothing_else(tmp_path, weights, scanned):
    where = tmp_path / "out" / "mine.html"
    result = invoke("scan", "-w", scanned, *given(weights), "--format", "json", "-o", where)
    assert result.exit_code == 1
    assert result.stdout == where.with_suffix(".json").read_text()
    assert result_from_json(result.stdout).pairs[0].identical_file


def test_scan_csv_has_one_row_per_pair(weights, scanned):
    result = invoke("scan", "-w", scanned, *given(weights), "--format", "csv", "--no-report")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["flagged"] for row in rows] == ["true"]


def test_scan_with_annoy_finds_the_same_pair(weights, scanned):
    arguments = ("scan", "-w", scanned, *given(weights), "--format", "json", "--no-report")
    exact, annoy = invoke(*arguments), invoke(*arguments, "--search", "annoy")
    assert annoy.exit_code == 1
    found = [[(p.a, p.b) for p in result_from_json(r.stdout).pairs] for r in (exact, annoy)]
    assert found[0] == found[1]


def test_scan_without_copies_ends_with_0(tmp_path, weights, music):
    for seed in (1, 2):
        shutil.copy(music / f"tune{seed}.wav", tmp_path)
    result = invoke("scan", tmp_path, *given(weights), "--no-report")
    assert result.exit_code == 0, result.output


def test_exit_zero_and_quiet(weights, scanned):
    flags = ("--exit-zero", "--quiet", "--format", "json")
    result = invoke("scan", "-w", scanned, *given(weights), *flags)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result_from_json(result.stdout).pairs
    assert list(Path("reports").glob("scan-*.html"))


def test_workspace_from_the_environment(monkeypatch, scanned):
    monkeypatch.setenv("AUDIT_WORKSPACE", str(scanned))
    assert "tune1.wav" in invoke("catalogue", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "does not exist"),
        (["--threshold", "0.5", "--far", "0.1"], "cannot be combined"),
        (["--max-false-pairs", "2"], "cannot be combined"),
        (["--no-report", "--open"], "--no-report and --open cannot be combined"),
        (["--no-report", "--output", "x"], "--no-report and --output cannot be combined"),
        (["--extractor", "nothing"], "no extractor nothing"),
        (["--fma", "nowhere"], "nowhere"),
        (["--threshold-file", "nowhere.json"], "nowhere.json"),
    ],
)
def test_scan_refuses_with_2_and_one_line(weights, arguments, message):
    result = invoke("scan", *given(weights)[:2], "--threshold", "0.9", *arguments)
    if "--threshold-file" in arguments:
        result = invoke("scan", *given(weights)[:2], *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("audit: ")
    assert message in lines[0]


def test_scan_of_a_folder_without_audio_ends_with_2(tmp_path, weights):
    (tmp_path / "empty").mkdir()
    result = invoke("scan", tmp_path / "empty", *given(weights))
    assert result.exit_code == 2
    assert "no audio file was found" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "decodes"),
    [
        (["check", "tune.wav"], True),
        (["scan", "music"], True),
        (["recommend", "tune.wav"], True),
        (["calibrate", "music"], True),
        (["scan"], False),
        (["recommend", "mjq2hx5a"], False),
        (["catalogue", "list"], False),
        (["decide", "mjq2hx5a:b3wz7kqd", "--as", "cover"], False),
        (["report", "none.json"], False),
        (["check", "--help"], False),
    ],
)
def test_a_decoder_is_started_early_where_something_is_decoded(
    tmp_path, monkeypatch, arguments, decodes
):
    (tmp_path / "tune.wav").write_bytes(b"")
    started = []
    monkeypatch.setattr(isolated, "warm_up", lambda: started.append(1))
    invoke(*arguments)
    assert started == [1] * decodes


def test_nothing_of_the_decoder_reaches_stderr(tmp_path, weights, scanned):
    """Garbage and cut files of many channels, of which FFmpeg and PyAV have much to say."""
    folder = tmp_path / "bad"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
    for codec in ("mp3", "aac", "ogg", "opus", "flac"):
        data = bytearray(encode(tune(1), codec=codec))
        data[len(data) // 3 : len(data) // 2] = noise[: len(data) // 2 - len(data) // 3]
        (folder / f"damaged.{codec}").write_bytes(data)
        (folder / f"cut.{codec}").write_bytes(data[: len(data) // 4])
    chunk = struct.pack("<IHHIIHH", 16, 1, 16, 16_000, 16_000 * 32, 32, 16)
    head = b"RIFF" + struct.pack("<I", 10**6) + b"WAVEfmt " + chunk + b"data"
    (folder / "sixteen.wav").write_bytes(head + struct.pack("<I", 10**6) + noise)
    (folder / "garbage.mp3").write_bytes(b"\xff\xfb\x90\x64" + noise)
    arguments = ["check", folder, "-w", scanned, *given(weights), "--quiet", "--exit-zero"]
    done = forks.run(forks.AUDIT, *arguments, "--no-report")
    assert done.returncode in (0, 2), done.stderr
    said = done.stderr.decode()
    for sign in ("Exception ignored", "Traceback", " @ 0x", "libav"):
        assert sign not in said
    assert all(str(folder) in line or line.startswith("audit:") for line in said.splitlines())


@pytest.mark.parametrize("command", ["scan", "check"])
def test_music_that_is_not_read_is_named(tmp_path, weights, workspace, music, command):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "song.mid").write_bytes(b"MThd")
    arguments = [command, folder, "-w", workspace, *given(weights), "--no-report", "--exit-zero"]
    alone = invoke(*arguments)
    assert alone.exit_code == 2
    assert "no audio file was found. 1 file is not read: " in alone.stderr
    assert "song.mid holds notes, not sound" in alone.stderr
    shutil.copy(music / "tune1.wav", folder / "tune.wav")
    beside = invoke(*arguments, "--format", "json")
    assert beside.exit_code == 0, beside.stderr
    (skipped,) = (s for s in json.loads(beside.stdout)["skipped"] if "song.mid" in s["path"])
    assert skipped["reason"] == "holds notes, not sound: render it first"


def test_scan_that_could_compare_nothing_is_no_all_clear(tmp_path, weights):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.mp3").write_text("no music")
    result = invoke("scan", tmp_path / "bad", *given(weights))
    assert result.exit_code == 2
    assert "nothing was compared" in result.stderr


def test_two_writers_are_refused(weights, music, workspace):
    with lock_workspace(workspace):
        result = invoke("scan", music, "-w", workspace, *given(weights))
    assert result.exit_code == 2
    assert "in use by another audit" in result.stderr


def test_a_report_that_cannot_be_written_leaves_the_result_on_stdout(tmp_path, weights, scanned):
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "report.html"
    result = invoke("scan", "-w", scanned, *given(weights), "--format", "json", "-o", where)
    assert result.exit_code == 2
    assert result_from_json(result.stdout).pairs
    assert "report could not be written" in result.stderr


# check


def test_check_flags_a_copy_and_leaves_the_catalogue(tmp_path, weights, music, workspace):
    shutil.copy(music / "tune2.wav", tmp_path / "new.wav")
    arguments = ("check", tmp_path / "new.wav", "-w", workspace, *given(weights))
    result = invoke(*arguments, "--format", "json")
    assert result.exit_code == 1
    checked = result_from_json(result.stdout)
    assert isinstance(checked, CheckResult)
    assert [pair.b for pair in checked.pairs if pair.flagged] == [ids_of(workspace)["tune2.wav"]]
    assert list(Path("reports").glob("check-*.html"))
    assert len(ids_of(workspace)) == 5


def test_check_of_something_new_ends_with_0_and_add_takes_it_in(tmp_path, weights, workspace):
    (tmp_path / "new.wav").write_bytes(encode(tune(9), codec="wav"))
    result = invoke("check", "new.wav", "-w", workspace, *given(weights), "--add", "--no-report")
    assert result.exit_code == 0, result.output
    assert "new.wav" in ids_of(workspace)


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.wav", "does not exist"), ("text.mp3", "nothing was checked")],
)
def test_check_that_checked_nothing_ends_with_2(tmp_path, weights, scanned, path, message):
    (tmp_path / "text.mp3").write_text("no music")
    result = invoke("check", path, "-w", scanned, *given(weights), "--exit-zero")
    assert result.exit_code == 2
    assert message in result.stderr


def test_check_streams_a_line_for_each_submission(tmp_path, weights, music, scanned):
    (tmp_path / "in").mkdir()
    shutil.copy(music / "tune1.wav", tmp_path / "in" / "copy.wav")
    (tmp_path / "in" / "new.wav").write_bytes(encode(tune(50), codec="wav"))
    (tmp_path / "in" / "text.mp3").write_text("no music")
    command = ("check", tmp_path / "in", "-w", scanned, *given(weights))
    streamed = invoke(*command, "--format", "jsonl", "--jobs", "1")
    assert streamed.exit_code == 1, streamed.output
    lines = [json.loads(line) for line in streamed.stdout.splitlines()]
    assert [(line["kind"], Path(line["path"]).name) for line in lines] == [
        ("submission", "copy.wav"),
        ("submission", "new.wav"),
        ("skipped", "text.mp3"),
    ]
    assert [line["flagged"] for line in lines[:2]] == [True, False]
    assert lines[2]["code"] and lines[2]["reason"]
    whole = json.loads(invoke(*command, "--format", "json").stdout)
    for line, track in zip(lines, whole["submissions"], strict=False):
        of_track = [pair for pair in whole["pairs"] if pair["a"] == track["id"]]
        assert [{k: v for k, v in p.items() if k != "track"} for p in line["pairs"]] == of_track
        assert line["submission"] == track
    refused = invoke(*command, "--format", "jsonl", "--per-batch")
    assert (refused.exit_code, "--per-batch" in refused.stderr) == (2, True)
    refused = invoke("scan", "-w", scanned, *given(weights), "--format", "jsonl")
    assert (refused.exit_code, "only for audit check" in refused.stderr) == (2, True)


def test_check_needs_a_catalogue(weights, music):
    result = invoke("check", music / "tune1.wav", *given(weights))
    assert result.exit_code == 2
    assert "audit scan DIR" in result.stderr
    assert not Path(".audit").exists()


# recommend


def test_recommend_by_id_profile_and_farthest(weights, scanned):
    ids = ids_of(scanned)
    common = ("-w", scanned, "--extractor", weights, "--format", "json")
    near = invoke("recommend", ids["tune1.wav"], *common, "--top", "2")
    assert near.exit_code == 0, near.output
    nearest = result_from_json(near.stdout)
    assert isinstance(nearest, RecommendResult)
    assert len(nearest.recommendations) == 2
    far = result_from_json(invoke("recommend", ids["tune1.wav"], *common, "--farthest").stdout)
    assert far.recommendations[0].score <= nearest.recommendations[-1].score
    likes = ("--like", ids["tune1.wav"], "--like", ids["tune2.wav"], "--dislike", ids["tune3.wav"])
    profile = result_from_json(invoke("recommend", *likes, *common).stdout)
    assert profile.query["like"] == (ids["tune1.wav"], ids["tune2.wav"])
    assert not {r.track.id for r in profile.recommendations} & {likes[1], likes[3], likes[5]}


def test_recommend_writes_a_playlist_and_keeps_a_profile(tmp_path, weights, music, workspace):
    common = ("-w", workspace, "--extractor", weights)
    files = ("--like", music / "tune1.wav", "--dislike", music / "tune3.wav")
    made = invoke("recommend", *files, *common, "--save", "mine", "--m3u", "list.m3u8", "--top", 2)
    assert made.exit_code == 0, made.output
    first, *lines = (tmp_path / "list.m3u8").read_text().splitlines()
    assert first == "#EXTM3U"
    assert lines and all(Path(path).is_file() for path in lines[1::2])
    assert all(line.startswith("#EXTINF:") for line in lines[::2])
    assert "profiles/mine.json" in made.stderr
    again = invoke("recommend", "--profile", "mine", *common, "--format", "json", "--top", 2)
    found = result_from_json(again.stdout).recommendations
    assert [r.track.path for r in found if r.track.path in lines] == lines[1::2]
    assert "not in the playlist" in made.stderr, "a path with a line break"
    missing = invoke("recommend", "--profile", "other", *common)
    assert (missing.exit_code, "profiles: mine" in missing.stderr) == (2, True)


def test_tracks_are_named_by_their_files_too(weights, music, workspace):
    by_id = invoke("catalogue", "show", ids_of(workspace)["tune1.wav"], "-w", workspace).stdout
    assert invoke("catalogue", "show", music / "tune1.wav", "-w", workspace).stdout == by_id
    removed = invoke("catalogue", "remove", music / "tune1.wav", "--yes", "-w", workspace)
    assert removed.exit_code == 0, removed.output
    gone = invoke("catalogue", "show", music / "tune1.wav", "-w", workspace)
    assert gone.exit_code == 2
    assert "tune1.wav is not in the catalogue" in gone.stderr


def test_recommend_prints_a_table_and_writes_a_report_only_when_asked(tmp_path, weights, scanned):
    common = ("recommend", ids_of(scanned)["tune1.wav"], "-w", scanned, "--extractor", weights)
    assert "tracks recommended" in invoke(*common).stdout
    assert not Path("reports").exists()
    assert invoke(*common, "-o", "mine.html").exit_code == 0
    assert (tmp_path / "mine.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "no track was given"), (["nothing"], "no track has the id 'nothing'")],
)
def test_recommend_refuses_with_2(weights, scanned, arguments, message):
    result = invoke("recommend", *arguments, "-w", scanned, "--extractor", weights)
    assert result.exit_code == 2
    assert message in result.stderr


# catalogue


def test_catalogue_list_and_show(scanned):
    listed = invoke("catalogue", "list", "-w", scanned)
    assert listed.exit_code == 0
    assert len(listed.stdout.splitlines()) == 5
    track_id = ids_of(scanned)["tune1.wav"]
    assert track_id in listed.stdout
    shown = invoke("catalogue", "show", track_id, "-w", scanned)
    assert shown.exit_code == 0
    assert re.search(r"^codec +pcm_s16le$", shown.stdout, re.M)
    as_json = invoke("catalogue", "show", track_id, "-w", scanned, "--format", "json")
    assert json.loads(as_json.stdout)["id"] == track_id


def test_catalogue_remove_asks(workspace):
    track_id = ids_of(workspace)["tune1.wav"]
    command = ("catalogue", "remove", track_id, "-w", workspace)
    for answer in ("n\n", ""):
        refused = invoke(*command, text=answer)
        assert refused.exit_code == 2
        assert "nothing was changed" in refused.stderr
    assert len(ids_of(workspace)) == 5
    assert invoke(*command, text="y\n").exit_code == 0
    assert track_id not in ids_of(workspace).values()
    assert invoke("catalogue", "remove", *ids_of(workspace).values(), "-y", "-w", workspace)
    empty = invoke("catalogue", "list", "-w", workspace)
    assert empty.exit_code == 0
    assert "catalogue is empty" in empty.stderr


def test_catalogue_remove_of_an_unknown_id_removes_nothing(workspace):
    known = ids_of(workspace)["tune1.wav"]
    result = invoke("catalogue", "remove", known, "nothing", "--yes", "-w", workspace)
    assert result.exit_code == 2
    assert "no track has the id 'nothing'" in result.stderr
    assert len(ids_of(workspace)) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cluster", "auto", "--jobs", "3"], "--jobs 3 cannot be combined with --cluster"),
        (["--cluster-storage", "x"], "--cluster-storage requires --cluster"),
        (["--cluster", "auto", "--wide"], "--wide cannot be combined with --cluster"),
    ],
)
def test_options_that_say_nothing_to_a_scan_are_refused(tmp_path, music, options, said):
    result = invoke("scan", music, "-w", tmp_path / "ws", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "ws").exists()


def test_catalogue_verify(tmp_path, weights, music, workspace):
    sound = invoke("catalogue", "verify", "--hashes", "-w", workspace)
    assert sound.exit_code == 0, sound.output
    assert "no problems found" in sound.stderr
    for file in (workspace / "index").glob("*.ann"):
        file.write_bytes(b"damaged")
    damaged = invoke("catalogue", "verify", "-w", workspace, "--format", "json")
    assert damaged.exit_code == 1
    assert len(json.loads(damaged.stdout)) == 1


def test_catalogue_verify_names_files_that_a_scan_found_gone(tmp_path, weights, music):
    folder = tmp_path / "music"
    shutil.copytree(music, folder)
    workspace = tmp_path / "own"
    command = ("scan", folder, "-w", workspace, *given(weights), "--no-report")
    assert invoke(*command).exit_code == 1
    track_id = ids_of(workspace)["tune1.wav"]
    (folder / "tune1.wav").unlink()
    scan = invoke(*command)
    assert scan.exit_code in (0, 1), scan.output
    assert "1 track not fully compared: 1 missing\n" in scan.stdout
    assert "tune1.wav: missing\n" in scan.stdout
    verified = invoke("catalogue", "verify", "-w", workspace)
    assert verified.exit_code == 1
    (line,) = verified.stdout.splitlines()
    assert line.startswith(f"track {track_id}: ")
    assert "tune1.wav is missing" in line
    assert f"audit catalogue remove {track_id}" in line
    assert verified.stderr == "1 problem\n"
    assert invoke("catalogue", "remove", track_id, "--yes", "-w", workspace).exit_code == 0
    assert invoke("catalogue", "verify", "-w", workspace).stderr == "no problems found\n"


def test_catalogue_stats_measures_the_index(scanned):
    result = invoke("catalogue", "stats", "-w", scanned)
    assert result.exit_code == 0
    assert re.search(r"^tracks +5$", result.stdout, re.M)
    assert "recall 1.0000 of the 10 nearest" in result.stdout
    stats = json.loads(invoke("catalogue", "stats", "-w", scanned, "--format", "json").stdout)
    assert stats["n_tracks"] == 5
    assert stats["index"][0]["index_recall"] == 1.0


def test_catalogue_stats_without_an_index(workspace):
    shutil.rmtree(workspace / "index")
    result = invoke("catalogue", "stats", "-w", workspace)
    assert result.exit_code == 0
    assert "none; audit scan --search annoy builds it" in result.stdout


def test_catalogue_stats_names_the_excerpt_index(tmp_path, music):
    ws = tmp_path / "ws"
    assert invoke("scan", music, "-w", ws, "--no-report", "--exit-zero").exit_code == 0
    said = invoke("catalogue", "stats", "-w", ws).stdout
    assert re.search(r"^track index of weights \w+: none; audit scan --search", said, re.M)
    assert re.search(
        r"^excerpt index of weights \w+: 4 tracks in 1 files \(annoy\), 0 ", said, re.M
    )
    stats = json.loads(invoke("catalogue", "stats", "-w", ws, "--format", "json").stdout)
    (entry,) = stats["excerpt_index"]
    assert (entry["n_tracks"], entry["n_uncovered"], entry["problem"]) == (4, 0, "")
    assert entry["n_bytes"] > 0


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "x"], ["remove", "x", "--yes"], ["verify"], ["stats"]]
)
def test_catalogue_commands_need_a_catalogue_and_make_none(tmp_path, arguments):
    result = invoke("catalogue", *arguments, "-w", tmp_path / "none")
    assert result.exit_code == 2
    assert "no catalogue at" in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_damaged_catalogue_is_refused(workspace):
    (workspace / "catalogue.sqlite3").write_bytes(b"no database" * 100)
    result = invoke("catalogue", "list", "-w", workspace)
    assert result.exit_code == 2
    assert result.stderr.startswith("audit: ")


# train


def test_train_prints_the_weights_and_resumes(tmp_path, music):
    common = ("--batch-classes", 2, "--batch-utterances", 2, "--evaluate-every", 1)
    command = ("train", music, *common, "--steps", 2, "--precision", "float32")
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    weights = Path(result.stdout.strip())
    assert re.fullmatch(r"runs/track/track-[0-9a-f]{8}\.safetensors", str(weights))
    assert "step 1 of 2: loss " in result.stderr
    assert "5 tracks" in result.stderr
    again = invoke(*command)
    assert again.exit_code == 0
    assert "step " not in again.stderr  # all steps are done
    scan = invoke("scan", music, "--extractor", weights, "--threshold", "1", "--no-report")
    assert scan.exit_code in (0, 1), scan.output
    other = invoke(*command, "--seed", 1)
    assert other.exit_code == 2
    assert "other settings" in other.stderr
    (tmp_path / "same.tsv").write_text("a\tb\ntune1.wav\ttune2.wav\n")
    validated = (*command, "--validation", music)
    other = invoke(*validated)
    assert (other.exit_code, "belongs to a run on other music" in other.stderr) == (2, True)
    assert invoke(*validated, "--name", "validated").exit_code == 0
    other = invoke(*validated, "--name", "validated", "--same", tmp_path / "same.tsv")
    assert (other.exit_code, "belongs to a run on other music" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "does not exist"),
        (["MUSIC", "--classes", "genre", "--genre-from", "fma"], "needs FMA's tables"),
        (["MUSIC", "--name", "../x"], "--name is '../x'"),
        (["MUSIC", "--same", "nowhere.tsv"], "nowhere.tsv"),
        (["MUSIC", "--classes", "genre", "--batch-classes", "2"], "too little music"),
    ],
)
def test_train_refuses_with_2(music, arguments, message):
    result = invoke("train", *[str(music) if a == "MUSIC" else a for a in arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr


# calibrate


def test_calibrate_writes_a_threshold_that_scan_finds(tmp_path, weights):
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(20):
        (folder / f"{seed}.wav").write_bytes(encode(tune(seed, seconds=2.5), codec="wav"))
    common = ("-w", tmp_path / "ws", "--extractor", weights)
    result = invoke("calibrate", folder, *common, "--copies", 1, "--far", 0.1, "--plots")
    assert result.exit_code == 0, result.output
    written = Path(result.stdout.strip())
    assert written.parent == tmp_path / "ws" / "thresholds"
    assert "<svg" in written.with_suffix(".html").read_text()
    assert f"plots: {written.with_suffix('.html')}" in result.stderr
    assert "no tail: too few pairs" in result.stderr
    made = load_thresholds(written)
    assert [recall.n_copies for recall in made.recalls] == [1] * 8
    again = invoke("calibrate", *common, "--copies", 0, "--far", 0.1, "-o", tmp_path / "b.json")
    assert again.exit_code == 0, again.output
    catalogue = load_thresholds(tmp_path / "b.json")
    assert (catalogue.operating_points, catalogue.recalls) == (made.operating_points, ())
    assert catalogue.data == "the catalogue"
    assert json.loads(written.read_text())["command"].startswith("audit calibrate ")
    scan = invoke("scan", *common, "--format", "json", "--no-report")
    assert scan.exit_code in (0, 1), scan.output
    use = result_from_json(scan.stdout).threshold
    assert use.expected_false_pairs == pytest.approx(190 * use.far)
    assert (use.budget, use.n_comparisons) == (1.0, 190)
    asked = ("--max-false-pairs", 15, "--format", "json", "--no-report")
    scan = invoke("scan", *common, *asked)
    use = result_from_json(scan.stdout).threshold
    assert (use.budget, use.n_comparisons) == (15.0, 190)
    check = invoke("check", folder / "0.wav", *common, "--max-false-alarms", 0.5, *asked[2:])
    use = result_from_json(check.stdout).threshold
    assert (use.budget, use.n_comparisons) == (0.5, 19)


def test_calibrate_refuses_too_little_music(tmp_path, weights, music):
    result = invoke("calibrate", music, "-w", tmp_path / "ws", "--extractor", weights)
    assert result.exit_code == 2
    assert "at least 20 are needed" in result.stderr


# help, version, usage


def commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


def test_every_command_and_option_has_help():
    seen = set()
    for path, command in commands():
        assert command.help, path
        seen.add(" ".join(path))
        for parameter in command.params:
            assert getattr(parameter, "help", None), (path, parameter.name)
    assert {"scan", "check", "recommend", "train", "calibrate", "catalogue verify"} <= seen


@pytest.mark.parametrize("path", [p for p, _ in commands()], ids=" ".join)
def test_help_answers_and_leaf_commands_take_debug(path):
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    command = dict(commands())[path]
    if not hasattr(command, "commands"):
        names = {name for p in command.params for name in p.opts}
        assert "--debug" in names
        assert names & {"--workspace", "--output"} or path == ("config",)
        assert f"audit {' '.join(path)}" in command.epilog


def test_the_options_in_the_document_exist():
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    known = {name for _, command in commands() for p in command.params for name in p.opts}
    known |= {name for _, c in commands() for p in c.params for name in p.secondary_opts}
    known |= {"--help", "--install-completion", "--version"}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= known
    for path, command in commands():
        if path and not hasattr(command, "commands"):
            assert f"audit {path[0]}" in text
            assert path[-1] in text


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout == f"audit {auditor.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["scan", "--bogus"], ["scan", "--threshold", "3"], ["check"]]
)
def test_usage_errors_end_with_2(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage: audit" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["scan", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    script = (
        "import sys\n"
        "from auditor.cli import main\n"
        f"sys.argv = ['audit', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'sklearn', 'scipy', 'av', 'jinja2'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    root = Path(auditor.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "audit" in done.stdout


def test_shell_completion_answers():
    environment = {"_AUDIT_COMPLETE": "complete_bash", "COMP_WORDS": "audit sc", "COMP_CWORD": "1"}
    done = run(env=environment)
    assert done.returncode == 0
    assert b"scan" in done.stdout


# how errors leave


def raising(error: BaseException):
    def scan(*_args, **_kwargs):
        raise error

    return scan


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (AuditError("a is wrong.\nMend it."), 2, "audit: a is wrong.\\nMend it."),
        (OSError(28, "No space left on device"), 2, "audit: the disk is full"),
        (PermissionError(13, "Permission denied", "/x"), 2, "audit: /x: Permission denied"),
        (ZeroDivisionError("by zero"), 2, "audit: ZeroDivisionError: by zero. This is a bug"),
        (MemoryError(), 2, "audit: out of memory"),
        (ImportError("a.so: failed to map segment from shared object"), 2, "audit: out of memory"),
        (KeyboardInterrupt(), 130, "audit: stopped; embeddings so far are kept"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
)
def test_exceptions_become_exit_codes(monkeypatch, weights, scanned, error, code, message):
    monkeypatch.setattr(scan_api, "scan", raising(error))
    result = invoke("scan", "-w", scanned, *given(weights))
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == bool(message)


def test_debug_shows_the_traceback(weights):
    result = invoke("scan", "nowhere", *given(weights), "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("audit: ")


def test_explain_never_breaks_the_line():
    assert "\n" not in explain(ValueError("a\nb\x1b[2J"))
    assert "\x1b" not in explain(AuditError("a\nb\x1b[2J"))


INTERRUPTED = """
import os, signal
from auditor.catalogue.catalogue import Catalogue
from auditor.cli import main

put, left = Catalogue.put, [3]

def put_and_stop(*args, **kwargs):
    put(*args, **kwargs)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGINT)

Catalogue.put = put_and_stop
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
main()
"""
"""A scan to which SIGINT comes after the third track, however busy the machine is."""


def test_an_interrupted_scan_ends_with_130_and_goes_on(tmp_path, weights, music):
    """What was embedded before SIGINT is there, and the next run ends the work."""
    folder = tmp_path / "many"
    folder.mkdir()
    data = [encode(tune(seed, seconds=15.0), codec="wav") for seed in range(2)]
    for n in range(12):
        (folder / f"{n:02d}.wav").write_bytes(data[n % 2] + bytes([n]))
    arguments = ["scan", str(folder), "-w", str(tmp_path / "ws"), *given(weights), "--no-report"]
    done = forks.run(INTERRUPTED, *arguments)
    assert done.returncode == 130, done.stderr
    assert b"audit: stopped; embeddings so far are kept" in done.stderr
    assert b"Traceback" not in done.stderr
    n_kept = len(ids_of(tmp_path / "ws"))
    assert 3 <= n_kept < 12
    again = invoke(*arguments, "--exit-zero")
    assert again.exit_code == 0, again.output
    assert f"{12 - n_kept} embedded, {n_kept} unchanged" in again.stderr


def test_names_that_are_not_unicode_pass_through(weights, music, scanned):
    odd = os.path.join(os.fsencode(music), ODD_NAME)
    arguments = ["check", odd, "-w", str(scanned), *given(weights), "--format", "json", "-q"]
    done = forks.run(forks.AUDIT, *arguments, "--no-report")
    assert done.returncode == 1, done.stderr
    assert rb"co\\xffpy\\n<script>" in done.stdout
    assert rb"co\\xffpy\\n<script>" in done.stdout.split(b'"command"')[1]
    missing = forks.run(forks.AUDIT, "check", b"nothing\xff.wav", "-w", scanned, *given(weights))
    assert missing.returncode == 2
    assert rb"nothing\xff.wav does not exist" in missing.stderr
    assert run(b"\xff").returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_and_closed_pipe_on_stdout(scanned):
    listing = ["catalogue", "list", "-w", str(scanned)]
    with open("/dev/full", "wb") as full:
        done = run(*listing, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"audit: the disk is full")
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*listing, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_report_path(tmp_path):
    assert report_path(tmp_path / "x.HTML", "scan") == tmp_path / "x.HTML"
    first = report_path(tmp_path, "scan")
    assert re.fullmatch(r"scan-\d{8}-\d{6}\.html", first.name)
    first.write_text("")
    second = report_path(tmp_path, "scan")
    assert second != first
    assert second.parent == tmp_path
    (tmp_path / "folder.html").mkdir()
    assert report_path(tmp_path / "folder.html", "check").parent == tmp_path / "folder.html"
