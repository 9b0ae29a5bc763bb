"""What the second witness finds, and how exactly: ranges, tempo, pitch, partial copies and traps.

The originals and altered copies of a role (``benchmarks/copies.py`` writes them) are embedded by an
excerpt extractor and compared.  Where a copy lies in its original is known: it follows from the
alteration, and for those that draw from the seed, from the same draws.  Further copies are made
here: 5 s planted, three excerpts in one submission, and the traps, pairs that are no copies.
D-vectors that ``benchmarks/quality.py`` kept are used again, and those made here are
kept, so a killed run goes on where it was.

Examples
--------
::

    python benchmarks/copies.py corpus --role val --every 3 --max-s 90
    python benchmarks/witness.py --role val --every 9
    python benchmarks/witness.py --role test --extractor runs/excerpt/excerpt-01234567.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from copies import ORIGINAL, SEED, copies_folder, copy_name, corpus_paths, other_row
from synthetic_music import ringing

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.augment.voices import speak
from auditor.augment.waveform import plant
from auditor.calibration.metrics import wilson_interval
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import Extractor, load_extractor
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.evidence.alignment.ranges import (
    WitnessConfig,
    WitnessTrack,
    compare_tracks,
    prepare_track,
)
from auditor.evidence.spectra.pitch_tempo import match_range
from auditor.parallel import one_thread
from auditor.records import Evidence, MatchedRange
from auditor.training.dataset import group_tracks, read_same_list

SAME = Path(__file__).with_name("natural_duplicates.tsv")
PARTIAL = ("planted", "planted5", "three")
MADE_HERE = ("planted5", "three")
RIGHT_S = 2.0
"""A range is the right one if each of its four times is so close to the truth."""


@dataclass(frozen=True)
class Truth:
    """Where a copy (a) holds its original (b); tempo and pitch as in ``MatchedRange``."""

    a_start_s: float
    a_end_s: float
    b_start_s: float
    b_end_s: float
    tempo: float = 1.0
    pitch_semitones: float = 0.0


@dataclass(frozen=True)
class Bench:
    """What is compared, and by what."""

    extractor: Extractor
    config: WitnessConfig
    folder: Path
    shared: Path
    cache: Path
    n_tracks: int

    def wav(self, kind: str, row: int) -> Path:
        """Return the file of a copy."""
        return self.folder / kind / copy_name(row)

    def track(self, kind: str, row: int, make: Callable[[], np.ndarray]) -> WitnessTrack | None:
        """Return a track, embedded now or before; None if it is too short or absent."""
        path = self.shared / kind / f"{row:04d}.npz"  # as the quality benchmark leaves them
        if not path.exists():
            path = self.cache / kind / f"{row:04d}.npz"
        if not path.exists():
            try:
                waveform = make()
                embedded = embed_waveform(waveform, [self.extractor])[self.extractor.weights_id]
            except AudioError as error:
                print(f"{kind}/{row}: {error}", file=sys.stderr)
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")
            np.savez(
                part,
                dvectors=embedded.dvectors,
                levels=embedded.levels,
                duration_s=len(waveform) / SAMPLE_RATE_HZ,
            )
            part.replace(path)
        with np.load(path, allow_pickle=False) as stored:
            dvectors, levels = stored["dvectors"], stored["levels"]
            known = "duration_s" in stored
            duration_s = float(stored["duration_s"]) if known else wav_s(self.wav(kind, row))
        if len(dvectors) == 0:
            return None
        return prepare_track(
            dvectors,
            levels=levels,
            duration_s=duration_s,
            hop_s=self.hop_s,
            window_s=self.window_s,
            config=self.config,
        )

    def copy(self, kind: str, row: int) -> WitnessTrack | None:
        """Return an original or a copy."""
        return self.track(kind, row, lambda: self.waveform(kind, row))

    def waveform(self, kind: str, row: int) -> np.ndarray:
        """Return its audio."""
        if kind in MADE_HERE:
            return make_copy(self, kind, row)[0]
        return load_waveform(self.wav(kind, row))

    def spectrum(self, kind: str, row: int) -> np.ndarray:
        """Return its spectrum."""
        return waveform_spectrum(self.waveform(kind, row))

    def compare(self, a: WitnessTrack, b: WitnessTrack) -> Evidence:
        """Return the evidence."""
        return compare_tracks(a, b, hop_s=self.hop_s, window_s=self.window_s, config=self.config)

    @property
    def hop_s(self) -> float:
        """Step of the windows, in seconds."""
        return self.extractor.config.hop_frames * self.extractor.config.features.frame_hop_s

    @property
    def window_s(self) -> float:
        """Length of the windows, in seconds."""
        return self.extractor.config.window_frames * self.extractor.config.features.frame_hop_s


def wav_s(path: Path) -> float:
    """Return the length of a WAV file, in seconds."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()


