"""The exact comparison of all pairs beside other ways to do it: time, memory, and what is found.

Vectors are drawn at random, with variances that fall from dimension to dimension about as those of
music do, and one in fifty is a near copy of another one (cosine 0.85 to 1).  Every system runs in a
process of its own, one after the other, so that the peak memory is its own:

* ``audit``: ``auditor.search.exact.find_pairs``, with the histogram of all scores (float32) and
  without (a bfloat16 screen where the processor can, rescored exactly), on one core and on all
  asked for;
* ``audit nearest``: ``auditor.search.exact.nearest`` of all tracks among all, the 6 best, in 128
  dimensions;
* ``faiss``: range search, and search of the 6 nearest, of ``IndexFlatIP``, which is exact as well;
* ``Annoy``: build and one query for each track, with the least ``search_k`` (by doubling) that
  finds 99 % of the pairs, or of the 6 nearest; the queries run in as many processes.

A system is first run at the smallest size; before each larger one its time is estimated by the
square of the size, and both are in the table.  faiss is optional: pip install faiss-cpu.

    python benchmarks/all_pairs.py 25000 106574 --estimate 1000000
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIMS, NEAREST_DIMS, NEAREST = 256, 128, 6
THRESHOLD, RECALL, SEED = 0.9, 0.99, 0
N_TREES = 50
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Run:
    """What one system took, and found: pairs (n_found, 2) int64, in sorted order."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    pairs: np.ndarray
    note: str = ""


def like_music(n: int, n_dims: int, seed: int = SEED) -> np.ndarray:
    """Return (n, n_dims) float32 unit rows, one in fifty a near copy of another."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, n_dims), dtype=np.float32)
    rows *= np.arange(1, n_dims + 1, dtype=np.float32) ** -0.3
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    copies, originals = rng.permutation(n)[: n // 50 * 2].reshape(2, -1)
    noise = rng.standard_normal((len(copies), n_dims), dtype=np.float32)
    noise -= np.sum(noise * rows[originals], axis=1, keepdims=True) * rows[originals]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosines = rng.uniform(0.85, 1, (len(copies), 1)).astype(np.float32)
    rows[copies] = cosines * rows[originals] + np.sqrt(1 - cosines**2) * noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def timed(work: Callable[[], np.ndarray]) -> Run:
    """Run and measure; ``work`` returns the pairs it found."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(wall, cpu, peak_mb(), found)


def peak_mb() -> float:
    """Return the most memory this process held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def in_order(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Return the pairs a < b, each once, sorted."""
    pairs = np.column_stack([rows_a, rows_b]).astype(np.int64)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def audit_pairs(n: int, jobs: int, histogram: bool) -> Run:
    """All pairs at or above the threshold by this package."""
    from auditor.search.exact import find_pairs

    embeddings = like_music(n, DIMS)

    def work() -> np.ndarray:
        hits = find_pairs(embeddings, THRESHOLD, histogram=histogram, jobs=jobs)
        return in_order(hits.rows_a, hits.rows_b)

    return timed(work)


def audit_nearest(n: int, jobs: int) -> Run:
    """The nearest tracks of each by this package."""
    from auditor.search.exact import nearest

    embeddings = like_music(n, NEAREST_DIMS)
    return timed(lambda: nearest(embeddings, embeddings, NEAREST, jobs=jobs)[0])


def faiss_pairs(n: int, jobs: int) -> Run:
    """All pairs by faiss's exact range search, which compares each pair both ways."""
    import faiss

    faiss.omp_set_num_threads(jobs)
    embeddings = like_music(n, DIMS)

    def work() -> np.ndarray:
        index = faiss.IndexFlatIP(DIMS)
        index.add(embeddings)
        starts, _, rows = index.range_search(embeddings, THRESHOLD)
        return in_order(np.repeat(np.arange(n), np.diff(starts.astype(np.int64))), rows)

    return timed(work)


def faiss_nearest(n: int, jobs: int) -> Run:
    """The nearest tracks of each by faiss's exact search."""
    import faiss

    faiss.omp_set_num_threads(jobs)
    embeddings = like_music(n, NEAREST_DIMS)

    def work() -> np.ndarray:
        index = faiss.IndexFlatIP(NEAREST_DIMS)
        index.add(embeddings)
        return index.search(embeddings, NEAREST)[1]

    return timed(work)


