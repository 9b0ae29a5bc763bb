"""Altered copies of a role of the corpus, as files that every system of a comparison reads.

Each track is cut to its first ``--max-s`` seconds and written as it is (folder ``original``); every
``--every``-th one is also altered in all ways of the benchmark's table, one folder for each.  Files
are mono WAV of 16 bit at 16 kHz, 32 kB a second, named by the track's place in the sorted corpus.
What exists is kept, so a killed run goes on where it was; the same corpus gives the same copies.

Examples
--------
::

    python benchmarks/copies.py corpus --role test --every 2 --max-s 90
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import wave
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import find_audio
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.errors import AudioError

SEED = 20_261_122
ORIGINAL = "original"


@dataclass(frozen=True)
class Job:
    """One track and the copies to be made of it."""

    path: str
    other: str
    name: str
    alterations: tuple[str, ...]
    max_s: float
    folder: Path


def other_row(row: int, n: int) -> int:
    """Return the track that is mixed into, or hosts, the copies of a track."""
    return (row + n // 2) % n


def copy_name(row: int) -> str:
    """Return the file name of the copies of a track."""
    return f"{row:04d}.wav"


def copies_folder(cache: Path, role: str, max_s: float) -> Path:
    """Return where the copies of a role lie."""
    return cache / f"{role}-{max_s:g}s"


def write_wav(path: Path, waveform: np.ndarray) -> None:
    """Write 16-bit samples; what lies above full scale is clipped."""
    part = path.with_suffix(".part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
    part.replace(path)


def make_copies(job: Job) -> int:
    """Write the copies that are not there yet; return how many were made."""
    from auditor.parallel import one_thread

    one_thread()
    wanted = [k for k in (ORIGINAL, *job.alterations) if not (job.folder / k / job.name).exists()]
    waveforms: dict[str, np.ndarray] = {}

    def waveform_of(path: str) -> np.ndarray:
        if path not in waveforms:
            waveforms[path] = load_waveform(path, duration_s=job.max_s)
        return waveforms[path]

    for kind in wanted:
        try:
            altered = waveform_of(job.path)
            if kind != ORIGINAL:
                other = waveform_of(job.other) if ALTERATIONS[kind].needs_other else None
                seed = int.from_bytes(hashlib.sha256(f"{job.name}|{kind}".encode()).digest()[:4])
                altered = ALTERATIONS[kind](altered, np.random.default_rng([SEED, seed]), other)
        except (AudioError, ValueError) as error:
            print(f"{job.path}: {kind}: {error}", file=sys.stderr)
            continue
        write_wav(job.folder / kind / job.name, altered)
    return len(wanted)


def corpus_paths(corpus: Path, role: str) -> list[str]:
    """Return the files of a role in their order."""
    return [file.path.decode() for file in find_audio([corpus / role]).files]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--every", type=int, default=2, help="copies of every n-th track only")
    parser.add_argument("--max-s", type=float, default=90.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/copies"))
    args = parser.parse_args()
    paths = corpus_paths(args.corpus, args.role)
    folder = copies_folder(args.cache, args.role, args.max_s)
    for kind in (ORIGINAL, *ALTERATIONS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(
            path,
            paths[other_row(i, len(paths))],
            copy_name(i),
            tuple(ALTERATIONS) if i % args.every == 0 else (),
            args.max_s,
            folder,
        )
        for i, path in enumerate(paths)
    ]
    started, n_made = time.monotonic(), 0
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for done, n in enumerate(pool.map(make_copies, jobs), 1):
            n_made += n
            if done % 20 == 0 or done == len(jobs):
                seconds = time.monotonic() - started
                print(f"{done}/{len(jobs)} tracks, {n_made} files, {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
