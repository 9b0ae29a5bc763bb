"""Quality benchmark: is the right original found, for every way a copy may be altered?

Every track of a role of the corpus is a reference.  Altered copies of it are scored against all
references; tracks known to share material are taken out of the impostor pairs and reported on their
own.  For each alteration: top-1 hit rate, recall at FAR 1e-3 and 1e-4 at one threshold for all
alterations, EER.  Embeddings of copies are cached, so a killed run resumes.

Examples
--------
::

    python benchmarks/quality.py corpus --role test --alteration mp3-32k --alteration crop30
    python benchmarks/quality.py corpus --role test --all --max-s 90 --every 2 --json quality.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from auditor.audio import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.errors import AudioError
from auditor.metrics import (
    equal_error_rate,
    recall_at_far,
    threshold_at_far,
    top1_hit_rate,
    wilson_interval,
)
from auditor.training_set import group_tracks, read_same_list
from auditor.walk import find_audio

SAME = Path(__file__).with_name("natural_duplicates.tsv")
SEED = 20_261_122


@dataclass(frozen=True)
class Job:
    """One reference and the copies to be made of it."""

    path: str
    other: str
    alterations: tuple[str, ...]
    extractor: str
    max_s: float | None
    cache: Path


def embed_job(job: Job) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the embedding of a reference and those of its copies by alteration."""
    import torch

    from auditor.embed import embed_waveform
    from auditor.extractor import load_extractor

    torch.set_num_threads(1)
    extractor = load_extractor(job.extractor)
    weights_id = extractor.weights_id
    waveform = other = None

    def embedding_of(kind: str) -> np.ndarray | None:
        nonlocal waveform, other
        key = f"{job.path}|{kind}|{weights_id}|{job.max_s}|{SEED}"
        name = job.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
        if name.exists():
            stored = np.load(name, allow_pickle=False)
            return stored if stored.size else None
        if waveform is None:
            waveform = load_waveform(job.path, duration_s=job.max_s)
        try:
            altered = waveform
            if kind:
                if ALTERATIONS[kind].needs_other and other is None:
                    other = load_waveform(job.other, duration_s=job.max_s)
                seed = int.from_bytes(hashlib.sha256(f"{job.path}|{kind}".encode()).digest()[:4])
                altered = ALTERATIONS[kind](waveform, np.random.default_rng([SEED, seed]), other)
            embedding = embed_waveform(altered, [extractor])[weights_id].embedding
        except (AudioError, ValueError) as error:
            print(f"{job.path}: {kind}: {error}", file=sys.stderr)
            embedding = np.zeros(0, dtype=np.float32)
        np.save(name, embedding, allow_pickle=False)
        return embedding if embedding.size else None

    reference = embedding_of("")
    copies = {kind: embedding_of(kind) for kind in job.alterations}
    return reference, {kind: copy for kind, copy in copies.items() if copy is not None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--extractor", default="track")
    parser.add_argument("--alteration", action="append", choices=sorted(ALTERATIONS), default=[])
    parser.add_argument("--all", action="store_true", help="every alteration of the table")
    parser.add_argument("--every", type=int, default=1, help="copies of every n-th track only")
    parser.add_argument("--max-s", type=float, help="seconds of each track used, from its start")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/quality"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    kinds = tuple(ALTERATIONS) if args.all else tuple(args.alteration)
    args.cache.mkdir(parents=True, exist_ok=True)
    files = find_audio([args.corpus / args.role]).files
    paths = [file.path.decode() for file in files]
    jobs = [
        Job(
            path,
            paths[(i + len(paths) // 2) % len(paths)],
            kinds if i % args.every == 0 else (),
            args.extractor,
            args.max_s,
            args.cache,
        )
        for i, path in enumerate(paths)
    ]
    started = time.monotonic()
    done = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for result in pool.map(embed_job, jobs):
            done.append(result)
            if len(done) % 20 == 0:
                print(
                    f"{len(done)}/{len(jobs)} {time.monotonic() - started:.0f} s", file=sys.stderr
                )
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    names = [str(Path(path).relative_to((args.corpus / args.role).resolve())) for path in paths]
    groups = np.asarray(group_tracks(paths, hashes, read_same_list(SAME)))
    report = evaluate(names, groups, done, kinds, shipped_threshold(args.extractor))
    print(render(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    return 0


def shipped_threshold(extractor: str) -> float | None:
    """Return the threshold that a scan would use, None if nothing is calibrated."""
    from auditor.extractor import load_extractor
    from auditor.thresholds import find_thresholds, shipped_directory

    found = find_thresholds(load_extractor(extractor).weights_id, [shipped_directory()])
    return found[0].threshold if found else None


def evaluate(paths, groups, done, kinds, shipped: float | None) -> dict:
    """Score every copy against every reference and count."""
    references = np.stack([reference for reference, _ in done])
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind in kinds:
        origin = np.asarray([i for i, (_, copies) in enumerate(done) if kind in copies])
        copies = np.stack([done[i][1][kind] for i in origin])
        rows[kind] = origin, copies @ references.T
    upper = np.triu(groups[:, None] != groups[None, :], 1)
    originals = references @ references.T
    impostors = [originals[upper]]
    for origin, scores in rows.values():
        impostors.append(scores[groups[origin][:, None] != groups[None, :]])
    negative = np.concatenate(impostors)
    table = []
    for kind, (origin, scores) in rows.items():
        own = scores[np.arange(len(origin)), origin]
        # A natural duplicate of the original on top is no miss: it is the same recording.
        rivals = np.where(
            (groups[origin][:, None] == groups[None, :])
            & (np.arange(len(paths))[None, :] != origin[:, None]),
            -2.0,
            scores,
        )
        hit = top1_hit_rate(rivals, origin)
        n_hit = round(hit * len(origin))
        table.append(
            {
                "alteration": kind,
                "label": ALTERATIONS[kind].label,
                "n": len(origin),
                "top1": hit,
                "top1_interval": wilson_interval(n_hit, len(origin)),
                "recall_1e-3": recall_at_far(own, negative, 1e-3),
                "recall_1e-4": recall_at_far(own, negative, 1e-4),
                "eer": equal_error_rate(own, negative)[0],
                "n_shipped": None if shipped is None else int((own >= shipped).sum()),
            }
        )
    hardest = np.argsort(np.where(upper, originals, -2.0), axis=None)[::-1][:10]
    same = np.argwhere(np.triu(groups[:, None] == groups[None, :], 1))
    return {
        "n_references": len(paths),
        "n_impostor_pairs": int(negative.size),
        "n_original_impostor_pairs": int(upper.sum()),
        "thresholds": {f"{far:g}": threshold_at_far(negative, far) for far in (1e-3, 1e-4)},
        "shipped_threshold": shipped,
        "n_false_pairs": None if shipped is None else int((originals[upper] >= shipped).sum()),
        "rows": table,
        "hardest": [
            [paths[i], paths[j], float(originals[i, j])]
            for i, j in (divmod(int(k), len(paths)) for k in hardest)
        ],
        "natural_duplicates": [[paths[i], paths[j], float(originals[i, j])] for i, j in same],
    }


def render(report: dict) -> str:
    """Return the report as Markdown."""
    lines = []
    if report["shipped_threshold"] is not None:
        n_false, n_pairs = report["n_false_pairs"], report["n_original_impostor_pairs"]
        low, high = wilson_interval(n_false, n_pairs)
        lines += [
            f"shipped threshold {report['shipped_threshold']:.4f}: {n_false} false pairs of "
            f"{n_pairs:,} unaltered ones, FAR {n_false / n_pairs:.2g} ({low:.2g}–{high:.2g})",
            "",
        ]
    lines += [
        f"{report['n_references']} references, {report['n_impostor_pairs']:,} impostor pairs "
        f"({report['n_original_impostor_pairs']:,} of unaltered tracks); thresholds at FAR "
        + ", ".join(f"{far}: {t:.4f}" for far, t in report["thresholds"].items()),
        "",
        "| alteration | copies | top-1 (95 %) | found at the shipped threshold (95 %) "
        "| recall at FAR 1e-3 | at 1e-4 | EER |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["top1_interval"]
        found = "–"
        if row["n_shipped"] is not None:
            a, b = wilson_interval(row["n_shipped"], row["n"])
            found = f"{row['n_shipped']} = {row['n_shipped'] / row['n']:.3f} ({a:.3f}–{b:.3f})"
        lines.append(
            f"| {row['label']} | {row['n']} | {row['top1']:.3f} ({low:.3f}–{high:.3f}) "
            f"| {found} | {row['recall_1e-3']:.3f} | {row['recall_1e-4']:.3f} | {row['eer']:.4f} |"
        )
    for title in ("hardest", "natural_duplicates"):
        lines += ["", f"{title.replace('_', ' ')}:"]
        lines += [f"- {score:.4f} {a} | {b}" for a, b, score in report[title]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
