"""A scan on Ray: speed-up, overhead, and the schedule of tiles for far more tracks.

``speed`` scans the same music with one process, with two, and on Ray with one and two workers, and
prints where the time goes.  ``tiles`` measures what single tiles take and weigh.  ``schedule``
simulates a scan of a hundred million tracks from such figures: workers that fail, and tiles that
take far longer than others.

Examples
--------
::

    python benchmarks/cluster.py speed corpus/test --every 4
    python benchmarks/cluster.py tiles corpus/test --every 2
    python benchmarks/cluster.py schedule --tracks 1e8 --workers 1000 4000
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.distributed.embedder import RayEmbedder
from auditor.distributed.ray_tiles import RayTiles
from auditor.distributed.storage import Storage

N_CANDIDATES = 11.0
"""Distinct candidate pairs of a track in a large catalogue: 5 by embedding and 10 by excerpt, some
of them proposed twice."""


# Speed.


def timed_scan(folder: Path, files: list[bytes], how: Callable) -> dict[str, float]:
    """Scan some files into a fresh workspace; return the seconds of embedding and of the rest."""
    from auditor.api.run import Options
    from auditor.api.scan import scan
    from auditor.workspace import open_workspace

    with open_workspace(folder, write=True) as workspace, how(workspace) as (embedder, tiles):
        embedded_at = []
        started = time.perf_counter()
        result = scan(
            workspace,
            files,
            options=Options(threshold=0.45),
            embedder=embedder,
            tiles=tiles,
            on_event=lambda event: embedded_at.append(time.perf_counter()),
        )
        ended = time.perf_counter()
    return {
        "tracks": result.n_tracks,
        "pairs": result.n_pairs_compared,
        "embedding": embedded_at[-1] - started,
        "comparison": ended - embedded_at[-1],
    }


def speed(music: Path, every: int) -> None:
    import contextlib
    import logging

    import ray

    from auditor.audio.files import find_audio
    from auditor.ingest.embedders import make_embedder
    from auditor.parallel import LocalTiles

    files = [found.path for found in find_audio([music]).files][::every]

    @contextlib.contextmanager
    def local(jobs: int, workspace):
        with LocalTiles(jobs) as tiles:
            yield make_embedder(workspace.extractor, jobs=jobs), tiles

    @contextlib.contextmanager
    def on_ray(n: int, workspace):
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        ray.init(address="local", num_cpus=n, object_store_memory=100 * 2**20, **quiet)
        with tempfile.TemporaryDirectory() as folder:
            warm = RayEmbedder(workspace.extractor, Storage(f"{folder}/warm"), n_files=1)
            list(warm.embed(find_audio(files[: 2 * n]).files))  # the workers have started
            shared = Storage(folder)
            yield RayEmbedder(workspace.extractor, shared, n_files=4), RayTiles(shared)
        ray.shutdown()

    found: dict[str, dict[str, float]] = {}
    ways = {
        "1 process": lambda workspace: local(1, workspace),
        "Ray, 1 worker": lambda workspace: on_ray(1, workspace),
        "2 processes": lambda workspace: local(2, workspace),
        "Ray, 2 workers": lambda workspace: on_ray(2, workspace),
    }
    for name, how in [*ways.items()] * 2:  # the better of two: other work runs on the machine
        with tempfile.TemporaryDirectory() as folder:
            row = timed_scan(Path(folder), files, how)
        best = found.setdefault(name, row)
        found[name] = {key: min(value, best[key]) for key, value in row.items()}
    one = found["1 process"]
    print(f"{one['tracks']} tracks, {one['pairs']} candidate pairs")
    print("| | embedding, s | comparison, s | together, s | speed-up | more than 1 process |")
    print("|---|---|---|---|---|---|")
    total = {name: row["embedding"] + row["comparison"] for name, row in found.items()}
    for name, row in found.items():
        base = "Ray, 1 worker" if name.startswith("Ray") else "1 process"
        more_ms = 1000 * (total[name] - total["1 process"]) / one["tracks"]
        print(
            f"| {name} | {row['embedding']:.1f} | {row['comparison']:.1f} | {total[name]:.1f} | "
            f"{total[base] / total[name]:.2f} | {more_ms:+.0f} ms a track |"
        )


# What tiles take.


class TimedTiles:
    """Does tiles here, one after the other, and notes what each takes and weighs."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.sizes: dict[str, list[int]] = {}
        self.n_parts: dict[str, list[int]] = {}

    def publish(self, reader, *, with_excerpts: bool):
        return reader

    def map(self, work, parts: Iterable) -> Iterator:
        name = type(work).__name__
        for part in parts:
            started = time.perf_counter()
            result = work(part)
            self.seconds.setdefault(name, []).append(time.perf_counter() - started)
            self.sizes.setdefault(name, []).append(len(work.pack(result)))
            n = part[1] - part[0] if isinstance(part, tuple) else len(part)
            self.n_parts.setdefault(name, []).append(n)
            yield result


