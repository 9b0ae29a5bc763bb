"""What a user would pick instead, on the very files that our benchmark scores.

``benchmarks/copies.py`` writes the files; each peer here turns every one of them into a fingerprint
of its own and scores copies against originals, higher is more alike:

* ``chromaprint``: ``fpcalc -raw``; share of equal bits at the best offset, as AcoustID compares.
* ``audfprint``: landmarks; number of aligned hashes (Ellis 2014, github dpwe/audfprint).
* ``mfcc``: mean and deviation of 20 MFCCs and their deltas, standardised, cosine.
* ``recipe``: the original project's song model (``benchmarks/recipe.py``), cosine.

Fingerprints are kept below ``--cache``, and made again only where the file is newer, so a killed
run resumes; ``cost.json`` there says what they took.  A peer that is not installed is skipped with
a line that says how to get it.  audfprint is not on a package index: clone its repository, give it
a Python with numpy below 1.24, scipy, docopt, joblib and psutil, and have ``ffmpeg`` on the path.

Examples
--------
::

    python benchmarks/peers.py corpus --role test --every 2 --peer chromaprint --peer mfcc
    python benchmarks/peers.py corpus --role test --every 4 --peer audfprint \\
        --audfprint runs/peers/audfprint-src --audfprint-python runs/peers/audfprint-venv/bin/python
    python benchmarks/peers.py corpus --role test --every 4 --peer recipe --recipe runs/recipe
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy.fft
from audfprint_peer import audfprint_scores
from copies import copies_folder, corpus_paths
from evaluation import Scores
from peer_files import find_files, fingerprint_files, read_costs, read_wav, score_fingerprints

from auditor.augment.alterations import ALTERATIONS
from auditor.errors import UsageError

MIN_OVERLAP = 81
"""Chromaprint codes, 0.1238 s apart, that must overlap: 10 s, or all of the shorter track."""

QUERIES_AT_ONCE = 32


def chromaprint_print(path: Path) -> np.ndarray:
    """Return fpcalc's codes of a file, (n,) uint32, one every 0.1238 s."""
    command = ["fpcalc", "-raw", "-plain", "-length", "0", "-ignore-errors", str(path)]
    # fpcalc 1.5.1 complains at the end of good input and ends with code 3; what it printed counts.
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return np.array([int(code) for code in printed.split(",") if code.strip()], dtype=np.uint32)


def bit_similarity(queries: list[np.ndarray], references: list[np.ndarray]) -> np.ndarray:
    """Return the share of equal bits at the best offset.

    Every offset counts at which ``MIN_OVERLAP`` codes overlap, or all of the shorter track.  The
    numbers of equal bits at all offsets are a cross-correlation of bits of +1 and -1.

    Parameters
    ----------
    queries, references : lists of numpy.ndarray
        (n_codes,) uint32 each.

    Returns
    -------
    numpy.ndarray
        (n_queries, n_references) float64 in [0, 1]; at one offset chance gives 0.5, and 0 stands
        where a track has no codes.
    """
    n_query, n_reference = (np.array([len(p) for p in prints]) for prints in (queries, references))
    if min(n_query.max(initial=0), n_reference.max(initial=0)) == 0:
        return np.zeros((len(queries), len(references)))
    size = scipy.fft.next_fast_len(int(n_query.max() + n_reference.max()) - 1, real=True)
    offset = np.arange(size)  # how much later the query lies in the reference; wraps around
    offset = np.where(offset < n_reference.max(), offset, offset - size)
    known = _bit_spectra(references, size)
    scores = np.zeros((len(queries), len(references)))
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        asked = _bit_spectra(queries[part], size).conj().transpose(0, 2, 1)
        products = known @ asked  # (n_frequencies, n_references, n_part)
        surplus = np.rint(scipy.fft.irfft(products, n=size, axis=0))  # equal bits less others
        for k, n in enumerate(n_query[part]):
            overlap = np.minimum(n, n_reference - offset[:, None]) - np.maximum(0, -offset[:, None])
            enough = overlap >= np.maximum(1, np.minimum(MIN_OVERLAP, np.minimum(n, n_reference)))
            share = 0.5 + surplus[:, :, k] / (64.0 * np.maximum(overlap, 1))
            scores[first + k] = np.where(enough, share, 0.0).max(axis=0)
    return scores


