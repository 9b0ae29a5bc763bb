"""Arrange a work for instruments that the renderer has: the versions of the composition benchmark.

A work is a list of notes.  A tune of one line gets chords, a bass, an accompaniment and drums; a
work of several parts keeps its parts, or loses some.  Every choice is drawn from a seeded
generator, so a version can be made again.  The harmony is the path of triads of the key that holds
most of the melody (Viterbi), with a random taste for each version, so that two versions of a tune
may have different chords.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

MELODY, BASS, CHORDS, DRUMS = range(4)
"""Roles of a note."""

LEADS = (0, 1, 4, 6, 11, 13, 16, 19, 21, 22, 24, 25, 26, 27, 40, 41, 42, 46, 52, 53, 54, 56, 57)
LEADS += (60, 64, 65, 66, 68, 69, 71, 72, 73, 74, 75, 78, 79, 80, 81, 82, 85, 104, 105, 107, 109)
LEADS += (110,)
VOICES = (52, 53, 54, 85, 40, 42, 71, 73, 65, 66)
"""Programs that are played with vibrato, slides and poor intonation, as people sing."""
PADS = (0, 1, 2, 4, 5, 6, 11, 16, 17, 18, 19, 21, 24, 25, 26, 27, 28, 46, 48, 49, 50, 51, 52, 61)
PADS += (88, 89, 90, 91, 94, 105, 106, 108)
BASSES = (32, 33, 34, 35, 36, 38, 39, 43, 58, 0, 42)


@dataclass(frozen=True)
class Note:
    """One note: seconds (or quarter notes, before the tempo), MIDI pitch, loudness 0 to 1."""

    start: float
    length: float
    pitch: int
    role: int
    velocity: float = 0.8
    program: int = 0


@dataclass(frozen=True)
class Work:
    """A composition: ``notes`` are (start, length, pitch, part) in quarter notes."""

    id: str
    collection: str
    title: str
    notes: tuple[tuple[float, float, int, int], ...]
    bar: float = 4.0
    sharps: int = 0
    n_parts: int = 1
    programs: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Taste:
    """How a version is arranged; see ``draw_taste``."""

    seed: int
    lead: int
    pad: int
    bass: int
    transposition: int = 0
    quarter_s: float = 0.5
    pattern: str = "block"
    drums: bool = False
    with_bass: bool = True
    with_chords: bool = True
    with_melody: bool = True
    octave: int = 0
    sung: bool = False
    variation: float = 0.0
    harmony_seed: int = 0
    jitter_s: float = 0.012
    drift: float = 0.03
    swing: float = 0.0
    double: bool = False


PATTERNS = ("block", "arpeggio", "oom-pah", "pad", "offbeat", "eighths")


def draw_taste(rng: np.random.Generator, **fixed: object) -> Taste:
    """Draw how a version is arranged; what is given as a keyword is not drawn."""
    sung = bool(rng.random() < 0.3)
    taste = Taste(
        seed=int(rng.integers(2**31)),
        lead=int(rng.choice(VOICES if sung else LEADS)),
        pad=int(rng.choice(PADS)),
        bass=int(rng.choice(BASSES)),
        transposition=int(rng.integers(-6, 7)),
        quarter_s=float(0.5 * 2 ** rng.uniform(-0.415, 0.415)),
        pattern=str(rng.choice(PATTERNS)),
        drums=bool(rng.random() < 0.5),
        with_bass=bool(rng.random() < 0.8),
        octave=int(rng.choice((-12, 0, 0, 0, 12))),
        sung=sung,
        variation=float(rng.choice((0.0, 0.0, 0.05, 0.1))),
        harmony_seed=int(rng.integers(2**31)),
        jitter_s=float(rng.uniform(0.0, 0.025)),
        drift=float(rng.choice((0.0, 0.02, 0.05))),
        swing=float(rng.choice((0.0, 0.0, 0.0, 0.15))),
        double=bool(rng.random() < 0.15),
    )
    return replace(taste, **fixed)  # type: ignore[arg-type]


Chord = tuple[float, float, int, tuple[int, ...]]
"""Start and length in quarter notes, root, pitch classes."""


def arrange(work: Work, taste: Taste, *, chords: list[Chord] | None = None) -> list[Note]:
    """Return the notes of a version, in seconds, by start; a tune may be given its chords."""
    rng = np.random.default_rng(taste.seed)
    if work.programs:
        notes = _from_midi(work, taste, rng)
    elif work.n_parts > 1:
        notes = _from_parts(work, taste)
    else:
        notes = _from_tune(work, taste, rng, chords or chords_of(work, taste))
    if taste.variation:
        notes = _vary(notes, taste.variation, rng)
    if taste.drums and not any(n.role == DRUMS for n in notes):
        notes += _drums(notes, work.bar, rng)
    return _perform(notes, taste, rng)


def chords_of(work: Work, taste: Taste) -> list[Chord]:
    """Return the chords under a tune."""
    start = min(n[0] for n in work.notes)
    line = [Note(s - start, d, p, MELODY) for s, d, p, _ in work.notes]
    return harmonise(line, work.bar, work.sharps, seed=taste.harmony_seed)


def _from_tune(
    work: Work, taste: Taste, rng: np.random.Generator, chords: list[Chord]
) -> list[Note]:
    start = min(n[0] for n in work.notes)
    line = [Note(s - start, d, p, MELODY, 0.9, taste.lead) for s, d, p, _ in work.notes]
    notes = list(line) if taste.with_melody else []
    if taste.double and taste.with_melody:
        notes += [replace(n, pitch=n.pitch - 12, velocity=0.6) for n in line]
    if taste.with_chords:
        notes += _accompany(chords, taste, rng)
    if taste.with_bass:
        notes += _bass(chords, taste, rng)
    return notes


def harmonise(line: list[Note], bar: float, sharps: int, *, seed: int = 0) -> list[Chord]:
    """Return chords under a melody: (start, length, root, pitch classes) in quarter notes.

    One chord every half bar; the path of diatonic triads that holds most of the melody, by
    Viterbi, with a random taste for chords and for changes that ``seed`` draws.
    """
    rng = np.random.default_rng(seed)
    step = bar / 2 if bar >= 2 and rng.random() < 0.6 else bar
    end = max(n.start + n.length for n in line)
    n_steps = max(1, int(np.ceil(end / step - 1e-6)))
    weight = np.zeros((n_steps, 12))
    for note in line:
        first = int(note.start / step + 1e-6)
        last = min(n_steps - 1, int((note.start + note.length) / step - 1e-6))
        for k in range(first, last + 1):
            overlap = min(note.start + note.length, (k + 1) * step) - max(note.start, k * step)
            weight[k, note.pitch % 12] += max(0.0, overlap) / step
    tonic = (7 * sharps) % 12
    scale = [(tonic + d) % 12 for d in (0, 2, 4, 5, 7, 9, 11)]
    triads = [tuple(scale[(d + k) % 7] for k in (0, 2, 4)) for d in range(7)]
    if rng.random() < 0.3:  # sevenths
        triads = [(*t, scale[(d + 6) % 7]) for d, t in enumerate(triads)]
    liking = np.array([0.3, 0.0, -0.1, 0.25, 0.25, 0.15, -0.6]) + rng.normal(0, 0.25, 7)
    members = np.array([[1.0 if pc in t else -0.3 for pc in range(12)] for t in triads])
    emission = weight @ members.T + 0.25 * liking
    change = rng.normal(0, 0.1, (7, 7)) - 0.1 * (1 - np.eye(7))
    best, back = emission[0], []
    for k in range(1, n_steps):
        total = best[:, None] + change
        back.append(total.argmax(0))
        best = total.max(0) + emission[k]
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    path.reverse()
    return [(k * step, step, triads[d][0], triads[d]) for k, d in enumerate(path)]


def _voicing(pitch_classes: tuple[int, ...], low: int) -> list[int]:
    return sorted(low + (pc - low) % 12 for pc in pitch_classes)


def _accompany(chords: list[Chord], taste: Taste, rng: np.random.Generator) -> list[Note]:
    low = int(rng.integers(48, 61))
    unit = float(rng.choice((0.5, 1.0)))
    order = rng.permutation(6)
    notes = []
    for start, length, _, pcs in chords:
        pitches = _voicing(pcs, low)
        if taste.pattern in ("pad", "block"):
            unit_length = length if taste.pattern == "pad" else 1.0
            for t in np.arange(0, length - 1e-6, unit_length):
                for p in pitches:
                    notes.append((start + t, min(unit_length, length - t) * 0.95, p, 0.5))
        elif taste.pattern == "arpeggio":
            for k, t in enumerate(np.arange(0, length - 1e-6, unit / 2)):
                p = pitches[int(order[k % 6]) % len(pitches)]
                notes.append((start + t, unit * 0.9, p, 0.55))
        elif taste.pattern == "oom-pah":
            for t in np.arange(0.5, length - 1e-6, 1.0):
                notes += [(start + t, 0.4, p, 0.5) for p in pitches]
        elif taste.pattern == "offbeat":
            for t in np.arange(1.0, length - 1e-6, 2.0):
                notes += [(start + t, 0.5, p, 0.55) for p in pitches]
        else:
            for t in np.arange(0, length - 1e-6, 0.5):
                notes += [(start + t, 0.45, p, 0.45) for p in pitches]
    return [Note(s, d, p, CHORDS, v, taste.pad) for s, d, p, v in notes]


def _bass(chords: list[Chord], taste: Taste, rng: np.random.Generator) -> list[Note]:
    style, low = rng.choice(("root", "fifth", "beat")), int(rng.integers(31, 41))
    notes = []
    for start, length, root, pcs in chords:
        p = low + (root - low) % 12
        if style == "root":
            notes.append((start, length * 0.95, p))
        elif style == "fifth":
            fifth = low + (pcs[2] - low) % 12
            notes += [(start, length * 0.45, p), (start + length / 2, length * 0.45, fifth)]
        else:
            notes += [(start + t, 0.8, p) for t in np.arange(0, length - 1e-6, 1.0)]
    return [Note(s, d, p, BASS, 0.75, taste.bass) for s, d, p in notes]


def _from_parts(work: Work, taste: Taste) -> list[Note]:
    start = min(n[0] for n in work.notes)
    top, bottom = 0, work.n_parts - 1
    notes = []
    for s, d, p, part in work.notes:
        role = MELODY if part == top else BASS if part == bottom else CHORDS
        keep = {MELODY: taste.with_melody, BASS: taste.with_bass, CHORDS: taste.with_chords}[role]
        if keep:
            program = {MELODY: taste.lead, BASS: taste.pad, CHORDS: taste.pad}[role]
            notes.append(Note(s - start, d, p, role, 0.9 if role == MELODY else 0.6, program))
    return notes


def _from_midi(work: Work, taste: Taste, rng: np.random.Generator) -> list[Note]:
    start = min(n[0] for n in work.notes)
    parts = sorted({n[3] for n in work.notes})
    new = {
        part: int(rng.choice(BASSES if 32 <= work.programs.get(part, 0) < 40 else PADS + LEADS))
        for part in parts
    }
    pitched = [part for part in parts if part != 9]
    dropped = set()
    if len(pitched) > 3 and not taste.with_chords:
        dropped = {int(rng.choice(pitched))}
    notes = []
    for s, d, p, part in work.notes:
        if part in dropped or (part == 9 and not taste.drums):
            continue
        bass = 32 <= work.programs.get(part, 0) < 40
        role = DRUMS if part == 9 else BASS if bass else CHORDS
        notes.append(Note(s - start, d, p, role, 0.7, new[part]))
    return notes


def _vary(notes: list[Note], share: float, rng: np.random.Generator) -> list[Note]:
    """Leave out, repeat or ornament some notes of the melody."""
    varied = []
    for note in notes:
        draw = rng.random()
        if note.role != MELODY or draw > share:
            varied.append(note)
        elif draw < share / 3 and note.length <= 1:
            continue
        elif draw < 2 * share / 3:
            half = note.length / 2
            varied += [
                replace(note, length=half),
                replace(note, start=note.start + half, length=half),
            ]
        else:
            grace = min(0.25, note.length / 3)
            neighbour = note.pitch + int(rng.choice((-2, -1, 1, 2)))
            varied += [
                replace(note, length=grace, pitch=neighbour),
                replace(note, start=note.start + grace, length=note.length - grace),
            ]
    return varied


def _drums(notes: list[Note], bar: float, rng: np.random.Generator) -> list[Note]:
    end = max(n.start + n.length for n in notes)
    unit = float(rng.choice((0.5, 1.0)))
    hat, snare, kick = int(rng.choice((42, 46, 51))), int(rng.choice((38, 40, 37))), 36
    hits = []
    for k, t in enumerate(np.arange(0, end, unit)):
        at = t % bar
        hits.append((t, hat, 0.4))
        if at < 1e-6 or (rng.random() < 0.15):
            hits.append((t, kick, 0.9))
        elif abs(at - bar / 2) < 1e-6 or (k % 4 == 3 and rng.random() < 0.2):
            hits.append((t, snare, 0.8))
    return [Note(s, 0.2, p, DRUMS, v) for s, p, v in hits]


def _perform(notes: list[Note], taste: Taste, rng: np.random.Generator) -> list[Note]:
    """Set the tempo with its drift, shift the pitch, and play as unevenly as people do."""
    end = max(n.start + n.length for n in notes)
    grid = np.arange(0.0, end + 8.0, 4.0)
    walk = np.cumsum(rng.normal(0, 1, len(grid)))
    walk -= np.linspace(walk[0], walk[-1], len(walk))
    tempo = taste.quarter_s * np.exp(taste.drift * walk / max(1.0, np.abs(walk).max()))
    seconds = np.concatenate([[0.0], np.cumsum(tempo[:-1] * 4.0)])

    def at(quarter: float) -> float:
        if taste.swing and abs(quarter % 1 - 0.5) < 1e-3:
            quarter += taste.swing
        return float(np.interp(quarter, grid, seconds))

    shift = {MELODY: taste.transposition + taste.octave, DRUMS: 0}
    played = []
    for n in notes:
        start = max(0.0, at(n.start) + rng.normal(0, taste.jitter_s))
        length = max(0.05, at(n.start + n.length) - at(n.start))
        pitch = n.pitch + shift.get(n.role, taste.transposition)
        if n.role != DRUMS:
            low, high = (28, 96) if n.role == BASS else (43, 98)
            while pitch < low:
                pitch += 12
            while pitch > high:
                pitch -= 12
        velocity = float(np.clip(n.velocity + rng.normal(0, 0.06), 0.15, 1.0))
        played.append(replace(n, start=start, length=length, pitch=pitch, velocity=velocity))
    return sorted(played, key=lambda n: (n.start, n.role, n.pitch))
