"""Measure the composition match on works that no training saw.

``make bench-compositions`` renders the versions (``versions.py``) and runs this.  It prints, for
each scoring and kind of version, mean average precision, mean rank of the first version, top-1, and
recall at fixed false alarm rates, which are counted on all pairs of different works.

Examples
--------
::

    python benchmarks/compositions.py scores scores/test --out compositions.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from versions import Version, load
from works import load_works, plain_title

from auditor.embedding.salience import load_pitch_model
from auditor.evidence.composition.agreement import agreement
from auditor.evidence.composition.align import align, raw_scores
from auditor.evidence.composition.pitches import PitchTrack
from auditor.scoring.composition import normalised, score_of
from auditor.search.compositions import StoredPitches, nearest_contents

FARS = (1e-2, 1e-3, 1e-4)
N_CANDIDATES = 40


def plain_chroma(spectrum: np.ndarray) -> np.ndarray:
    """Return rows of pitches that are the folded spectrum: (n, 37) uint8, as melody and as all."""
    amplitude = 10.0 ** ((spectrum.astype(np.float32) - 160.0) / 20.0)
    padded = np.pad(amplitude, ((0, 0), (1, 1)))
    semitones = padded[:, 1:-1:2] + 0.5 * (padded[:, 0:-2:2] + padded[:, 2::2])
    semitones = np.log1p(semitones / (np.median(semitones) + 1e-9))
    chroma = np.zeros((len(spectrum), 12), np.float32)
    for k in range(semitones.shape[1]):
        chroma[:, (57 + k) % 12] += semitones[:, k]
    chroma = chroma[: len(chroma) // 4 * 4].reshape(-1, 4, 12).mean(1)
    chroma = np.maximum(chroma - chroma.mean(0), 0.0)
    scaled = np.clip(255 * chroma / max(float(np.percentile(chroma, 99)), 1e-6), 0, 255)
    rows = np.zeros((len(chroma), 37), np.uint8)
    rows[:, :12] = rows[:, 24:36] = scaled.astype(np.uint8)
    return rows


def scores_of_all(
    rows: list[np.ndarray], cohort: list[PitchTrack]
) -> tuple[np.ndarray, np.ndarray, list[StoredPitches]]:
    """Return the sums of all pairs, (n, n), the same set against the cohort, and what is kept."""
    tracks = [PitchTrack(each) for each in rows]
    kept = []
    for each, track in zip(rows, tracks, strict=True):
        raw, _ = raw_scores(track, cohort)
        raw = np.sort(raw)[: len(raw) - 2]
        kept.append(
            StoredPitches(each, np.zeros((0, 1)), float(raw.mean()), max(float(raw.std()), 0.1))
        )
    n = len(rows)
    sums, z = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    started = time.thread_time()
    for i in range(n - 1):
        raw, _ = raw_scores(tracks[i], tracks[i + 1 :])
        sums[i, i + 1 :] = sums[i + 1 :, i] = raw
        z[i, i + 1 :] = z[i + 1 :, i] = normalised(raw, kept[i], kept[i + 1 :])
        if i % 100 == 0:
            print(i, n, round(time.thread_time() - started), "s", flush=True)
    return sums, z, kept


def measure(scores: np.ndarray, works: list[str], kinds: list[str]) -> dict[str, object]:
    """Return the figures of a scoring, for all versions and by kind."""
    names = np.array(works)
    same = names[:, None] == names[None, :]
    n = len(names)
    upper = np.triu(np.ones((n, n), bool), 1)
    impostors = np.sort(scores[upper & ~same])[::-1]
    thresholds = [
        float(impostors[min(len(impostors) - 1, int(far * len(impostors)))]) for far in FARS
    ]
    out: dict[str, object] = {"n_impostor_pairs": len(impostors), "thresholds": thresholds}
    by_kind: dict[str, list[float]] = defaultdict(list)
    for i in range(n):
        for j in range(i + 1, n):
            if same[i, j]:
                by_kind["all"].append(float(scores[i, j]))
                first, second = sorted((kinds[i], kinds[j]), key=lambda kind: kind != "original")
                if "original" in (first, second) or first == second:
                    by_kind[second].append(float(scores[i, j]))
    for kind, values in by_kind.items():
        recall = [float(np.mean(np.array(values) > t)) for t in thresholds]
        out[kind] = {"n": len(values), "recall": recall}
    precisions, ranks = [], []
    for i in range(n):
        row = scores[i].copy()
        row[i] = -np.inf
        hits = same[i][np.argsort(-row, kind="stable")][: n - 1]
        if hits.any():
            places = np.flatnonzero(hits) + 1
            precisions.append(float((np.arange(1, len(places) + 1) / places).mean()))
            ranks.append(int(places[0]))
    out["MAP"] = float(np.mean(precisions))
    out["MR1"] = float(np.mean(ranks))
    out["top-1"] = float(np.mean(np.array(ranks) == 1))
    return out


def candidate_recall(works: list[str], kept: list[StoredPitches]) -> dict[str, float]:
    """Return the share of pairs of one work that the summaries propose, by number of candidates."""
    contents = [(f"{k:06}", each.summaries) for k, each in enumerate(kept)]
    found: dict[int, list[bool]] = defaultdict(list)
    for k, work in enumerate(works):
        near = nearest_contents(kept[k].summaries, contents, top=201)
        near = [name for name in near if int(name) != k]
        for j, other in enumerate(works):
            if j != k and other == work:
                for top in (10, 20, 40, 80, 200):
                    found[top].append(f"{j:06}" in near[:top])
    return {str(top): float(np.mean(hits)) for top, hits in sorted(found.items())}


def same_chords(
    versions: list[Version], model_rows: list[np.ndarray], kept: list[StoredPitches]
) -> list[tuple[float, float, float]]:
    """Return scores, melody and harmony of pairs that share chords and not the melody."""
    by_work: dict[str, list[int]] = defaultdict(list)
    for k, version in enumerate(versions):
        if version.kind == "same chords":
            by_work[version.work].append(k)
    out = []
    for a, b in (pair for pair in by_work.values() if len(pair) == 2):
        track_a, track_b = PitchTrack(model_rows[a]), PitchTrack(model_rows[b])
        raw, _ = raw_scores(track_a, [track_b])
        score = score_of(float(normalised(raw, kept[a], [kept[b]])[0]))
        alignment = align(track_a, track_b)
        said = agreement(track_a, track_b, alignment) if alignment else None
        out.append((score, said.melody if said else 0.0, said.harmony if said else 0.0))
    return out


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path)
    parser.add_argument("versions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--max-works", type=int, default=0, help="only so many works, for a trial")
    parser.add_argument("--chroma", action="store_true", help="plain chroma, same matcher, too")
    args = parser.parse_args()
    model = load_pitch_model(args.model)
    everything = load(args.versions)
    result: dict[str, object] = {"model": model.id}
    main_part = [v for v in everything if v.kind not in ("same chords", "variant")]
    if args.max_works:
        some = set(
            sorted({v.work for v in main_part})[
                :: max(1, len({v.work for v in main_part}) // args.max_works)
            ]
        )
        main_part = [v for v in main_part if v.work in some]
    variants = [v for v in everything if v.kind == "variant"]
    traps = [v for v in everything if v.kind == "same chords"]
    cohort = [PitchTrack(rows) for rows in model.cohort]
    with threadpool_limits(1, user_api="blas"):
        chosen = main_part + variants
        started = time.thread_time()
        rows = [model.pitches(v.spectrum) for v in chosen]
        seconds = sum(len(v.spectrum) for v in chosen) * 0.096
        result["pitches_s_per_4_min"] = (time.thread_time() - started) / seconds * 240
        sums, z, kept = scores_of_all(rows, cohort)
        title_of = {w.id: plain_title(w.title) for w in load_works(args.scores) if w.n_parts == 1}
        works = [title_of.get(v.work) or v.work.removeprefix("variant/") for v in chosen]
        kinds = [v.kind for v in chosen]
        result["sums"] = measure(sums, works, kinds)
        result["normalised"] = measure(z, works, kinds)
        np.savez(args.out.with_suffix(".npz"), z=z, sums=sums, works=works, kinds=kinds,
                 collections=[v.collection for v in chosen])  # fmt: skip
        with_summaries = [
            StoredPitches(k.pitches, model.summaries(k.pitches), k.mean, k.spread) for k in kept
        ]
        result["candidates"] = candidate_recall(works, with_summaries)
        trap_rows = [model.pitches(v.spectrum) for v in traps]
        trap_kept = []
        for each in trap_rows:
            raw = np.sort(raw_scores(PitchTrack(each), cohort)[0])[:-2]
            trap_kept.append(
                StoredPitches(each, np.zeros((0, 1)), float(raw.mean()), max(float(raw.std()), 0.1))
            )
        result["same chords"] = same_chords(traps, trap_rows, trap_kept)
        args.out.write_text(json.dumps(result, indent=1))
        if args.chroma:
            plain = [plain_chroma(v.spectrum) for v in chosen]
            others = [
                PitchTrack(plain_chroma(v.spectrum))
                for v in load(args.versions.parent / "train")[:80:2]
            ] or cohort
            sums, z, _ = scores_of_all(plain, others)
            result["chroma sums"] = measure(sums, works, kinds)
            result["chroma normalised"] = measure(z, works, kinds)
    args.out.write_text(json.dumps(result, indent=1))
    print(json.dumps({k: v for k, v in result.items() if k != "same chords"}, indent=1))


if __name__ == "__main__":
    main()
