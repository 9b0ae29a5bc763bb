"""Copies altered in ways that neither training nor calibration knows: are they found?

The catalogue of ``benchmarks/verdicts.py`` is asked by the code of ``audit check``.  For every
alteration: how many copies are flagged with the right original at the threshold that was used
there, the verdicts, and how many other tracks were flagged beside it.
Music turned backwards is not expected to be found; it is there to say so.

Examples
--------
::

    python benchmarks/verdicts.py corpus --role test --every 2
    python benchmarks/unseen.py corpus --role test --every 4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from copies import ORIGINAL, copies_folder, corpus_paths
from scipy.signal import butter, sosfilt
from verdicts import Catalogue
from witness import SAME, Bench

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import (
    band_limit,
    change_speed,
    compress,
    reverberate,
    shift_pitch,
    stretch_time,
)
from auditor.calibration.metrics import wilson_interval
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import load_extractor
from auditor.errors import AudioError
from auditor.evidence.alignment.ranges import WitnessConfig
from auditor.parallel import one_thread
from auditor.records import Verdict
from auditor.scoring.verdict import decide_verdict
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import open_workspace

Alter = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def at_times(waveform: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return a waveform read at other times, in samples."""
    return np.interp(times, np.arange(len(waveform)), waveform).astype(np.float32)


