"""Speed and memory of taking music in: where the time goes, and what a two-hour file needs.

Takes every n-th track of a folder into a fresh catalogue, one process, and prints tracks/s, x real
time and the share of decode, features, extractor and store.  Then embeds a two-hour 44.1 kHz stereo
WAV of tones and noise in a process of its own and prints its peak memory beside that of a
three-minute one.

Examples
--------
::

    python benchmarks/speed.py corpus/test --every 4
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from auditor.config import DEFAULT_EXTRACTOR

RATE_HZ = 44_100


def take_in(folder: Path, every: int, extractor: str, n_threads: int) -> None:
    import torch

    from auditor.ingest import ingest
    from auditor.walk import find_audio
    from auditor.workspace import open_workspace

    torch.set_num_threads(n_threads)
    files = [file.path for file in find_audio([folder]).files][::every]
    with (
        tempfile.TemporaryDirectory() as directory,
        open_workspace(directory, extractor=extractor) as workspace,
    ):
        started, cpu = time.perf_counter(), time.process_time()
        done = ingest(workspace, files)
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        mb = (Path(directory) / "catalogue.sqlite3").stat().st_size / 1e6
    n = done.counts["embedded"]
    print(
        f"{n} tracks, {done.audio_s / 3600:.2f} h: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU; "
        f"{n / wall_s:.2f} tracks/s, {done.audio_s / wall_s:.0f} x real time "
        f"({done.audio_s / cpu_s:.0f} x per CPU second), catalogue {mb:.1f} MB"
    )
    other = wall_s - sum(done.seconds.values())
    for stage, seconds in [*done.seconds.items(), ("hash, tags, the rest", other)]:
        print(f"  {stage:<22} {seconds:7.2f} s  {100 * seconds / wall_s:5.1f} %")


def write_long(path: Path, duration_s: int) -> None:
    """Write a stereo WAV second by second."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE_HZ) / RATE_HZ
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        for _ in range(duration_s):
            tone = np.sin(2 * np.pi * rng.choice([220, 330, 440, 660]) * t) * 0.3
            stereo = np.stack([tone, tone]) + rng.normal(0, 0.02, (2, RATE_HZ))
            file.writeframes((stereo.T * 32767).astype("<i2").tobytes())


def embed_one(path: str, extractor: str) -> None:
    from auditor.embed import embed_file
    from auditor.extractor import load_extractor

    started = time.perf_counter()
    loaded = load_extractor(extractor)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    embedded = embed_file(path, [loaded])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{embedded.duration_s:.0f} s of audio: peak {peak:.0f} MB resident, {base:.0f} MB of it "
        f"before the file was opened; {time.perf_counter() - started:.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--embed-one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.embed_one:
        embed_one(str(args.folder), args.extractor)
        return 0
    take_in(args.folder, args.every, args.extractor, args.threads)
    with tempfile.TemporaryDirectory() as directory:
        for duration_s in (180, round(args.hours * 3600)):
            path = Path(directory) / f"{duration_s}.wav"
            write_long(path, duration_s)
            command = [sys.executable, __file__, str(path), "--embed-one"]
            subprocess.run([*command, "--extractor", args.extractor], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
