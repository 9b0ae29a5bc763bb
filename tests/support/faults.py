"""Campaigns of faults: the fault layer, commands run under it, and the count of what survived."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

T = TypeVar("T")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

COUNT, KILL, FULL, BROKEN = range(4)
"""What the layer does at an operation: nothing, SIGKILL, ENOSPC from then on, EIO once."""

SEED = int(os.environ.get("SEED") or 1)
ROUNDS = float(os.environ.get("ROUNDS") or 1)
"""How many times as many cases are tried as by default."""

ALL = os.environ.get("FAULTS") == "all"

SIZES = ("quick", pytest.param("bounded", marks=pytest.mark.faults))
"""Of every part: the slice that runs in ``make test``, and what runs in ``make test-faults``."""


def sized(names: Iterable[Any], quick: Iterable[Any]) -> list[Any]:
    """Return (name, size) parameters: every name bounded, and some in the quick slice, too."""
    bounded = [pytest.param(name, "bounded", marks=pytest.mark.faults) for name in names]
    return [*(pytest.param(name, "quick") for name in quick), *bounded]


MEMORY_BYTES = 600_000_000
"""Bound on the memory of any process, for any input below 1 GB."""

FINE = (0, 1)
REFUSED = 2


def amount(size: str, quick: int, bounded: int, everything: int) -> int:
    """Return how many cases a part tries."""
    if size == "quick":
        return quick
    return everything if ALL else round(bounded * ROUNDS)


def even_sample(n: int, n_wanted: int) -> list[int]:
    """Return at most so many of 1 ... n, evenly spread, the first and the last among them."""
    if n_wanted >= n:
        return list(range(1, n + 1))
    if n_wanted == 1:
        return [(n + 1) // 2]
    return sorted({1 + round(i * (n - 1) / (n_wanted - 1)) for i in range(n_wanted)})


@dataclass(frozen=True)
class End:
    """How a command ended.

    ``code`` is negative for a signal.  ``peak_bytes`` is the memory of its largest process, and
    ``processor_s`` is the time of all that it waited for.  ``n_operations`` and ``n_fired`` are
    those of the layer, ``what`` the first operation that failed, ``left`` the processes that
    outlived it by 5 s.
    """

    code: int
    timed_out: bool
    peak_bytes: int
    seconds: float
    processor_s: float
    left: tuple[str, ...]
    n_operations: int
    n_fired: int
    what: str
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The last line of stderr."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else ""

    def fault(self, *, codes: Iterable[int] = (*FINE, REFUSED)) -> str:
        """Return what is wrong with how it ended, empty if nothing is.

        A command ends with one of ``codes``, in time, leaves no process, and says what went wrong
        in a line that is none of Python's.
        """
        if self.timed_out:
            return f"did not end in {self.seconds:.0f} s"
        if self.code not in codes:
            return f"exit code {self.code}: {self.message[:300]}"
        if "Traceback (most recent" in self.stderr or "This is a bug" in self.stderr:
            return f"exit code {self.code}, no message for people: {self.stderr[-600:]}"
        if self.code == REFUSED and not self.message.startswith("audit: "):
            return f"exit code 2 without a message: {self.stderr[-300:]!r}"
        if self.left:
            return f"left running: {self.left}"
        return ""


@dataclass(frozen=True)
class Job:
    """A command for ``Zygote.run``.

    Attributes
    ----------
    argv : sequence
        Arguments of ``audit``; of the function in ``call``, if there is one.
    arm : (folder, mode, n), optional
        What the fault layer is to do.
    actions : sequence of (seconds, target, signal)
        Signals to send: to "self", the whole "group", or the "decoder" as soon as there is one.
    memory_bytes : int, optional
        Ceiling on address space, beyond what the process has when it begins.
    """

    argv: Sequence[object]
    call: str | None = None
    arm: tuple[Path, int, int] | None = None
    actions: Sequence[tuple[float, str, int]] = ()
    memory_bytes: int | None = None
    timeout_s: float = 120.0
    env: dict[str, str] = dataclasses.field(default_factory=dict)


class Zygote:
    """A process that runs commands by forking; see ``fault_zygote``.

    Parameters
    ----------
    layer : path or None
        The fault layer; without it, ``arm`` is refused.
    folder : path
        Where commands run, and where their output is kept meanwhile.
    """

    def __init__(self, layer: Path | None, folder: Path) -> None:
        self.layer, self._folder = layer, folder
        environment = {
            **{name: value for name, value in os.environ.items() if name != "AUDIT_WORKSPACE"},
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **({"LD_PRELOAD": str(layer)} if layer else {}),
        }
        self._process = subprocess.Popen(
            [sys.executable, HERE / "fault_zygote.py", layer or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
            text=True,
        )

    def run(self, *jobs: Job) -> list[End]:
        """Run commands at the same time; return how each ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        requests = [self._request(i, job) for i, job in enumerate(jobs)]
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that runs the commands died"
        ends = []
        for request, answer in zip(requests, json.loads(line), strict=True):
            printed = {
                name: Path(request[name]).read_text("utf-8", "replace")
                for name in ("stdout", "stderr")
            }
            ends.append(End(**{**answer, "left": tuple(answer["left"])}, **printed))
        return ends

    def audit(self, *argv: object, **how: Any) -> End:
        """Run one command."""
        return self.run(Job(argv, **how))[0]

    def _request(self, i: int, job: Job) -> dict[str, Any]:
        request: dict[str, Any] = {
            "argv": [str(argument) for argument in job.argv],
            "cwd": str(self._folder),
            "stdout": str(self._folder / f"stdout-{i}"),
            "stderr": str(self._folder / f"stderr-{i}"),
            "actions": [list(action) for action in job.actions],
            "timeout_s": job.timeout_s,
            "env": job.env,
        }
        if job.call is not None:
            request["call"] = job.call
        if job.arm is not None:
            assert self.layer is not None, "there is no fault layer"
            request["arm"] = [str(job.arm[0]), *job.arm[1:]]
        if job.memory_bytes is not None:
            request["memory_bytes"] = job.memory_bytes
        return request

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def build_layer(folder: Path) -> Path | None:
    """Compile the fault layer; None where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "fault_layer.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "fault_layer.c", "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return library


class Tally:
    """Cases of one part of a campaign: tried, survived, failed; used by ``with``.

    Leaving it records the counts for the table at the end of the run, and fails the test if any
    case failed.
    """

    def __init__(self, part: str, record: Callable[[str, object], None]) -> None:
        self.part, self._record = part, record
        self.n_survived = 0
        self.failures: list[str] = []

    def case(self, name: str, fault: str) -> bool:
        """Count one case; ``fault`` says what was wrong, and is empty if nothing was."""
        if fault:
            self.failures.append(f"{name}: {fault}")
        else:
            self.n_survived += 1
        return not fault

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        counts = [self.n_survived + len(self.failures), self.n_survived, len(self.failures)]
        self._record("faults", [self.part, *counts])
        if kind is None:
            assert counts[0], "no case was tried"
            shown = "\n".join(self.failures[:20])
            assert not self.failures, (
                f"{self.part}: {counts[2]} of {counts[0]} failed (SEED={SEED}):\n{shown}"
            )


def seeded(*names: object) -> random.Random:
    """Return random numbers that follow from SEED and some names."""
    text = "/".join(str(name) for name in (SEED, *names))
    return random.Random(hashlib.sha256(text.encode()).digest())


def fresh_copy(template: Path, folder: Path) -> Path:
    """Make a folder hold what the template does, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder))


