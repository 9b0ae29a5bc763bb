"""The alterations of the benchmark: the table by which error rates are measured.

Nothing may be tuned on it; training draws its own alterations, over wider ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.waveform import (
    add_noise,
    babble,
    band_limit,
    change_speed,
    clip,
    codec,
    compress,
    crop,
    equalise,
    fade,
    mix,
    plant,
    reverberate,
    shift_pitch,
    stretch_time,
    voice_over,
)

Function = Callable[[np.ndarray, np.random.Generator, Any], np.ndarray]
"""Waveform, generator and another track, None where it is not needed, to the altered waveform."""


@dataclass(frozen=True)
class Alteration:
    """One row of the benchmark's table.

    Attributes
    ----------
    name : str
        Short name, fit for a file name.
    label : str
        What is done, in words.
    group : "light", "medium", "heavy" or "planted"
        Rows with one recall target.
    function : callable
        ``(waveform, rng, other) -> waveform``.
    needs_other : bool
        Whether ``other``, an unrelated track, is used.
    """

    name: str
    label: str
    group: str
    function: Function
    needs_other: bool = False

    def __call__(
        self, waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the altered copy, (m,) float32 with no sample above full scale.

        Raises
        ------
        ValueError
            If another track is needed and none is given.
        """
        if self.needs_other and (other is None or len(other) == 0):
            raise ValueError(f"{self.name} needs another track; pass other")
        altered = self.function(waveform, rng, other)
        peak = float(np.abs(altered).max(initial=0.0))
        return (altered / max(peak, 1.0)).astype(np.float32)


def _plain(function: Callable[..., np.ndarray], *args: object, **options: object) -> Function:
    return lambda waveform, rng, other: function(waveform, *args, **options)


def _drawn(function: Callable[..., np.ndarray], **options: object) -> Function:
    return lambda waveform, rng, other: function(waveform, rng, **options)


def _excerpt(
    waveform: np.ndarray, rng: np.random.Generator, other: object, *, duration_s: float
) -> np.ndarray:
    spare_s = max(0.0, len(waveform) / SAMPLE_RATE_HZ - duration_s)
    return crop(waveform, start_s=rng.uniform(0.0, spare_s), duration_s=duration_s)


def _middle(waveform: np.ndarray, *, duration_s: float) -> np.ndarray:
    spare_s = max(0.0, len(waveform) / SAMPLE_RATE_HZ - duration_s)
    return crop(waveform, start_s=spare_s / 2, duration_s=duration_s)


def _mixed_in(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    return mix(waveform, np.roll(other, -rng.integers(len(other))), level_db=-6.0)


def _planted(waveform: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    excerpt = _excerpt(waveform, rng, None, duration_s=10.0)
    host = np.resize(other, max(len(other), 2 * len(excerpt)))
    spare_s = (len(host) - len(excerpt)) / SAMPLE_RATE_HZ
    return plant(excerpt, host, position_s=rng.uniform(0.0, spare_s))


def _everything(waveform: np.ndarray, rng: np.random.Generator, other: object) -> np.ndarray:
    altered = equalise(change_speed(waveform, 1.04), bass_db=6.0, treble_db=-6.0)
    altered = reverberate(altered, rng, rt60_s=0.6)
    return codec(altered / max(1.0, float(np.abs(altered).max(initial=0.0))), "mp3", 64_000)


def _table() -> dict[str, Alteration]:
    def row(name: str, label: str, group: str, function: Function, other: bool = False) -> None:
        rows[name] = Alteration(name, label, group, function, other)

    rows: dict[str, Alteration] = {}
    for name, kbit in (("mp3", 32), ("opus", 24), ("aac", 48)):
        function = _plain(codec, name, kbit * 1000)
        row(f"{name}-{kbit}k", f"{name} {kbit} kbit/s", "light", function)
    for n in (1, -1, 2, -2, 4, -4):
        group = "heavy" if abs(n) == 4 else "medium"
        row(f"pitch{n:+d}", f"pitch {n:+d} semitones", group, _plain(shift_pitch, n))
    for n in (5, -5, 10, -10, 20, -20):
        group = "heavy" if abs(n) == 20 else "medium"
        row(f"tempo{n:+d}", f"tempo {n:+d} %", group, _plain(stretch_time, 1 + n / 100))
    for n in (3, -3, 6, -6, 25, -25):
        group = "heavy" if abs(n) == 25 else "medium"
        row(f"speed{n:+d}", f"speed {n:+d} %", group, _plain(change_speed, 1 + n / 100))
    for n in (10, 0):
        group = "light" if n else "heavy"
        row(f"noise{n}", f"pink noise, SNR {n} dB", group, _drawn(add_noise, snr_db=n))
    row("babble5", "babble, SNR 5 dB", "medium", _drawn(babble, snr_db=5.0))
    band = _plain(band_limit, low_hz=250.0, high_hz=3000.0)
    row("band", "band 250-3000 Hz", "light", band)
    shelves = _plain(equalise, bass_db=10.0, treble_db=-10.0)
    row("eq", "bass +10 dB, treble -10 dB", "light", shelves)
    for rt60_s, group in ((0.6, "light"), (1.5, "medium")):
        room = _drawn(reverberate, rt60_s=rt60_s)
        row(f"reverb{rt60_s}", f"room reverb, RT60 {rt60_s} s", group, room)
    row("compression", "hard compression", "light", _plain(compress))
    row("clipping", "clipping", "light", _plain(clip))
    row("crop30", "middle 30 s only", "light", _plain(_middle, duration_s=30.0))
    row("crop10", "any 10 s only", "heavy", partial(_excerpt, duration_s=10.0))
    row("voice", "a voice over it at -3 dB", "medium", _drawn(voice_over, level_db=-3.0))
    row("mix", "another track mixed in at -6 dB", "heavy", _mixed_in, other=True)
    row("planted", "10 s planted in another track", "planted", _planted, other=True)
    fades = _plain(fade, silence_s=3.0)
    row("fades", "fade in and out, 3 s of silence around", "light", fades)
    row("everything", "mp3 64k, speed +4 %, reverb and EQ at once", "medium", _everything)
    return rows


ALTERATIONS: dict[str, Alteration] = _table()
"""The alterations of the benchmark by name, each callable as ``(waveform, rng, other)``."""
