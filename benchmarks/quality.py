"""Quality benchmark: is the right original found, for every way a copy may be altered?

Every track of a role of the corpus is a reference.  Altered copies of it are scored against all
references; tracks known to share material are taken out of the impostor pairs and reported on their
own.  For each alteration: top-1 hit rate, recall at FAR 1e-3 and 1e-4 at one threshold for all
alterations, EER, and what the shipped threshold finds.  Copies are cached, so a killed run resumes.

With ``--aligned`` the excerpt d-vectors are compared moment by moment as well, and their score
stands beside that of the embeddings.

Examples
--------
::

    python benchmarks/quality.py corpus --role test --alteration mp3-32k --alteration crop30
    python benchmarks/quality.py corpus --role test --all --aligned --max-s 90 --every 4
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from auditor.align import AlignConfig, LineMeans, References, line_means
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
    extractors: tuple[str, ...]
    max_s: float | None
    cache: Path


@dataclass
class Embedded:
    """A track or a copy: its embedding by the first extractor, d-vectors by the last."""

    embedding: np.ndarray
    dvectors: np.ndarray


def other_row(row: int, n: int) -> int:
    """Return the track that is mixed into, or hosts, the copies of a track."""
    return (row + n // 2) % n


def embed_job(job: Job) -> dict[str, Embedded]:
    """Return the reference (under "") and its copies, by alteration."""
    import torch

    from auditor.embed import embed_waveform
    from auditor.extractor import load_extractor

    torch.set_num_threads(1)
    extractors = [load_extractor(name) for name in job.extractors]
    ids = [extractor.weights_id for extractor in extractors]
    waveforms: dict[str, np.ndarray] = {}

    def waveform_of(path: str) -> np.ndarray:
        if path not in waveforms:
            waveforms[path] = load_waveform(path, duration_s=job.max_s)
        return waveforms[path]

    def embed(kind: str) -> Embedded | None:
        key = f"{job.path}|{kind}|{'+'.join(ids)}|{job.max_s}|{SEED}"
        name = job.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        if not name.exists():
            try:
                altered = waveform_of(job.path)
                if kind:
                    other = waveform_of(job.other) if ALTERATIONS[kind].needs_other else None
                    seed = int.from_bytes(
                        hashlib.sha256(f"{job.path}|{kind}".encode()).digest()[:4]
                    )
                    rng = np.random.default_rng([SEED, seed])
                    altered = ALTERATIONS[kind](altered, rng, other)
                made = embed_waveform(altered, extractors)
                arrays = made[ids[0]].embedding, made[ids[-1]].dvectors
            except (AudioError, ValueError) as error:
                print(f"{job.path}: {kind}: {error}", file=sys.stderr)
                arrays = np.zeros(0, np.float32), np.zeros(0, np.float16)
            part = name.with_suffix(".part.npz")
            np.savez(part, embedding=arrays[0], dvectors=arrays[1])
            part.replace(name)
        with np.load(name, allow_pickle=False) as stored:
            if not stored["embedding"].any():
                return None
            return Embedded(stored["embedding"], stored["dvectors"].astype(np.float32))

    found = {kind: embed(kind) for kind in ("", *job.alterations)}
    return {kind: made for kind, made in found.items() if made is not None}


@dataclass
class Scores:
    """Scores of one kind: originals with originals, and copies of each alteration with them."""

    originals: np.ndarray
    copies: dict[str, np.ndarray] = field(default_factory=dict)


def embedding_scores(tracks: list[dict[str, Embedded]], origin: dict[str, np.ndarray]) -> Scores:
    """Return the cosines of embeddings."""
    references = np.stack([track[""].embedding for track in tracks])
    scores = Scores(references @ references.T)
    for kind, rows in origin.items():
        copies = np.stack([tracks[i][kind].embedding for i in rows])
        scores.copies[kind] = copies @ references.T
    return scores


def aligned_job(task: tuple[list[np.ndarray], list[np.ndarray], AlignConfig]) -> list[LineMeans]:
    """Follow the lines of some queries through all references."""
    import torch

    torch.set_num_threads(1)
    queries, references, config = task
    stacked = References.of(references)
    return [line_means(query, stacked, config=config) for query in queries]


def all_aligned(
    tracks: list[dict[str, Embedded]], origin: dict[str, np.ndarray], args: argparse.Namespace
) -> Scores:
    """Return the aligned scores of originals and copies, worked on by several processes."""
    references = [track[""].dvectors for track in tracks]
    queries = {"": references}
    queries |= {kind: [tracks[i][kind].dvectors for i in rows] for kind, rows in origin.items()}
    config = AlignConfig(penalty=args.penalty, contrast=args.contrast)
    found: dict[str, np.ndarray] = {}
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        parts = {
            kind: [
                pool.submit(aligned_job, (given[i : i + 8], references, config))
                for i in range(0, len(given), 8)
            ]
            for kind, given in queries.items()
        }
        for kind, futures in parts.items():
            lines = [line for future in futures for line in future.result()]
            found[kind] = np.stack(
                [line.scores(penalty=args.penalty, contrast=args.contrast) for line in lines]
            )
            print(f"aligned {kind or 'originals'}", file=sys.stderr)
    return Scores(found.pop(""), found)


def combine(a: Scores, b: Scores, share: float) -> Scores:
    """Return ``(1 - share) * a + share * b``."""
    return Scores(
        (1 - share) * a.originals + share * b.originals,
        {kind: (1 - share) * a.copies[kind] + share * b.copies[kind] for kind in a.copies},
    )


def shipped_threshold(extractor: str) -> float | None:
    """Return the threshold that a scan would use, None if nothing is calibrated."""
    from auditor.extractor import load_extractor
    from auditor.thresholds import find_thresholds, shipped_directory

    found = find_thresholds(load_extractor(extractor).weights_id, [shipped_directory()])
    return found[0].threshold if found else None


def evaluate(
    names: list[str],
    groups: np.ndarray,
    scores: Scores,
    origin: dict[str, np.ndarray],
    shipped: float | None,
) -> dict:
    """Count hits and false alarms of one kind of score.

    A copy with another track mixed in, or planted in another, holds that track as well: it is no
    impostor of that copy and no rival of its original.
    """
    hosts = groups[[other_row(i, len(names)) for i in range(len(names))]]
    related = {kind: groups[rows][:, None] == groups[None, :] for kind, rows in origin.items()}
    for kind, rows in origin.items():
        if ALTERATIONS[kind].needs_other:
            related[kind] |= hosts[rows][:, None] == groups[None, :]
    upper = np.triu(groups[:, None] != groups[None, :], 1)
    impostors = [scores.originals[upper]]
    for kind in origin:
        impostors.append(scores.copies[kind][~related[kind]])
    negative = np.concatenate(impostors)
    table = []
    for kind, rows in origin.items():
        own = scores.copies[kind][np.arange(len(rows)), rows]
        # A natural duplicate of the original on top is no miss: it is the same recording.
        same = related[kind].copy()
        same[np.arange(len(rows)), rows] = False
        hit = top1_hit_rate(np.where(same, -np.inf, scores.copies[kind]), rows)
        table.append(
            {
                "alteration": kind,
                "label": ALTERATIONS[kind].label,
                "n": len(rows),
                "top1": hit,
                "top1_interval": wilson_interval(round(hit * len(rows)), len(rows)),
                "recall_1e-3": recall_at_far(own, negative, 1e-3),
                "recall_1e-4": recall_at_far(own, negative, 1e-4),
                "eer": equal_error_rate(own, negative)[0],
                "n_shipped": None if shipped is None else int((own >= shipped).sum()),
            }
        )
    order = np.argsort(np.where(upper, scores.originals, -np.inf), axis=None)[::-1][:10]
    hardest = [divmod(int(k), len(names)) for k in order]
    pairs = np.argwhere(np.triu(groups[:, None] == groups[None, :], 1))
    return {
        "n_references": len(names),
        "n_impostor_pairs": int(negative.size),
        "n_original_impostor_pairs": int(upper.sum()),
        "thresholds": {f"{far:g}": threshold_at_far(negative, far) for far in (1e-3, 1e-4)},
        "shipped_threshold": shipped,
        "n_false_pairs": None
        if shipped is None
        else int((scores.originals[upper] >= shipped).sum()),
        "rows": table,
        "hardest": [[names[i], names[j], float(scores.originals[i, j])] for i, j in hardest],
        "natural_duplicates": [
            [names[i], names[j], float(scores.originals[i, j])] for i, j in pairs
        ],
    }


def render(title: str, report: dict) -> str:
    """Return the report of one kind of score as Markdown."""
    lines = [f"### {title}", ""]
    if report["shipped_threshold"] is not None:
        n_false, n_pairs = report["n_false_pairs"], report["n_original_impostor_pairs"]
        low, high = wilson_interval(n_false, n_pairs)
        lines += [
            f"Shipped threshold {report['shipped_threshold']:.4f}: {n_false} false pairs of "
            f"{n_pairs:,} unaltered ones, FAR {n_false / n_pairs:.2g} ({low:.2g}–{high:.2g}).",
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
    if report["rows"]:
        means = [
            float(np.mean([row[key] for row in report["rows"]]))
            for key in ("top1", "recall_1e-3", "recall_1e-4", "eer")
        ]
        lines.append(
            f"| **mean** | | {means[0]:.3f} | | {means[1]:.3f} | {means[2]:.3f} | {means[3]:.4f} |"
        )
    for key in ("hardest", "natural_duplicates"):
        lines += ["", f"{key.replace('_', ' ')}:"]
        lines += [f"- {score:.4f} {a} | {b}" for a, b, score in report[key]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--extractor", default="track")
    parser.add_argument("--aligned", action="store_true", help="score excerpt d-vectors as well")
    parser.add_argument("--excerpt", default="excerpt", help="their extractor")
    parser.add_argument("--penalty", type=float, default=0.8)
    parser.add_argument("--contrast", type=float, default=0.25)
    parser.add_argument("--share", type=float, default=0.8, help="of the aligned score in both")
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
    paths = [file.path.decode() for file in find_audio([args.corpus / args.role]).files]
    extractors = (args.extractor, args.excerpt) if args.aligned else (args.extractor,)
    jobs = [
        Job(
            path,
            paths[other_row(i, len(paths))],
            kinds if i % args.every == 0 else (),
            extractors,
            args.max_s,
            args.cache,
        )
        for i, path in enumerate(paths)
    ]
    started = time.monotonic()
    tracks: list[dict[str, Embedded]] = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for result in pool.map(embed_job, jobs):
            tracks.append(result)
            if len(tracks) % 20 == 0:
                seconds = time.monotonic() - started
                print(f"{len(tracks)}/{len(jobs)} {seconds:.0f} s", file=sys.stderr)
    names = [str(Path(path).relative_to((args.corpus / args.role).resolve())) for path in paths]
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    groups = np.asarray(group_tracks(paths, hashes, read_same_list(SAME)))
    origin = {
        kind: np.asarray([i for i, track in enumerate(tracks) if kind in track]) for kind in kinds
    }
    of_embeddings = embedding_scores(tracks, origin)
    scores = {"Embeddings": (of_embeddings, shipped_threshold(args.extractor))}
    if args.aligned:
        aligned = all_aligned(tracks, origin, args)
        scores["Aligned excerpts"] = aligned, None
        scores["Both"] = combine(of_embeddings, aligned, args.share), None
    report = {
        title: evaluate(names, groups, found, origin, shipped)
        for title, (found, shipped) in scores.items()
    }
    print("\n".join(render(title, part) for title, part in report.items()))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
