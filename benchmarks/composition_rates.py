"""Count the rates of the composition match, and write the threshold file that is shipped.

Unrelated pairs come from two kinds of music: rendered works of the training side, one version of
each, and recordings of the ``train`` and ``val`` roles.  Works of one title, and pairs whose true
melodies (the labels) align like versions, are set aside.  Copies are the second versions.

Examples
--------
::

    python benchmarks/composition_rates.py scores scores/train corpus --out thresholds
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fetch_corpus import AUDIO_SUFFIXES
from threadpoolctl import threadpool_limits
from versions import Version, load
from works import load_works, plain_title

import auditor
from auditor.calibration.metrics import wilson_interval
from auditor.calibration.rates import count_rates
from auditor.calibration.thresholds import AlterationRecall, Thresholds, save_thresholds
from auditor.embedding.salience import load_pitch_model
from auditor.embedding.spectrogram import file_spectrum
from auditor.errors import AudioError
from auditor.evidence.composition.align import raw_scores
from auditor.evidence.composition.pitches import PitchTrack
from auditor.scoring.composition import SCORER_ID, normalised, score_of, usual_scores
from auditor.search.compositions import StoredPitches

SAME_MELODY = 12.0
"""Normalised sum of the true melodies from which two works are versions of one tune."""


def true_rows(version: Version) -> np.ndarray:
    """Return rows of pitches made of the labels: (n, 37) uint8."""
    n = len(version.melody) // 4
    rows = np.zeros((n, 37), np.uint8)
    for k in range(n):
        for pitch in version.melody[4 * k : 4 * k + 4]:
            if pitch:
                rows[k, pitch % 12] = min(255, int(rows[k, pitch % 12]) + 64)
        heard = version.pitch_classes[4 * k : 4 * k + 4].mean(0)
        rows[k, 24:36] = (255 * heard).astype(np.uint8)
    return rows


def corpus_spectra(corpus: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield package and spectrum of the recordings of train and val, at most five minutes each."""
    for role in ("train", "val"):
        for path in sorted((corpus / role).rglob("*")):
            if path.suffix.lower() in AUDIO_SUFFIXES:
                try:
                    spectrum = file_spectrum(path)
                except AudioError as error:
                    print(error, file=sys.stderr)
                    continue
                yield path.relative_to(corpus).parts[1], spectrum[:3000]


def keep(rows: np.ndarray, cohort: list[PitchTrack]) -> StoredPitches:
    """Return what the scorer keeps of a track, without summaries."""
    return StoredPitches(
        rows, np.zeros((0, 1), np.float16), *usual_scores(PitchTrack(rows), cohort)
    )


def matrix(kept: list[StoredPitches]) -> np.ndarray:
    """Return the scores of all pairs, (n, n)."""
    tracks = [PitchTrack(each.pitches) for each in kept]
    n = len(kept)
    z = np.zeros((n, n))
    for i in range(n - 1):
        raw, _ = raw_scores(tracks[i], tracks[i + 1 :])
        z[i, i + 1 :] = z[i + 1 :, i] = normalised(raw, kept[i], kept[i + 1 :])
        if i % 50 == 0:
            print(i, n, file=sys.stderr, flush=True)
    return z


