"""Do two tracks really share audio?  The waveforms themselves are asked, not our scores.

Impostor pairs at the top of the quality benchmark may be no impostors: games reuse stems, and
albums hold a track in two versions.  For each such pair the aligned score says where to look;
there, pieces of 4 s of one track are correlated with the other's waveform, 2.5 s either way.
Noise, tempo or pitch in between break this correlation, so it misses much; but recordings that
share nothing do not reach 0.6 over 4 s.  Pairs that do are printed as rows of
``natural_duplicates.tsv``.

Examples
--------
::

    python benchmarks/shared_material.py corpus --role val --report runs/quality/val/report.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from aligned_score import AlignConfig, best_alignment

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.isolated import load_waveform
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import Extractor, load_extractor

PIECE_S = 4.0
STEP_S = 1.6
REACH_S = 2.5
BAND_HZ = (100.0, 6000.0)
SHARED = 0.6
QUIET = 1e-3


def correlate(piece: np.ndarray, place: np.ndarray) -> tuple[float, float]:
    """Return the highest normalised correlation of a piece within a longer place, and its lag in s.

    Both are (n,) float32; only 100 to 6,000 Hz count.  Silence correlates with nothing.
    """
    n_fft = 1 << (len(piece) + len(place)).bit_length()
    frequency = np.fft.rfftfreq(n_fft, 1.0 / SAMPLE_RATE_HZ)
    kept = (frequency > BAND_HZ[0]) & (frequency < BAND_HZ[1])
    a, b = np.fft.rfft(piece, n_fft) * kept, np.fft.rfft(place, n_fft) * kept
    n_lags = len(place) - len(piece)
    products = np.fft.irfft(np.conj(a) * b, n_fft)[:n_lags]
    squares = np.concatenate([[0.0], np.cumsum(np.fft.irfft(b, n_fft)[: len(place)] ** 2)])
    energy = squares[len(piece) : len(piece) + n_lags] - squares[:n_lags]
    own = float((np.fft.irfft(a, n_fft)[: len(piece)] ** 2).sum())
    least = QUIET**2 * len(piece)
    if own < least:
        return 0.0, 0.0
    values = np.where(energy > least, products / np.sqrt(np.maximum(energy, least) * own), 0.0)
    best = int(np.abs(values).argmax())
    return float(abs(values[best])), best / SAMPLE_RATE_HZ


def examine(a: Path, b: Path, extractor: Extractor, *, max_s: float) -> tuple[float, float, float]:
    """Return the highest correlation of any piece, and where it lies in both tracks, in seconds."""
    waveforms = [load_waveform(path, duration_s=max_s) for path in (a, b)]
    dvectors = [
        embed_waveform(w, [extractor])[extractor.weights_id].dvectors.astype(np.float32)
        for w in waveforms
    ]
    line = best_alignment(*dvectors, config=AlignConfig())
    hop_s, best = extractor.config.hop_s, (0.0, 0.0, 0.0)
    for shift_s in np.arange(0.0, max(line.span * hop_s, STEP_S), STEP_S):
        at_s = line.query_start * hop_s + shift_s
        there_s = max(0.0, line.reference_start * hop_s + shift_s * line.tempo - REACH_S)
        first, start = round(at_s * SAMPLE_RATE_HZ), round(there_s * SAMPLE_RATE_HZ)
        piece = waveforms[0][first : first + round(PIECE_S * SAMPLE_RATE_HZ)]
        place = waveforms[1][start : start + round((PIECE_S + 2 * REACH_S) * SAMPLE_RATE_HZ)]
        if len(piece) < PIECE_S * SAMPLE_RATE_HZ or len(place) <= len(piece):
            continue
        value, lag_s = correlate(piece, place)
        best = max(best, (value, at_s, there_s + lag_s))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--report", type=Path, required=True, help="report.json of quality.py")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR)
    parser.add_argument("--max-s", type=float, default=90.0)
    args = parser.parse_args()
    report = json.loads(args.report.read_text(encoding="utf-8"))
    pairs = {
        tuple(sorted((pair["query"], pair["reference"])))
        for system in report["systems"].values()
        for pair in (*system["hardest_originals"], *system["hardest_copies"])
    }
    extractor = load_extractor(args.extractor)
    for a, b in sorted(pairs):
        folder = args.corpus / args.role
        value, at_s, there_s = examine(folder / a, folder / b, extractor, max_s=args.max_s)
        print(f"{value:.2f} at {at_s:.1f} s, {there_s:.1f} s: {a} | {b}", file=sys.stderr)
        if value >= SHARED:
            evidence = f"waveform r={value:.2f} over 4 s, at {at_s:.1f} s and {there_s:.1f} s"
            print(f"{a}\t{b}\tshared_material\t{evidence}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
