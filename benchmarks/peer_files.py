"""The files that the peers of a comparison read, and the fingerprints they make of them.

``benchmarks/copies.py`` writes ``<folder>/<original or alteration>/<row>.wav``.  A fingerprint is
an array of whatever kind, kept as ``<cache>/<original or alteration>/<row>.npy`` and made again
only where the WAV file is newer, so a killed run resumes; ``<cache>/cost.json`` says what the
fingerprints took.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import wave
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from copies import ORIGINAL, copy_name
from evaluation import Scores

from auditor.errors import UsageError


def read_wav(path: Path) -> np.ndarray:
    """Return what ``copies.write_wav`` wrote, (n_samples,) float32 in [-1, 1]."""
    with wave.open(str(path), "rb") as file:
        samples = file.readframes(file.getnframes())
    return np.frombuffer(samples, "<i2").astype(np.float32) / 32767.0


def duration_s(path: Path) -> float:
    """Return the length of a WAV file in seconds."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()


def cpu_s() -> float:
    """Return CPU seconds of this process and of the children it has waited for."""
    return sum(os.times()[:4])


def find_files(
    folder: Path, n_tracks: int, kinds: Iterable[str], every: int
) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Return the originals and, for each alteration, the tracks whose copies are there.

    Raises
    ------
    UsageError
        If an original is missing, or there is no copy.
    """
    originals = [folder / ORIGINAL / copy_name(row) for row in range(n_tracks)]
    missing = [path for path in originals if not path.exists()]
    if missing:
        raise UsageError(
            f"{len(missing)} of {n_tracks} originals are missing, {missing[0]} among them. "
            "Run: python benchmarks/copies.py corpus --role ROLE"
        )
    rows = {
        kind: [
            row for row in range(0, n_tracks, every) if (folder / kind / copy_name(row)).exists()
        ]
        for kind in kinds
    }
    if not any(rows.values()):
        raise UsageError(f"{folder}: no copies. Run: python benchmarks/copies.py corpus")
    return originals, {kind: np.asarray(found) for kind, found in rows.items() if found}


def is_current(made: Path, sources: Iterable[Path]) -> bool:
    """Return whether a file exists and none of its sources is newer."""
    if not made.exists():
        return False
    made_ns = made.stat().st_mtime_ns
    return all(source.stat().st_mtime_ns <= made_ns for source in sources)


def place_of(path: Path) -> str:
    """Return ``<original or alteration>/<row>`` of a file."""
    return f"{path.parent.name}/{path.stem}"


def add_cost(cache: Path, seconds: float, audio_s: float, *, side: str = "all") -> None:
    """Add CPU seconds and seconds of audio to what the fingerprints of a cache took so far.

    Parameters
    ----------
    side : str
        Which fingerprints, where those of queries cost more than those of references.
    """
    path = cache / "cost.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    costs = json.loads(path.read_text()) if path.exists() else {}
    cost = costs.get(side, {"cpu_s": 0.0, "audio_s": 0.0})
    costs[side] = {"cpu_s": cost["cpu_s"] + seconds, "audio_s": cost["audio_s"] + audio_s}
    path.write_text(json.dumps(costs))


def read_costs(cache: Path) -> dict[str, float]:
    """Return CPU seconds per hour of audio that the fingerprints below a folder took, by side."""
    spent: dict[str, list[float]] = {}
    for path in sorted(cache.rglob("cost.json")):
        for side, cost in json.loads(path.read_text()).items():
            total = spent.setdefault(side, [0.0, 0.0])
            total[0] += cost["cpu_s"]
            total[1] += cost["audio_s"]
    return {side: 3600.0 * seconds / audio_s for side, (seconds, audio_s) in spent.items()}


def fingerprint_files(
    paths: list[Path], make: Callable[[Path], np.ndarray], cache: Path, jobs: int
) -> list[np.ndarray]:
    """Return the fingerprint of each file, from the cache where it is there.

    Parameters
    ----------
    paths : list of pathlib.Path
        ``.../<kind>/<row>.wav``.
    make : callable
        From a file to an array, empty where the file holds too little; picklable.
    cache : pathlib.Path
        Takes ``<kind>/<row>.npy`` and ``cost.json``.
    jobs : int
        Processes.
    """
    stored = [cache / f"{place_of(path)}.npy" for path in paths]
    todo = [
        (p, out, make) for p, out in zip(paths, stored, strict=True) if not is_current(out, [p])
    ]
    with contextlib.ExitStack() as stack:
        work = map
        if jobs > 1 and todo:
            spawn = get_context("spawn")
            pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_use_one_thread)
            work = stack.enter_context(pool).map
        for (path, *_), seconds in zip(todo, work(_store_one, todo), strict=True):
            add_cost(cache, seconds, duration_s(path))
    return [np.load(path, allow_pickle=False) for path in stored]


def _use_one_thread() -> None:
    from auditor.parallel import one_thread

    one_thread()


def _store_one(task: tuple[Path, Path, Callable[[Path], np.ndarray]]) -> float:
    path, out, make = task
    out.parent.mkdir(parents=True, exist_ok=True)
    before = cpu_s()
    fingerprint = make(path)
    seconds = cpu_s() - before
    part = out.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, fingerprint, allow_pickle=False)
    part.replace(out)
    return seconds


def score_fingerprints(
    originals: list[Path],
    rows: dict[str, np.ndarray],
    fingerprint: Callable[[list[Path]], list[np.ndarray]],
    score: Callable[[list[np.ndarray], list[np.ndarray]], np.ndarray],
) -> Scores:
    """Score originals and copies against originals.

    Parameters
    ----------
    originals : list of pathlib.Path
    rows : dict of numpy.ndarray
        Of ``find_files``.
    fingerprint : callable
        From files to their fingerprints.
    score : callable
        ``(queries, references)`` to (n_queries, n_references).
    """
    references = fingerprint(originals)
    copies = {}
    for kind, found in rows.items():
        folder = originals[0].parent.parent / kind
        copies[kind] = score(fingerprint([folder / copy_name(row) for row in found]), references)
        print(f"{kind}: {len(found)} copies", file=sys.stderr, flush=True)
    return Scores(score(references, references), copies, rows)
