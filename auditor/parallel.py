"""Work cut into tiles: independent parts of one pass, done here, beside here, or on a cluster.

A pass is a ``Work`` and the parts it is called with.  Where tiles begin and end is decided by the
catalogue alone, results come back in the order of the parts, and every tile computes with one
thread; so a result does not depend on how many processes or machines there are, nor on which of
them is done first.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import mmap
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.errors import AuditError

Part = TypeVar("Part")
Part_contra = TypeVar("Part_contra", contravariant=True)
Result = TypeVar("Result")

OnProgress = Callable[[int, int], None]
"""Called with what is done so far and what there is to do in all: pairs, tracks or files."""

AHEAD = 4
"""Parts handed out ahead, for each worker: a slow part keeps no other worker waiting."""

PRELOADED = ("auditor.embedding.onnx_graph", "auditor.embedding.frames", "auditor.scoring.match")
"""Imported once for all worker processes, which takes half a second."""

TILES_FORMAT = 2
"""Raise it whenever a tile returns something else for the same tracks: what a cluster has kept of
another format is left alone, and its tiles are done again."""


class Work(Protocol[Part_contra, Result]):
    """What is done with every part of a pass; a small frozen dataclass.

    Attributes
    ----------
    reader : TrackReader
        What ``Tiles.publish`` returned.
    shares_memory : bool
        It spends its time in matrix products of large arrays: on one machine threads do it, which
        share them.
    """

    shares_memory: ClassVar[bool]

    @property
    def reader(self) -> Any:
        """What ``Tiles.publish`` returned."""

    def __call__(self, part: Part_contra) -> Result:
        """Return the result of a part; nothing else is changed by it."""

    def pack(self, result: Result) -> bytes:
        """Return a result as bytes to be stored."""

    def unpack(self, data: bytes) -> Result:
        """Return the result of which ``pack`` made these bytes.

        Raises
        ------
        ValueError
            If they are damaged.
        """


class Tiles(Protocol):
    """Where tiles are done."""

    def publish(self, reader: Any, *, with_excerpts: bool) -> Any:
        """Return the ``track_reader.TrackReader`` that works are to hold, in place of this one.

        Without excerpts nothing but the embeddings is going to be read.
        """

    def map(self, work: Work[Part, Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the result of every part, in the order of the parts."""


def map_ahead(
    executor: Executor,
    work: Callable[[Part], Result],
    parts: Iterable[Part],
    *,
    n_ahead: int,
) -> Generator[Result]:
    """Yield the result of every part, in the order of the parts; hand out a few parts ahead.

    When the generator ends, is closed or raises, no part of it waits or runs any more.  It does not
    suit workers that may die of a part and are replaced (``ingest.worker_pool``,
    ``distributed.ray_tasks``): an executor that lost a process is of no further use.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Threads or processes; shut down by whoever made it.
    work : callable
        Called with each part.
    parts : iterable
        Drawn from as results are taken.
    n_ahead : int
        Parts that wait, run or have an untaken result at once; at least 1.

    Raises
    ------
    ValueError
        If ``n_ahead`` is below 1.
    Exception
        The first in the order of the parts that ``work`` raises.
    """
    if n_ahead < 1:
        raise ValueError(f"n_ahead is {n_ahead}; it must be at least 1")
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for part in parts:
            waiting.append(executor.submit(work, part))
            if len(waiting) >= n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except KeyboardInterrupt:
        if isinstance(executor, ProcessPoolExecutor):
            _kill_workers()
        raise
    finally:
        wait([future for future in waiting if not future.cancel()])