def _bit_spectra(prints: list[np.ndarray], size: int) -> np.ndarray:
    """Return the spectra of the 32 bits over time, (n_frequencies, n, 32) complex64."""
    signs = np.zeros((len(prints), size, 32), dtype=np.float32)
    for i, codes in enumerate(prints):
        bits = np.unpackbits(codes.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1)
        signs[i, : len(codes)] = 2.0 * bits - 1.0
    return np.ascontiguousarray(scipy.fft.rfft(signs, axis=1).transpose(1, 0, 2))


def chromaprint_scores(
    folder: Path, n_tracks: int, *, kinds: Iterable[str], every: int, jobs: int, cache: Path
) -> Scores:
    """Score with Chromaprint: share of equal bits at the best offset.

    Silence, and anything constant, has constant codes: two tracks that are both silent for
    ``MIN_OVERLAP`` codes share all their bits there.

    Raises
    ------
    UsageError
        If ``fpcalc`` is not installed, or files are missing.
    """
    if shutil.which("fpcalc") is None:
        raise UsageError("no fpcalc on the path. Run: apt-get install libchromaprint-tools")
    originals, rows = find_files(folder, n_tracks, kinds, every)

    def fingerprint(paths: list[Path]) -> list[np.ndarray]:
        return fingerprint_files(paths, chromaprint_print, cache, jobs)

    return score_fingerprints(originals, rows, fingerprint, bit_similarity)


def mfcc_print(path: Path) -> np.ndarray:
    """Return mean and deviation over time of 20 MFCCs and of their deltas, (80,) float32."""
    from scipy.fft import dct
    from scipy.signal import savgol_filter

    from auditor.embedding.config import PAPER
    from auditor.embedding.frames import LogBands

    waveform = read_wav(path)
    if len(waveform) < 512:
        return np.zeros(0, np.float32)
    bands = LogBands(PAPER.features)(waveform)  # 40 on the mel scale, dB
    cepstra = dct(np.maximum(bands, bands.max() - 80.0), axis=1, norm="ortho")[:, :20]
    deltas = savgol_filter(cepstra, 5, 1, deriv=1, axis=0, mode="nearest")
    both = np.concatenate([cepstra, deltas], axis=1)  # (n_frames, 40)
    return np.concatenate([both.mean(axis=0), both.std(axis=0)]).astype(np.float32)


def cosine(queries: list[np.ndarray], references: list[np.ndarray]) -> np.ndarray:
    """Return cosines, (n_queries, n_references); -1 where either vector is empty or zero."""
    n_dims = max(len(v) for v in references)

    def stack(vectors: list[np.ndarray]) -> np.ndarray:
        rows = np.stack([v if len(v) else np.zeros(n_dims) for v in vectors]).astype(np.float64)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    a, b = stack(queries), stack(references)
    return np.where(a.any(axis=1)[:, None] & b.any(axis=1)[None, :], a @ b.T, -1.0)


def standardised_cosine(queries: list[np.ndarray], references: list[np.ndarray]) -> np.ndarray:
    """Return cosines of vectors less the references' mean, over their deviation."""
    known = np.stack([v for v in references if len(v)]).astype(np.float64)
    mean, deviation = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)

    def standardise(vectors: list[np.ndarray]) -> list[np.ndarray]:
        return [(v - mean) / deviation if len(v) else v for v in vectors]

    return cosine(standardise(queries), standardise(references))


