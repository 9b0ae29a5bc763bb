"""Time and peak memory of the exact comparison of all pairs, on random unit vectors.

    python benchmarks/all_pairs.py 25000 106574

prints one Markdown row for each number of tracks, for benchmarks/RESULTS.md.  Each size runs in a
process of its own, so that the peak memory is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time

import numpy as np

from auditor.pairs import find_pairs


def random_unit_rows(n: int, n_dims: int, seed: int) -> np.ndarray:
    """Return (n, n_dims) float32 unit rows of uniformly random direction."""
    rows = np.random.default_rng(seed).standard_normal((n, n_dims), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def measure(n: int, n_dims: int, threshold: float, seed: int) -> str:
    """Return the row of one size: seconds, CPU seconds, pairs per second and peak memory."""
    embeddings = random_unit_rows(n, n_dims, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    hits = find_pairs(embeddings, threshold)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / (1e6 if sys.platform == "darwin" else 1e3)
    return (
        f"| {n:,} x {n_dims} | {hits.n_compared:,} | {len(hits.scores):,} | {wall:.1f} | "
        f"{cpu:.1f} | {hits.n_compared / wall / 1e6:.0f} | {peak_mb:,.0f} |"
    )


def main() -> None:
    """Measure the sizes named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_tracks", type=int, nargs="*", default=[25_000, 106_574])
    parser.add_argument("--dims", type=int, default=256, help="dimensions of an embedding")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{os.cpu_count()} cores, load average {load} at the start", file=sys.stderr)
    print("| tracks | pairs | hits | wall s | CPU s | M pairs/s | peak RSS, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    context = multiprocessing.get_context("spawn")
    for n in options.n_tracks:
        with context.Pool(1) as pool:
            print(
                pool.apply(measure, (n, options.dims, options.threshold, options.seed)), flush=True
            )


if __name__ == "__main__":
    main()
