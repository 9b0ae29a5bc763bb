"""What 1,000 tracks of 30 s cost, stage by stage, and how that grows from 10^3 to 10^6 tracks.

Every stage is measured at several sizes of catalogue (``excerpt_pass.py`` makes them), as CPU
seconds of one core; a power law through the logarithms of cost and size gives the other sizes, and
the table says which were measured.  Taking in is measured once: what a track costs there does not
depend on the others.

Examples
--------
::

    python benchmarks/growth.py corpus/train runs/formats --tracks 1000 8000 25000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from excerpt_pass import TRACK_S, ask, examine, store, stretches
from pictures import _figure

from auditor.audio.files import find_audio
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.embedding.extractor import Extractor, load_extractor
from auditor.ingest.session import ingest
from auditor.scoring.track_reader import open_catalogue_reader
from auditor.search.exact import find_pairs, nearest
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSource
from auditor.workspace import open_workspace

SIZES = (1_000, 10_000, 100_000, 1_000_000)
N_FILES = 40
STAGES = (
    "taking in",
    "nearest embeddings",
    "histogram of cosines",
    "building the excerpt index",
    "asking it",
    "examining candidates",
)
PER_PAIR = STAGES[1:3]


def taking_in(folder: Path, extractor: str) -> float:
    """Return CPU seconds that 1,000 tracks of 30 s take, by the seconds of sound of some files."""
    files = [file.path for file in find_audio([folder]).files][:N_FILES]
    with (
        tempfile.TemporaryDirectory() as place,
        open_workspace(place, extractor=extractor, write=True) as workspace,
    ):
        ingest(workspace, files[:1])
        started = time.process_time()
        done = ingest(workspace, files)
    return (time.process_time() - started) / done.audio_s * TRACK_S * 1e3


def embedding_costs(n: int, n_dims: int) -> dict[str, float]:
    """Return CPU seconds of the passes over all pairs of embeddings, for 1,000 of n tracks."""
    rows = np.random.default_rng(n).standard_normal((n, n_dims)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    started = time.process_time()
    nearest(rows, rows, 6)
    middle = time.process_time()
    find_pairs(rows, 1.0)
    ended = time.process_time()
    return dict(zip(PER_PAIR, np.diff([started, middle, ended]) / n * 1e3, strict=True))


def excerpt_costs(
    n: int, real: dict[str, np.ndarray], folder: Path, n_asking: int
) -> dict[str, float]:
    """Return CPU seconds of the excerpt pass, for 1,000 of n tracks."""
    with open_workspace(folder / str(n), extractor=DEFAULT_EXTRACTOR, write=True) as workspace:
        store(workspace, real, n)
        source = ExcerptSource.of(workspace.catalogue, workspace.weights_id)
        with tempfile.TemporaryDirectory() as fresh:  # the one that may be there costs nothing
            started = time.process_time()
            refresh_excerpts(fresh, source, hop_s=workspace.hop_s)
            build_s = time.process_time() - started
        shards = workspace.index_directory / "excerpts"
        index = refresh_excerpts(shards, source, hop_s=workspace.hop_s).index
        where = (str(workspace.directory), workspace.weights_id)
        reader = open_catalogue_reader(*where, workspace.hop_s, workspace.window_s)
        ids = index.ids[:: max(1, n // n_asking)]
        pairs, ask_s = ask(reader, ids)
        _, _, examine_s = examine(reader, sorted(set(pairs)))
    scale = 1e3 / len(ids)
    return dict(zip(STAGES[3:], (build_s / n * 1e3, ask_s * scale, examine_s * scale), strict=True))


def fitted(sizes: Sequence[int], costs: Sequence[float], n: int) -> float:
    """Return the cost at a size by a power law through those measured."""
    if len(sizes) == 1:
        return costs[0]
    slope, level = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(np.exp(level + slope * np.log(n)))


def draw(table: dict[str, list[float]], path: Path) -> None:
    """Draw cost over size on logarithmic axes."""
    figure = _figure()
    axes = figure.add_subplot()
    for stage, costs in table.items():
        axes.loglog(SIZES, costs, marker="o", label=stage)
    axes.loglog(SIZES, np.sum(list(table.values()), axis=0), "k--", label="all")
    axes.set_xlabel("tracks of 30 s in the catalogue")
    axes.set_ylabel("CPU seconds for 1,000 tracks")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="folder that tracks are simulated of")
    parser.add_argument("files", type=Path, help="folder of files to take in")
    parser.add_argument("--tracks", type=int, nargs="+", default=[1000, 8000, 25_000])
    parser.add_argument("--embeddings", type=int, nargs="+", default=[30_000, 60_000, 120_000])
    parser.add_argument("--asking", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("runs/excerpt-pass"))
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/growth.png"))
    args = parser.parse_args()
    extractor: Extractor = load_extractor(DEFAULT_EXTRACTOR)
    real = stretches(args.music, args.output / "stretches.npz", extractor)
    measured: dict[str, tuple[list[int], list[float]]] = {stage: ([], []) for stage in STAGES}

    def note(n: int, costs: dict[str, float]) -> None:
        for stage, seconds in costs.items():
            measured[stage][0].append(n)
            measured[stage][1].append(seconds)
        print(n, {stage: round(s, 2) for stage, s in costs.items()}, file=sys.stderr, flush=True)

    note(1, {STAGES[0]: taking_in(args.files, DEFAULT_EXTRACTOR)})
    for n in args.embeddings:
        note(n, embedding_costs(n, extractor.config.n_dims))
    for n in args.tracks:
        note(n, excerpt_costs(n, real, args.output, args.asking))
    table = {stage: [fitted(*measured[stage], n) for n in SIZES] for stage in STAGES}
    print(
        "| CPU s for 1,000 tracks of 30 s | measured at | "
        + " | ".join(f"{n:,}" for n in SIZES)
        + " |"
    )
    print("| --- " * (2 + len(SIZES)) + "|")
    for stage, costs in table.items():
        sizes = ", ".join(f"{n:,}" for n in measured[stage][0] if n > 1) or "any"
        print(f"| {stage} | {sizes} | " + " | ".join(f"{cost:.1f}" for cost in costs) + " |")
    sums = np.sum(list(table.values()), axis=0)
    print("| **all** | | " + " | ".join(f"**{cost:.0f}**" for cost in sums) + " |")
    hours = [f"{cost * n / 1e3 / 3600:.2g} h" for cost, n in zip(sums, SIZES, strict=True)]
    print("| the whole catalogue, one core | | " + " | ".join(hours) + " |")
    draw(table, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