def catalogue_fault(workspace: Path) -> str:
    """Return what SQLite finds wrong with a catalogue; the file is left as it is."""
    if not (workspace / "catalogue.sqlite3").exists():
        return ""
    with tempfile.TemporaryDirectory() as folder:
        for path in workspace.glob("catalogue.sqlite3*"):
            if not path.name.endswith("-shm"):  # what a kill leaves; it is made from the WAL again
                shutil.copy(path, folder)
        connection = sqlite3.connect(os.path.join(folder, "catalogue.sqlite3"))
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            found += [f"orphan: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        except sqlite3.Error as error:
            found = [str(error)]
        finally:
            connection.close()
    return "" if found == ["ok"] else f"the catalogue is damaged: {found[:3]}"


def facts_of(end: End) -> Any:
    """Return the JSON that a command printed, without when it was made, and after what."""
    data = json.loads(end.stdout)
    del data["provenance"]
    data.pop("since", None)
    for pair in data.get("pairs", ()):
        del pair["decision_when"]
    return data


def same_answer(end: End, reference: End) -> bool:
    """Say whether two ends printed the same, but for times."""
    if reference.stdout.startswith("{"):
        if not end.stdout:
            return False
        printed = [json.loads(one.stdout) for one in (end, reference)]
        for data in printed:
            data.pop("provenance", None)
            data.pop("since", None)
        return printed[0] == printed[1]
    return len(end.stdout.splitlines()) == len(reference.stdout.splitlines())