def tiles(music: Path, every: int) -> None:
    from auditor.api.run import Options
    from auditor.api.scan import scan
    from auditor.audio.files import find_audio
    from auditor.distributed.snapshot_writer import write_snapshot
    from auditor.ingest.embedders import make_embedder
    from auditor.parallel import one_thread
    from auditor.scoring import candidates as proposals
    from auditor.scoring import examine as examination
    from auditor.scoring.track_reader import CatalogueReader
    from auditor.search.all_pairs import TILE_ROWS, NearestTile, PairsTile
    from auditor.workspace import open_workspace

    one_thread()
    examination.TILE_PAIRS, proposals.TILE_TRACKS = 32, 8  # there are few tracks
    noted = TimedTiles()
    with tempfile.TemporaryDirectory() as folder, open_workspace(folder, write=True) as workspace:
        files = [found.path for found in find_audio([music]).files][::every]
        embedder = make_embedder(workspace.extractor, jobs=2)
        result = scan(workspace, files, options=Options(threshold=0.45), embedder=embedder)
        hours = workspace.catalogue.stats()["hours"]
        scan(workspace, options=Options(threshold=0.45), tiles=noted)
        shared = Path(folder) / "shared"
        started = time.perf_counter()
        write_snapshot(Storage(str(shared)), CatalogueReader.of(workspace), with_excerpts=True)
        snapshot_s = time.perf_counter() - started
        sizes = {
            kind: sum(path.stat().st_size for path in shared.rglob(pattern)) / result.n_tracks
            for kind, pattern in (
                ("embeddings", "embeddings-*"),
                ("d-vectors and spectra", "tracks-*"),
                ("excerpt index", "*.ann"),
            )
        }
    n = result.n_tracks
    print(
        f"{n} tracks of {3600 * hours / n:.0f} s; snapshot: {1e3 * snapshot_s / n:.1f} ms a track"
    )
    for kind, size in sizes.items():
        print(f"  {kind:<24} {size / 1e3:8.1f} kB a track")
    rows = np.random.default_rng(0).normal(size=(2 * TILE_ROWS, 256)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    class Reader:
        def embeddings(self, start: int, end: int) -> np.ndarray:
            return rows[start:end]

    for work in (NearestTile(Reader(), 6), PairsTile(Reader(), 0.99, 1000)):
        list(noted.map(work, [(0, TILE_ROWS, TILE_ROWS, 2 * TILE_ROWS)] * 3))
        name = type(work).__name__
        for values in (noted.seconds, noted.sizes, noted.n_parts):
            values[name] = values[name][-3:]
    print("| tile | of | s, mean | s, highest / mean | ms each | bytes each |")
    print("|---|---|---|---|---|---|")
    for name, seconds in noted.seconds.items():
        many, sizes = np.array(noted.n_parts[name]), np.array(noted.sizes[name])
        each = np.array(seconds) / many
        print(
            f"| {name} | {many.max()} | {np.mean(seconds):.2f} | {each.max() / each.mean():.2f} | "
            f"{1e3 * np.sum(seconds) / many.sum():.3f} | {sizes.sum() / many.sum():.0f} |"
        )


# The schedule.


@dataclass(frozen=True)
class Pass:
    """One pass of a scan: its tiles, and seconds and bytes of each."""

    name: str
    n_tiles: int
    tile_s: float
    tile_bytes: float


@dataclass(frozen=True)
class Faults:
    """What goes wrong: slow tiles, and workers that die while they are at one."""

    straggling: float = 0.01
    straggle: float = 8.0
    spread: float = 0.3
    death_per_hour: float = 1e-3
    restart_s: float = 60.0


def makespan(one: Pass, n_workers: int, faults: Faults, rng: np.random.Generator) -> float:
    """Return the seconds of a pass whose tiles go to whichever worker is free, in order."""
    durations = rng.lognormal(-0.5 * faults.spread**2, faults.spread, one.n_tiles) * one.tile_s
    durations[rng.random(one.n_tiles) < faults.straggling] *= faults.straggle
    died = rng.random(one.n_tiles) < durations / 3600.0 * faults.death_per_hour
    durations[died] *= 1.0 + rng.random(int(died.sum()))  # what was done, and all of it again
    durations[died] += faults.restart_s
    free = [0.0] * n_workers
    for seconds in durations.tolist():
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def passes(n: float, args: argparse.Namespace) -> list[Pass]:
    """Return the passes of a scan of ``n`` tracks."""
    blocks = -(-n // args.rows)
    pairs = N_CANDIDATES * n
    nearest_s = args.nearest_ns * 1e-9 * args.rows**2
    return [
        Pass("embedding", int(-(-n // 32)), 32 * args.embed_s, 32 * args.track_kb * 1e3),
        Pass("nearest embeddings", int(blocks**2), nearest_s, args.rows * 6 * 12),
        Pass(
            "excerpts",
            int(-(-n // args.asking)),
            args.asking * args.excerpt_s,
            args.asking * args.excerpt_bytes,
        ),
        Pass(
            "examination",
            int(-(-pairs // args.pairs)),
            args.pairs * args.pair_s,
            args.pairs * args.pair_bytes,
        ),
    ]


def schedule(args: argparse.Namespace) -> None:
    faults = Faults()
    print(
        "| pass | tiles | s a tile | results, GB | core hours | "
        + " | ".join(f"{n:,} workers, h (busy)" for n in args.workers)
        + " |"
    )
    print("|---" * (5 + len(args.workers)) + "|")
    total = np.zeros(len(args.workers))
    for one in passes(args.tracks, args):
        work_h = one.n_tiles * one.tile_s / 3600
        shown = []
        for i, n in enumerate(args.workers):
            hours = makespan(one, n, faults, np.random.default_rng(0)) / 3600
            total[i] += hours
            shown.append(f"{hours:.1f} ({100 * work_h / n / hours:.0f} %)")
        print(
            f"| {one.name} | {one.n_tiles:,} | {one.tile_s:.1f} | "
            f"{one.n_tiles * one.tile_bytes / 1e9:,.0f} | {work_h:,.0f} | {' | '.join(shown)} |"
        )
    print("| together | | | | | " + " | ".join(f"{hours:.1f}" for hours in total) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("speed", "tiles"):
        command = commands.add_parser(name)
        command.add_argument("music", type=Path)
        command.add_argument("--every", type=int, default=4, help="take every n-th track")
    command = commands.add_parser("schedule")
    command.add_argument("--tracks", type=float, default=1e8)
    command.add_argument("--workers", type=int, nargs="+", default=[1000, 4000])
    # Defaults are of four-minute tracks, from benchmarks/RESULTS.md.
    for name, default, words in (
        ("--embed-s", 0.75, "CPU seconds of a track"),
        ("--track-kb", 230.0, "stored of a track"),
        ("--rows", 131_072, "embeddings on a side of a tile"),
        ("--nearest-ns", 4.5, "CPU time of the comparison of two embeddings"),
        ("--asking", 512, "tracks of a tile that ask the excerpt index"),
        ("--excerpt-s", 1.4, "CPU seconds of a track that asks"),
        ("--excerpt-bytes", 172.0, "results of a track that asks"),
        ("--pairs", 2048, "pairs of a tile"),
        ("--pair-s", 0.018, "CPU seconds of the examination of a pair"),
        ("--pair-bytes", 114.0, "results of a pair"),
    ):
        command.add_argument(name, type=type(default), default=default, help=words)
    args = parser.parse_args()
    if args.command == "speed":
        speed(args.music, args.every)
    elif args.command == "tiles":
        tiles(args.music, args.every)
    else:
        schedule(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
