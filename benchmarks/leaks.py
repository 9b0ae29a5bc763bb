"""A data set with planted leaks: how many does ``audit leak`` find, and what else does it call one?

The tracks of a role are split in two, every second one for training.  Into the test split go copies
of training tracks, altered in the 17 ways of ``benchmarks/unseen.py`` that neither training nor
calibration knows, and exact copies under other names.  All pairs are compared by the code of
``audit leak`` at its default budget.

Examples
--------
::

    python benchmarks/leaks.py corpus --role val --per-kind 6
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from copies import corpus_paths
from unseen import UNSEEN

from auditor.api.leak import find_leaks
from auditor.api.run import Options
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.calibration.metrics import wilson_interval
from auditor.errors import AudioError
from auditor.ingest.embedders import make_embedder
from auditor.ingest.splits import name_splits
from auditor.parallel import LocalTiles, one_thread
from auditor.records import LeakResult
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import open_workspace

EXACT = "exact copy"
KINDS = tuple(kind for kind in UNSEEN if kind != "backwards")


def plant(paths: list[str], folder: Path, *, per_kind: int, clip_s: float) -> None:
    """Write both splits and ``truth.tsv``: each test file, the training file it is of, and how."""
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    train, truth = [], []
    for row, path in enumerate(paths):
        try:
            waveform = load_waveform(path, duration_s=clip_s)
        except AudioError as error:
            print(error, file=sys.stderr)
            continue
        if len(waveform) < min(20.0, clip_s) * SAMPLE_RATE_HZ:
            continue
        side = "train" if row % 2 == 0 else "test"
        write_audio(folder / side / f"{row:05}.flac", waveform, codec="flac")
        if side == "train":
            train.append(row)
    for number, kind in enumerate((*KINDS, EXACT)):
        chosen = np.linspace(0, len(train) - 1, per_kind).astype(int)
        for place in sorted({int((c + 3 * number) % len(train)) for c in chosen}):
            row = train[place]
            source = folder / "train" / f"{row:05}.flac"
            copy = folder / "test" / f"copy-{number:02}-{row:05}.flac"
            if kind == EXACT:
                shutil.copyfile(source, copy)
            else:
                rng = np.random.default_rng([row, *kind.encode()])
                altered = UNSEEN[kind][1](load_waveform(source), rng)
                peak = max(1.0, float(np.abs(altered).max()))
                write_audio(copy, (altered / peak).astype(np.float32), codec="flac")
            truth.append((copy.name, source.name, kind))
    with (folder / "truth.tsv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(truth)


def count(result: LeakResult, folder: Path, same: set[frozenset[str]]) -> dict:
    """Return what was found of each kind, and the leaks that nobody planted."""
    with (folder / "truth.tsv").open(newline="", encoding="utf-8") as file:
        truth = [tuple(row) for row in csv.reader(file, delimiter="\t")]
    source_of = {copy: source for copy, source, _ in truth}
    name_of = {track.id: Path(track.path).name for track in result.tracks}
    flagged = {(name_of[p.a], name_of[p.b]) for p in result.pairs if p.flagged}
    for group in result.identical:  # one file stands for those of the same bytes on its side
        names = [name_of[i] for i in group.tracks]
        flagged |= {(a, b) for a, _ in list(flagged) if a in names for b in names if b in source_of}
    kinds: dict[str, list[int]] = {}
    for copy, source, kind in truth:
        n_found, n = kinds.get(kind, (0, 0))
        kinds[kind] = [n_found + ((source, copy) in flagged), n + 1]
    others = [
        (a, b)
        for a, b in sorted(flagged)
        if source_of.get(b) != a and frozenset((a, source_of.get(b, b))) not in same
    ]
    return {"kinds": kinds, "others": others}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="val")
    parser.add_argument("--per-kind", type=int, default=6)
    parser.add_argument("--clip-s", type=float, default=90.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/leaks"))
    args = parser.parse_args()
    one_thread()
    folder = args.folder / f"{args.role}-{args.clip_s:g}"
    paths = corpus_paths(args.corpus, args.role)
    if not (folder / "truth.tsv").exists():
        plant(paths, folder, per_kind=args.per_kind, clip_s=args.clip_s)
    listed = read_same_list(Path(__file__).with_name("natural_duplicates.tsv"))
    groups = group_tracks(paths, [hash_file(path) for path in paths], listed)
    names = [f"{row:05}.flac" for row in range(len(paths))]
    same = {
        frozenset((a, b))
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if groups[i] == groups[j]
    }
    started = time.monotonic()
    with open_workspace(folder / "ws", write=True) as workspace, LocalTiles(args.jobs) as tiles:
        result = find_leaks(
            workspace,
            name_splits(str(folder / "train"), str(folder / "test")),
            options=Options(),
            embedder=make_embedder(workspace.extractor, jobs=args.jobs),
            tiles=tiles,
        )
    found = count(result, folder, same) | {
        "threshold": result.threshold.threshold,
        "expected_false_pairs": result.threshold.expected_false_pairs,
        "n_comparisons": result.threshold.n_comparisons,
        "splits": [(s.name, s.n_tracks, s.n_leaked, s.held_s, s.duration_s) for s in result.splits],
        "seconds": round(time.monotonic() - started, 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    (folder / "found.json").write_text(json.dumps(found, indent=1))
    print("| alteration | leaks found |\n|---|---|")
    for kind, (n_found, n) in found["kinds"].items():
        print(f"| {UNSEEN[kind][0] if kind in UNSEEN else kind} | {n_found} of {n} |")
    altered = [counts for kind, counts in found["kinds"].items() if kind != EXACT]
    n_found, n = (sum(column) for column in zip(*altered, strict=True))
    low, high = wilson_interval(n_found, n)
    print(f"\n{n_found} of {n} altered copies ({100 * low:.1f}–{100 * high:.1f} %)")
    print({name: value for name, value in found.items() if name != "kinds"})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