def rng_of(kind: str, row: int) -> np.random.Generator:
    """Return the generator that ``copies.py`` gives to a copy."""
    digest = hashlib.sha256(f"{copy_name(row)}|{kind}".encode()).digest()
    return np.random.default_rng([SEED, int.from_bytes(digest[:4])])


def truths(bench: Bench, kind: str, row: int) -> tuple[Truth, ...]:
    """Return where a copy holds its original."""
    if kind in MADE_HERE:
        return make_copy(bench, kind, row)[1]
    b_s = wav_s(bench.wav(ORIGINAL, row))
    a_s = wav_s(bench.wav(kind, row))
    rng = rng_of(kind, row)
    if kind == "crop30":
        start_s = max(0.0, b_s - 30.0) / 2
        return (Truth(0.0, a_s, start_s, start_s + a_s),)
    if kind == "crop10":
        start_s = rng.uniform(0.0, max(0.0, b_s - 10.0))
        return (Truth(0.0, a_s, start_s, start_s + a_s),)
    if kind == "planted":
        start_s = rng.uniform(0.0, max(0.0, b_s - 10.0))
        length_s = min(10.0, b_s)
        at_s = rng.uniform(0.0, a_s - length_s)
        return (Truth(at_s, at_s + length_s, start_s, start_s + length_s),)
    if kind == "fades":
        return (Truth(3.0, a_s - 3.0, 0.0, b_s),)
    tempo, semitones = 1.0, 0.0
    if kind.startswith("tempo"):
        tempo = 1.0 + int(kind[5:]) / 100
    elif kind.startswith("pitch"):
        semitones = float(kind[5:])
    elif kind.startswith("speed") or kind == "everything":
        tempo = 1.04 if kind == "everything" else 1.0 + int(kind[5:]) / 100
        semitones = 12.0 * float(np.log2(tempo))
    return (Truth(0.0, a_s, 0.0, b_s, tempo, semitones),)


def make_copy(bench: Bench, kind: str, row: int) -> tuple[np.ndarray, tuple[Truth, ...]]:
    """Return another track that holds 5 s of one, or three excerpts of 10 s, and where."""
    rng = rng_of(kind, row)
    original = load_waveform(bench.wav(ORIGINAL, row))
    host = load_waveform(bench.wav(ORIGINAL, other_row(row, bench.n_tracks)))
    lengths_s = [5.0] if kind == "planted5" else [10.0] * 3
    host = np.resize(host, max(len(host), round(2 * sum(lengths_s) * SAMPLE_RATE_HZ)))
    a_slot_s = len(host) / SAMPLE_RATE_HZ / len(lengths_s)
    b_slot_s = len(original) / SAMPLE_RATE_HZ / len(lengths_s)
    found = []
    order = rng.permutation(len(lengths_s))
    for slot, length_s in enumerate(lengths_s):
        length_s = min(length_s, b_slot_s)
        start_s = order[slot] * b_slot_s + rng.uniform(0.0, b_slot_s - length_s)
        at_s = slot * a_slot_s + rng.uniform(0.0, a_slot_s - length_s)
        begin = round(start_s * SAMPLE_RATE_HZ)
        excerpt = original[begin : begin + round(length_s * SAMPLE_RATE_HZ)]
        host = plant(excerpt, host, position_s=at_s)
        found.append(Truth(at_s, at_s + length_s, start_s, start_s + length_s))
    return host, tuple(found)


def errors_s(found: MatchedRange, truth: Truth) -> np.ndarray:
    """Return the (4,) errors of starts and ends, in seconds."""
    names = ("a_start_s", "a_end_s", "b_start_s", "b_end_s")
    return np.asarray([abs(getattr(found, n) - getattr(truth, n)) for n in names])


def right_range(evidence: Evidence, truth: Truth) -> MatchedRange | None:
    """Return the range that is closest to the truth, None if there is none."""
    return min(evidence.ranges, key=lambda r: errors_s(r, truth).max(), default=None)