def annoy_pairs(n: int, jobs: int) -> Run:
    """All pairs by Annoy: those at or above the threshold among 10 neighbours of each track."""
    from auditor.search.exact import find_pairs

    embeddings = like_music(n, DIMS)
    hits = find_pairs(embeddings, THRESHOLD, histogram=False, jobs=jobs)
    truth = in_order(hits.rows_a, hits.rows_b)

    def recall(found: np.ndarray) -> tuple[float, np.ndarray]:
        rows, others = found[:, :1].repeat(10, axis=1)[found[:, 1:] >= 0], found[:, 1:]
        others = others[others >= 0]
        near = in_order(np.minimum(rows, others), np.maximum(rows, others))
        scores = np.einsum("ij,ij->i", embeddings[near[:, 0]], embeddings[near[:, 1]])
        near = near[scores >= THRESHOLD]
        return 1 - n_missing(truth, near) / len(truth), near

    return annoy(embeddings, jobs, 10, range(n), recall)


def annoy_nearest(n: int, jobs: int) -> Run:
    """The nearest tracks of each by Annoy; some tracks ask, and their time counts for all."""
    from auditor.search.exact import nearest

    embeddings = like_music(n, NEAREST_DIMS)
    asking = range(0, n, max(1, n // 1000))
    truth = nearest(embeddings[asking], embeddings, NEAREST, jobs=jobs)[0]

    def recall(found: np.ndarray) -> tuple[float, np.ndarray]:
        pairs = zip(truth.tolist(), found.tolist(), strict=True)
        return sum(len({*a} & {*b}) for a, b in pairs) / truth.size, truth[:0]

    return annoy(embeddings, jobs, NEAREST - 1, asking, recall)


def annoy(
    embeddings: np.ndarray,
    jobs: int,
    top: int,
    asking: range,
    recall: Callable[[np.ndarray], tuple[float, np.ndarray]],
) -> Run:
    """Build an index, and query it with more and more effort until the recall is reached.

    ``recall`` is called with (n_asking, 1 + top) int64, a track and its neighbours, and returns
    the recall and the pairs found.
    """
    from annoy import AnnoyIndex

    n, n_dims = embeddings.shape
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "all.ann")
        wall, cpu = time.perf_counter(), time.process_time()
        index = AnnoyIndex(n_dims, "dot")
        for row, vector in enumerate(embeddings):
            index.add_item(row, vector)
        index.set_seed(SEED)
        index.build(N_TREES, n_jobs=jobs)
        index.save(path)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        search_k, reached = 50, 0.0
        parts = [asking[i : i + 250] for i in range(0, len(asking), 250)]
        while reached < RECALL:
            search_k *= 2
            with ProcessPoolExecutor(jobs, mp_context=SPAWN) as pool:
                list(pool.map(abs, range(jobs)))  # started
                begun = time.perf_counter()
                ask = functools.partial(annoy_part, path, n_dims, top, search_k)
                answers = list(pool.map(ask, parts))
                query_s = (time.perf_counter() - begun) * n / len(asking)
            cpu_s = sum(seconds for _, seconds in answers) * n / len(asking)
            reached, found = recall(np.concatenate([rows for rows, _ in answers]))
    note = f"recall {reached:.4f}, {N_TREES} trees built in {wall:.1f} s, search_k {search_k:,}" + (
        f"; {len(asking):,} queries measured, times {n / len(asking):.0f}" if top < 10 else ""
    )
    return Run(wall + query_s, cpu + cpu_s, peak_mb(), found, note)


def annoy_part(
    path: str, n_dims: int, top: int, search_k: int, rows: range
) -> tuple[np.ndarray, float]:
    """Return (n_rows, 1 + top) tracks and their neighbours, -1 for none, and CPU seconds."""
    from annoy import AnnoyIndex

    cpu = time.process_time()
    index = AnnoyIndex(n_dims, "dot")
    index.load(path)
    found = np.full((len(rows), 1 + top), -1, np.int64)
    for place, row in enumerate(rows):
        hits = index.get_nns_by_item(row, top + 1, search_k=search_k)
        hits = [row, *(hit for hit in hits if hit != row)][: top + 1]
        found[place, : len(hits)] = hits
    return found, time.process_time() - cpu


def n_missing(wanted: np.ndarray, found: np.ndarray) -> int:
    """Return how many rows of one sorted array the other lacks."""
    return len(set(map(tuple, wanted.tolist())) - set(map(tuple, found.tolist())))


def systems(jobs: int) -> dict[str, tuple[Callable[..., Run], tuple]]:
    """Return what is measured, by name: the function and its arguments beside the size."""
    several = f"{jobs} cores"
    return {
        "audit, with histogram, 1 core": (audit_pairs, (1, True)),
        f"audit, with histogram, {several}": (audit_pairs, (jobs, True)),
        "audit, pairs only, 1 core": (audit_pairs, (1, False)),
        f"audit, pairs only, {several}": (audit_pairs, (jobs, False)),
        f"faiss range search, {several}": (faiss_pairs, (jobs,)),
        f"Annoy, {several}": (annoy_pairs, (jobs,)),
        "audit nearest, 1 core": (audit_nearest, (1,)),
        f"audit nearest, {several}": (audit_nearest, (jobs,)),
        f"faiss nearest, {several}": (faiss_nearest, (jobs,)),
        f"Annoy nearest, {several}": (annoy_nearest, (jobs,)),
    }


def agreement(run: Run, first: Run) -> str:
    """Return how what was found differs from what the first system of its kind found."""
    if not len(run.pairs):
        return ""
    if run.pairs.shape[1] == 2:
        missing, extra = n_missing(first.pairs, run.pairs), n_missing(run.pairs, first.pairs)
        return "the same" if missing == extra == 0 else f"-{missing} +{extra}"
    same = np.sort(run.pairs, axis=1) == np.sort(first.pairs, axis=1)
    return "the same" if same.all() else f"{np.count_nonzero(~same.all(axis=1)):,} rows differ"


def main() -> None:
    """Measure the sizes named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_tracks", type=int, nargs="*", default=[25_000, 106_574])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--systems", default="", help="only those whose name holds this")
    parser.add_argument("--annoy-up-to", type=int, default=25_000, help="tracks; it is slow")
    parser.add_argument("--estimate", type=int, help="tracks to estimate for, without a run")
    options = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{os.cpu_count()} cores, load average {load} at the start", file=sys.stderr)
    print("| tracks | system | found | as the first | wall s | estimated s | CPU s | peak MB | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    last: dict[str, tuple[int, float]] = {}
    for n in sorted(options.n_tracks):
        first: dict[int, Run] = {}
        for name, (measure, arguments) in systems(options.jobs).items():
            if options.systems not in name or ("Annoy" in name and n > options.annoy_up_to):
                continue
            expected = estimate_s(n, *last[name]) if name in last else 0.0
            if expected:
                print(f"{n:,}: {name}: about {expected:.0f} s", file=sys.stderr, flush=True)
            try:
                with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
                    run = pool.submit(measure, n, *arguments).result()
            except ModuleNotFoundError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            if "Annoy" not in name:  # which grows more slowly
                last[name] = n, run.wall_s
            same_as = first.setdefault(run.pairs.shape[1], run)
            found = f"{len(run.pairs):,}" if len(run.pairs) else ""
            print(
                f"| {n:,} | {name} | {found} | {agreement(run, same_as)} | "
                f"{run.wall_s:.1f} | {f'{expected:.1f}' if expected else ''} | {run.cpu_s:.1f} | "
                f"{run.peak_mb:,.0f} | {run.note} |",
                flush=True,
            )
    for name, measured in last.items() if options.estimate else ():
        expected = estimate_s(options.estimate, *measured)
        print(f"| {options.estimate:,} | {name} | | | | {expected:,.0f} | | | not run |")


def estimate_s(n: int, n_measured: int, seconds: float) -> float:
    """Return how long n tracks take, in seconds, by the square of the size."""
    return seconds * (n / n_measured) ** 2


if __name__ == "__main__":
    main()