def mfcc_scores(
    folder: Path, n_tracks: int, *, kinds: Iterable[str], every: int, jobs: int, cache: Path
) -> Scores:
    """Score with means and deviations of MFCCs, standardised by those of the originals.

    Raises
    ------
    UsageError
        If files are missing.
    """
    originals, rows = find_files(folder, n_tracks, kinds, every)

    def fingerprint(paths: list[Path]) -> list[np.ndarray]:
        return fingerprint_files(paths, mfcc_print, cache, jobs)

    return score_fingerprints(originals, rows, fingerprint, standardised_cosine)


@functools.lru_cache(maxsize=1)
def _load_recipe(weights: Path):
    from auditor.embedding.network import read_network

    return read_network(weights).eval()


def recipe_print(path: Path, weights: Path) -> np.ndarray:
    """Return the average d-vector of a file, (n_dims,) float32."""
    from recipe import average_dvector

    return average_dvector(_load_recipe(weights), read_wav(path))


def recipe_scores(
    folder: Path,
    n_tracks: int,
    *,
    kinds: Iterable[str],
    every: int,
    jobs: int,
    cache: Path,
    weights: Path,
) -> Scores:
    """Score with the original project's recipe, trained by ``benchmarks/recipe.py``.

    Raises
    ------
    UsageError
        If the weights or files are missing.
    """
    if weights.is_dir():
        found = sorted(weights.glob("recipe-*.safetensors"), key=lambda p: p.stat().st_mtime)
        weights = found[-1] if found else weights / "recipe.safetensors"
    if not weights.is_file():
        raise UsageError(f"no weights {weights}. Run: python benchmarks/recipe.py corpus")
    originals, rows = find_files(folder, n_tracks, kinds, every)
    make = functools.partial(recipe_print, weights=weights)

    def fingerprint(paths: list[Path]) -> list[np.ndarray]:
        return fingerprint_files(paths, make, cache / weights.stem, jobs)

    return score_fingerprints(originals, rows, fingerprint, cosine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--peer", action="append", choices=sorted(PEERS), help="all by default")
    parser.add_argument("--alteration", action="append", choices=sorted(ALTERATIONS))
    parser.add_argument("--every", type=int, default=2, help="copies of every n-th track only")
    parser.add_argument("--max-s", type=float, default=90.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"))
    parser.add_argument("--cache", type=Path, default=Path("runs/peers"), help="and the output")
    given = os.environ.get("AUDFPRINT")
    parser.add_argument(
        "--audfprint", type=Path, default=Path(given) if given else None, metavar="FOLDER"
    )
    parser.add_argument(
        "--audfprint-python", default=os.environ.get("AUDFPRINT_PYTHON", sys.executable)
    )
    parser.add_argument("--recipe", type=Path, default=Path("runs/recipe"), metavar="WEIGHTS")
    args = parser.parse_args()
    folder = copies_folder(args.copies, args.role, args.max_s)
    n_tracks = len(corpus_paths(args.corpus, args.role))
    own = {
        "audfprint": {"source": args.audfprint, "python": args.audfprint_python},
        "recipe": {"weights": args.recipe},
    }
    for name in args.peer or PEERS:
        cache = args.cache / name / folder.name
        try:
            scores = PEERS[name](
                folder,
                n_tracks,
                kinds=args.alteration or tuple(ALTERATIONS),
                every=args.every,
                jobs=args.jobs,
                cache=cache,
                **own.get(name, {}),
            )
        except UsageError as error:
            print(f"{name}: skipped: {error}", file=sys.stderr)
            continue
        output = args.cache / f"{name}-{args.role}-every{args.every}.npz"
        scores.save(output)
        costs = ", ".join(f"{side} {cost:.1f}" for side, cost in read_costs(cache).items())
        print(f"{output}; fingerprints, CPU seconds per hour of audio: {costs}")
    return 0


PEERS: dict[str, Callable[..., Scores]] = {
    "chromaprint": chromaprint_scores,
    "audfprint": audfprint_scores,
    "mfcc": mfcc_scores,
    "recipe": recipe_scores,
}


if __name__ == "__main__":
    sys.exit(main())