def measure_kind(bench: Bench, kind: str, rows: list[int], *, pitch: bool) -> dict:
    """Compare the copies of one alteration with their originals."""
    scores, errors, tempos, exact_tempos, pitches = [], [], [], [], []
    n_right = n_truths = all_right = 0
    for row in rows:
        a, b = bench.copy(kind, row), bench.copy(ORIGINAL, row)
        if a is None or b is None:
            continue
        evidence = bench.compare(a, b)
        scores.append(evidence.score)
        known = truths(bench, kind, row)
        right_here = 0
        for truth in known:
            n_truths += 1
            found = right_range(evidence, truth)
            if found is None:
                continue
            error = errors_s(found, truth)
            right_here += bool(error.max() <= RIGHT_S)
            if kind in PARTIAL and error.max() > 10.0:
                continue  # another range altogether
            errors.append(error)
            tempos.append(abs(found.tempo / truth.tempo - 1.0))
            if pitch:
                match = match_range(found, *(bench.spectrum(k, row) for k in (kind, ORIGINAL)))
                exact = found.tempo if match is None else match.tempo
                exact_tempos.append(abs(exact / truth.tempo - 1.0))
                semitones = np.nan if match is None else match.semitones
                pitches.append(abs(semitones - truth.pitch_semitones))
        n_right += right_here
        all_right += right_here == len(known)
    return {
        "alteration": kind,
        "scores": scores,
        "n_truths": n_truths,
        "n_right": n_right,
        "n_all_right": all_right,
        "errors_s": [error.tolist() for error in errors],
        "tempo_errors": tempos,
        "exact_tempo_errors": exact_tempos,
        "pitch_errors": [float(p) for p in pitches],
    }


def impostor_scores(bench: Bench, groups: np.ndarray, n_pairs: int) -> np.ndarray:
    """Return scores of pairs of originals that share nothing, drawn at random if there are more."""
    pairs = np.argwhere(np.triu(groups[:, None] != groups[None, :], 1))
    if len(pairs) > n_pairs:
        pairs = pairs[np.random.default_rng(SEED).choice(len(pairs), n_pairs, replace=False)]
    tracks = {i: bench.copy(ORIGINAL, int(i)) for i in np.unique(pairs)}
    scores = [
        bench.compare(tracks[i], tracks[j]).score
        for i, j in pairs
        if tracks[i] is not None and tracks[j] is not None
    ]
    return np.sort(np.asarray(scores))[::-1]