def main() -> None:
    """Write the threshold file and print its rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path)
    parser.add_argument("versions", type=Path)
    parser.add_argument("--corpus", type=Path, help="music of fetch_corpus.py")
    parser.add_argument("--works", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = load_pitch_model()
    cohort = [PitchTrack(rows) for rows in model.cohort]
    cohort_rows = {rows.tobytes()[:2000] for rows in model.cohort}
    title_of = {w.id: plain_title(w.title) for w in load_works(args.scores) if w.n_parts == 1}
    versions: dict[str, list[Version]] = {}
    for version in load(args.versions):
        versions.setdefault(title_of.get(version.work) or version.work, []).append(version)
    chosen = sorted(versions, key=lambda w: hashlib.sha256(w.encode()).hexdigest())[: args.works]
    with threadpool_limits(1, user_api="blas"):
        first, second, truth, names = [], [], [], []
        for work in chosen:
            rows = model.pitches(versions[work][0].spectrum)
            if PitchTrack(rows).problem or rows.tobytes()[:2000] in cohort_rows:
                continue
            first.append(keep(rows, cohort))
            truth.append(true_rows(versions[work][0]))
            names.append(work)
            others = versions[work][1:2]
            second.append(keep(model.pitches(others[0].spectrum), cohort) if others else None)
        rendered = matrix(first)
        labelled = [k for k, rows in enumerate(truth) if rows[:, :12].any()]
        n_aside = 0
        aside = np.zeros(rendered.shape, bool)
        for i, j in np.argwhere(np.triu(rendered > 4.0, 1)):
            if i in labelled and j in labelled:
                a, b = PitchTrack(truth[i]), PitchTrack(truth[j])
                alike = float(raw_scores(a, [b])[0][0])
                usual = float(
                    np.median(raw_scores(a, [PitchTrack(truth[k]) for k in labelled[:40]])[0])
                )
                if alike > 2.2 * usual:
                    aside[i, j] = aside[j, i] = True
                    n_aside += 1
                    print("set aside:", names[i], "|", names[j], file=sys.stderr)
        recordings: list[StoredPitches] = []
        sources: list[str] = [f"work {name}" for name in names]
        if args.corpus:
            for package, spectrum in corpus_spectra(args.corpus):
                rows = model.pitches(spectrum)
                if not PitchTrack(rows).problem:
                    recordings.append(keep(rows, cohort))
                    sources.append(f"package {package}")
        n, m = len(first), len(recordings)
        z = np.zeros((n + m, n + m))
        counted = np.zeros(z.shape, bool)
        z[:n, :n] = rendered
        counted[:n, :n] = ~aside
        if m:
            z[n:, n:] = matrix(recordings)
            package = np.array(sources[n:])
            counted[n:, n:] = package[:, None] != package[None, :]  # one composer's own themes
        counted = np.triu(counted, 1)
        scores = z / (10.0 + np.abs(z))
        rates = count_rates(scores, counted, sources=sources, seed=0)
        copies = [
            score_of(
                float(
                    normalised(
                        raw_scores(PitchTrack(a.pitches), [PitchTrack(b.pitches)])[0], a, [b]
                    )[0]
                )
            )
            for a, b in zip(first, second, strict=True)
            if b is not None
        ]
    made = Thresholds(
        weights_id=model.id,
        extractor="pitches",
        threshold=1.0,
        target_far=1e-4,
        operating_points=rates.operating_points,
        recalls=(),
        n_tracks=n + m,
        n_nonmatching_pairs=rates.n_nonmatching_pairs,
        n_set_aside_pairs=n_aside,
        data=f"{n} rendered works of the training side and {m} recordings of train and val",
        data_sha256=hashlib.sha256("".join(sorted(names)).encode()).hexdigest(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        version=auditor.__version__,
        command="make composition-rates",
        scorer=SCORER_ID,
        tail=rates.tail,
    )
    threshold = float(np.ceil(made.threshold_at(1e-4) * 1e6) / 1e6)
    found = sum(score >= threshold for score in copies)
    low, high = wilson_interval(found, len(copies))
    recall = AlterationRecall(
        "another arrangement (rendered)", len(copies), found, round(low, 4), round(high, 4),
        tuple(sorted(float(np.floor(1e4 * s) / 1e4) for s in copies)),
    )  # fmt: skip
    made = dataclasses.replace(made, threshold=threshold, recalls=(recall,))
    args.out.mkdir(parents=True, exist_ok=True)
    path = save_thresholds(made, args.out / f"pitches-{model.id}.json")
    print(path, threshold, f"{found} of {len(copies)} versions", rates.n_nonmatching_pairs, "pairs")
    for far in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        print(far, made.rates.threshold_at(far))


if __name__ == "__main__":
    main()
