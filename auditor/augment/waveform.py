"""Alterations of a waveform: mono float32 at 16 kHz in, the same out.

Each is one plain function with its range stated.  What is drawn at random is drawn from the ``rng``
that is passed in, so the same seed gives the same copy.

Pitch and tempo are changed by Signalsmith Stretch (a phase vocoder with spectral matching) through
the package python-stretch, which comes with ``pip install auditor[augment]``.
"""

from __future__ import annotations

from typing import Literal

import av
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import decode, encode
from auditor.augment.voices import crowd, speak
from auditor.errors import AuditError

_SILENCE = 1e-7
_SEAM_S = 0.05


def codec(waveform: np.ndarray, name: str, bit_rate: int) -> np.ndarray:
    """Encode and decode again, in memory.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32.
    name : str
        ``mp3`` (8-160 kbit/s at 16 kHz), ``opus`` (6-256), ``aac`` (16-96) or ``ogg`` (32-128).
    bit_rate : int
        Bits per second.

    Returns
    -------
    numpy.ndarray
        (n,) float32.

    Raises
    ------
    ValueError
        If the codec is unknown.
    """
    return _fit(decode(encode(waveform, codec=name, bit_rate=bit_rate)), len(waveform))


def gain(waveform: np.ndarray, gain_db: float) -> np.ndarray:
    """Change the level by ``gain_db`` (-60 to +20); peaks above full scale are kept."""
    return waveform * np.float32(10.0 ** (gain_db / 20.0))


def equalise(
    waveform: np.ndarray,
    *,
    bass_db: float = 0.0,
    treble_db: float = 0.0,
    bass_hz: float = 250.0,
    treble_hz: float = 2500.0,
) -> np.ndarray:
    """Raise or lower bass and treble by shelving filters.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32.
    bass_db, treble_db : float
        Gain far below ``bass_hz`` and far above ``treble_hz``, -24 to +24 dB.
    bass_hz, treble_hz : float
        Where half of that gain (in dB) is reached.

    Returns
    -------
    numpy.ndarray
        (n,) float32.

    References
    ----------
    R. Bristow-Johnson, Cookbook formulae for audio EQ biquad filter coefficients (low and high
    shelf, slope 1).
    """
    sections = [_shelf(bass_db, bass_hz, 1.0), _shelf(treble_db, treble_hz, -1.0)]
    return sosfilt(np.asarray(sections), waveform).astype(np.float32)


def band_limit(waveform: np.ndarray, *, low_hz: float, high_hz: float) -> np.ndarray:
    """Keep ``low_hz`` to ``high_hz`` (20-7900), by a Butterworth filter of 36 dB per octave.

    Raises
    ------
    ValueError
        If the band is empty or leaves 0 to 8000 Hz.
    """
    if not 0.0 < low_hz < high_hz < SAMPLE_RATE_HZ / 2:
        raise ValueError(f"the band is {low_hz} to {high_hz} Hz; 0 < low < high < 8000 is needed")
    sections = butter(6, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return sosfilt(sections, waveform).astype(np.float32)


def mix(waveform: np.ndarray, other: np.ndarray, *, level_db: float) -> np.ndarray:
    """Add another waveform.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32; it stays at its level.
    other : numpy.ndarray
        (m,) float32, repeated or cut at its end to n samples.
    level_db : float
        RMS of ``other`` relative to that of ``waveform``, -40 to +20 dB.

    Returns
    -------
    numpy.ndarray
        (n,) float32.
    """
    added = _repeat(other, len(waveform))
    scale = _rms(waveform) * 10.0 ** (level_db / 20.0) / max(_rms(added), _SILENCE)
    return waveform + np.float32(scale) * added


def add_noise(
    waveform: np.ndarray,
    rng: np.random.Generator,
    *,
    snr_db: float,
    colour: Literal["white", "pink"] = "pink",
) -> np.ndarray:
    """Add stationary noise at a signal-to-noise ratio (-10 to +40 dB, of RMS over the whole).

    Raises
    ------
    ValueError
        If the colour is neither ``white`` nor ``pink`` (power falling by 3 dB per octave).
    """
    if colour not in ("white", "pink"):
        raise ValueError(f"colour is {colour!r}; it must be 'white' or 'pink'")
    noise = rng.standard_normal(len(waveform), dtype=np.float32)
    if colour == "pink" and len(noise):
        size = next_fast_len(len(noise), real=True)
        spectrum = rfft(noise, size)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), size * 20 / SAMPLE_RATE_HZ))
        noise = irfft(spectrum, size)[: len(noise)].astype(np.float32)
    return mix(waveform, noise, level_db=-snr_db)


