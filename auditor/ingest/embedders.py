"""Files embedded by several processes of this machine.

On a CPU each worker decodes and embeds whole files with one thread: nothing but a path goes in and
d-vectors come out.  Beside a GPU the workers only decode, and this process embeds the windows of
many tracks at once.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.audio.files import FoundFile
from auditor.embedding.config import GPU_BATCH, FeatureConfig
from auditor.embedding.embed import (
    DecodedFile,
    EmbeddedFile,
    decode_file,
    embed_windows,
    too_short,
)
from auditor.embedding.extractor import Extractor, load_extractor
from auditor.embedding.frames import WindowCutter, window_levels
from auditor.embedding.pooling import pool_dvectors
from auditor.errors import UsageError, show_path
from auditor.ingest.prepare import Embedder, PreparedFile, SerialEmbedder, prepare_file, read_file
from auditor.ingest.worker_pool import WorkerPool

FEW = 8
"""Fewer files are embedded in this process."""

MAX_DECODED_S = 1800.0
"""A longer file is embedded piece by piece in this process; its frames would fill the memory."""

GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One is there where Linux has a GPU that torch may use; to look costs less than torch's import."""

DECODED_AHEAD = 3
"""Files for each worker whose frames may wait for the GPU, some 7 MB for four minutes."""


def make_embedder(
    extractor: Extractor, *, jobs: int, device: str = "cpu", batch: int = GPU_BATCH
) -> Embedder:
    """Return what embeds files on this machine.

    Parameters
    ----------
    extractor : Extractor
        Loaded from a file.
    jobs : int
        Worker processes; with 1 and no GPU, no other process is started.
    device : "cpu", "cuda" or "auto"
        ``auto`` takes the GPU where there is one.
    batch : int
        Windows embedded at once on a GPU.

    Raises
    ------
    UsageError
        If there is no GPU and one was asked for.
    """
    has_gpu = device == "cuda" or (device == "auto" and any(map(os.path.exists, GPU_FILES)))
    has_gpu = has_gpu and _has_gpu()
    if device == "cuda" and not has_gpu:
        raise UsageError(
            "there is no GPU that torch can use. Give --device cpu, or install "
            "'auditor[train]' with a CUDA build of torch, and the driver."
        )
    if not has_gpu:
        return ProcessEmbedder(extractor, jobs=jobs)
    return BatchEmbedder(extractor.on_gpu(), jobs=jobs, batch=batch)


def _has_gpu() -> bool:
    """Return whether torch is installed and sees a GPU."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@dataclass(frozen=True)
class EmbedWork:
    """Decode and embed a file."""

    weights: Path
    precision: str
    known: Set[str]

    def start(self) -> Callable[[FoundFile], PreparedFile]:
        """See ``worker_pool.FileWork``."""
        extractor = load_extractor(self.weights, precision=self.precision)
        return functools.partial(prepare_file, extractors=[extractor], known=self.known)


@dataclass(frozen=True)
class DecodeWork:
    """Decode a file into frames."""

    features: FeatureConfig
    known: Set[str]
    max_s: float

    def start(self) -> Callable[[FoundFile], PreparedFile]:
        """See ``worker_pool.FileWork``."""
        hear = functools.partial(decode_file, features=self.features, max_s=self.max_s)
        return functools.partial(read_file, make=hear, known=self.known)


class ProcessEmbedder:
    """Embeds files on a CPU, in worker processes.

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
        self._weights = extractor.path

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """See ``prepare.Embedder.embed``."""
        files = iter(files)
        first = list(itertools.islice(files, FEW))
        files = itertools.chain(first, files)
        if self._jobs == 1 or len(first) < FEW:
            yield from SerialEmbedder([self._extractor]).embed(files, known=known)
            return
        work = EmbedWork(self._weights, self._extractor.precision, known)
        with WorkerPool(work, self._jobs) as pool:
            yield from pool.run(files)


class BatchEmbedder:
    """Embeds the windows of many files at once, where the extractor is, while workers decode.

    Parameters
    ----------
    extractor : Extractor
        On its device.
    jobs : int
        Processes that decode.
    batch : int
        Windows embedded at once.
    max_decoded_s : float
        Files that last longer, in seconds, are embedded piece by piece in this process.

    Raises
    ------
    ValueError
        If ``jobs`` or ``batch`` is below 1.
    """

    def __init__(
        self,
        extractor: Extractor,
        *,
        jobs: int,
        batch: int = GPU_BATCH,
        max_decoded_s: float = MAX_DECODED_S,
    ) -> None:
        if jobs < 1 or batch < 1:
            raise ValueError(f"jobs is {jobs} and batch {batch}; both must be at least 1")
        self._extractor, self._jobs, self._batch = extractor, jobs, batch
        self._max_decoded_s = max_decoded_s

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """See ``prepare.Embedder.embed``."""
        waiting: deque[_WaitingFile] = deque()
        n_windows = 0
        work = DecodeWork(self._extractor.config.features, known, self._max_decoded_s)
        with WorkerPool(work, self._jobs, files_ahead=DECODED_AHEAD) as pool:
            for done in pool.run(files):
                file = self._take(done, known)
                waiting.append(file)
                n_windows += len(file.windows)
                if n_windows >= self._batch:
                    yield from self._finish(waiting)
                    n_windows = 0
            yield from self._finish(waiting)

    def _take(self, done: PreparedFile, known: Set[str]) -> _WaitingFile:
        """Cut what a worker decoded into windows; what was too long for it is embedded here."""
        config = self._extractor.config
        none = np.zeros((0, config.window_frames, config.features.n_bands), np.float32)
        if done.prepared is None:
            return _WaitingFile(done, none)
        decoded = done.prepared.embedded
        if not isinstance(decoded, DecodedFile):
            return _WaitingFile(prepare_file(done.found, [self._extractor], known=known), none)
        cutter = WindowCutter(config, batch=self._batch)
        frames = decoded.frames
        cut = [*(cutter.feed(frames) if len(frames) else ()), *cutter.finish()]
        if cut:
            return _WaitingFile(done, np.concatenate(cut))
        path = show_path(done.found.path)
        error = too_short(path, decoded.duration_s, [self._extractor])
        return _WaitingFile(PreparedFile(done.found, done.sha256, error=error), none)

    def _finish(self, waiting: deque[_WaitingFile]) -> Generator[PreparedFile]:
        """Embed the windows of all files that wait, and yield them in order."""
        if not waiting:
            return
        dvectors = embed_windows(
            self._extractor, np.concatenate([file.windows for file in waiting]), batch=self._batch
        )
        start = 0
        while waiting:
            one = waiting.popleft()
            end = start + len(one.windows)
            yield self._embedded(one, dvectors[start:end]) if end > start else one.done
            start = end

    def _embedded(self, one: _WaitingFile, dvectors: np.ndarray) -> PreparedFile:
        assert one.done.prepared is not None
        decoded = one.done.prepared.embedded
        pooled = pool_dvectors(dvectors, window_levels(one.windows))
        embedded = EmbeddedFile(
            decoded.info,
            decoded.duration_s,
            decoded.truncated,
            not pooled.embedding.any(),
            {self._extractor.weights_id: pooled},
            decoded.seconds,
            decoded.spectrum,
        )
        prepared = dataclasses.replace(one.done.prepared, embedded=embedded)
        return dataclasses.replace(one.done, prepared=prepared)


@dataclass(frozen=True)
class _WaitingFile:
    """A file that waits for its d-vectors; no window if it is done with."""

    done: PreparedFile
    windows: np.ndarray