class LocalTiles:
    """Tiles on this machine; used in a ``with``, which ends the processes.

    Parameters
    ----------
    jobs : int
        Processes or threads that work at once; with 1 all is done in this thread.  A single tile
        is never given away.

    Raises
    ------
    ValueError
        If ``jobs`` is below 1.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise ValueError(f"jobs is {jobs}; it must be at least 1")
        self._jobs = jobs
        self._processes: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if self._processes is not None:
            end_pool(self._processes, kind)
            self._processes = None

    def publish(self, reader: Any, *, with_excerpts: bool) -> Any:
        """Return the reader itself: this machine has the files."""
        return reader

    def map(self, work: Work[Part, Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the result of every part, in the order of the parts.

        Raises
        ------
        AuditError
            What the work raises, or that a process was killed.
        """
        parts = list(parts)
        with threadpool_limits(1), contextlib.ExitStack() as stack:
            if self._jobs == 1 or len(parts) < 2:
                yield from map(work, parts)
                return
            if work.shares_memory:
                executor: Executor = stack.enter_context(ThreadPoolExecutor(self._jobs))
            else:
                executor = self._pool()
            try:
                yield from map_ahead(executor, work, parts, n_ahead=AHEAD * self._jobs)
            except BrokenProcessPool:
                raise AuditError(
                    "a worker process was killed, probably for lack of memory. Embeddings so far "
                    "are kept. Run the command again with fewer workers than --jobs "
                    f"{self._jobs}. A script of your own that works with several jobs needs: "
                    'if __name__ == "__main__":'
                ) from None

    def _pool(self) -> ProcessPoolExecutor:
        if self._processes is None:
            self._processes = ProcessPoolExecutor(
                self._jobs,
                mp_context=worker_context(),
                initializer=begin_worker,
            )
        return self._processes


def worker_context() -> ForkServerContext:
    """Return how worker processes start: as forks of one process that has imported ``PRELOADED``.

    They are no forks of this one, whose threads would be missing there.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def end_pool(pool: ProcessPoolExecutor, kind: type[BaseException] | None) -> None:
    """End the processes of a pool, as the end of a ``with``.

    Parameters
    ----------
    pool : ProcessPoolExecutor
    kind : type or None
        Of the exception that ends the ``with``.  After Ctrl-C or SIGTERM, the processes are killed;
        otherwise they finish what they have begun.
    """
    if kind is not None and issubclass(kind, KeyboardInterrupt):
        _kill_workers()
    pool.shutdown(cancel_futures=True)


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        process.kill()


def begin_worker() -> None:
    """Make this process a worker: one thread, deaf to Ctrl-C, and gone when its parent is."""
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@functools.cache
def one_thread() -> None:
    """Let this process compute with one thread, so that sums are always added in one order."""
    threadpool_limits(1)


COMMAND_BYTES, TRAINING_BYTES = 192 << 20, 1 << 30
"""Address space that a command takes before its first file, and that torch takes beside it."""


def require_memory(n_bytes: int) -> None:
    """Raise MemoryError where this process cannot have so much: its libraries would end it.

    onnxruntime, torch and OpenBLAS abort where they find too little, which no caller can catch.
    """
    try:
        mmap.mmap(-1, n_bytes).close()
    except OSError:
        raise MemoryError from None


@functools.cache
def reserve_memory() -> None:
    """Ask for what a command takes, and let BLAS take its part while a lack can be reported.

    OpenBLAS takes it at its first product and keeps it; where there is none, it prints a message of
    its own and ends the process with exit code 1, which no caller can catch.

    Raises
    ------
    MemoryError
        If this process cannot have so much memory.
    """
    require_memory(COMMAND_BYTES)
    a = np.ones((300, 300), np.float32)
    np.dot(a, a)


def ranges(n: int, size: int) -> list[tuple[int, int]]:
    """Return the starts and ends of ranges of up to ``size``, all of ``range(n)`` in order.

    Examples
    --------
    >>> ranges(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def pack_arrays(*arrays: np.ndarray) -> bytes:
    """Return arrays of numbers one after another, as NumPy writes them to files."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    return file.getvalue()


def unpack_arrays(data: bytes, n: int) -> tuple[np.ndarray, ...]:
    """Return the ``n`` arrays of ``pack_arrays``.

    Raises
    ------
    ValueError
        If the bytes are damaged.
    """
    file = io.BytesIO(data)
    try:
        arrays = tuple(np.load(file, allow_pickle=False) for _ in range(n))
    except EOFError as error:
        raise ValueError(str(error)) from None
    if file.read(1):
        raise ValueError(f"there is more behind {n} arrays")
    return arrays