def babble(
    waveform: np.ndarray, rng: np.random.Generator, *, snr_db: float, n_voices: int = 16
) -> np.ndarray:
    """Add a crowd of ``n_voices`` (1-64) synthetic talkers at ``snr_db`` (-10 to +40)."""
    return mix(waveform, crowd(len(waveform), rng, n_voices=n_voices), level_db=-snr_db)


def voice_over(
    waveform: np.ndarray, rng: np.random.Generator, *, level_db: float = -3.0
) -> np.ndarray:
    """Let one synthetic talker speak at ``level_db`` relative to the music (-20 to +10)."""
    return mix(waveform, speak(len(waveform), rng), level_db=level_db)


def reverberate(
    waveform: np.ndarray, rng: np.random.Generator, *, rt60_s: float, direct_db: float = 0.0
) -> np.ndarray:
    """Play the waveform in a synthetic room.

    The room's response is the direct sound, ten early reflections within 5-60 ms, and noise that
    decays exponentially by 60 dB in ``rt60_s``, above 2 kHz a third faster.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32.
    rng : numpy.random.Generator
        Draws the room.
    rt60_s : float
        Reverberation time, 0.1 to 5 s.
    direct_db : float
        Energy of the direct sound relative to all that follows it, -10 to +20 dB.

    Returns
    -------
    numpy.ndarray
        (n,) float32 at the RMS of ``waveform``; the tail behind its end is cut.

    Raises
    ------
    ValueError
        If ``rt60_s`` is not positive.

    References
    ----------
    J. A. Moorer, About this reverberation business, Computer Music Journal 3(2), 1979
    (exponentially decaying noise).
    """
    if rt60_s <= 0:
        raise ValueError(f"rt60_s is {rt60_s}; it must be above 0")
    n_response = round(1.2 * rt60_s * SAMPLE_RATE_HZ) + 1
    time_s = np.arange(n_response) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(n_response)
    low = sosfilt(butter(2, 2000.0, fs=SAMPLE_RATE_HZ, output="sos"), noise)
    decay = np.log(1000.0) / rt60_s
    response = low * np.exp(-decay * time_s) + (noise - low) * np.exp(-1.33 * decay * time_s)
    response *= np.minimum(time_s / 0.02, 1.0)
    delays = rng.integers(round(0.005 * SAMPLE_RATE_HZ), round(0.06 * SAMPLE_RATE_HZ), 10)
    delays = delays[delays < n_response]
    early = rng.choice([-1.0, 1.0], len(delays)) * rng.uniform(1.0, 4.0, len(delays))
    np.add.at(response, delays, early * np.exp(-decay * time_s[delays]))
    response *= 10.0 ** (-direct_db / 20.0) / np.sqrt(max(np.sum(response**2), _SILENCE))
    response[0] = 1.0
    wet = fftconvolve(waveform, response.astype(np.float32))[: len(waveform)]
    return _at_level(wet, _rms(waveform))


