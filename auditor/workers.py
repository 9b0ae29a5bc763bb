"""Files embedded by several processes of this machine, in order.

Each worker decodes and embeds whole files with one thread: there is no faster way to use the cores
of a processor, and nothing but a path goes in and d-vectors come out.  What is yielded does not
depend on the number of workers.  A worker that dies is replaced; a file that was at hand when a
worker died is tried once more, and skipped if that worker dies too.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Set
from multiprocessing.connection import Connection, wait
from pathlib import Path

from auditor.errors import AudioError, show_path
from auditor.extractor import Extractor, load_extractor
from auditor.prepare import Made, SerialEmbedder, prepare_file
from auditor.walk import FoundFile

FEW = 8
"""Fewer files are embedded in this process: workers take two seconds to start."""

TASKS_AHEAD = 2
"""Files that each worker has at hand, so that it never waits for the next one."""

WINDOW = 16
"""Files for each worker that may be made before the first of them is taken."""

MAX_DEATHS = 2


class ProcessEmbedder:
    """Embeds files in worker processes; see the module.

    Parameters
    ----------
    extractor : Extractor
        Loaded from a file, which the workers load again.
    jobs : int
        Worker processes; with 1 no other process is started.

    Raises
    ------
    ValueError
        If ``jobs`` is below 1, or the extractor is not from a file.
    """

    def __init__(self, extractor: Extractor, *, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs is {jobs}; it must be at least 1")
        if extractor.path is None:
            raise ValueError("the extractor was not loaded from a file; save it first")
        self._extractor, self._jobs = extractor, jobs

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[Made]:
        """See ``prepare.Embedder.embed``."""
        files = iter(files)
        first = list(itertools.islice(files, FEW))
        if self._jobs == 1 or len(first) < FEW:
            files = itertools.chain(first, files)
            yield from SerialEmbedder([self._extractor]).embed(files, known=known)
        else:
            with _Crew(self._extractor, known, self._jobs) as crew:
                yield from crew.run(itertools.chain(first, files))


Task = tuple[int, FoundFile]
"""Position of a file among all of them, and the file."""


class _Worker:
    """A process with a pipe, and the tasks it has at hand, the one it is at first."""

    def __init__(self, extractor: Extractor, known: Set[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.tasks: deque[Task] = deque()
        self.connection, there = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(there, extractor.path, extractor.precision, known), daemon=True
        )
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


class _Crew:
    """Workers, and the files between what was drawn and what was yielded."""

    def __init__(self, extractor: Extractor, known: Set[str], jobs: int) -> None:
        self._hire = lambda: _Worker(extractor, known)
        self._workers = [self._hire() for _ in range(jobs)]
        self._again: deque[Task] = deque()
        self._made: dict[int, Made] = {}
        self._deaths: Counter[int] = Counter()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_exc: object) -> None:
        for worker in self._workers:
            worker.close()

    def run(self, files: Iterator[FoundFile]) -> Generator[Made]:
        todo = enumerate(files)
        n_drawn = n_yielded = 0
        while True:
            for worker in self._workers:
                while len(worker.tasks) < TASKS_AHEAD:
                    task = self._again.popleft() if self._again else None
                    if task is None and n_drawn - n_yielded < WINDOW * len(self._workers):
                        task = next(todo, None)
                        n_drawn += task is not None
                    if task is None:
                        break
                    worker.give(task)
            if n_yielded in self._made:
                yield self._made.pop(n_yielded)
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
                made = connection.recv()
            except (EOFError, OSError):
                self._bury(i)
                continue
            if isinstance(made, Exception):
                raise made
            position, _ = self._workers[i].tasks.popleft()
            self._made[position] = made

    def _bury(self, i: int) -> None:
        """Replace a dead worker; the file it was at is tried once more."""
        dead = self._workers[i]
        self._workers[i] = self._hire()
        dead.close()
        position, found = suspect = dead.tasks.popleft()
        self._again.extend(dead.tasks)
        self._deaths[position] += 1
        if self._deaths[position] < MAX_DEATHS:
            self._again.append(suspect)
            return
        code = dead.process.exitcode
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        error = AudioError(
            f"{show_path(found.path)}: the process that decoded it died twice ({how}). "
            "Check the file, and whether there is enough memory."
        )
        self._made[position] = Made(found, error=error)


def _serve(connection: Connection, weights: Path, precision: str, known: Set[str]) -> None:
    """Prepare the files that come through a pipe until it is closed."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    torch.set_num_threads(1)
    extractor = load_extractor(weights, precision=precision)
    while True:
        try:
            found = connection.recv()
        except EOFError:
            return
        try:
            made: Made | Exception = prepare_file(found, [extractor], known=known)
        except Exception as error:  # a fault of ours: raised where the crew works
            made = error
        try:
            connection.send(made)
        except OSError:  # nobody is there any more
            return
