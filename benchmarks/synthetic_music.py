"""Music made of tones and noise, for the demo and the tests where there is none.

Each piece has a key, a tempo, a timbre, a chord progression, a melody and drums drawn from its own
seed.  Such pieces are far more alike than music is: they show that the tools run, and nothing of
how often they err.

::

    python benchmarks/synthetic_music.py demo/synthetic --tracks 14
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))
FORMATS = (("ogg", "ogg", 96_000), ("mp3", "mp3", 128_000), ("flac", "flac", None))
"""Suffix, codec and bit rate, in turn."""


def synthesise_track(seed: int, *, duration_s: float = 60.0) -> np.ndarray:
    """Return one piece.

    Parameters
    ----------
    seed : int
        The same seed gives the same piece.
    duration_s : float

    Returns
    -------
    numpy.ndarray
        (duration_s * 16000,) float32, peak 0.8.
    """
    rng = np.random.default_rng(seed)
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    mix = np.zeros(n_samples + 2 * SAMPLE_RATE_HZ, dtype=np.float32)
    scale = SCALES[rng.integers(len(SCALES))]
    root = int(rng.integers(33, 45))
    beat_s = 60.0 / rng.uniform(70, 170)
    timbres = [rng.uniform(0.0, 1.0, 8) / np.arange(1, 9) ** rng.uniform(0.5, 2) for _ in range(3)]
    decay_s = rng.uniform(0.1, 0.9, 3)
    chords = rng.integers(0, len(scale), 8)
    rhythm = rng.random((2, 16)) < np.array([[0.25], [0.5]])
    motif = np.cumsum(rng.integers(-2, 3, 32))
    rests = rng.random(32) < 0.25
    for step in range(int(duration_s / (beat_s / 2))):
        start = round(step * beat_s / 2 * SAMPLE_RATE_HZ)
        chord = chords[step // 8 % len(chords)]
        if step % 4 == 0:
            _add_note(mix, start, root + _pitch(scale, chord), timbres[0], 0.5, decay_s[0])
            for third in (0, 2, 4):
                pitch = root + 24 + _pitch(scale, chord + third)
                _add_note(mix, start, pitch, timbres[1], 0.2, decay_s[1])
        if not rests[step % 32]:
            pitch = root + 36 + _pitch(scale, chord + int(motif[step % 32]) % 9)
            _add_note(mix, start, pitch, timbres[2], 0.35, decay_s[2])
        if rhythm[0, step % 16]:
            _add_note(mix, start, 28.0, np.array([1.0]), 0.9, 0.08)
        if rhythm[1, step % 16]:
            length = SAMPLE_RATE_HZ // 20
            fall = np.exp(-np.arange(length) / (length / 5))
            mix[start : start + length] += (0.15 * rng.standard_normal(length) * fall).astype("f4")
    mix = mix[:n_samples]
    return mix * np.float32(0.8 / max(float(np.abs(mix).max()), 1e-6))


def write_music(folder: Path, n_tracks: int, *, duration_s: float = 60.0) -> list[Path]:
    """Write ``n_tracks`` pieces without tags as ogg, mp3 and flac in turn; files there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(1, n_tracks + 1):
        suffix, codec, bit_rate = FORMATS[number % len(FORMATS)]
        path = folder / f"piece-{number:02}.{suffix}"
        if not path.exists():
            piece = synthesise_track(number, duration_s=duration_s)
            write_audio(path, piece, codec=codec, bit_rate=bit_rate)
        written.append(path)
    return written


def ringing(levels: np.ndarray, rates: np.ndarray, n_samples: int) -> np.ndarray:
    """Return a sum of decaying sines: ``levels * imag(exp(rates * n))`` at each sample n.

    It is one matrix product: each exponential is one of a coarse step times one of a fine step.

    Parameters
    ----------
    levels : numpy.ndarray
        (n_sines,) real, or complex with the phases.
    rates : numpy.ndarray
        (n_sines,) complex: minus the decay, and the frequency in radians, both a sample.
    n_samples : int

    Returns
    -------
    numpy.ndarray
        (n_samples,)
    """
    n_fine = 256
    fine = np.exp(np.outer(rates, np.arange(n_fine)))
    coarse = levels * np.exp(np.outer(np.arange(-(-n_samples // n_fine)) * n_fine, rates))
    return (coarse.imag @ fine.real + coarse.real @ fine.imag).ravel()[:n_samples]


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(int(degree), len(scale))
    return 12 * octave + scale[step]


def _add_note(
    mix: np.ndarray, start: int, pitch: float, timbre: np.ndarray, level: float, decay_s: float
) -> None:
    """Add one decaying tone of MIDI pitch ``pitch`` at sample ``start``."""
    frequency_hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    partials = frequency_hz * np.arange(1, len(timbre) + 1)
    heard = partials < SAMPLE_RATE_HZ / 2
    levels = timbre[heard] * level / max(float(timbre.sum()), 1e-6)
    rates = (2j * np.pi * partials[heard] - 1.0 / decay_s) / SAMPLE_RATE_HZ
    tone = ringing(levels, rates, round(min(1.5, 4 * decay_s) * SAMPLE_RATE_HZ))
    stop = min(start + len(tone), len(mix))
    mix[start:stop] += tone[: stop - start].astype(np.float32)


def main() -> None:
    """Write the pieces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("into", type=Path, help="folder to write to, for example demo/synthetic")
    parser.add_argument("--tracks", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each piece")
    options = parser.parse_args()
    written = write_music(options.into, options.tracks, duration_s=options.seconds)
    print(f"{len(written)} pieces in {options.into}", file=sys.stderr)


if __name__ == "__main__":
    main()