def compress(
    waveform: np.ndarray,
    *,
    threshold_db: float = -12.0,
    ratio: float = 10.0,
    attack_s: float = 0.005,
    release_s: float = 0.1,
) -> np.ndarray:
    """Even out the level, as a radio station does: a feed-forward compressor with look-ahead.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32.
    threshold_db : float
        Level above which the gain falls, relative to the RMS of the whole, -30 to +6 dB.
    ratio : float
        Decibels in per decibel out above the threshold, 1 to 100.
    attack_s, release_s : float
        Look-ahead (0.001-0.1) and time constant of recovery (0.01-2), in seconds.

    Returns
    -------
    numpy.ndarray
        (n,) float32 at the RMS of ``waveform``.

    References
    ----------
    D. Giannoulis, M. Massberg and J. D. Reiss, Digital dynamic range compressor design, J. Audio
    Eng. Soc. 60(6), 2012, equation 4 (gain computer).
    """
    step = SAMPLE_RATE_HZ // 1000
    n_steps = -(-len(waveform) // step)
    if n_steps < 2 or _rms(waveform) < _SILENCE:
        return waveform.copy()
    padded = np.pad(waveform, (0, n_steps * step - len(waveform)))
    peaks = np.abs(padded.reshape(n_steps, step)).max(axis=1)
    level_db = 20.0 * np.log10(np.maximum(peaks, 1e-6) / _rms(waveform))
    gain_db = -(1.0 - 1.0 / ratio) * np.maximum(level_db - threshold_db, 0.0)
    gain_db = minimum_filter1d(gain_db, 2 * max(1, round(attack_s * 1000)) + 1)
    pole = np.exp(-0.001 / release_s)
    gain_db = lfilter([1.0 - pole], [1.0, -pole], gain_db, zi=[pole * gain_db[0]])[0]
    centres = (np.arange(n_steps) + 0.5) * step
    curve = 10.0 ** (np.interp(np.arange(len(waveform)), centres, gain_db) / 20.0)
    return _at_level(waveform * curve, _rms(waveform))


def clip(waveform: np.ndarray, *, headroom_db: float = 3.0) -> np.ndarray:
    """Cut off every sample beyond ``headroom_db`` (-6 to +20) above the RMS of the whole."""
    limit = _rms(waveform) * 10.0 ** (headroom_db / 20.0)
    return np.clip(waveform, -limit, limit).astype(np.float32)


def change_speed(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """Play ``ratio`` (0.5-2) times as fast: duration / ratio, pitch * ratio, as a record player.

    Raises
    ------
    ValueError
        If the ratio is outside 0.5 to 2.
    """
    _check_ratio(ratio)
    if len(waveform) == 0:
        return waveform.copy()
    resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE_HZ)
    samples = np.ascontiguousarray(waveform, dtype=np.float32)[np.newaxis]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = round(SAMPLE_RATE_HZ * ratio)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def shift_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Transpose by -12 to +12 semitones at constant tempo; the length stays.

    Raises
    ------
    ValueError
        If the shift is larger than an octave or the waveform shorter than 0.25 s.
    AuditError
        If python-stretch is not installed.
    """
    if not -12.0 <= semitones <= 12.0:
        raise ValueError(f"semitones is {semitones}; it must lie between -12 and 12")
    return _fit(_stretch(waveform, semitones, 1.0), len(waveform))


def stretch_time(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """Play at ``ratio`` (0.5-2) times the tempo at constant pitch: duration / ratio.

    Raises
    ------
    ValueError
        If the ratio is outside 0.5 to 2 or the waveform shorter than 0.25 s.
    AuditError
        If python-stretch is not installed.
    """
    _check_ratio(ratio)
    return _fit(_stretch(waveform, 0.0, ratio), round(len(waveform) / ratio))


def crop(waveform: np.ndarray, *, start_s: float, duration_s: float) -> np.ndarray:
    """Cut out ``duration_s`` from ``start_s`` on; less where the waveform ends before."""
    start = max(0, round(start_s * SAMPLE_RATE_HZ))
    return waveform[start : start + round(duration_s * SAMPLE_RATE_HZ)].copy()


def fade(
    waveform: np.ndarray, *, in_s: float = 4.0, out_s: float = 4.0, silence_s: float = 0.0
) -> np.ndarray:
    """Fade in and out linearly (each at most half the length), with silence before and after."""
    n = len(waveform)
    n_in, n_out = (min(round(s * SAMPLE_RATE_HZ), n // 2) for s in (in_s, out_s))
    faded = waveform.astype(np.float32)
    faded[:n_in] *= np.linspace(0.0, 1.0, n_in, dtype=np.float32)
    faded[n - n_out :] *= np.linspace(1.0, 0.0, n_out, dtype=np.float32)
    return np.pad(faded, round(silence_s * SAMPLE_RATE_HZ))


def plant(excerpt: np.ndarray, other: np.ndarray, *, position_s: float) -> np.ndarray:
    """Replace a stretch of another track by an excerpt: a partial copy.

    Parameters
    ----------
    excerpt : numpy.ndarray
        (n,) float32, brought to the level of ``other``, with seams of 50 ms.
    other : numpy.ndarray
        (m,) float32, m >= n.
    position_s : float
        Where the excerpt starts in ``other``, in seconds; moved back if it would not fit.

    Returns
    -------
    numpy.ndarray
        (m,) float32.

    Raises
    ------
    ValueError
        If ``other`` is shorter than the excerpt.
    """
    if len(other) < len(excerpt):
        raise ValueError(f"other has {len(other)} samples, the excerpt {len(excerpt)}")
    start = int(np.clip(round(position_s * SAMPLE_RATE_HZ), 0, len(other) - len(excerpt)))
    window = fade(np.ones(len(excerpt), dtype=np.float32), in_s=_SEAM_S, out_s=_SEAM_S)
    planted = other.astype(np.float32)
    stretch = slice(start, start + len(excerpt))
    planted[stretch] *= 1.0 - window
    planted[stretch] += window * _at_level(excerpt, _rms(other))
    return planted


def _stretch(waveform: np.ndarray, semitones: float, ratio: float) -> np.ndarray:
    try:
        from python_stretch import Signalsmith
    except ImportError:
        raise AuditError(
            "python-stretch is not installed; pitch and tempo cannot be altered without it. "
            "Run: pip install 'auditor[augment]'"
        ) from None
    if len(waveform) < SAMPLE_RATE_HZ // 4:
        raise ValueError(f"waveform has {len(waveform)} samples; at least 0.25 s is needed")
    stretch = Signalsmith.Stretch(0)
    stretch.preset(1, SAMPLE_RATE_HZ)
    stretch.setTransposeSemitones(semitones)
    stretch.timeFactor = ratio
    samples = np.ascontiguousarray(waveform, dtype=np.float32)[np.newaxis]
    return np.asarray(stretch.process(samples))[0]


def _shelf(gain_db: float, corner_hz: float, side: float) -> list[float]:
    """Return one biquad section: a low shelf for ``side`` 1, a high shelf for -1."""
    a = 10.0 ** (gain_db / 40.0)
    angle = 2.0 * np.pi * corner_hz / SAMPLE_RATE_HZ
    cos, alpha = side * np.cos(angle), np.sin(angle) / np.sqrt(2.0)
    root = 2.0 * np.sqrt(a) * alpha
    b0, b2 = (a * ((a + 1) - (a - 1) * cos + s * root) for s in (1, -1))
    a0, a2 = ((a + 1) + (a - 1) * cos + s * root for s in (1, -1))
    b1 = side * 2 * a * ((a - 1) - (a + 1) * cos)
    a1 = side * -2 * ((a - 1) + (a + 1) * cos)
    return [b0 / a0, b1 / a0, b2 / a0, 1.0, a1 / a0, a2 / a0]


def _check_ratio(ratio: float) -> None:
    if not 0.5 <= ratio <= 2.0:
        raise ValueError(f"ratio is {ratio}; it must lie between 0.5 and 2")


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def _at_level(waveform: np.ndarray, rms: float) -> np.ndarray:
    return (waveform * (rms / max(_rms(waveform), _SILENCE))).astype(np.float32)


def _fit(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    return np.pad(waveform[:n_samples], (0, max(0, n_samples - len(waveform))))


def _repeat(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    if len(waveform) == 0:
        return np.zeros(n_samples, dtype=np.float32)
    return np.resize(waveform, n_samples)
