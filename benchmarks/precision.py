"""What bfloat16 arithmetic changes: d-vectors, scores of copies and of strangers, verdicts.

Originals and altered copies (``benchmarks/copies.py``) are embedded with float32 and with bfloat16;
the second witness examines every copy with its original, and every original with the strangers
nearest to it by embedding.  Prints how far cosines and match scores move, and which pairs change
sides of the thresholds.

Examples
--------
::

    python benchmarks/precision.py runs/copies/test-90s --every 8
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auditor.embedding.config import DEFAULT_EXTRACTOR, PRECISIONS
from auditor.embedding.embed import embed_file
from auditor.embedding.extractor import load_extractor
from auditor.errors import AudioError
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.alignment.ranges import WitnessConfig
from auditor.evidence.match_score import match_score
from auditor.evidence.spectra.confirm import confirm
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.scoring.track_reader import MIN_SCORE_TO_LIST

ORIGINAL = "original"
N_STRANGERS = 3


class Heard(NamedTuple):
    """A file by both precisions."""

    duration_s: float
    spectrum: np.ndarray
    embeddings: tuple[np.ndarray, ...]
    dvectors: tuple[np.ndarray, ...]
    levels: tuple[np.ndarray, ...]


def hear(task: tuple[Path, str]) -> Heard | None:
    """Embed a file by both precisions; None if it cannot be."""
    from auditor.parallel import one_thread

    one_thread()
    path, name = task
    extractors = [_load(name, precision) for precision in PRECISIONS]
    try:
        made = embed_file(path, extractors)
    except AudioError as error:
        print(error, file=sys.stderr)
        return None
    of = [made.embeddings[extractor.weights_id] for extractor in extractors]
    return Heard(
        made.duration_s,
        made.spectrum,
        tuple(one.embedding for one in of),
        tuple(one.dvectors for one in of),
        tuple(one.levels for one in of),
    )


_LOADED: dict = {}


def _load(name: str, precision: str):
    if precision not in _LOADED:
        _LOADED[precision] = load_extractor(name, precision=precision)
    return _LOADED[precision]


def scores(examiner: Examiner, a: Heard, b: Heard) -> list[float]:
    """Return the match score of a pair by each precision."""
    found = []
    for i in range(len(PRECISIONS)):
        sides = [examiner.prepare(x.dvectors[i], x.levels[i], x.duration_s) for x in (a, b)]
        evidence = confirm(
            examiner.evidence(*sides),
            TrackSpectrum(a.spectrum, a.duration_s),
            TrackSpectrum(b.spectrum, b.duration_s),
        )
        found.append(match_score(evidence))
    return found


def told(what: str, values: np.ndarray, thresholds: list[float]) -> str:
    """Return a table row on (n, 2) scores."""
    moved = np.abs(values[:, 1] - values[:, 0])
    crossed = [
        f"{np.count_nonzero((values[:, 0] >= t) & (values[:, 1] < t))} lost, "
        f"{np.count_nonzero((values[:, 0] < t) & (values[:, 1] >= t))} won"
        for t in thresholds
    ]
    cells = [what, str(len(values)), f"{np.median(moved):.4f}", f"{np.quantile(moved, 0.99):.4f}"]
    return "| " + " | ".join([*cells, f"{moved.max():.4f}", *crossed]) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copies", type=Path)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR)
    parser.add_argument("--thresholds", default="0.3,0.4,0.5")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    names = sorted(path.name for path in (args.copies / ORIGINAL).glob("*.wav"))
    chosen = [name for name in names if int(Path(name).stem) % args.every == 0]
    kinds = sorted(path.name for path in args.copies.iterdir() if path.name != ORIGINAL)
    places = [(ORIGINAL, name) for name in names]
    places += [(kind, name) for kind in kinds for name in chosen]
    places = [place for place in places if (args.copies / place[0] / place[1]).exists()]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        tasks = ((args.copies / kind / name, args.extractor) for kind, name in places)
        heard = dict(zip(places, pool.map(hear, tasks, chunksize=4), strict=True))
    heard = {place: one for place, one in heard.items() if one is not None}
    config = load_extractor(args.extractor).config
    hop_s, window_s = (
        n * config.features.frame_hop_s for n in (config.hop_frames, config.window_frames)
    )
    examiner = Examiner(
        lambda _: (_ for _ in ()).throw(KeyError),
        hop_s=hop_s,
        window_s=window_s,
        config=WitnessConfig(min_score=MIN_SCORE_TO_LIST),
    )
    windows = [np.float32(d) for one in heard.values() for d in [one.dvectors]]
    cosines = np.concatenate([(w[0] * w[1]).sum(axis=1) for w in windows])
    print(
        f"{len(heard)} files, {len(cosines):,} windows. Cosine of a bfloat16 d-vector to the "
        f"float32 one: least {cosines[cosines > 0].min():.5f}, "
        f"0.1 % below {np.quantile(cosines[cosines > 0], 1e-3):.5f}, "
        f"median {np.median(cosines):.6f}"
    )
    thresholds = [float(t) for t in args.thresholds.split(",")]
    head = ["pairs", "n", "median move", "99 %", "most", *(f"at {t:g}" for t in thresholds)]
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    copies = [
        scores(examiner, heard[ORIGINAL, name], heard[kind, name])
        for kind, name in heard
        if kind != ORIGINAL and (ORIGINAL, name) in heard
    ]
    print(told("copies, match score", np.array(copies), thresholds), flush=True)
    originals = [name for kind, name in heard if kind == ORIGINAL]
    of = [heard[ORIGINAL, name] for name in originals]
    products = [np.stack([one.embeddings[i] for one in of]) for i in range(len(PRECISIONS))]
    cosine = [matrix @ matrix.T for matrix in products]
    pairs = set()
    for row in range(len(of)):
        near = np.argsort(-cosine[0][row])
        pairs |= {tuple(sorted((row, int(n)))) for n in near[near != row][:N_STRANGERS]}
    strangers = [scores(examiner, of[a], of[b]) for a, b in sorted(pairs)]
    print(told("nearest strangers, match score", np.array(strangers), thresholds))
    upper = np.triu_indices(len(of), 1)
    values = np.stack([matrix[upper] for matrix in cosine], axis=1)
    print(told("all pairs of originals, cosine of embeddings", values, thresholds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
