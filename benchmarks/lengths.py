"""What is found of short copies, by their length; kept with a calibration.

Clips of some lengths are cut from the middle of tracks, altered, and scored with their originals as
``audit calibrate`` scores its copies.  The result goes into ``lengths`` of the threshold file of
those weights, whose other figures stay as they are.

Examples
--------
::

    audit scan corpus/val --workspace runs/wide/val/ws
    python benchmarks/lengths.py runs/wide/val/ws thresholds/excerpt-ece99d6c-match.json
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import shlex
import sys
from pathlib import Path

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.augment.waveform import crop
from auditor.calibration.metrics import wilson_interval
from auditor.calibration.thresholds import (
    AlterationRecall,
    LengthRecalls,
    load_thresholds,
    save_thresholds,
)
from auditor.embedding.embed import embed_waveform
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.parallel import one_thread
from auditor.scoring.base import Scorer, open_scorer
from auditor.workspace import Workspace, open_workspace

LENGTHS_S = (3.0, 5.0, 10.0, 30.0)
SEED = 20_261_130
SILENT = 1e-3
KINDS = (
    *("mp3-32k", "opus-24k", "pitch+2", "pitch-2", "pitch+4", "pitch-4", "tempo+10", "tempo-20"),
    *("speed+6", "speed-25", "noise10", "noise0", "band", "eq", "reverb1.5", "compression"),
    *("voice", "mix", "everything"),
)
"""Alterations that leave all of a clip."""


def score_of_copy(
    workspace: Workspace, scorer: Scorer, track_id: str, altered: np.ndarray
) -> float | None:
    """Return the score of a copy with its original; None if a check would refuse the copy."""
    try:
        copy = embed_waveform(altered, [workspace.extractor])[workspace.weights_id]
    except AudioError:
        return None
    if not copy.embedding.any():
        return None
    side = scorer.side_of_copy(
        copy, duration_s=len(altered) / SAMPLE_RATE_HZ, spectrum=waveform_spectrum(altered)
    )
    return scorer.pair(side, scorer.side(track_id)).score


def measure(workspace: Workspace, n_copies: int) -> dict[float, dict[str, list[float]]]:
    """Return the scores of copies by length and alteration; too short a copy scores -1."""
    scorer = open_scorer(workspace)
    tracks = [t for t in workspace.catalogue.tracks() if t.duration_s >= 40.0 and not t.silent]
    rows = np.unique(np.linspace(0, len(tracks) - 1, n_copies).astype(int)).tolist()
    scores: dict[float, dict[str, list[float]]] = {
        length_s: {kind: [] for kind in KINDS} for length_s in LENGTHS_S
    }
    for n_done, row in enumerate(rows, 1):
        track, other = tracks[row], tracks[(row + len(tracks) // 2) % len(tracks)]
        waveform = load_waveform(track.path, duration_s=120.0)
        beside = load_waveform(other.path, duration_s=60.0)
        for length_s in LENGTHS_S:
            spare_s = len(waveform) / SAMPLE_RATE_HZ - length_s
            clip = crop(waveform, start_s=spare_s / 2, duration_s=length_s)
            if np.abs(clip).max() < SILENT:
                continue  # a check of it says that nothing can be compared
            for i, kind in enumerate(KINDS):
                rng = np.random.default_rng([SEED, row, i])
                altered = ALTERATIONS[kind](clip, rng, beside)
                score = score_of_copy(workspace, scorer, track.id, altered)
                scores[length_s][kind].append(-1.0 if score is None else score)
        print(f"{n_done} of {len(rows)} tracks", file=sys.stderr, flush=True)
    return scores


def recall(kind: str, scores: list[float], threshold: float) -> AlterationRecall:
    """Return what a threshold finds of copies, as ``audit calibrate`` keeps it."""
    rounded = tuple(sorted(float(np.floor(1e4 * score) / 1e4) for score in scores))
    n_found = sum(score >= threshold for score in scores)
    low, high = wilson_interval(n_found, len(scores))
    return AlterationRecall(
        ALTERATIONS[kind].label, len(scores), n_found, round(low, 4), round(high, 4), rounded
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("thresholds", type=Path)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--data", default="val music of benchmarks/corpus.tsv")
    args = parser.parse_args()
    one_thread()
    known = load_thresholds(args.thresholds)
    with open_workspace(args.workspace) as workspace:
        scores = measure(workspace, args.copies)
    lengths = tuple(
        LengthRecalls(
            length_s,
            tuple(recall(kind, found, known.threshold) for kind, found in of_length.items()),
            args.data,
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            shlex.join(["python", *sys.argv]),
        )
        for length_s, of_length in scores.items()
    )
    save_thresholds(dataclasses.replace(known, lengths=lengths), args.thresholds)
    for one in lengths:
        shares = [r.n_found / r.n_copies for r in one.recalls]
        worst = min(one.recalls, key=lambda r: r.n_found)
        print(
            f"{one.duration_s:g} s: {100 * np.mean(shares):.1f} % found at {known.threshold}; "
            f"worst {worst.alteration}, {worst.n_found} of {worst.n_copies}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
