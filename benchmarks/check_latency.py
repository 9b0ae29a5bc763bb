"""How long a check takes against a large catalogue, stage by stage.

The catalogue is simulated: d-vectors of real tracks, reversed and mixed as in ``excerpt_index.py``,
four minutes each, stored as a scan would store them.  Submissions are the real tracks themselves,
so that each has one copy to be found among the strangers.  Times are CPU seconds of one thread.

Examples
--------
::

    python benchmarks/check_latency.py --tracks 10000
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from auditor.catalogue import FileStamp
from auditor.embed import pool_dvectors
from auditor.excerpt_build import refresh_excerpts
from auditor.excerpt_index import ExcerptSource
from auditor.matching import Query, examine_submissions
from auditor.records import Track
from auditor.workspace import Workspace, open_workspace

N_WINDOWS = 300
"""Windows of a simulated track: four minutes."""

SECONDS: dict[str, float] = {}


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the CPU seconds of a stage."""
    started = time.process_time()
    yield
    SECONDS[stage] = SECONDS.get(stage, 0.0) + time.process_time() - started


def real_rows(folder: Path) -> np.ndarray:
    """Return the d-vectors of real tracks one after another, (n, n_dims) float32."""
    rows = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            rows.append(stored["dvectors"].astype(np.float32))
    return np.concatenate(rows)


def simulate(rows: np.ndarray, number: int) -> np.ndarray:
    """Return (N_WINDOWS, n_dims) of two stretches mixed, one reversed and one turned."""
    rng = np.random.default_rng(number)
    first, second = rng.integers(0, len(rows) - N_WINDOWS, 2)
    a = rows[first : first + N_WINDOWS][::-1]
    b = np.roll(rows[second : second + N_WINDOWS][::-1], rng.integers(1, rows.shape[1]), axis=1)
    mixed = a + b
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-6)


def store(workspace: Workspace, name: str, dvectors: np.ndarray) -> Track:
    """Store a track that has no file."""
    made = pool_dvectors(dvectors, np.full(len(dvectors), -20.0))
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    track = Track(
        name, f"/simulated/{name}.flac", sha256, 1, 0.8 * len(dvectors) + 2.4, None, False, False,
        "flac", "flac", 44_100, 2, None,
    )  # fmt: skip
    noise = np.random.default_rng(len(name)).integers(60, 140, (2500, 100))
    workspace.catalogue.put(
        track,
        path_bytes=track.path.encode(),
        stamp=FileStamp(1, 1),
        embeddings={workspace.weights_id: made},
        spectrum=noise.astype(np.uint8),
    )
    return track


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--dvectors", type=Path, default=Path("runs/dvectors/63f7dbe7/val-90s"))
    parser.add_argument("--output", type=Path, default=Path("runs/check-latency"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = real_rows(args.dvectors / "original")
    with open_workspace(args.output, extractor="excerpt") as workspace:
        known = set(workspace.catalogue.embeddings(workspace.weights_id)[0])
        with timed("store"):
            for number in range(args.tracks):
                name = f"s{number:07d}"
                if name not in known:
                    store(workspace, name, simulate(rows, number))
        source = ExcerptSource.of(workspace.catalogue, workspace.weights_id)
        with timed("excerpt index, build"):
            made = refresh_excerpts(
                workspace.index_directory / "excerpts", source, hop_s=workspace.hop_s
            )
        size = sum(p.stat().st_size for p in (args.output / "index" / "excerpts").iterdir())
        database = (args.output / "catalogue.sqlite3").stat().st_size
        print(
            f"{len(source.versions):,} tracks, {0.8 * N_WINDOWS * args.tracks / 3600:,.0f} h; "
            f"index {size / 1e6:.0f} MB in {len(made.index.shards)} shards, catalogue "
            f"{database / 1e6:.0f} MB; " + ", ".join(f"{k} {v:.1f} s" for k, v in SECONDS.items())
        )
        SECONDS.clear()
        with timed("catalogue"):
            ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
            tracks = {track.id: track for track in workspace.catalogue.tracks()}
        found, wall = 0, []
        workspace = dataclasses.replace(workspace, writable=False)
        for n in range(args.queries):
            wanted = ids[n * len(ids) // args.queries]
            dvectors, levels = workspace.catalogue.dvectors(wanted, workspace.weights_id)
            noisy = dvectors.astype(np.float32)
            noisy += np.random.default_rng(n).normal(0.0, 0.04, noisy.shape)
            noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
            copy = pool_dvectors(noisy, levels)
            track = dataclasses.replace(tracks[wanted], id="new-copy", sha256="0" * 64)
            spectrum = workspace.catalogue.spectrum(tracks[wanted].sha256)
            query = Query(track, copy.embedding, copy.dvectors, copy.levels, spectrum)
            started = time.perf_counter()
            with timed("a check"):
                pairs = examine_submissions(workspace, [query], ids, embeddings, tracks).pairs
            wall.append(time.perf_counter() - started)
            found += bool(pairs) and pairs[0].b == wanted
        each = SECONDS.pop("a check") / args.queries
        print(
            f"{found} of {args.queries} copies first; a check {each:.3f} CPU s after embedding "
            f"(median wall {np.median(wall):.3f} s), and once {SECONDS['catalogue']:.2f} s to read "
            "embeddings and tracks"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
