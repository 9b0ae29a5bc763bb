"""Tell altered copies from close covers: render, alter, measure, fit.

Close covers are scores of ``make scores`` played twice in one arrangement: by two sound fonts in
strict time (``rigid``), by two sound fonts with human timing (``human``), by one in strict time and
by another one with human timing (``mixed``), by one sound font with human timing (``takes``), the
same at another key and tempo (``takes moved``), and by two sound fonts at another key and tempo in
strict time (``moved``).

Copies are tracks of the corpus with every alteration of ``audit calibrate``, with those of
``benchmarks/unseen.py`` (``u-``, without music that is turned backwards), and with others that
neither knows (``x-``: through a loudspeaker in a room, in a hall among voices, only the harmonic or
only the percussive part of the sound, below louder music, several at once).  One rendering in two
rooms (``re-recorded``), and altered copies of every eighth rendering, are copies, too.

Of each pair that reaches the lowest threshold the features of
``auditor.evidence.spectra.performance`` are measured; ``fit`` prints the limits and the weights of
the logistic model, with what it says of works and tracks that were left out in turn, ``rates`` what
it says of other pairs.

Examples
--------
::

    python benchmarks/performances.py covers runs/train scores --font A.sf2 --font B.sf2
    python benchmarks/performances.py copies runs/train corpus/val
    python benchmarks/performances.py fit runs/train
    python benchmarks/performances.py covers runs/test scores --side test --seed 12 \\
        --font A.sf3 --font B.sf2
    python benchmarks/performances.py copies runs/test corpus/test
    python benchmarks/performances.py rates runs/test
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from arrangements import DRUMS, Note, arrange, draw_taste
from rendering import Synthesizer, draw_recording, record
from scipy import signal
from scipy.ndimage import median_filter
from unseen import UNSEEN
from versions import sample
from works import is_test, lengthened, load_works

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import find_audio
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.augment.waveform import add_noise, babble, band_limit, mix, reverberate
from auditor.calibration.metrics import wilson_interval
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import load_extractor
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.match_score import LOWEST_THRESHOLD, match_score
from auditor.evidence.side import Side, compare_sides
from auditor.evidence.spectra.performance import (
    COPY_SIDE,
    FEATURES,
    log_odds,
    performance_features,
)
from auditor.parallel import one_thread
from auditor.scoring.verdict import RULES

LENGTH_S = 60.0
N_WORKS = {
    "train": {"midi": 28, "bach": 10, "tune": 20},
    "test": {"midi": 20, "bach": 8, "tune": 12},
}
COVERS = ("rigid", "human", "mixed", "moved", "takes", "takes moved")
ALTERED_EVERY = 8
"""One rendering of so many is altered, too, on the training side."""

LIMIT_SHARE = 0.95
"""Share of the covers by two sound fonts that stay within each limit."""

Alter = Callable[[np.ndarray, np.random.Generator, np.ndarray], np.ndarray]


def below_full_scale(waveform: np.ndarray) -> np.ndarray:
    """Return a waveform without peaks above full scale."""
    waveform = np.asarray(waveform, np.float32)
    return waveform / max(1.0, float(np.abs(waveform).max(initial=0)))


def loudspeaker(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """A small loudspeaker that distorts, in a room with noise."""
    made = band_limit(waveform, low_hz=180.0, high_hz=6000.0)
    made = np.tanh(2.0 * made / max(1e-9, np.abs(made).max())).astype(np.float32) * 0.5
    made = reverberate(made, rng, rt60_s=float(rng.uniform(0.4, 1.2)))
    return add_noise(made, rng, snr_db=float(rng.uniform(8, 20)))


def hall(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """A hall with an RT60 of 2.5 s, among voices."""
    return babble(below_full_scale(reverberate(waveform, rng, rt60_s=2.5)), rng, snr_db=8.0)


def part_of_sound(
    waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray, *, percussive: bool
) -> np.ndarray:
    """The harmonic or the percussive part of the sound (Fitzgerald 2010, by median filters)."""
    _, _, bins = signal.stft(waveform, SAMPLE_RATE_HZ, nperseg=1024)
    level = np.abs(bins)
    harmonic, struck = median_filter(level, (1, 17)) ** 2, median_filter(level, (17, 1)) ** 2
    mask = harmonic / (harmonic + struck + 1e-12)
    bins = bins * ((1.0 - mask) if percussive else mask)
    return signal.istft(bins, SAMPLE_RATE_HZ, nperseg=1024)[1][: len(waveform)]


def gate(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """What is soft in its band is lowered by 20 dB, as a careless noise reduction does."""
    _, _, bins = signal.stft(waveform, SAMPLE_RATE_HZ, nperseg=1024)
    least = np.percentile(np.abs(bins), 70, axis=1, keepdims=True)
    bins = np.where(np.abs(bins) > least, bins, 0.1 * bins)
    return signal.istft(bins, SAMPLE_RATE_HZ, nperseg=1024)[1][: len(waveform)]


def phaser(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """The sound with itself some milliseconds later, 0.5 to 5.5 ms in turn."""
    n = np.arange(len(waveform))
    late = (0.003 + 0.0025 * np.sin(2 * np.pi * 0.4 * n / SAMPLE_RATE_HZ)) * SAMPLE_RATE_HZ
    return 0.6 * waveform + 0.6 * np.interp(n - late, n, waveform)


def pumping(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """The level falls to a quarter twice a second, and rises again."""
    t = np.arange(len(waveform)) / SAMPLE_RATE_HZ
    return waveform * (0.25 + 0.75 * ((t * 2.1) % 1.0))


def below_music(
    waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray, *, level_db: float
) -> np.ndarray:
    """Another track over it."""
    return mix(waveform, np.roll(other, -int(rng.integers(len(other)))), level_db=level_db)


def unseen(kind: str) -> Alter:
    """Return an alteration of ``benchmarks/unseen.py``."""
    return lambda waveform, rng, other: UNSEEN[kind][1](waveform, rng)


def in_turn(*steps: Alter) -> Alter:
    """Return several alterations as one."""

    def alter(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
        for step in steps:
            waveform = below_full_scale(step(waveform, rng, other))
        return waveform

    return alter


COPIES: dict[str, Alter] = {
    **ALTERATIONS,
    **{f"u-{kind}": unseen(kind) for kind in UNSEEN if kind != "backwards"},
    "x-speaker": loudspeaker,
    "x-hall": hall,
    "x-hpss-h": partial(part_of_sound, percussive=False),
    "x-hpss-p": partial(part_of_sound, percussive=True),
    "x-gate": gate,
    "x-phaser": phaser,
    "x-mix0": partial(below_music, level_db=0.0),
    "x-mix+4": partial(below_music, level_db=4.0),
    "x-pump": pumping,
    "x-c1": in_turn(ALTERATIONS["pitch+2"], ALTERATIONS["noise10"]),
    "x-c2": in_turn(ALTERATIONS["tempo+10"], ALTERATIONS["reverb1.5"]),
    "x-c3": in_turn(ALTERATIONS["speed-6"], ALTERATIONS["mix"]),
    "x-c4": in_turn(ALTERATIONS["tempo-10"], ALTERATIONS["opus-24k"]),
    "x-c5": in_turn(ALTERATIONS["speed+3"], loudspeaker),
    "x-c6": in_turn(ALTERATIONS["pitch-2"], ALTERATIONS["babble5"]),
    "x-c7": in_turn(unseen("echo"), ALTERATIONS["speed+6"]),
    "x-c8": in_turn(unseen("chorus"), ALTERATIONS["tempo+5"]),
}
"""Alterations by their names: those of ``audit calibrate``, the unseen ones, and further ones."""

ALONE = tuple(kind for kind in COPIES if "mix" not in kind and kind not in ("planted", "x-c3"))
"""Those that need no other track."""


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
                features.append(None if measured is None else measured.tolist())
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
    works = [work for kind, n in N_WORKS[side].items() for work in sample(by_kind[kind], n, rng)]
    for number, work in enumerate(works):
        group = f"{number:03d} {work.id}"
        if (group, "re-recorded") in pairs.done:
            continue
        rng = np.random.default_rng([seed, 77, number])
        taste = draw_taste(rng, transposition=0, drift=0.0, jitter_s=0.0, sung=False)
        notes = [note for note in arrange(lengthened(work), taste) if note.start < LENGTH_S]
        one, other = rng.permutation(len(fonts))[:2]
        takes = {
            "rigid a": (one, {"human": False}),
            "rigid b": (other, {"human": False}),
            "human a": (one, {"human": True}),
            "human b": (other, {"human": True}),
            "human a again": (one, {"human": True}),
            "moved b": (other, {"human": False, "tempo": 1.05, "key": 2}),
            "human a moved": (one, {"human": True, "tempo": 0.96, "key": -1}),
        }
        sounds = {}
        for place, (name, (font, how)) in enumerate(takes.items()):
            own = np.random.default_rng([seed, number, place])
            sound = fonts[font].play(play(notes, own, **how), taste)
            rooms = (name, "rigid a, another room") if name == "rigid a" else (name,)
            for recorded in rooms:
                heard = record(sound, draw_recording(own))
                sounds[recorded] = heard[: int(LENGTH_S * SAMPLE_RATE_HZ)]
        made = {recorded: pairs.side(recorded, heard) for recorded, heard in sounds.items()}
        for kind, a, b in (
            ("rigid", "rigid a", "rigid b"),
            ("human", "human a", "human b"),
            ("takes", "human a", "human a again"),
            ("moved", "rigid a", "moved b"),
            ("takes moved", "human a", "human a moved"),
            ("mixed", "rigid a", "human b"),
            ("re-recorded", "rigid a", "rigid a, another room"),
        ):
            pairs.add(group, kind, made[a], made[b])
        if side == "train" and number % ALTERED_EVERY == 0:
            copies(pairs, [(work.id, sounds["rigid a"])], ALONE)
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


def copies(pairs: Pairs, tracks: Sequence[tuple[str, np.ndarray]], kinds: Collection[str]) -> None:
    """Alter tracks, and compare each copy with its original."""
    for number, (name, waveform) in enumerate(tracks):
        other = tracks[(number + 1) % len(tracks)][1]
        original = pairs.side(name, waveform)
        for kind in kinds:
            if (f"{number:03d} {name}", kind) in pairs.done:
                continue
            rng = np.random.default_rng([number, sum(map(ord, kind))])
            altered = below_full_scale(COPIES[kind](waveform, rng, other))
            try:
                pairs.add(f"{number:03d} {name}", kind, pairs.side(kind, altered), original)
            except AudioError as error:
                print(f"{name}, {kind}: {error}")
        print(name, flush=True)


def read(folder: Path) -> list[dict]:
    """Return the rows that reach the lowest threshold."""
    lines = [
        line
        for name in ("covers", "copies")
        if (folder / f"{name}.jsonl").exists()
        for line in (folder / f"{name}.jsonl").read_text().splitlines()
    ]
    return [row for row in map(json.loads, lines) if row["score"] >= LOWEST_THRESHOLD]


def is_judged(row: dict) -> bool:
    """Say whether something is known of each passage."""
    return bool(row["features"]) and None not in row["features"]


def limits_of(stretches: list[np.ndarray]) -> np.ndarray:
    """Return how far covers resemble copies, by each feature; stretches of each cover."""
    most = [(COPY_SIDE * rows).max(axis=0) for rows in stretches]
    return COPY_SIDE * np.quantile(most, LIMIT_SHARE, axis=0)


def fit(folder: Path) -> None:
    """Fit limits and logistic model, with works and tracks left out in turn; print both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flagged = read(folder)
    rows = [row for row in flagged if is_judged(row)]
    best = [np.array(row["features"][0]) for row in rows]
    apart = np.array([row["kind"] in COVERS for row in rows])
    by_two = np.array([row["kind"] in COVERS[:4] for row in rows])
    groups = [row["group"].split(" ", 1)[1] for row in rows]
    names = sorted(set(groups))
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % 8, strict=True))
    fold = np.array([fold_of[group] for group in groups])

    def model(chosen: np.ndarray):
        places = np.repeat(np.flatnonzero(chosen), [len(best[i]) for i in np.flatnonzero(chosen)])
        x, y = np.concatenate([best[i] for i in np.flatnonzero(chosen)]), apart[places]
        weight = 1.0 / np.array([len(best[i]) for i in places])
        weight[y] *= weight[~y].sum() / weight[y].sum()
        made = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))
        kept = np.ones(len(y), bool)
        for _ in range(2):  # a copy is known by the better half of its stretches
            made.fit(x[kept], y[kept], logisticregression__sample_weight=weight[kept])
            odds = made.decision_function(x)
            middle = np.array([np.median(odds[places == i]) for i in range(len(best))])
            kept = y | (odds <= middle[places])
        scaler, logistic = (step for _, step in made.steps)
        weights = logistic.coef_[0] / scaler.scale_
        bias = float(logistic.intercept_[0] - weights @ scaler.mean_)
        limits = limits_of([best[i] for i in np.flatnonzero(chosen & by_two)])
        return {"weights": weights, "bias": bias, "limits": limits}

    odds = np.zeros(len(rows))
    for k in range(8):
        left_out = model(fold != k)
        for i in np.flatnonzero(fold == k):
            odds[i] = min(log_odds(np.array(each), **left_out) for each in rows[i]["features"])
    report(flagged, dict(zip(map(id, rows), odds.tolist(), strict=True)))
    made = model(np.ones(len(rows), bool))
    for name, weight, limit in zip(FEATURES, made["weights"], made["limits"], strict=True):
        print(f"{name:20} {weight:8.3f} {limit:8.3f}")
    print("bias", round(made["bias"], 3))


