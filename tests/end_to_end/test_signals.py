"""Signals that end a run: the exit code, what is said, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_audit import THRESHOLD, TUNE_S, save_small_extractor
from tunes import tune
from typer.testing import CliRunner

import auditor
from auditor import serialisation
from auditor.audio.encode import write_audio
from auditor.cli import app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

MARK = "AUDIT_TEST_MARK"
N_FILES = 12


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(N_FILES):
        waveform = np.tile(tune(seed, duration_s=TUNE_S), 16)
        write_audio(folder / f"{seed:02d}.wav", waveform, codec="wav")
    return folder


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Return the environment of a command, whose processes can be told by it."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    return os.environ | {
        MARK: uuid.uuid4().hex,
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(auditor.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }


def processes(environment: dict[str, str]) -> dict[int, str]:
    """Return the command lines of what runs in an environment, by process number."""
    mark, found = f"{MARK}={environment[MARK]}".encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
                if state != b"Z":
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode("utf-8", "replace")
    return found


@contextlib.contextmanager
def running(environment, *arguments, cwd: Path, entry: str = "-m auditor") -> Iterator:
    """Run a command in a session of its own; nothing of it is left at the end."""

    def heed():  # a job in the background ignores it, and so would its children
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, *entry.split(), *map(str, arguments)],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed,
    )
    try:
        with process:
            yield process
    finally:
        for number in processes(environment):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def wait_for(condition, what: str, *, timeout_s: float = 60.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(what)


def decoders(environment) -> list[int]:
    found = processes(environment)
    return [number for number, line in found.items() if "decoder_process" in line]


@pytest.mark.parametrize(
    ("number", "to_all", "jobs"),
    [(signal.SIGTERM, False, 2), (signal.SIGTERM, True, 1), (signal.SIGINT, True, 2)],
)
def test_a_scan_that_is_stopped_leaves_nothing_and_goes_on(
    tmp_path, environment, weights, music, number, to_all, jobs
):
    """The signal comes while a file is decoded, to the command alone or to its process group."""
    command = ["scan", music, "-w", tmp_path / "ws", "--extractor", weights, "--jobs", jobs]
    command += ["--threshold", THRESHOLD, "--quiet", "--exit-zero"]
    with running(environment, *command, cwd=tmp_path) as process:
        wait_for(lambda: len(decoders(environment)) > (jobs > 1), "nothing is decoded")
        wait_for(lambda: (tmp_path / "ws").exists(), "no workspace")
        time.sleep(0.1)
        assert process.poll() is None
        (os.killpg if to_all else os.kill)(process.pid, number)
        os.kill(process.pid, number)  # as timeout(1) does
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode == 128 + number, said
        wait_for(lambda: not processes(environment), "processes are left", timeout_s=5.0)
    assert re.fullmatch(r"audit: stopped.*\n", said)
    assert [p.name for p in (tmp_path / "t").glob("audit-*")] == []
    assert not list(tmp_path.rglob("*.audit-part"))


def test_what_a_killed_scan_leaves_is_removed_by_the_next(
    tmp_path, environment, weights, music, monkeypatch
):
    command = ["scan", music, "-w", tmp_path / "ws", "--extractor", weights, "--jobs", 2]
    command += ["--threshold", THRESHOLD, "--quiet", "--exit-zero", "--no-report"]
    left = tmp_path / "t"
    with running(environment, *command, cwd=tmp_path) as process:
        wait_for(lambda: len(decoders(environment)) > 1, "nothing is decoded")
        process.kill()
        process.communicate()
        wait_for(lambda: not processes(environment), "processes are left", timeout_s=10.0)
    assert len(list(left.glob("audit-run-*"))) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(left))
    serialisation._remove_folders.cache_clear()
    command[command.index("--jobs") + 1] = 1
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code in (0, 1), done.output
    assert list(left.glob("audit-*")) == []


@pytest.mark.parametrize(
    ("number", "delays_s"), [(signal.SIGINT, (0.05, 0.4, 1.2)), (signal.SIGTERM, (0.2, 0.8))]
)
def test_a_signal_while_modules_are_imported_ends_the_run_without_a_traceback(
    tmp_path, environment, number, delays_s
):
    script = tmp_path / "start.py"
    script.write_text(
        "import sys\nfrom auditor.__main__ import main\n"
        "print('begun', file=sys.stderr, flush=True)\nmain()\n"
    )
    (tmp_path / "some.mp3").touch()  # a name that is wrong is told before anything is imported
    for delay_s in delays_s:
        with running(
            environment, "check", "some.mp3", "-w", "none", cwd=tmp_path, entry=str(script)
        ) as process:
            assert process.stderr.readline() == b"begun\n"
            time.sleep(delay_s)
            process.send_signal(number)
            said = process.communicate(timeout=60)[1].decode()
            if "no catalogue" in said:  # it was done by then, or about to end
                assert process.returncode in (2, -number, 128 + number)
                continue
            assert process.returncode == 128 + number, said
            assert re.fullmatch(r"(audit: stopped.*\n)?", said)
            wait_for(lambda: not processes(environment), "processes are left", timeout_s=5.0)
