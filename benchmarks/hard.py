"""Libraries of pieces that are hard to tell apart: do false pairs stay inside the stated interval?

Made-up drum patterns on one kit and made-up drones of one synthesiser are played by fluidsynth;
so are the works of ``make scores``, all notes on one piano, or as a string quartet: four-part
chorales of Bach by their voices, other music by its registers.  Of works with one first line the
first is taken.  Every piece is another one, so each pair that ``audit scan`` flags at its default
budget is false.  Observed pairs are shown beside the interval that the scan states, with what its
note says of the calibration.  ``--checks`` then checks some pieces of each library together against
the others, as a submission of an album would be.

Examples
--------
::

    python benchmarks/hard.py drums drones --pieces 100
    python benchmarks/hard.py piano quartets --pieces 300 --scores scores
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from arrangements import Work
from works import load_works

from auditor.api.check import check
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.ingest.embedders import make_embedder
from auditor.parallel import one_thread
from auditor.records import Verdict
from auditor.workspace import Workspace, open_workspace

FONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
PIECE_S, TICKS, N_AT_ONCE = 20.0, 480, 4
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


MADE_UP = {"drums": drums, "drones": drones}
STRINGS = (40, 40, 41, 42)
"""Two violins, viola and cello, by their General MIDI programs."""

SCORE_S, N_FIRST = 40.0, 12
"""Seconds of a work that are played, and notes of its first line."""

QUARTER_S = {"bach": 0.6, "midi": 0.5}


def first_line(work: Work) -> tuple[int, ...]:
    """Return the intervals of the first highest notes, equal for settings of one tune."""
    highest: dict[float, int] = {}
    for start, _, pitch, part in work.notes:
        if part != 9 and (work.collection != "bach" or part == 0):
            highest[start] = max(pitch, highest.get(start, 0))
    line = [highest[start] for start in sorted(highest)][:N_FIRST]
    return tuple(b - a for a, b in itertools.pairwise(line))


def distinct_works(works: list[Work]) -> list[Work]:
    """Return the works that four players can play, one of each first line."""
    found: dict[tuple[int, ...], Work] = {}
    for work in works:
        if work.collection == "midi" or (work.collection == "bach" and work.n_parts == 4):
            found.setdefault(first_line(work), work)
    return list(found.values())


def played(work: Work, name: str) -> list[Event]:
    """Return the beginning of a work on one piano, or by a string quartet."""
    notes = [note for note in work.notes if work.collection == "bach" or note[3] != 9]
    begin, quarter_s = notes[0][0], QUARTER_S[work.collection]
    ends = np.quantile([pitch for _, _, pitch, _ in notes], [0.75, 0.5, 0.25])
    programs = (0,) if name == "piano" else STRINGS
    events: list[Event] = [(0.0, bytes((0xC0 | n, p))) for n, p in enumerate(programs)]
    for start, length, pitch, part in notes:
        at_s = 0.01 + (start - begin) * quarter_s
        if at_s >= SCORE_S:
            break
        player = part if work.collection == "bach" else int((pitch < ends).sum())
        player = 0 if name == "piano" else player
        events.append((at_s, bytes((0x90 | player, pitch, 80))))
        off_s = min(at_s + length * quarter_s, SCORE_S) - 0.005
        events.append((max(off_s, at_s), bytes((0x80 | player, pitch, 0))))
    return events


def pieces(name: str, n: int, scores: Path) -> list[list[Event]]:
    """Return the pieces of a library."""
    if name in MADE_UP:
        seeds = ([20_261_130, len(name), row] for row in range(n))
        return [MADE_UP[name](np.random.default_rng(seed)) for seed in seeds]
    return [played(work, name) for work in distinct_works(load_works(scores))[:n]]


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


def play(name: str, n: int, scores: Path, folder: Path) -> None:
    """Render the pieces of a library that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)

    def render(row: int, events: list[Event]) -> None:
        path = folder / f"{row:03d}.wav"
        if path.exists():
            return
        score, part = folder.parent / f"{name}-{row}.mid", folder.parent / f"{name}-{row}.part.wav"
        score.write_bytes(midi_file(events))
        command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-r", "16000", "-F", str(part)]
        subprocess.run([*command, FONT, str(score)], check=True, stdout=subprocess.DEVNULL)
        part.rename(path)
        score.unlink()

    made = pieces(name, n, scores)
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        list(pool.map(render, range(len(made)), made))


def check_together(workspace: Workspace, folder: Path, n: int) -> str:
    """Check n pieces of a library together against all; return what is flagged and said."""
    files = sorted(folder.glob("*.wav"))
    chosen = files[:: max(1, len(files) // n)][:n]
    result = check(workspace, chosen, options=Options(compositions=False))
    use = result.threshold
    return (
        f"| check of {len(chosen)} | {use.n_comparisons:,} "
        f"| {use.expected_low:g}–{use.expected_high:g} "
        f"| {sum(pair.flagged for pair in result.pairs)} | | {use.note or '–'} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", nargs="+", choices=[*MADE_UP, "piano", "quartets"])
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--scores", type=Path, default=Path("scores"), help="of make scores")
    parser.add_argument("--checks", type=int, default=10, help="pieces that are checked together")
    parser.add_argument("--output", type=Path, default=Path("runs/hard"))
    args = parser.parse_args()
    one_thread()
    print("| library | pairs | expected, 95 % | flagged | sounds alike | what the scan says |")
    print("|---|---|---|---|---|---|")
    for name in args.library:
        folder = args.output.absolute() / name
        play(name, args.pieces, args.scores, folder)
        with open_workspace(args.output.absolute() / f"{name}-ws", write=True) as workspace:
            result = scan(
                workspace,
                [folder],
                options=Options(compositions=False),
                embedder=make_embedder(workspace.extractor, jobs=N_AT_ONCE),
            )
            checked = check_together(workspace, folder, args.checks)
        use = result.threshold
        alike = sum(pair.verdict == Verdict.SOUNDS_ALIKE for pair in result.pairs)
        print(
            f"| {name} | {use.n_comparisons:,} | {use.expected_low:g}–{use.expected_high:g} "
            f"| {sum(pair.flagged for pair in result.pairs)} | {alike} | {use.note or '–'} |"
        )
        print(checked, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