def traps(bench: Bench) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield pairs that share a sound and nothing else; ``intro`` shares its first 8 s."""
    rng = np.random.default_rng(SEED)
    n = 90 * SAMPLE_RATE_HZ
    first, second = (load_waveform(bench.wav(ORIGINAL, row)) for row in (0, bench.n_tracks // 2))
    loop = drum_loop(rng)
    for name, level in (("drum loop at -6 dB", 0.5), ("drum loop at 0 dB", 1.0)):
        yield name, *(with_loop(track, loop, level) for track in (first, second))
    yield "drum loop alone", np.resize(loop, n), np.resize(loop, n + 40_000)[40_000:]
    preset = rng.uniform(0.0, 1.0, 8) / np.arange(1, 9)
    yield "synth preset", melody(preset, rng, n), melody(preset, rng, n)
    yield "drones", drone((110.0, 165.0), rng, n), drone((98.0, 147.0), rng, n)
    yield "one drone twice", drone((110.0, 165.0), rng, n), drone((110.0, 165.0), rng, n)
    yield "white noise", *(0.1 * rng.standard_normal(n).astype(np.float32) for _ in range(2))
    yield "silence", np.zeros(n, np.float32), np.zeros(n, np.float32)
    yield "metronome, one tempo", metronome(120.0, n), metronome(120.0, n - 9_000)
    yield "metronome, two tempi", metronome(120.0, n), metronome(108.0, n)
    speech = speak(8 * SAMPLE_RATE_HZ, rng)
    yield "intro", *(np.concatenate([speech, track]) for track in (first, second))
    yield "solo piano", piano(rng, n, tonic=57, minor=True), piano(rng, n, tonic=62, minor=False)
    yield "solo piano, one key", *(piano(rng, n, tonic=57, minor=True) for _ in range(2))


def drum_loop(rng: np.random.Generator) -> np.ndarray:
    """Return two bars of drums at 120 beats a minute, 4 s."""
    loop = np.zeros(4 * SAMPLE_RATE_HZ, dtype=np.float32)
    time_s = np.arange(SAMPLE_RATE_HZ // 5) / SAMPLE_RATE_HZ
    kick = np.sin(2 * np.pi * 55.0 * time_s) * np.exp(-time_s / 0.06)
    snare = rng.standard_normal(len(time_s)) * np.exp(-time_s / 0.05)
    hat = np.diff(rng.standard_normal(len(time_s) + 1)) * np.exp(-time_s / 0.015)
    for step in range(16):
        at = step * len(loop) // 16
        hit = 0.3 * hat + (kick if step in (0, 3, 8, 10) else 0.0) + 0.5 * snare * (step % 8 == 4)
        stop = min(at + len(hit), len(loop))
        loop[at:stop] += hit[: stop - at].astype(np.float32)
    return 0.3 * loop


def with_loop(track: np.ndarray, loop: np.ndarray, level: float) -> np.ndarray:
    """Return a track with a loop under all of it, at a level relative to its own."""
    drums = np.resize(loop, len(track))
    return track + drums * np.float32(level * track.std() / max(float(drums.std()), 1e-9))


def melody(timbre: np.ndarray, rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Return random notes of one timbre."""
    out = np.zeros(n_samples + SAMPLE_RATE_HZ, dtype=np.float32)
    step = round(rng.uniform(0.2, 0.35) * SAMPLE_RATE_HZ)
    for start in range(0, n_samples, step):
        if rng.random() < 0.3:
            continue
        pitch_hz = 220.0 * 2.0 ** (rng.integers(0, 24) / 12)
        rates = (2j * np.pi * pitch_hz * np.arange(1, 9) - 1.0 / 0.2) / SAMPLE_RATE_HZ
        tone = ringing(0.05 * timbre, rates, min(2 * step, SAMPLE_RATE_HZ))
        out[start : start + len(tone)] += tone
    return out[:n_samples]


