"""Band frames of the training music, computed once and memory-mapped afterwards.

Training reads the same tracks thousands of times, so each file is decoded once into
``<directory>/<hash of content and feature config>.npy`` (float16 dB).  A killed run keeps what it
has; a file that cannot be decoded is named and skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from auditor.audio.files import hash_file
from auditor.embedding.config import FeatureConfig
from auditor.errors import AudioError, AuditError, show_path
from auditor.parallel import AHEAD, OnProgress, begin_worker, end_pool, map_ahead, worker_context
from auditor.serialisation import partial_file, put_in_place, to_json


@dataclass(frozen=True)
class StoredFrames:
    """Where the frames of one file lie.

    Attributes
    ----------
    source : pathlib.Path
        The audio file.
    sha256 : str
        Of its bytes.
    path : pathlib.Path
        The ``.npy`` file; empty if ``error`` is set.
    error : str
        Why the file was skipped; empty if it was not.
    """

    source: Path
    sha256: str
    path: Path
    error: str = ""

    def load(self) -> np.ndarray:
        """Return (n_frames, n_bands) float16 dB, memory-mapped."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


def store_frames(
    sources: Iterable[Path],
    directory: Path,
    features: FeatureConfig,
    *,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> list[StoredFrames]:
    """Compute and store the frames of each file that is not stored yet.

    Parameters
    ----------
    sources : iterable of pathlib.Path
        Audio files.
    directory : pathlib.Path
        Created if absent.
    features : FeatureConfig
    jobs : int
        Processes, one thread each.
    on_progress : callable, optional
        Called with the number of files done and the number of all.

    Returns
    -------
    list of StoredFrames
        In the order of ``sources``.

    Raises
    ------
    AuditError
        If one of several processes died; what is stored by then is kept.
    """
    sources = list(sources)
    directory.mkdir(parents=True, exist_ok=True)
    tasks = [(source, directory, features) for source in sources]
    done: list[StoredFrames] = []
    with contextlib.ExitStack() as stack:
        results: Iterable[StoredFrames] = map(_store_one, tasks)
        if jobs > 1:
            pool = ProcessPoolExecutor(jobs, mp_context=worker_context(), initializer=begin_worker)
            stack.push(lambda kind, *_error: end_pool(pool, kind))
            results = map_ahead(pool, _store_one, tasks, n_ahead=AHEAD * jobs)
        try:
            for result in results:
                done.append(result)
                if on_progress:
                    on_progress(len(done), len(sources))
        except BrokenProcessPool:
            raise AuditError(
                f"a process that decodes music died after {len(done):,} of {len(sources):,} files; "
                "it may have run out of memory, or met a file that crashes the decoder. "
                "Run it again with --jobs 1; what is decoded is kept."
            ) from None
    return done


def _is_whole(path: Path, n_bands: int) -> bool:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return frames.ndim == 2 and frames.shape[1] == n_bands and frames.dtype == np.float16


def write_frames(file: BinaryIO, frames: np.ndarray) -> None:
    """Write an array as ``numpy.save`` does, with errors of the disk that say what is wrong."""
    np.lib.format.write_array(_Sink(file), frames, allow_pickle=False)


class _Sink:
    """A file of which NumPy sees ``write`` alone: its own writing loses the number of an error."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _store_one(task: tuple[Path, Path, FeatureConfig]) -> StoredFrames:
    from auditor.audio.isolated import hear
    from auditor.embedding.frames import LogBands, stream_frames

    source, directory, features = task
    layout = hashlib.sha256(json.dumps(to_json(features), sort_keys=True).encode()).hexdigest()[:8]
    try:
        sha256 = hash_file(source)
        path = directory / f"{sha256[:24]}-{layout}.npy"
        if _is_whole(path, features.n_bands):
            return StoredFrames(source, sha256, path)
        frames = hear(
            source,
            lambda reader: [
                f.astype(np.float16) for f in stream_frames(reader.blocks(), LogBands(features))
            ],
        )
        if not frames:
            return StoredFrames(source, sha256, Path(), "too short for one frame")
    except (AudioError, OSError) as error:
        return StoredFrames(source, "", Path(), str(error) or show_path(source))
    with partial_file(directory) as partial:
        with partial.open("wb") as file:
            write_frames(file, np.concatenate(frames))
        put_in_place(partial, path)
    return StoredFrames(source, sha256, path)
