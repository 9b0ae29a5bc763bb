"""Worker processes that deal with files in order, and survive each other's death.

Every worker is one process with a pipe: a file goes in, its result comes out.  What is
yielded does not depend on their number.  A worker that dies is replaced; the file it was at is
tried once more, and skipped if the next worker dies of it too.  ``parallel.map_ahead`` cannot do
that: its executor is broken once a process has died, and does not say which file it was at.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Protocol

from auditor.audio.files import FoundFile
from auditor.errors import AuditError, WorkerDiedError, show_path
from auditor.ingest.prepare import PreparedFile
from auditor.parallel import one_thread, worker_context
from auditor.serialisation import TemporaryFolder

TASKS_AHEAD = 2
"""Files that each worker has at hand, so that it never waits for the next one."""

FILES_AHEAD = 16
"""Files for each worker that may be ready before the first of them is taken."""

MAX_DEATHS = 2
MAX_FAILED_STARTS = 3
"""Workers in a row that die before they are ready; then it is no file's fault."""

Task = tuple[int, FoundFile]
"""Position of a file among all of them, and the file."""


class FileWork(Protocol):
    """What a worker does; it is sent to the worker, and started there once."""

    def start(self) -> Callable[[FoundFile], PreparedFile]:
        """Load what is needed; return what deals with a file."""


class WorkerPool:
    """Workers, and the files between what was drawn and what was yielded; used by ``with``.

    Parameters
    ----------
    work : FileWork
    jobs : int
        Worker processes.
    files_ahead : int
        Files for each worker that may be ready before the first of them is taken.
    """

    def __init__(self, work: FileWork, jobs: int, *, files_ahead: int = FILES_AHEAD) -> None:
        self._work, self._files_ahead = work, files_ahead
        self._n_failed_starts = 0
        # Of objects: a worker may die before it has removed its own.
        self._copies = TemporaryFolder()
        self._workers = [self._worker() for _ in range(jobs)]
        self._again: deque[Task] = deque()
        self._results: dict[int, PreparedFile] = {}
        self._deaths: Counter[int] = Counter()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_exc: object) -> None:
        for worker in self._workers:
            worker.close()
        self._copies.cleanup()

    def run(self, files: Iterable[FoundFile]) -> Generator[PreparedFile]:
        """Yield the result of each file, in their order; draw files as workers are free.

        Raises
        ------
        AuditError
            If no worker can be started.
        """
        todo = enumerate(files)
        n_drawn = n_yielded = 0
        most_ahead = self._files_ahead * len(self._workers)
        while True:
            for worker in self._workers:
                while len(worker.tasks) < TASKS_AHEAD:
                    task = self._again.popleft() if self._again else None
                    if task is None and n_drawn - n_yielded < most_ahead:
                        task = next(todo, None)
                        n_drawn += task is not None
                    if task is None:
                        break
                    worker.give(task)
            if n_yielded in self._results:
                yield self._results.pop(n_yielded)
                n_yielded += 1
            elif n_yielded == n_drawn:
                return
            else:
                self._gather()

    def _gather(self) -> None:
        """Wait until a worker answers or dies."""
        busy = {worker.connection: i for i, worker in enumerate(self._workers) if worker.tasks}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            i = busy[connection]
            try:
                result = connection.recv()
            except (EOFError, OSError):
                self._replace(i)
                continue
            if isinstance(result, Exception):
                raise result
            if result is None:
                self._workers[i].ready, self._n_failed_starts = True, 0
                continue
            position, _ = self._workers[i].tasks.popleft()
            self._results[position] = result

    def _replace(self, i: int) -> None:
        """Replace a dead worker; the file it was at is tried once more."""
        dead = self._workers[i]
        dead.close()
        if not dead.ready:  # no file was opened yet
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_FAILED_STARTS:
                raise AuditError(
                    f"no worker process can be started (exit code {dead.process.exitcode}). Run "
                    "the command again with --jobs 1. A script of your own that works with several "
                    'jobs needs: if __name__ == "__main__":'
                )
            self._again.extend(dead.tasks)
            self._workers[i] = self._worker()
            return
        self._workers[i] = self._worker()
        position, found = suspect = dead.tasks.popleft()
        self._again.extend(dead.tasks)
        self._deaths[position] += 1
        if self._deaths[position] < MAX_DEATHS:
            self._again.append(suspect)
            return
        code = dead.process.exitcode
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        error = WorkerDiedError(
            f"{show_path(found.path)}: the decoding process died twice ({how}). Check the file "
            "and the available memory."
        )
        self._results[position] = PreparedFile(found, error=error)

    def _worker(self) -> _Worker:
        return _Worker(self._work, self._copies.name)


class _Worker:
    """A process with a pipe, and the tasks it has at hand, the one it is at first."""

    def __init__(self, work: FileWork, copies: str) -> None:
        context = worker_context()
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, work, copies), daemon=True)
        self.process.start()
        there.close()

    def give(self, task: Task) -> None:
        self.tasks.append(task)
        with contextlib.suppress(OSError):  # of one that died; seen when its answer is read
            self.connection.send(task[1])

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, work: FileWork, copies: str) -> None:
    """Deal with the files that come through a pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    tempfile.tempdir = copies
    one_thread()
    try:
        make = work.start()
        answer: PreparedFile | Exception | None = None  # ready
    except Exception as error:
        answer = _sendable(error)
    connection.send(answer)
    while answer is None or isinstance(answer, PreparedFile):
        try:
            found = connection.recv()
        except EOFError:
            return
        try:
            answer = make(found)
        except Exception as error:  # a fault of ours: raised in the process that owns the pool
            answer = _sendable(error)
        try:
            connection.send(answer)
        except OSError:  # nobody is there any more
            return


def _sendable(error: Exception) -> Exception:
    """Return an error that can go through a pipe."""
    try:
        ForkingPickler.dumps(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
