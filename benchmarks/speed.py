"""Speed and memory of taking music in, beside ``fpcalc`` and beside decoding alone.

Takes the files of a folder in blocks and has every system deal with each block before the next one
begins, so that what else the machine does falls on all of them alike.  Prints CPU seconds, x real
time per CPU second, and the share of each stage.  With ``--jobs`` above 1, wall seconds of that
many processes.  Then embeds a two-hour 44.1 kHz stereo WAV of tones and noise in a process of its
own and prints its peak memory beside that of a three-minute one.

Examples
--------
::

    python benchmarks/formats.py corpus/test runs/formats
    python benchmarks/speed.py runs/formats
    python benchmarks/speed.py runs/formats --jobs 2
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from auditor.embedding.config import DEFAULT_EXTRACTOR, PRECISIONS

RATE_HZ = 44_100
N_BLOCKS = 5

Stages = dict[str, float]


def fingerprint(path: bytes) -> None:
    """Run fpcalc on a whole file."""
    command = ["fpcalc", "-raw", "-length", "0", "-ignore-errors", os.fsdecode(path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def decode_only(path: bytes) -> None:
    """Decode a file by FFmpeg and drop the samples as they come."""
    import av

    with av.open(os.fsdecode(path), metadata_errors="replace") as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def read_only(path: bytes) -> None:
    """Decode a file as audit does, to 16 kHz mono."""
    from auditor.audio.decode import AudioReader

    with AudioReader(path) as reader:
        for _ in reader.blocks():
            pass


def each(work: Callable[[bytes], None], files: list[bytes], jobs: int) -> Stages:
    if jobs == 1:
        for path in files:
            work(path)
    else:
        with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
            list(pool.map(work, files))
    return {}


def take_in(files: list[bytes], extractor: str, precision: str, jobs: int) -> Stages:
    """Ingest files into a fresh catalogue."""
    from auditor.ingest.embedders import make_embedder
    from auditor.ingest.session import ingest
    from auditor.parallel import one_thread
    from auditor.workspace import open_workspace

    one_thread()
    with (
        tempfile.TemporaryDirectory() as directory,
        open_workspace(
            directory, extractor=extractor, precision=precision, write=True
        ) as workspace,
    ):
        done = ingest(workspace, files, embedder=make_embedder(workspace.extractor, jobs=jobs))
    return {**done.seconds, "audio": done.audio_s}


def systems(extractor: str, jobs: int) -> dict[str, Callable[[list[bytes]], Stages]]:
    """Return what is compared, by name."""
    found: dict[str, Callable[[list[bytes]], Stages]] = {
        "FFmpeg's decoding alone": lambda files: each(decode_only, files, jobs),
        "decoding to 16 kHz mono": lambda files: each(read_only, files, jobs),
    }
    if shutil.which("fpcalc"):
        found["fpcalc"] = lambda files: each(fingerprint, files, jobs)
    else:
        print("fpcalc is not installed and left out (Debian: libchromaprint-tools)")
    for precision in PRECISIONS:
        found[f"audit, {precision}"] = lambda files, precision=precision: take_in(
            files, extractor, precision, jobs
        )
    return found


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(folder: Path, extractor: str, jobs: int, n_blocks: int) -> None:
    """Print the table of systems, and that of stages."""
    from auditor.audio.files import find_audio

    files = [file.path for file in find_audio([folder]).files]
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    stages: dict[str, Stages] = defaultdict(lambda: defaultdict(float))
    compared = systems(extractor, jobs)
    take_in(files[:1], extractor, PRECISIONS[0], 1)  # what is imported counts for nobody
    for block in range(n_blocks):
        for name, run in compared.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            for stage, seconds in run(files[block::n_blocks]).items():
                stages[name][stage] += seconds
            spent[name][0] += cpu_seconds() - cpu
            spent[name][1] += time.perf_counter() - wall
        print(f"block {block + 1} of {n_blocks} done", file=sys.stderr, flush=True)
    which = 0 if jobs == 1 else 1
    audio_s = stages[f"audit, {PRECISIONS[0]}"]["audio"]
    alone = spent["decoding to 16 kHz mono"][which]
    print(f"{len(files)} files, {audio_s / 3600:.2f} h, {jobs} process(es)\n")
    unit = "CPU s" if jobs == 1 else "wall s"
    print(f"| system | {unit} | x real time | of fpcalc | of decoding to 16 kHz mono |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in spent.items():
        beside = f"{seconds[which] / spent['fpcalc'][which]:.2f}" if "fpcalc" in spent else "-"
        print(
            f"| {name} | {seconds[which]:.1f} | {audio_s / seconds[which]:.0f} | {beside} | "
            f"{seconds[which] / alone:.2f} |"
        )
    if jobs > 1:
        return
    print("\n| stage | " + " | ".join(PRECISIONS) + " |\n| --- | --- | --- |")
    told = [stages[f"audit, {precision}"] for precision in PRECISIONS]
    totals = [spent[f"audit, {precision}"][1] for precision in PRECISIONS]
    rests = [
        t - sum(v for k, v in s.items() if k != "audio") for t, s in zip(totals, told, strict=True)
    ]
    for stage in [stage for stage in told[0] if stage != "audio"]:
        print(f"| {stage} | " + " | ".join(f"{s[stage]:.1f} s" for s in told) + " |")
    print("| opening, hash, tags, the rest | " + " | ".join(f"{r:.1f} s" for r in rests) + " |")


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
    from auditor.embedding.embed import embed_file
    from auditor.embedding.extractor import load_extractor

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
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=N_BLOCKS)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--embed-one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.embed_one:
        embed_one(str(args.folder), args.extractor)
        return 0
    compare(args.folder, args.extractor, args.jobs, args.blocks)
    with tempfile.TemporaryDirectory() as directory:
        for duration_s in (180, round(args.hours * 3600)) if args.jobs == 1 else ():
            path = Path(directory) / f"{duration_s}.wav"
            write_long(path, duration_s)
            command = [sys.executable, __file__, str(path), "--embed-one"]
            subprocess.run([*command, "--extractor", args.extractor], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