def rates(folder: Path) -> None:
    """Print what is said of the flagged pairs of each kind."""
    rows = read(folder)
    odds = {
        id(row): min(log_odds(np.array(each)) for each in row["features"])
        for row in rows
        if is_judged(row)
    }
    report(rows, odds)


def report(rows: list[dict], odds: dict[int, float]) -> None:
    """Print of how many pairs of each kind something is said."""
    print("| kind | flagged by score | judged | perhaps two performances | two performances |")
    print("|---|--:|--:|--:|--:|")
    by_kind = defaultdict(list)
    for row in rows:
        named = {"u-": "unseen alterations", "x-": "further alterations"}
        kind = named.get(row["kind"][:2], row["kind"])
        kind = "alterations" if kind in ALTERATIONS else kind
        by_kind[kind].append(odds.get(id(row)))
    for kind, own in by_kind.items():
        judged = [value for value in own if value is not None]
        perhaps = sum(value >= RULES.may_be_played_apart for value in judged)
        surely = sum(value >= RULES.played_apart for value in judged)
        low, high = wilson_interval(surely, len(own))
        print(
            f"| {kind} | {len(own)} | {len(judged)} | {perhaps} | {surely} ({low:.3f}–{high:.3f}) |"
        )
    copied = [(odds[id(row)], row) for row in rows if id(row) in odds and row["kind"] not in COVERS]
    for value, row in sorted(copied, key=lambda one: -one[0])[:6]:
        print(f"copy with log odds of {value:.2f}: {row['kind']}, {row['group']}")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("covers", "copies", "fit", "rates"))
    parser.add_argument("folder", type=Path, help="where the rows are kept")
    parser.add_argument("source", type=Path, nargs="?", help="scores, or music")
    parser.add_argument("--side", choices=("train", "test"), default="train")
    parser.add_argument("--font", action="append", default=[])
    parser.add_argument("--tracks", type=int, default=18)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    one_thread()
    if given.part == "covers":
        fonts = [Synthesizer(font) for font in given.font]
        covers(Pairs(given.folder, "covers"), given.source, given.side, fonts, given.seed)
    elif given.part == "copies":
        tracks = list(originals(given.source, given.tracks))
        copies(Pairs(given.folder, "copies"), tracks, tuple(COPIES))
    else:
        (fit if given.part == "fit" else rates)(given.folder)


if __name__ == "__main__":
    main()
