"""Render arranged notes with a sound font, as the recordings of the composition benchmark.

tinysoundfont plays the notes at 16 kHz; a room, noise and an equaliser make a recording of them.
Beside the sound stands what sounds in each frame of the stored spectrum: the labels of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arrangements import BASS, CHORDS, DRUMS, MELODY, Note, Taste
from scipy import signal

from auditor.audio import SAMPLE_RATE_HZ
from auditor.embedding.config import SPECTRUM

_BEND_RANGE = 2.0


class Synthesizer:
    """A sound font that plays notes; it is loaded once.

    Parameters
    ----------
    path : str
        Of an ``.sf2`` or ``.sf3`` file.
    """

    def __init__(self, path: str) -> None:
        import tinysoundfont

        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE_HZ, gain=-9)
        self._font = self._synth.sfload(path)

    def play(self, notes: list[Note], taste: Taste) -> np.ndarray:
        """Return the sound of notes, (n,) float32 at 16 kHz."""
        rng = np.random.default_rng(taste.seed + 1)
        synth = self._synth
        synth.sounds_off() if hasattr(synth, "sounds_off") else synth.notes_off()
        channel_of: dict[tuple[int, int], int] = {}
        free = iter([c for c in range(2, 16) if c != 9])
        events: list[tuple[float, int, tuple[int, ...]]] = []
        for note in notes:
            if note.role == DRUMS:
                channel = 9
            elif note.role == MELODY:
                channel = 0
            else:
                key = (note.role, note.program)
                if key not in channel_of:
                    channel_of[key] = 1 if note.role == BASS else next(free, 15)
                channel = channel_of[key]
            pitch = int(np.clip(note.pitch, 0, 127))
            events.append((note.start, 1, (channel, pitch, int(note.velocity * 110))))
            events.append((note.start + note.length, 0, (channel, pitch)))
        programs = {0: taste.lead, 1: taste.bass}
        programs |= {c: p for (r, p), c in channel_of.items()}
        for channel, program in programs.items():
            synth.program_select(channel, self._font, 0, program)
            synth.pitchbend(channel, 8192)
        synth.program_select(9, self._font, 128, 0)
        if taste.sung:
            events += self._singing(notes, rng)
        events.sort(key=lambda event: (event[0], event[1]))
        blocks, now = [], 0
        for at_s, kind, what in events:
            at = round(at_s * SAMPLE_RATE_HZ)
            if at > now:
                blocks.append(self._generate(at - now))
                now = at
            if kind == 1:
                synth.noteon(*what)
            elif kind == 0:
                synth.noteoff(*what)
            else:
                synth.pitchbend(*what)
        synth.notes_off()
        blocks.append(self._generate(SAMPLE_RATE_HZ // 2))
        sound = np.concatenate(blocks)
        peak = float(np.abs(sound).max())
        return (sound / peak * 0.7).astype(np.float32) if peak > 0 else sound

    def _generate(self, n: int) -> np.ndarray:
        stereo = np.frombuffer(bytes(self._synth.generate(n)), np.float32).reshape(-1, 2)
        return stereo.mean(1)

    @staticmethod
    def _singing(notes: list[Note], rng: np.random.Generator) -> list[tuple[float, int, tuple]]:
        """Return pitch bends of vibrato, slides from below, and poor intonation."""
        rate, depth = rng.uniform(4.5, 6.5), rng.uniform(0.15, 0.8)
        detune = rng.normal(0, 0.15)
        events: list[tuple[float, int, tuple]] = []
        for note in notes:
            if note.role != MELODY:
                continue
            off, scoop = rng.normal(0, 0.12), rng.uniform(0, 1.0) * (rng.random() < 0.4)
            for t in np.arange(0.0, note.length, 0.03):
                bend = detune + off - scoop * np.exp(-t / 0.06)
                if t > 0.15:
                    bend += depth * np.sin(2 * np.pi * rate * t)
                value = int(np.clip(8192 + bend / _BEND_RANGE * 8192, 0, 16383))
                events.append((note.start + t, 2, (0, value)))
        return events


@dataclass(frozen=True)
class Recording:
    """How the sound of a version is recorded; seconds, dB."""

    seed: int
    room_s: float = 0.0
    wet: float = 0.0
    noise_db: float | None = None
    tilt_db: float = 0.0


def draw_recording(rng: np.random.Generator) -> Recording:
    """Draw a room, noise and an equaliser."""
    room = bool(rng.random() < 0.5)
    return Recording(
        seed=int(rng.integers(2**31)),
        room_s=float(rng.uniform(0.2, 1.8)) if room else 0.0,
        wet=float(rng.uniform(0.1, 0.6)) if room else 0.0,
        noise_db=float(rng.uniform(8, 35)) if rng.random() < 0.4 else None,
        tilt_db=float(rng.normal(0, 3)),
    )


def record(sound: np.ndarray, how: Recording) -> np.ndarray:
    """Return a sound as it is recorded, (n,) float32."""
    rng = np.random.default_rng(how.seed)
    out = sound.astype(np.float64)
    if how.room_s:
        n = int(how.room_s * SAMPLE_RATE_HZ)
        response = rng.normal(0, 1, n) * 10 ** (-3 * np.arange(n) / n)
        response /= np.sqrt((response**2).sum())
        wet = signal.fftconvolve(out, response)[: len(out)]
        out = out + how.wet * wet
    if how.tilt_db:
        b, a = signal.butter(1, 1000, fs=SAMPLE_RATE_HZ)
        low = signal.lfilter(b, a, out)
        out = low + (out - low) * 10 ** (how.tilt_db / 20)
    if how.noise_db is not None:
        noise = rng.normal(0, 1, len(out))
        if rng.random() < 0.5:
            noise = signal.lfilter([1.0], [1.0, -0.95], noise)
        noise *= np.sqrt((out**2).mean() / (noise**2).mean()) * 10 ** (-how.noise_db / 20)
        out = out + noise
    peak = np.abs(out).max()
    return (out / peak * 0.8 if peak > 0 else out).astype(np.float32)


def labels(notes: list[Note], n_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what sounds in each frame of the spectrum.

    Returns
    -------
    tuple of numpy.ndarray
        All pitch classes, (n_frames, 12) bool; the MIDI pitch of the melody and of the bass,
        (n_frames,) uint8, 0 where there is none.
    """
    hop = SPECTRUM.frame_hop_s
    every = np.zeros((n_frames, 12), bool)
    melody, bass = np.zeros(n_frames, np.uint8), np.zeros(n_frames, np.uint8)
    for note in notes:
        if note.role == DRUMS:
            continue
        # a frame is centred half its length after its start
        first = max(0, int(np.ceil((note.start - 0.096) / hop - 0.3)))
        last = int(np.floor((note.start + note.length - 0.096) / hop + 0.3))
        span = slice(first, min(n_frames, max(first, last) + 1))
        every[span, note.pitch % 12] = True
        if note.role == MELODY:
            melody[span] = np.maximum(melody[span], note.pitch)
        elif note.role in (BASS, CHORDS):
            old = bass[span]
            bass[span] = np.where(old == 0, note.pitch, np.minimum(old, note.pitch))
    return every, melody, bass