def telephone(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """8 kHz, 300 to 3400 Hz, eight bits of mu-law."""
    narrow = band_limit(waveform, low_hz=300.0, high_hz=3400.0)
    narrow = narrow / max(float(np.abs(narrow).max()), 1e-9)
    code = np.round(127.0 * np.sign(narrow) * np.log1p(255.0 * np.abs(narrow)) / np.log(256.0))
    decoded = np.sign(code) * np.expm1(np.abs(code) / 127.0 * np.log(256.0)) / 255.0
    return np.repeat(decoded[::2], 2)[: len(waveform)].astype(np.float32)


def crush(waveform: np.ndarray, rng: np.random.Generator, *, bits: int, hold: int) -> np.ndarray:
    """Few bits, and every sample held for some."""
    peak = max(float(np.abs(waveform).max()), 1e-9)
    steps = 2.0 ** (bits - 1)
    held = np.repeat(waveform[::hold], hold)[: len(waveform)]
    return (np.round(held / peak * steps) / steps * peak).astype(np.float32)


def chorus(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two copies whose delays waver around 20 ms, as loud as the original."""
    n = np.arange(len(waveform))
    made = waveform.copy()
    for rate_hz, phase in ((0.7, 0.0), (1.1, 2.0)):
        delay_s = 0.020 + 0.004 * np.sin(2.0 * np.pi * rate_hz * n / SAMPLE_RATE_HZ + phase)
        made += at_times(waveform, n - delay_s * SAMPLE_RATE_HZ)
    return made / 3.0


def wow(waveform: np.ndarray, rng: np.random.Generator, *, depth: float) -> np.ndarray:
    """A record off its centre: the speed wavers by a share, at 0.55 and at 6 Hz."""
    t = np.arange(len(waveform)) / SAMPLE_RATE_HZ
    speed = 1.0 + depth * np.sin(2.0 * np.pi * 0.55 * t)
    speed += 0.25 * depth * np.sin(2.0 * np.pi * 6.0 * t)
    return at_times(waveform, np.cumsum(speed) - speed[0])


def drift(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tape whose speed goes from 3 % below to 3 % above."""
    return at_times(waveform, np.cumsum(np.linspace(0.97, 1.03, len(waveform))))


def tremolo(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The level falls to a tenth five times a second."""
    t = np.arange(len(waveform)) / SAMPLE_RATE_HZ
    return (waveform * (0.55 + 0.45 * np.sin(2.0 * np.pi * 5.0 * t))).astype(np.float32)


def dropouts(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the time is silence, 100 ms at a time."""
    block = SAMPLE_RATE_HZ // 10
    heard = np.repeat(rng.random(len(waveform) // block + 1) >= 0.2, block)[: len(waveform)]
    return waveform * heard.astype(np.float32)


def vinyl(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Twenty clicks a second, as loud as the music, and a rumble."""
    made = waveform.copy()
    level = float(np.sqrt(np.mean(waveform**2)))
    places = rng.integers(0, len(waveform) - 80, len(waveform) * 20 // SAMPLE_RATE_HZ)
    decay = np.exp(-np.arange(80) / 12.0)
    for place in places.tolist():
        made[place : place + 80] += 5.0 * level * rng.normal() * decay * rng.choice((-1.0, 1.0), 80)
    low = butter(2, 60.0, fs=SAMPLE_RATE_HZ, output="sos")
    return (made + 4.0 * level * sosfilt(low, rng.normal(size=len(made)))).astype(np.float32)


def echo(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Echoes every 370 ms, each at 0.6 of the one before."""
    made = waveform.copy()
    step = round(0.37 * SAMPLE_RATE_HZ)
    for n in range(1, 6):
        made[n * step :] += 0.6**n * waveform[: -n * step]
    return made


def ring(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiplied with a tone of 40 Hz: every partial becomes two."""
    t = np.arange(len(waveform)) / SAMPLE_RATE_HZ
    return (waveform * np.sin(2.0 * np.pi * 40.0 * t)).astype(np.float32)


def gapped(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two seconds of every ten are cut out, and the rest joined."""
    n = np.arange(len(waveform))
    return waveform[n % (10 * SAMPLE_RATE_HZ) >= 2 * SAMPLE_RATE_HZ]


def shuffled(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pieces of 12 s, first every second one and then the others."""
    pieces = np.array_split(waveform, max(2, len(waveform) // (12 * SAMPLE_RATE_HZ)))
    return np.concatenate([*pieces[1::2], *pieces[::2]])


def slowed(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slowed to 0.85, with a long reverb over it."""
    return reverberate(change_speed(waveform, 0.85), rng, rt60_s=2.0)


def squashed(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pitch -1.5, tempo +7 %, band 120 to 5000 Hz, compressed."""
    made = stretch_time(shift_pitch(waveform, -1.5), 1.07)
    return compress(band_limit(made, low_hz=120.0, high_hz=5000.0))


UNSEEN: dict[str, tuple[str, Alter]] = {
    "telephone": ("telephone, 8 kHz mu-law", telephone),
    "crush": ("five bits at 8 kHz", partial(crush, bits=5, hold=2)),
    "chorus": ("chorus", chorus),
    "wow": ("speed wavers by 0.7 %", partial(wow, depth=0.007)),
    "drift": ("speed drifts from -3 to +3 %", drift),
    "tremolo": ("tremolo, 5 Hz", tremolo),
    "dropouts": ("a fifth silent, 100 ms at a time", dropouts),
    "vinyl": ("clicks and rumble", vinyl),
    "echo": ("echoes every 0.37 s", echo),
    "ring": ("ring modulation, 40 Hz", ring),
    "highpass": (
        "nothing below 2 kHz",
        lambda w, rng: band_limit(w, low_hz=2000.0, high_hz=7900.0),
    ),
    "lowpass": ("nothing above 700 Hz", lambda w, rng: band_limit(w, low_hz=20.0, high_hz=700.0)),
    "gapped": ("2 s of every 10 cut out", gapped),
    "shuffled": ("pieces of 12 s in another order", shuffled),
    "nightcore": ("speed +30 %", lambda w, rng: change_speed(w, 1.3)),
    "slowed": ("speed -15 %, reverb 2 s", slowed),
    "squashed": ("pitch -1.5, tempo +7 %, band, compression", squashed),
    "backwards": ("backwards", lambda w, rng: w[::-1].copy()),
}
"""What each is called, and what makes it of a waveform (n_samples,) at 16 kHz."""


def ask(
    catalogue: Catalogue, kind: str, rows: list[int], groups: np.ndarray, threshold: float
) -> dict:
    """Return what is said of the copies of one alteration."""
    verdicts: list[str] = []
    n_others = 0
    for row in rows:
        rng = np.random.default_rng([row, *kind.encode()])
        original = load_waveform(catalogue.bench.folder / ORIGINAL / f"{row:04d}.wav")
        altered = UNSEEN[kind][1](original, rng)
        extractor = catalogue.bench.extractor
        try:
            made = embed_waveform(altered, [extractor])[extractor.weights_id]
        except AudioError as error:
            print(f"{kind}/{row}: {error}", file=sys.stderr)
            continue
        query = catalogue.submission(f"{kind}/{row}", made, altered)
        said = "clear"
        for pair in catalogue.examine(query) if query else ():
            verdict = decide_verdict(pair.evidence, score=pair.score, threshold=threshold)
            other = catalogue.row_of[pair.b]
            if other == row:
                said = verdict
            elif groups[other] != groups[row] and Verdict(verdict).flagged:
                n_others += 1
        verdicts.append(said)
    return {"kind": kind, "verdicts": verdicts, "n_others": n_others}


def render(asked: list[dict], threshold: float) -> str:
    """Return the table as Markdown."""
    lines = [
        f"Threshold {threshold:.4f}",
        "",
        "| alteration | found | 95 % | verdicts | strangers flagged |",
        "|---|---|---|---|---|",
    ]
    for one in asked:
        verdicts = one["verdicts"]
        n_found = sum(Verdict(verdict).flagged for verdict in verdicts)
        low, high = wilson_interval(n_found, len(verdicts))
        counts = ", ".join(f"{v} {verdicts.count(v)}" for v in sorted(set(verdicts)))
        lines.append(
            f"| {UNSEEN[one['kind']][0]} | {n_found} of {len(verdicts)} | {low:.2f}–{high:.2f} "
            f"| {counts} | {one['n_others']} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--max-s", type=float, default=90.0, help="as given to copies.py")
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"))
    parser.add_argument("--verdicts", type=Path, default=Path("runs/verdicts"))
    parser.add_argument("--kind", action="append", choices=list(UNSEEN))
    parser.add_argument("--json", type=Path, help="also write what was said there")
    args = parser.parse_args()
    one_thread()
    extractor = load_extractor("excerpt")
    names = [str(path) for path in corpus_paths(args.corpus, args.role)]
    groups = np.asarray(group_tracks(names, [hash_file(n) for n in names], read_same_list(SAME)))
    folder = copies_folder(args.copies, args.role, args.max_s)
    place = args.verdicts / args.role
    bench = Bench(extractor, WitnessConfig(), folder, place, place / "cache", len(names))
    asked = []
    with open_workspace(place / "ws", extractor="excerpt", write=True) as workspace:
        catalogue = Catalogue(workspace, bench)
        threshold = json.loads((place / "verdicts.json").read_text())["threshold"]
        for kind in args.kind or list(UNSEEN):
            rows = list(range(0, len(names), args.every))
            asked.append(ask(catalogue, kind, rows, groups, threshold))
            print(kind, asked[-1]["verdicts"].count("clear"), "missed", file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(asked, indent=1))
    print(render(asked, threshold))
    return 0


if __name__ == "__main__":
    sys.exit(main())
