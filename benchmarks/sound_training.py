"""Train the model of recommendations (``embedding.sound``) on the music of ``train`` and ``val``.

The starts of all tracks are heard once and kept (``recommend_tracks``).  The model whitens the
statistics by their covariance within styles (within packages, where a track has none) and, three
times as much, within tracks, both measured on excerpts of 15, 30 and 60 s whose spectra are
filtered, noisy or cut off, as other recordings would be; nothing is iterated.
Before it is written, the same is done with a third of the styles and their packages left out, three
times, and the precision among the tracks left out is printed beside that of MFCCs and of the
excerpt embedding.  The parameters below were chosen by it.

Examples
--------
::

    python benchmarks/sound_training.py corpus
    python benchmarks/sound_training.py corpus --out /tmp/sound
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from recommend import N_NEAREST, k_occurrence, notions, precision_at, skewness, standardise
from recommend_tracks import N_MFCC, HeardTrack, hear_role

from auditor.embedding.config import SPECTRUM, ExtractorConfig
from auditor.embedding.pooling import pool_dvectors
from auditor.embedding.sound import (
    DIRECTORY,
    SoundModel,
    flatten,
    save_sound_model,
    sound_statistics,
)

HEARD_S = 90.0
EXCERPTS_S = (15.0, 30.0, 60.0)
N_EXCERPTS = 6
N_DIMS = 256
SHRINKAGE = 0.45
"""Share of the covariance that is replaced by the same variance in all directions."""

WITHIN_TRACKS = 3.0
"""Weight of the covariance within tracks beside that within styles."""

MIN_OF_CLASS = 12
"""Excerpts of a class, at least."""

N_FOLDS = 3
SEED = 0


def recorded(spectrum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a spectrum, (n_frames, n_bands) uint8, as another recording would have it."""
    n_frames, n_bands = spectrum.shape
    curve = np.interp(np.arange(n_bands), np.linspace(0, n_bands - 1, 6), rng.normal(0, 4, 6))
    levels = spectrum + curve
    if rng.random() < 0.3:
        noise = levels.max() - rng.uniform(20, 50) + rng.normal(0, 3, (n_frames, n_bands))
        levels = 4.34 * np.logaddexp(levels / 4.34, noise / 4.34)
    if rng.random() < 0.2:
        levels[:, int(rng.integers(60, 95)) :] -= rng.uniform(10, 60)
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def excerpts(
    track: HeardTrack, config: ExtractorConfig, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Return the statistics of excerpts of a track, drawn."""
    n_s = len(track.spectrum) * SPECTRUM.frame_hop_s
    found = []
    for _ in range(N_EXCERPTS):
        length_s = min(n_s, float(rng.choice(EXCERPTS_S)))
        start_s = float(rng.uniform(0.0, n_s - length_s))
        first = min(round(start_s / config.hop_s), len(track.excerpt.dvectors) - 1)
        last = first + max(1, round((length_s - config.window_s) / config.hop_s))
        windows = slice(first, last)
        pooled = pool_dvectors(track.excerpt.dvectors[windows], track.excerpt.levels[windows])
        frames = slice(*(round(s / SPECTRUM.frame_hop_s) for s in (start_s, start_s + length_s)))
        if pooled.embedding.any():
            spectrum = recorded(track.spectrum[frames], rng)
            found.append(sound_statistics(pooled.embedding, spectrum))
    return found


def kind_of(track: HeardTrack) -> str:
    """Return what counts as one kind of music: the style, or else the package."""
    return track.style or track.package


def covariance_within(rows: np.ndarray, labels: Sequence, *, at_least: int) -> np.ndarray:
    """Return the mean of the covariances of classes with enough rows."""
    label = np.asarray(labels)
    names, counts = np.unique(label, return_counts=True)
    total = np.zeros((rows.shape[1],) * 2)
    for name in names[counts >= at_least]:
        centred = rows[label == name] - rows[label == name].mean(axis=0)
        total += centred.T @ centred / len(centred)
    return total / max(1, int((counts >= at_least).sum()))


def train(
    whole: np.ndarray,
    parts: np.ndarray,
    track_of: np.ndarray,
    kinds: Sequence[str],
    sizes: Sequence[int],
    *,
    summary: dict[str, object] | None = None,
    extractor: str = "",
) -> SoundModel:
    """Return the model of some tracks.

    Parameters
    ----------
    whole : numpy.ndarray
        (n_tracks, n) statistics of whole tracks.
    parts, track_of : numpy.ndarray
        (n_parts, n) statistics of excerpts, and (n_parts,) the row of their track.
    kinds : sequence of str
        Of the tracks, see ``kind_of``.
    sizes : sequence of int
        Of the groups of statistics; each group counts as much as any other.
    """
    mean, spread = whole.mean(axis=0), whole.std(axis=0) + 1e-4
    weights = np.concatenate([np.full(size, size**-0.5) for size in sizes])
    rows = flatten(parts, mean, spread) * weights
    kind = np.asarray(kinds)[track_of]
    within = covariance_within(rows, kind, at_least=MIN_OF_CLASS)
    within += WITHIN_TRACKS * covariance_within(rows, track_of, at_least=2)
    even = np.eye(len(within)) * np.trace(within) / len(within)
    values, vectors = np.linalg.eigh((1.0 - SHRINKAGE) * within + SHRINKAGE * even)
    whitening = vectors / np.sqrt(values)
    flat = flatten(whole, mean, spread) * weights
    white = (flat - flat.mean(axis=0)) @ whitening
    axes = np.linalg.eigh(white.T @ white)[1][:, ::-1][:, :N_DIMS]
    turned = whitening @ axes
    turned *= np.where(turned[np.abs(turned).argmax(axis=0), range(turned.shape[1])] < 0, -1, 1)
    turned /= np.linalg.norm(white @ axes, axis=1).mean()
    return SoundModel(
        mean,
        spread,
        weights[:, None] * turned,
        -flat.mean(axis=0) @ turned,
        extractor=extractor,
        summary=summary,
    )


def folds(tracks: Sequence[HeardTrack]) -> np.ndarray:
    """Return a part of each track, (n,): tracks of one package or one style are in one part."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    for track in tracks:
        root[find(f"package {track.package}")] = find(f"kind {kind_of(track)}")
    names = [find(f"package {track.package}") for track in tracks]
    sizes = np.zeros(N_FOLDS)
    fold_of = {}
    for name in sorted(set(names), key=lambda name: (-names.count(name), name)):
        fold_of[name] = int(sizes.argmin())
        sizes[fold_of[name]] += names.count(name)
    return np.array([fold_of[name] for name in names])


def held_out(
    tracks: Sequence[HeardTrack],
    fold: np.ndarray,
    fit: Callable[[np.ndarray], SoundModel],
    whole: np.ndarray,
) -> str:
    """Return a Markdown table of the precision among styles that were left out of the training."""
    sums: dict[str, np.ndarray] = {}
    for number in range(N_FOLDS):
        out = np.flatnonzero(fold == number)
        model = fit(np.flatnonzero(fold != number))
        left_out = [tracks[row] for row in out]
        mfcc = np.stack([track.mfcc[:N_MFCC] for track in left_out]).astype(float)
        vectors = flatten(whole[out], model.mean, model.spread) @ model.matrix + model.offset
        found = {
            "sound": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            "excerpt": np.stack([track.excerpt.embedding for track in left_out]),
            "MFCCs, mean": standardise(mfcc, mfcc),
        }
        classes = notions(left_out)
        for name, x in found.items():
            scores = x @ x.T
            values = [
                np.r_[np.nansum(at, axis=0)[:2], (~np.isnan(at[:, 0])).sum()]
                for notion in ("album", "style", "style elsewhere")
                for at in [precision_at(scores, *classes[notion], N_NEAREST)]
            ]
            hubs = skewness(k_occurrence(scores, classes["album"][1], N_NEAREST[-1]))
            row = np.r_[np.concatenate(values), hubs * len(out), len(out)]
            sums[name] = sums.get(name, np.zeros(len(row))) + row
    lines = [
        "| held out | album P@1, P@5 | style P@1, P@5 | style elsewhere P@1, P@5 | hubness |",
        "|---|---|---|---|---|",
    ]
    for name, row in sums.items():
        shares = [f"{row[i] / row[i + 2]:.3f}, {row[i + 1] / row[i + 2]:.3f}" for i in (0, 3, 6)]
        lines.append(f"| {name} | {' | '.join(shares)} | {row[9] / row[10]:.2f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/recommend"))
    parser.add_argument("--out", type=Path, default=DIRECTORY)
    args = parser.parse_args()
    from auditor.embedding.extractor import load_extractor

    extractor = load_extractor()
    tracks = [
        track
        for role in ("train", "val")
        for track in hear_role(args.corpus, role, cache=args.cache, max_s=HEARD_S, others=())
    ]
    rng = np.random.default_rng(SEED)
    statistics = [sound_statistics(t.excerpt.embedding, t.spectrum) for t in tracks]
    sizes = [len(values) for values in statistics[0].values()]
    whole = np.stack([np.concatenate(list(s.values())) for s in statistics])
    drawn = [excerpts(track, extractor.config, rng) for track in tracks]
    parts = np.stack([np.concatenate(list(s.values())) for found in drawn for s in found])
    track_of = np.repeat(np.arange(len(tracks)), [len(found) for found in drawn])
    kinds = [kind_of(track) for track in tracks]

    def fit(rows: np.ndarray) -> SoundModel:
        inside = np.isin(track_of, rows)
        place = np.searchsorted(rows, track_of[inside])
        return train(whole[rows], parts[inside], place, [kinds[row] for row in rows], sizes)

    print(held_out(tracks, folds(tracks), fit, whole))
    digest = hashlib.sha256("\n".join(sorted(t.path.rpartition("/")[2] for t in tracks)).encode())
    summary = {
        "tracks": len(tracks),
        "kinds": len(set(kinds)),
        "heard_s": HEARD_S,
        "seed": SEED,
        "groups": dict(zip(statistics[0], sizes, strict=True)),
        "shrinkage": SHRINKAGE,
        "within_tracks": WITHIN_TRACKS,
        "data": "roles train and val of benchmarks/corpus.tsv",
        "names_sha256": digest.hexdigest(),
    }
    model = train(
        whole, parts, track_of, kinds, sizes,
        summary=summary, extractor=extractor.weights_id,
    )  # fmt: skip
    path = save_sound_model(model, args.out)
    for other in args.out.glob("sound-*.safetensors"):
        if other != path:
            other.unlink()
    print(path, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
