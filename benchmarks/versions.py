"""Render the versions of works that the composition benchmark compares.

Each work of the test side is played five times with a sound font that no training saw: as it is,
re-arranged, over other chords, as the melody alone, and with parts left out.  Beside them stand
natural variants (tunes that stand in two collections under one title) and traps: pieces over the
chords of a work, with another melody.

Examples
--------
::

    python benchmarks/versions.py scores scores/test --font MuseScore_General_Lite.sf3
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from arrangements import Chord, Note, Taste, Work, arrange, chords_of, draw_taste
from rendering import Recording, Synthesizer, draw_recording, labels, record
from works import is_test, lengthened, load_works, plain_title

from auditor.embedding.spectrogram import waveform_spectrum

KINDS = ("original", "re-arranged", "other chords", "melody alone", "parts dropped")
MAX_S = 100.0
N_A_SHARD = 100


@dataclass(frozen=True)
class Version:
    """One rendered track: work, kind of version, and what its arrangement was."""

    work: str
    kind: str
    collection: str
    transposition: int
    quarter_s: float
    spectrum: np.ndarray
    pitch_classes: np.ndarray
    melody: np.ndarray
    bass: np.ndarray


def versions_of(work: Work, rng: np.random.Generator) -> Iterator[tuple[str, list[Note], Taste]]:
    """Return the versions of a work: kind, notes and taste."""
    first = draw_taste(rng, transposition=0, with_bass=True, variation=0.0)
    for kind in KINDS:
        taste = draw_taste(rng, harmony_seed=first.harmony_seed, with_bass=True)
        if kind == "original":
            taste = first
        elif kind == "other chords":
            if work.n_parts > 1:
                continue
            taste = replace(taste, harmony_seed=int(rng.integers(2**31)))
        elif kind == "melody alone":
            if work.programs:
                continue
            taste = replace(taste, with_chords=False, with_bass=False, drums=False, double=False)
        elif kind == "parts dropped":
            drop = "with_chords" if work.programs or rng.random() < 0.5 else "with_bass"
            taste = replace(taste, variation=0.1, **{drop: False})
        yield kind, arrange(work, taste), taste


def other_melody(work: Work, chords: list[Chord], rng: np.random.Generator) -> Work:
    """Return a piece over the chords of a work, with a melody of its own.

    The melody takes chord notes on the beats and steps of the scale between, in a rhythm and a
    register of its own.
    """
    scale = [(7 * work.sharps + d) % 12 for d in (0, 2, 4, 5, 7, 9, 11)]
    pitch, notes = int(rng.integers(64, 76)), []
    for start, length, _, pcs in chords:
        t = 0.0
        while t < length - 1e-6:
            d = min(float(rng.choice((0.5, 0.5, 1.0, 1.5, 2.0))), length - t)
            allowed = pcs if (start + t) % 1 < 1e-6 else scale
            step = int(rng.choice((-4, -3, -2, -1, 1, 2, 3, 4)))
            near = [p for p in range(pitch - 9, pitch + 10) if p % 12 in allowed and 57 <= p <= 84]
            pitch = min(near, key=lambda p: abs(p - pitch - step)) if near else pitch
            if rng.random() < 0.9:
                notes.append((start + t, d, pitch, 0))
            t += d
    return replace(work, notes=tuple(notes))


def variants(works: list[Work]) -> Iterator[tuple[str, list[Work]]]:
    """Return tunes of one title from two collections or more."""
    by_title = defaultdict(list)
    for work in works:
        if work.collection in ("aird", "oneill", "ryan") and len(plain_title(work.title)) > 5:
            by_title[plain_title(work.title)].append(work)
    for title, group in sorted(by_title.items()):
        chosen = {work.collection: work for work in reversed(group)}
        if len(chosen) > 1:
            yield title, [chosen[name] for name in sorted(chosen)]


def render(
    synthesizer: Synthesizer, work: Work, kind: str, notes: list[Note], taste: Taste, how: Recording
) -> Version:
    """Return the version as it is recorded, cut to ``MAX_S``."""
    notes = [note for note in notes if note.start < MAX_S]
    spectrum = waveform_spectrum(record(synthesizer.play(notes, taste), how))
    every, melody, bass = labels(notes, len(spectrum))
    return Version(
        work.id, kind, work.collection, taste.transposition, taste.quarter_s,
        spectrum, every, melody, bass,
    )  # fmt: skip


def save(versions: list[Version], path: Path) -> None:
    """Write versions into one file, at once."""
    arrays: dict[str, np.ndarray] = {}
    for k, v in enumerate(versions):
        arrays |= {f"spectrum{k}": v.spectrum, f"melody{k}": v.melody, f"bass{k}": v.bass}
        arrays[f"pitch_classes{k}"] = np.packbits(v.pitch_classes, axis=1)
    rows = [[v.work, v.kind, v.collection, v.transposition, v.quarter_s] for v in versions]
    arrays["rows"] = np.array(json.dumps(rows))
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays)
    part.rename(path)


def load(folder: Path) -> list[Version]:
    """Return the versions of a folder."""
    versions = []
    for path in sorted(folder.glob("*.npz")):
        if ".part" in path.name:
            continue
        with np.load(path) as arrays:
            for k, row in enumerate(json.loads(str(arrays["rows"]))):
                every = np.unpackbits(arrays[f"pitch_classes{k}"], axis=1)[:, :12].astype(bool)
                versions.append(
                    Version(
                        *row,
                        arrays[f"spectrum{k}"],
                        every,
                        arrays[f"melody{k}"],
                        arrays[f"bass{k}"],
                    )
                )
    return versions


def sample(works: list[Work], n: int, rng: np.random.Generator) -> list[Work]:
    """Return n works, drawn."""
    return [works[k] for k in rng.permutation(len(works))[:n]]


def test_versions(works: list[Work], synthesizer: Synthesizer, *, seed: int) -> Iterator[Version]:
    """Return all tracks of the benchmark: versions, variants, traps."""
    rng = np.random.default_rng(seed)
    test = [lengthened(work) for work in works if is_test(work)]
    tunes = [w for w in test if w.n_parts == 1 and w.collection != "essen"]
    chosen = sample(tunes, 110, rng)
    chosen += sample([w for w in test if w.collection == "essen"], 20, rng)
    chosen += sample([w for w in test if w.collection == "bach"], 25, rng)
    chosen += sample([w for w in test if w.collection == "midi"], 36, rng)
    for work in chosen:
        for kind, notes, taste in versions_of(work, rng):
            yield render(synthesizer, work, kind, notes, taste, draw_recording(rng))
    for title, group in variants(test):
        for work in group:
            taste = draw_taste(rng)
            made = replace(work, id=f"variant/{title}")
            yield render(
                synthesizer, made, "variant", arrange(work, taste), taste, draw_recording(rng)
            )
    for work in sample(tunes, 200, rng):
        taste = draw_taste(rng, with_bass=True)
        made = replace(work, id=f"chords/{work.id}")
        yield render(
            synthesizer, made, "same chords", arrange(work, taste), taste, draw_recording(rng)
        )
        chords = chords_of(work, taste)
        other = draw_taste(rng, with_bass=True)
        notes = arrange(other_melody(made, chords, rng), other, chords=chords)
        yield render(synthesizer, made, "same chords", notes, other, draw_recording(rng))


def train_versions(
    works: list[Work], synthesizers: list[Synthesizer], *, seed: int, n_works: int
) -> Iterator[Version]:
    """Return two versions each of works of the training side."""
    rng = np.random.default_rng(seed)
    for work in sample([w for w in works if not is_test(w)], n_works, rng):
        for _ in range(2):
            taste = draw_taste(rng, with_chords=bool(rng.random() < 0.85))
            synthesizer = synthesizers[int(rng.integers(len(synthesizers)))]
            notes = arrange(lengthened(work), taste)
            yield render(synthesizer, work, "train", notes, taste, draw_recording(rng))


def main() -> None:
    """Write the versions in shards; shards that are there already are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--font", action="append", required=True)
    parser.add_argument("--train", type=int, default=0, help="works of the training side")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    fonts = [Synthesizer(path) for path in args.font]
    works = load_works(args.scores)
    if args.train:
        made = train_versions(works, fonts, seed=args.seed, n_works=args.train)
    else:
        made = test_versions(works, fonts[0], seed=args.seed)
    shard: list[Version] = []
    n_shards = 0
    for version in made:
        shard.append(version)
        if len(shard) == N_A_SHARD:
            save(shard, args.out / f"{n_shards:03}.npz")
            print(n_shards, flush=True)
            n_shards, shard = n_shards + 1, []
    if shard:
        save(shard, args.out / f"{n_shards:03}.npz")


if __name__ == "__main__":
    main()
