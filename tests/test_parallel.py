"""Tiles on one machine: the same results in the same order, however many processes there are."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from auditor.errors import AuditError, IndexFileError
from auditor.parallel import (
    LocalTiles,
    map_ahead,
    pack_arrays,
    ranges,
    require_memory,
    reserve_memory,
    unpack_arrays,
)


@dataclass(frozen=True)
class Slow:
    """Earlier parts take longer; a negative one is refused, 99 kills its process."""

    reader: None = None
    shares_memory: ClassVar[bool] = False

    def __call__(self, part: int) -> tuple[int, int]:
        if part < 0:
            raise IndexFileError(f"part {part} is damaged")
        if part == 99:
            os.kill(os.getpid(), 9)
        time.sleep(0.02 * (5 - part))
        return part, os.getpid()


@dataclass(frozen=True)
class Threaded(Slow):
    shares_memory: ClassVar[bool] = True


@pytest.mark.parametrize("work", [Slow(), Threaded()])
def test_results_come_in_the_order_of_the_parts(work):
    with LocalTiles(2) as tiles:
        assert [part for part, _ in tiles.map(work, range(5))] == list(range(5))


def test_processes_are_others_threads_and_single_tiles_are_not():
    def pids(tiles: LocalTiles, work: Slow, parts: list[int]) -> set[int]:
        return {pid for _, pid in tiles.map(work, parts)}

    here = {os.getpid()}
    with LocalTiles(2) as tiles:
        assert not here & pids(tiles, Slow(), [3, 4])
        assert pids(tiles, Threaded(), [3, 4]) == here
        assert pids(tiles, Slow(), [4]) == here
    assert pids(LocalTiles(), Slow(), [3, 4]) == here


def test_an_error_of_a_tile_is_raised_here():
    with (
        LocalTiles(2) as tiles,
        pytest.raises(IndexFileError, match="part -1 is damaged"),
    ):
        list(tiles.map(Slow(), [4, -1, 4]))


def test_a_killed_process_is_told():
    with (
        LocalTiles(2) as tiles,
        pytest.raises(AuditError, match="a worker process was killed.*fewer workers than --jobs 2"),
    ):
        list(tiles.map(Slow(), [99, 99]))


def test_workers_do_not_outlive_their_parent(tmp_path):
    code = (
        "import os, sys, time\n"
        "from test_parallel import Pid\n"
        "from auditor.parallel import LocalTiles\n"
        "if __name__ == '__main__':\n"
        "    tiles = LocalTiles(2)\n"
        "    print(*tiles.map(Pid(), [0, 0]), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    folders = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    run = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    pids = {int(pid) for pid in run.stdout.split()}
    assert pids, run.stderr
    for pid in pids:
        for _ in range(600):
            if not alive(pid):
                break
            time.sleep(0.05)
        assert not alive(pid)


@dataclass(frozen=True)
class Pid(Slow):
    def __call__(self, part: int) -> int:
        return os.getpid()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_more_parts_are_drawn_than_may_be_ahead():
    drawn: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(100):
            drawn.append(part)
            yield part

    with ThreadPoolExecutor(3) as threads:
        for n_taken, part in enumerate(map_ahead(threads, abs, parts(), n_ahead=5)):
            assert part == n_taken
            assert len(drawn) == min(n_taken + 5, 100)


@pytest.mark.parametrize("ending", ["error", "close"])
def test_no_part_waits_or_runs_once_the_map_has_ended(ending):
    first_is_done, begun, ended = threading.Event(), [], []

    def work(part: int) -> int:
        begun.append(part)
        if part == 0:
            while len(begun) < 2:
                time.sleep(0.001)
            first_is_done.set()
            if ending == "error":
                raise IndexFileError("part 0 is damaged")
        else:
            first_is_done.wait()
            time.sleep(0.2)
        ended.append(part)
        return part

    with ThreadPoolExecutor(2) as threads:
        results = map_ahead(threads, work, range(100), n_ahead=8)
        if ending == "error":
            with pytest.raises(IndexFileError, match="part 0 is damaged"):
                next(results)
        else:
            assert next(results) == 0
            results.close()
        assert set(begun) - set(ended) == ({0} if ending == "error" else set())
        n_begun = len(begun)
        assert threads.submit(abs, -1).result() == 1  # nothing stands before it
        assert len(begun) == n_begun < 8


def test_a_map_that_may_hand_out_nothing_is_refused():
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(ValueError, match="n_ahead is 0; it must be at least 1"),
    ):
        next(map_ahead(threads, abs, [1], n_ahead=0))


def test_jobs_below_one_are_refused():
    with pytest.raises(ValueError, match="jobs is 0; it must be at least 1"):
        LocalTiles(0)


def test_ranges_cover_all_rows_once():
    assert [row for part in ranges(10, 3) for row in range(*part)] == list(range(10))
    assert ranges(0, 3) == []


def test_arrays_come_back_as_they_were_packed():
    arrays = np.arange(6).reshape(2, 3), np.zeros(0, np.float32)
    data = pack_arrays(*arrays)
    for made, given in zip(unpack_arrays(data, 2), arrays, strict=True):
        assert made.dtype == given.dtype
        np.testing.assert_array_equal(made, given)
    for damaged in (data[:-1], data + b"x", b"", data[:100]):
        with pytest.raises(ValueError, match=r"."):
            unpack_arrays(damaged, 2)


def test_more_memory_than_there_is_is_refused():
    require_memory(1 << 20)
    with pytest.raises(MemoryError):
        require_memory(1 << 60)


def test_nothing_pickled_is_read_back():
    with pytest.raises(ValueError, match="allow_pickle|Object arrays"):
        pack_arrays(np.array([object()]))


WITH_LITTLE_MEMORY = """
import resource
import numpy as np
from auditor.parallel import reserve_memory

def limit(n_bytes):
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + n_bytes, -1))

a = np.ones((300, 300), np.float32)
limit(8 << 20)
try:
    reserve_memory()
except MemoryError:
    print("refused")
limit(256 << 20)
reserve_memory()
limit(1 << 20)
print(int(np.dot(a, a)[0, 0]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a ceiling on address space")
def test_blas_has_its_memory_before_it_could_end_the_process_for_want_of_it():
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.split()) == (0, ["refused", "300"]), done.stderr
    reserve_memory()  # more than once is nothing
    reserve_memory()
