"""Tell altered copies from close covers: render, alter, measure, fit.

Close covers are scores of ``make scores`` played twice in one arrangement: by two sound fonts in
strict time (``rigid``), by two sound fonts with human timing (``human``), by one sound font with
human timing (``takes``), and by two sound fonts at another key and tempo (``moved``).  Copies are
tracks of the corpus with every alteration of ``audit calibrate``.  Of each pair that reaches the
lowest threshold the features of ``auditor.evidence.spectra.performance`` are measured; ``fit``
prints the weights of the logistic model, ``rates`` what it says of other pairs.

Examples
--------
::

    python benchmarks/performances.py covers runs/train scores --font A.sf2 --font B.sf2
    python benchmarks/performances.py copies runs/train corpus/val
    python benchmarks/performances.py fit runs/train
    python benchmarks/performances.py covers runs/test scores --side test --font A.sf3 --font B.sf2
    python benchmarks/performances.py copies runs/test corpus/test
    python benchmarks/performances.py rates runs/test
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from arrangements import DRUMS, Note, arrange, draw_taste
from rendering import Synthesizer, draw_recording, record
from versions import sample
from works import is_test, lengthened, load_works

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import find_audio
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import wilson_interval
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import load_extractor
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.match_score import LOWEST_THRESHOLD, match_score
from auditor.evidence.side import Side, compare_sides
from auditor.evidence.spectra.performance import BIAS, FEATURES, WEIGHTS, performance_features
from auditor.parallel import one_thread
from auditor.scoring.verdict import RULES

LENGTH_S = 60.0
N_WORKS = {"midi": 20, "bach": 8, "tune": 12}


class Pairs:
    """Pairs of waveforms, compared as tracks of a catalogue are; rows are kept as JSON lines."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.done = {(row["group"], row["kind"]) for row in map(json.loads, lines)}
        self._extractor = load_extractor("excerpt")
        config = self._extractor.config
        hop_s = config.features.frame_hop_s
        self._examiner = Examiner(
            None, hop_s=config.hop_frames * hop_s, window_s=config.window_frames * hop_s
        )

    def side(self, name: str, waveform: np.ndarray) -> Side:
        """Return a waveform as a side of a pair."""
        waveform = np.asarray(waveform, np.float32)
        embedded = embed_waveform(waveform, [self._extractor])[self._extractor.weights_id]
        duration_s = len(waveform) / SAMPLE_RATE_HZ
        spectrum = waveform_spectrum(waveform)
        return Side(
            name,
            name,
            duration_s,
            windows=lambda: self._examiner.prepare(embedded.dvectors, embedded.levels, duration_s),
            frames=lambda: spectrum,
        )

    def add(self, group: str, kind: str, a: Side, b: Side) -> None:
        """Compare two sides, and keep the row."""
        evidence = compare_sides(self._examiner, a, b)
        features = []
        for found in evidence.ranges[:3]:
            if (found.match_score or 0.0) >= LOWEST_THRESHOLD:
                measured = performance_features(found, a.spectrum.frames, b.spectrum.frames)
                features += [] if measured is None else [measured.tolist()]
        row = {
            "group": group,
            "kind": kind,
            "score": match_score(evidence),
            "played_apart": evidence.played_apart,
            "features": features,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def play(
    notes: list[Note], rng: np.random.Generator, *, human: bool, tempo: float = 1.0, key: int = 0
) -> list[Note]:
    """Return notes as one performance plays them: in strict time, or with jitter and drift."""
    end = max(note.start + note.length for note in notes)
    grid = np.arange(0.0, end + 8.0, 4.0)
    walk = np.cumsum(rng.normal(0, 1, len(grid)))
    walk -= np.linspace(walk[0], walk[-1], len(walk))
    drift = 0.01 * walk / max(1.0, float(np.abs(walk).max())) if human else np.zeros(len(grid))
    at = np.concatenate([[0.0], np.cumsum(np.exp(drift[:-1]) * 4.0 / tempo)])
    played = []
    for note in notes:
        start, stop = np.interp([note.start, note.start + note.length], grid, at)
        late, force = (rng.normal(0, 0.01), rng.normal(0, 0.06)) if human else (0.0, 0.0)
        played.append(
            replace(
                note,
                start=max(0.0, float(start + late)),
                length=max(0.05, float(stop - start)),
                velocity=float(np.clip(note.velocity + force, 0.15, 1.0)),
                pitch=note.pitch + (0 if note.role == DRUMS else key),
            )
        )
    return sorted(played, key=lambda note: (note.start, note.role, note.pitch))


def covers(pairs: Pairs, scores: Path, side: str, fonts: list[Synthesizer], seed: int) -> None:
    """Render close covers, and compare them."""
    rng = np.random.default_rng(seed)
    by_kind = defaultdict(list)
    for work in load_works(scores):
        if is_test(work) == (side == "test"):
            kind = "midi" if work.programs else "bach" if work.n_parts > 1 else "tune"
            by_kind[kind].append(work)
    works = [work for kind, n in N_WORKS.items() for work in sample(by_kind[kind], n, rng)]
    for number, work in enumerate(works):
        taste = draw_taste(rng, transposition=0, drift=0.0, jitter_s=0.0, sung=False)
        notes = [note for note in arrange(lengthened(work), taste) if note.start < LENGTH_S]
        one, other = rng.permutation(len(fonts))[:2]
        group = f"{number:03d} {work.id}"
        if (group, "moved") in pairs.done:
            continue
        takes = {
            "rigid a": (one, {"human": False}),
            "rigid b": (other, {"human": False}),
            "human a": (one, {"human": True}),
            "human b": (other, {"human": True}),
            "human a again": (one, {"human": True}),
            "moved b": (other, {"human": False, "tempo": 1.05, "key": 2}),
        }
        made = {}
        for place, (name, (font, how)) in enumerate(takes.items()):
            own = np.random.default_rng([seed, number, place])
            sound = fonts[font].play(play(notes, own, **how), taste)
            made[name] = pairs.side(
                name, record(sound, draw_recording(own))[: int(LENGTH_S * SAMPLE_RATE_HZ)]
            )
        pairs.add(group, "rigid", made["rigid a"], made["rigid b"])
        pairs.add(group, "human", made["human a"], made["human b"])
        pairs.add(group, "takes", made["human a"], made["human a again"])
        pairs.add(group, "moved", made["rigid a"], made["moved b"])
        print(group, flush=True)


def originals(folder: Path, n_tracks: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the first minute of some tracks that last 45 s at least."""
    paths = [found.path for found in find_audio([folder]).files]
    for place in np.random.default_rng(5).permutation(len(paths)):
        try:
            waveform = load_waveform(paths[place])
        except AudioError:
            continue
        if len(waveform) >= 45 * SAMPLE_RATE_HZ:
            yield (
                Path(paths[place].decode(errors="replace")).name,
                waveform[: int(LENGTH_S * SAMPLE_RATE_HZ)],
            )
            n_tracks -= 1
        if not n_tracks:
            return


def copies(pairs: Pairs, folder: Path, n_tracks: int) -> None:
    """Alter tracks, and compare each copy with its original."""
    tracks = list(originals(folder, n_tracks))
    for number, (name, waveform) in enumerate(tracks):
        other = tracks[(number + 1) % len(tracks)][1]
        original = pairs.side(name, waveform)
        for kind, alteration in ALTERATIONS.items():
            if (f"{number:03d} {name}", kind) in pairs.done:
                continue
            rng = np.random.default_rng([number, sum(map(ord, kind))])
            pairs.add(
                f"{number:03d} {name}",
                kind,
                pairs.side(kind, alteration(waveform, rng, other)),
                original,
            )
        print(name, flush=True)


def read(folder: Path, name: str) -> list[dict]:
    """Return the rows that reach the lowest threshold, and whose passages were measured."""
    rows = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
    return [row for row in rows if row["score"] >= LOWEST_THRESHOLD]


def fit(folder: Path) -> None:
    """Fit the logistic model, by tracks and works in turn for the threshold; print both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = [row for name in ("covers", "copies") for row in read(folder, name) if row["features"]]
    x = np.array([row["features"][0] for row in rows])
    apart = np.array([row["kind"] not in ALTERATIONS for row in rows])
    fold = np.array([int(row["group"][:3]) % 6 for row in rows])

    def model(chosen: np.ndarray):
        made = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        return made.fit(x[chosen], apart[chosen])

    odds = np.zeros(len(x))
    for k in range(6):
        odds[fold == k] = model(fold != k).decision_function(x[fold == k])
    print("log odds of the copies, highest:", np.sort(odds[~apart])[::-1][:8].round(2))
    for kind in ("rigid", "human", "takes", "moved"):
        own = odds[[row["kind"] == kind for row in rows]]
        print(
            f"{kind:8} {len(own):4d} pairs, played apart: {np.mean(own >= RULES.played_apart):.2f}"
        )
    scaler, logistic = (step for _, step in model(np.ones(len(x), bool)).steps)
    weights = logistic.coef_[0] / scaler.scale_
    print(dict(zip(FEATURES, weights.round(3).tolist(), strict=True)))
    print("bias", round(float(logistic.intercept_[0] - weights @ scaler.mean_), 3))


def rates(folder: Path) -> None:
    """Print of how many flagged pairs of each kind it is said that they may be two performances."""
    print("| kind | flagged by score | perhaps two performances |\n|---|--:|--:|")
    by_kind = defaultdict(list)
    for name in ("covers", "copies"):
        for row in read(folder, name):
            by_kind["copies" if row["kind"] in ALTERATIONS else row["kind"]].append(row)
    for kind, rows in by_kind.items():
        odds = [min((np.dot(f, WEIGHTS) + BIAS for f in r["features"]), default=-9) for r in rows]
        n_apart = sum(value >= RULES.played_apart for value in odds)
        low, high = wilson_interval(n_apart, len(rows))
        print(f"| {kind} | {len(rows)} | {n_apart} ({low:.3f}–{high:.3f}) |")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("covers", "copies", "fit", "rates"))
    parser.add_argument("folder", type=Path, help="where the rows are kept")
    parser.add_argument("source", type=Path, nargs="?", help="scores, or music")
    parser.add_argument("--side", choices=("train", "test"), default="train")
    parser.add_argument("--font", action="append", default=[])
    parser.add_argument("--tracks", type=int, default=24)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    one_thread()
    if given.part == "covers":
        fonts = [Synthesizer(font) for font in given.font]
        covers(Pairs(given.folder, "covers"), given.source, given.side, fonts, given.seed)
    elif given.part == "copies":
        copies(Pairs(given.folder, "copies"), given.source, given.tracks)
    else:
        (fit if given.part == "fit" else rates)(given.folder)


if __name__ == "__main__":
    main()
