"""Libraries of pieces that are hard to tell apart: do false pairs stay inside the stated interval?

Made-up drum patterns on one kit and made-up drones of one synthesiser are played by fluidsynth.
Every piece is another one, so each pair that ``audit scan`` flags at its default budget is false.
Observed pairs are shown beside the interval that the scan states, with what its note says of the
calibration.

Examples
--------
::

    python benchmarks/hard.py drums drones --pieces 100
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.parallel import one_thread
from auditor.records import Verdict
from auditor.workspace import open_workspace

FONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
PIECE_S, TICKS = 20.0, 480
Event = tuple[float, bytes]
"""Seconds, and a MIDI message."""

KITS = ((36, 0.5), (38, 0.3), (42, 0.7), (46, 0.15), (45, 0.2), (49, 0.08))
"""Bass drum, snare, closed and open hi-hat, tom, cymbal, and how often a sixteenth has one."""


def drums(rng: np.random.Generator) -> list[Event]:
    """A random bar of sixteenths, again and again, at a random tempo."""
    step_s = 60.0 / rng.uniform(80.0, 160.0) / 4.0
    bar = [
        [(note, int(rng.integers(60, 120))) for note, share in KITS if rng.random() < share]
        for _ in range(16)
    ]
    events: list[Event] = []
    for n in range(int(PIECE_S / step_s)):
        for note, velocity in bar[n % 16]:
            events.append((n * step_s, bytes((0x99, note, velocity))))
            events.append((n * step_s + 0.1, bytes((0x89, note, 0))))
    return events


def drones(rng: np.random.Generator) -> list[Event]:
    """One chord of a pad, three to five notes, held; notes enter within five seconds."""
    root = int(rng.integers(36, 60))
    notes = root + rng.choice([0, 7, 12, 16, 19, 24, 15, 10], int(rng.integers(3, 6)), False)
    events: list[Event] = [(0.0, bytes((0xC0, 89)))]
    for note in notes.tolist():
        start_s = float(rng.uniform(0.0, 5.0))
        events.append((start_s, bytes((0x90, note, int(rng.integers(70, 110))))))
        events.append((PIECE_S, bytes((0x80, note, 0))))
    return events


LIBRARIES = {"drums": drums, "drones": drones}


def midi_file(events: list[Event]) -> bytes:
    """Return events as a MIDI file of one track, at 120 quarter notes a minute."""

    def length(value: int) -> bytes:
        parts = [value & 0x7F]
        while value := value >> 7:
            parts.append(value & 0x7F | 0x80)
        return bytes(reversed(parts))

    track, now = b"", 0
    for at_s, message in sorted(events):
        at = round(at_s * 2.0 * TICKS)
        track += length(at - now) + message
        now = at
    track += length(0) + b"\xff\x2f\x00"
    header = b"MThd" + b"".join(n.to_bytes(k, "big") for n, k in ((6, 4), (0, 2), (1, 2)))
    return header + TICKS.to_bytes(2, "big") + b"MTrk" + len(track).to_bytes(4, "big") + track


def play(name: str, n: int, folder: Path) -> None:
    """Render the pieces of a library that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    score = folder.parent / f"{name}.mid"
    for row in range(n):
        path = folder / f"{row:03d}.wav"
        if path.exists():
            continue
        rng = np.random.default_rng([20_261_130, len(name), row])
        score.write_bytes(midi_file(LIBRARIES[name](rng)))
        command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-r", "16000", "-F", str(path)]
        subprocess.run([*command, FONT, str(score)], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", nargs="+", choices=list(LIBRARIES))
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("runs/hard"))
    args = parser.parse_args()
    one_thread()
    print("| library | pairs | expected, 95 % | flagged | sounds alike | what the scan says |")
    print("|---|---|---|---|---|---|")
    for name in args.library:
        folder = args.output.absolute() / name
        play(name, args.pieces, folder)
        with open_workspace(args.output.absolute() / f"{name}-ws", write=True) as workspace:
            result = scan(workspace, [folder], options=Options(compositions=False))
        use = result.threshold
        alike = sum(pair.verdict == Verdict.SOUNDS_ALIKE for pair in result.pairs)
        print(
            f"| {name} | {use.n_comparisons:,} | {use.expected_low:g}–{use.expected_high:g} "
            f"| {sum(pair.flagged for pair in result.pairs)} | {alike} | {use.note or '–'} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
