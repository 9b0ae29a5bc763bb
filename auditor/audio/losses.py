"""What an encoder took away: the band that is left, and holes in the spectrum.

Lossy encoders cut the highest frequencies off with a steep filter and give no bits to bands that
they take for inaudible, which leaves holes in single frames.  Each further encoding takes away
more, and nothing brings it back: a copy of a copy has the narrower band and more holes, whatever
its bit rate and container are (D'Alessandro and Shi, 2009, MP3 bit rate quality detection through
frequency spectrum analysis, doi:10.1145/1597817.1597828).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAME = 2048
"""Samples of an STFT frame, 46 ms at 44.1 kHz."""

_HOP = FRAME // 2
_CLIFF_DB = 20.0
_CLIFF_HZ = 1000.0
_LOWEST_CLIFF_HZ = 3000.0
_LOUD_DB = 40.0
_HOLE_DB = 40.0
_HOLES_FROM_HZ = 4000.0
_SILENT_DB = -100.0


@dataclass(frozen=True)
class Losses:
    """What is left of a recording.

    Attributes
    ----------
    band_hz : float
        Frequency at which the spectrum breaks off, or half the sampling rate where it does not.
    hole_share : float
        Share of all bins from 4 kHz to the end of the band, in loud frames, that hold some 40 dB
        less than their frequency usually does; 0 to 1.
    """

    band_hz: float
    hole_share: float


def measure_losses(waveform: np.ndarray, sample_rate_hz: int) -> Losses | None:
    """Return what encoders left of a passage.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) float32 mono, at the rate of the file itself; some ten seconds.
    sample_rate_hz : int

    Returns
    -------
    Losses or None
        None if the passage is silent or too short to tell.
    """
    n_frames = (len(waveform) - FRAME) // _HOP + 1
    if n_frames < 20:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME)[::_HOP]
    window = np.hanning(FRAME).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) / (FRAME / 4)
    levels = 20.0 * np.log10(spectrum + 1e-9)
    loudest = levels.max(axis=1)
    loud = levels[loudest >= max(loudest.max() - _LOUD_DB, _SILENT_DB)]
    if len(loud) < 20:
        return None
    bin_hz = sample_rate_hz / FRAME
    band_hz = _band(np.percentile(loud, 90.0, axis=0), bin_hz)
    first, last = round(_HOLES_FROM_HZ / bin_hz), round((band_hz - 500.0) / bin_hz)
    inner = loud[:, first:last]
    if not inner.size:
        return Losses(round(band_hz, 0), 0.0)
    usual = np.median(inner, axis=0)
    heard = usual > _SILENT_DB  # below, there is nothing to lose
    holes = inner[:, heard] < usual[heard] - _HOLE_DB
    return Losses(round(band_hz, 0), round(float(holes.mean()), 5) if holes.size else 0.0)


def _band(levels: np.ndarray, bin_hz: float) -> float:
    """Return where a spectrum of (n_bins,) dB breaks off for good, or its end."""
    width = max(1, round(_CLIFF_HZ / bin_hz))
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    places = np.arange(max(width, round(_LOWEST_CLIFF_HZ / bin_hz)), len(levels) - width // 2)
    ends = np.minimum(places + width, len(levels))
    below = (sums[places] - sums[places - width]) / width
    above = (sums[ends] - sums[places]) / (ends - places)
    # What comes after the cliff stays down.
    highest_after = np.maximum.accumulate(levels[::-1])[::-1]
    stays = highest_after[np.minimum(places + width // 2, len(levels) - 1)] < below - _CLIFF_DB / 2
    steep = (below - above >= _CLIFF_DB) & stays
    if not steep.any():
        return (len(levels) - 1) * bin_hz
    drops = np.where(steep, below - above, -np.inf)
    return float(places[int(np.argmax(drops))] * bin_hz)