def drone(pitches_hz: tuple[float, ...], rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Return a chord that is held, with slow swells."""
    levels, hz = [], []
    for pitch_hz in pitches_hz:
        for partial in range(1, 9):
            swell_hz = rng.uniform(0.03, 0.2)
            level = 0.05 / partial * np.exp(1j * rng.uniform(0.0, 2 * np.pi))
            # A swell of 0.3 is a sine beside the partial on either side.
            levels += [level, 0.15j * level, -0.15j * level]
            hz += [partial * pitch_hz + beside for beside in (0.0, -swell_hz, swell_hz)]
    return ringing(np.array(levels), 2j * np.pi * np.array(hz) / SAMPLE_RATE_HZ, n_samples).astype(
        np.float32
    )


def piano(rng: np.random.Generator, n_samples: int, *, tonic: int, minor: bool) -> np.ndarray:
    """Return a piece for the left and the right hand: one instrument, one player, drawn notes."""
    scale = (0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11)
    out = np.zeros(n_samples + 4 * SAMPLE_RATE_HZ)
    at, chord, beat_s = 0.0, 0, rng.uniform(0.45, 0.6)
    for step in range(int(n_samples / SAMPLE_RATE_HZ / beat_s * 2) + 1):
        if step % 8 == 0:
            chord = int(rng.choice([0, 3, 4, 5]))
        degrees = [(chord + (0, 4, 7, 4)[step % 4], -12)]
        if rng.random() < 0.6:
            degrees.append((chord + int(rng.integers(0, 9)), 12))
        for degree, octave in degrees:
            octaves, place = divmod(degree, 7)
            pitch = tonic + octave + 12 * octaves + scale[place]
            start = round((at + rng.normal(0.0, 0.008)) * SAMPLE_RATE_HZ)
            struck = _struck(pitch, rng.uniform(0.4, 1.0), rng)
            start = max(start, 0)
            stop = min(start + len(struck), len(out))
            out[start:stop] += struck[: max(stop - start, 0)]
        at += beat_s / 2 * (1.0 + 0.06 * np.sin(step / 7.0))  # the player's rubato
    return (0.4 * out[:n_samples] / np.abs(out).max()).astype(np.float32)


def _struck(pitch: int, force: float, rng: np.random.Generator) -> np.ndarray:
    """Return one struck string: stiff partials, two decays, the knock of the hammer."""
    pitch_hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    levels, rates = [], []  # of decaying sines: rates are complex, radians a sample
    for partial in range(1, 16):
        partial_hz = partial * pitch_hz * np.sqrt(1.0 + 4e-4 * partial**2)
        if partial_hz > 7_500.0:
            break
        decay_s = 1.6 * (220.0 / pitch_hz) ** 0.5 / (1.0 + 0.25 * partial)
        level = force ** (0.6 + 0.2 * partial) / partial**0.8
        for share, slower in ((0.8, 1.0), (0.2, 4.0)):
            levels.append(share * level)
            rates.append((2j * np.pi * partial_hz - 1.0 / (slower * decay_s)) / SAMPLE_RATE_HZ)
    tone = ringing(np.array(levels), np.array(rates), 3 * SAMPLE_RATE_HZ)
    knock = rng.standard_normal(400) * np.exp(-np.arange(400) / 60.0)
    tone[:400] += 0.15 * force * knock
    return tone


def metronome(beats_per_minute: float, n_samples: int) -> np.ndarray:
    """Return clicks."""
    out = np.zeros(n_samples, dtype=np.float32)
    time_s = np.arange(SAMPLE_RATE_HZ // 50) / SAMPLE_RATE_HZ
    click = (0.5 * np.sin(2 * np.pi * 1500 * time_s) * np.exp(-time_s / 0.004)).astype(np.float32)
    for start in range(0, n_samples - len(click), round(60.0 / beats_per_minute * SAMPLE_RATE_HZ)):
        out[start : start + len(click)] += click
    return out


def measure_traps(bench: Bench) -> list[dict]:
    """Compare the two sides of every trap."""
    found = []
    for number, (name, a, b) in enumerate(traps(bench)):
        sides = [
            bench.track(f"trap-{side}", number, lambda wave=wave: wave)
            for side, wave in (("a", a), ("b", b))
        ]
        evidence = bench.compare(sides[0], sides[1])
        found.append({"trap": name, **asdict(replace(evidence, ranges=evidence.ranges[:3]))})
    return found


def speed_ms(config: WitnessConfig, *, n_windows: int = 300, n_dims: int = 128) -> dict[str, float]:
    """Return CPU milliseconds for a pair of two tracks and for a track and its copy."""
    rng = np.random.default_rng(0)
    tracks = []
    for _ in range(2):
        steps = np.cumsum(rng.standard_normal((n_windows + 4, n_dims)), axis=0)
        rows = steps[4:] - steps[:-4]
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        tracks.append(prepare_track(rows, hop_s=0.8, window_s=3.2, config=config))
    found = {}
    for name, (a, b) in {"impostor": tracks, "copy": [tracks[0], tracks[0]]}.items():
        times = []
        for _ in range(5):
            started = time.process_time()
            compare_tracks(a, b, hop_s=0.8, window_s=3.2, config=config)
            times.append(time.process_time() - started)
        found[name] = 1000.0 * min(times)
    return found


def render(report: dict) -> str:
    """Return the report as Markdown."""
    impostors = np.asarray(report["impostors"])
    levels = {f"{far:g}": impostors[int(far * len(impostors))] for far in (1e-2, 1e-3)}
    top = float(impostors[0])
    min_score = report["config"]["min_score"]
    lines = [
        f"{len(impostors):,} impostor pairs: highest score {top:.3f}, "
        + ", ".join(f"at FAR {far} {score:.3f}" for far, score in levels.items())
        + f"; {int((impostors >= min_score).sum())} reach min_score {min_score:g}.",
        f"A pair of 300 x 300 windows: {report['speed_ms']['impostor']:.0f} ms, a track and its "
        f"copy {report['speed_ms']['copy']:.0f} ms of CPU.",
        "",
        "| alteration | n | score, median | >= min_score | > all impostors | right range "
        "| all of them | start, end error, median s | tempo within 1 % | by frames "
        "| pitch within 0.5 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["kinds"]:
        scores = np.asarray(row["scores"])
        if not len(scores):
            continue
        errors = np.asarray(row["errors_s"]).reshape(-1, 4)
        starts, ends = np.median(errors[:, [0, 2]]), np.median(errors[:, [1, 3]])
        tempo = np.mean(np.asarray(row["tempo_errors"]) <= 0.01)
        exact = np.mean(np.asarray(row["exact_tempo_errors"] or [np.nan]) <= 0.01)
        pitch = np.mean(np.asarray(row["pitch_errors"]) <= 0.5) if row["pitch_errors"] else np.nan
        low, high = wilson_interval(row["n_right"], max(row["n_truths"], 1))
        lines.append(
            f"| {row['alteration']} | {len(scores)} | {np.median(scores):.2f} "
            f"| {np.mean(scores >= min_score):.2f} | {np.mean(scores > top):.2f} "
            f"| {row['n_right']}/{row['n_truths']} ({low:.2f}-{high:.2f}) "
            f"| {row['n_all_right']} | {starts:.2f}, {ends:.2f} | {tempo:.2f} "
            f"| {exact:.2f} | {pitch:.2f} |"
        )
    every = [np.asarray(e) for row in report["kinds"] for e in row["errors_s"]]
    tempos = np.concatenate([row["tempo_errors"] for row in report["kinds"]])
    exact = np.concatenate([row["exact_tempo_errors"] for row in report["kinds"]])
    pitches = np.concatenate([row["pitch_errors"] for row in report["kinds"]])
    lines += [
        "",
        f"All detected: median error of starts and ends {np.median(every):.2f} s, tempo within 1 % "
        f"on {np.mean(tempos <= 0.01):.3f} by the d-vectors and on "
        f"{np.mean(exact <= 0.01) if len(exact) else np.nan:.3f} by the frames, pitch "
        f"within half a semitone on {np.mean(pitches <= 0.5) if len(pitches) else np.nan:.3f} "
        f"({np.mean(np.isnan(pitches)) if len(pitches) else np.nan:.3f} not measured).",
        "",
        "| trap | score | ranges |",
        "|---|---|---|",
    ]
    for trap in report["traps"]:
        ranges = "; ".join(
            f"a {r['a_start_s']:.1f}-{r['a_end_s']:.1f} b {r['b_start_s']:.1f}-{r['b_end_s']:.1f} "
            f"score {r['score']:.2f} repetition {r['repetition']:.2f}"
            for r in trap["ranges"]
        )
        lines.append(f"| {trap['trap']} | {trap['score']:.3f} | {ranges or '-'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--role", default="val")
    parser.add_argument("--extractor", default="excerpt")
    parser.add_argument("--every", type=int, default=3, help="of the rows that have copies")
    parser.add_argument("--max-s", type=float, default=90.0, help="as given to copies.py")
    parser.add_argument("--alteration", action="append", choices=[*ALTERATIONS, *MADE_HERE])
    parser.add_argument("--impostors", type=int, default=10_000, help="pairs at most")
    parser.add_argument("--no-pitch", action="store_true", help="pitch decodes audio: leave it")
    parser.add_argument("--min-score", type=float, default=WitnessConfig().min_score)
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"))
    parser.add_argument("--dvectors", type=Path, default=Path("runs/dvectors"), help="read first")
    parser.add_argument("--cache", type=Path, default=Path("runs/witness"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    one_thread()
    extractor = load_extractor(args.extractor)
    paths = [Path(path) for path in corpus_paths(args.corpus, args.role)]
    folder = copies_folder(args.copies, args.role, args.max_s)
    bench = Bench(
        extractor,
        WitnessConfig(min_score=args.min_score),
        folder,
        args.dvectors / extractor.weights_id / folder.name,
        args.cache / extractor.weights_id / folder.name,
        len(paths),
    )
    groups = group_tracks(
        [str(path) for path in paths], [hash_file(path) for path in paths], read_same_list(SAME)
    )
    kinds = args.alteration or [*ALTERATIONS, *MADE_HERE]
    measured = []
    for kind in kinds:
        rows = [
            row
            for row in range(0, len(paths), args.every)
            if bench.wav("mp3-32k" if kind in MADE_HERE else kind, row).exists()
        ]
        measured.append(measure_kind(bench, kind, rows, pitch=not args.no_pitch))
        print(f"{kind}: {len(measured[-1]['scores'])} copies", file=sys.stderr, flush=True)
    report = {
        "extractor": extractor.weights_id,
        "role": args.role,
        "config": asdict(bench.config),
        "impostors": impostor_scores(bench, np.asarray(groups), args.impostors).tolist(),
        "kinds": measured,
        "traps": measure_traps(bench),
        "speed_ms": speed_ms(bench.config),
    }
    print(render(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
