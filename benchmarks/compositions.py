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
from composition_rates import keep, true_rows
from threadpoolctl import threadpool_limits
from versions import Version, load
from works import load_works, plain_title

from auditor.calibration.thresholds import Thresholds, load_thresholds, shipped_directory
from auditor.embedding.salience import load_pitch_model
from auditor.evidence.composition.agreement import agreement
from auditor.evidence.composition.align import align, raw_scores
from auditor.evidence.composition.pitches import PitchTrack
from auditor.scoring.composition import normalised, scores_with
from auditor.search.compositions import StoredPitches, nearest_contents

FARS = (1e-2, 1e-3, 1e-4)
LIKELY = 0.33
SAME_TRUE_MELODY = 0.55
"""Pairs of works from the first score on are versions if their true melodies agree so far."""


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
    tracks, kept = [PitchTrack(each) for each in rows], [keep(each, cohort) for each in rows]
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
                by_kind[_kind(kinds[i], kinds[j])].append(float(scores[i, j]))
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
    versions: list[Version], kept: list[StoredPitches]
) -> list[tuple[float, float, float]]:
    """Return scores, melody and harmony of pairs that share chords and not the melody."""
    by_work: dict[str, list[int]] = defaultdict(list)
    for k, version in enumerate(versions):
        by_work[version.work].append(k)
    out = []
    for a, b in (pair for pair in by_work.values() if len(pair) == 2):
        track_a, track_b = PitchTrack(kept[a].pitches), PitchTrack(kept[b].pitches)
        (score,) = scores_with(kept[a], [kept[b]], [track_b])
        alignment = align(track_a, track_b)
        said = agreement(track_a, track_b, alignment) if alignment else None
        out.append((score, said.melody if said else 0.0, said.harmony if said else 0.0))
    return out


def set_aside(
    scores: np.ndarray, works: list[str], versions: list[Version]
) -> set[tuple[str, str]]:
    """Return pairs of works whose true melodies, the labels, are one: natural versions.

    Only pairs of works that score ``LIKELY`` or more are looked at.
    """
    best: dict[tuple[str, str], tuple[float, int, int]] = {}
    for i, j in np.argwhere(np.triu(scores >= LIKELY, 1)).tolist():
        if works[i] != works[j]:
            pair = min(works[i], works[j]), max(works[i], works[j])
            best[pair] = max(best.get(pair, (-1.0, 0, 0)), (float(scores[i, j]), i, j))
    found = set()
    for pair, (_, i, j) in best.items():
        a, b = PitchTrack(true_rows(versions[i])), PitchTrack(true_rows(versions[j]))
        if a.melody.any() and b.melody.any():  # those of MIDI files are not known
            alignment = align(a, b)
            if alignment is not None and agreement(a, b, alignment).melody >= SAME_TRUE_MELODY:
                found.add(pair)
    return found


def against_rates(
    z: np.ndarray, works: list[str], kinds: list[str], versions: list[Version], rates: Thresholds
) -> dict[str, object]:
    """Return recall without natural versions, and expected against observed chance.

    Recall is at rates that are counted on the impostors here; expected are the rates of the
    threshold file.
    """
    scores = z / (10.0 + np.abs(z))
    aside = set_aside(scores, works, versions)
    names = np.array(works)
    first, second = np.triu_indices(len(names), 1)
    same = names[first] == names[second]
    natural = np.array(
        [
            (min(a, b), max(a, b)) in aside
            for a, b in zip(names[first].tolist(), names[second].tolist(), strict=True)
        ]
    )
    impostor, s = ~same & ~natural, scores[first, second]
    highest = np.sort(s[impostor])[::-1]
    own = [float(highest[int(far * len(highest))]) for far in FARS]
    of_kind = np.array(
        [_kind(kinds[i], kinds[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    )
    recall = {
        kind: [float((s[same & (of_kind == kind)] >= t).mean()) for t in own]
        for kind in sorted(set(of_kind[same].tolist()))
    }
    recall["all"] = [float((s[same] >= t).mean()) for t in own]
    counted = []
    for far in (*FARS, 1e-5):
        threshold = rates.threshold_at(far)
        rate, low, high = rates.far_at(threshold)
        n = int(impostor.sum())
        observed = int((s[impostor] >= threshold).sum())
        counted.append([far, rate * n, low * n, high * n, observed])
    order = np.argsort(-s, kind="stable")
    lists = {}
    for share in (0.05, 0.1, 0.2):
        expected = [
            rates.far_at(float(s[order[r - 1]]))[0] * len(s) / r for r in range(100, len(s), 25)
            if r <= 4 * same.sum()
        ]  # fmt: skip
        n_lines = max((100 + 25 * k for k, e in enumerate(expected) if e <= share), default=0)
        kept = order[:n_lines]
        lists[str(share)] = [n_lines, float(impostor[kept].mean()), float(same[kept].sum())]
    return {
        "set aside": sorted(aside),
        "thresholds": own,
        "recall": recall,
        "expected and observed": counted,
        "lists": lists,
    }


def _kind(a: str, b: str) -> str:
    """Return the kind of a pair: that of the version beside the original."""
    first, second = sorted((a, b), key=lambda kind: kind != "original")
    return second if first in ("original", second) else "two others"


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
        found = load_thresholds(shipped_directory() / f"pitches-{model.id}.json")
        result["against rates"] = against_rates(z, works, kinds, chosen, found)
        trap_kept = [keep(model.pitches(v.spectrum), cohort) for v in traps]
        result["same chords"] = same_chords(traps, trap_kept)
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
