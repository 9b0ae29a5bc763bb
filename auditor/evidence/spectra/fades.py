"""How far a track is heard into a fade, where another one drowns it.

The spectra of a mix and of a track agree until one of them is louder by far, which in a crossfade
of two tracks is its middle.  Beyond, the track still leaves traces: what changes in its bands is
found in the mix at the right moment more often than at wrong ones.  So the line of a range is
followed outwards, and at each moment the agreement is set against that of the same frames some
seconds too early and too late.  On crossfades of 8 to 16 s this finds the end to a second in the
median (``benchmarks/mixes.py``); without it the middle is found, four to eight seconds off.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import unpack_frames
from auditor.evidence.spectra.moving import moving_mean
from auditor.evidence.spectra.pitch_tempo import local_frames, moved_bands
from auditor.records import MatchedRange

REACH_S = 16.0
"""Seconds that a range may grow at either end."""

_INSIDE_S = 12.0
"""Seconds inside the range by which the line is set right."""

_MAX_LAG_S = 0.4
_WRONG_S = (1.5, 6.5)
_N_WRONG = 14
"""Wrong moments on either side, from so many seconds off to so many."""

_SMOOTH_S, _LOCAL_S = 3.0, 3.0
_LEAST_Z = 1.5
"""Standard deviations of the wrong moments by which the right one must agree better."""

_LEAST_SPREAD = 0.02


def reach_into_fades(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> MatchedRange:
    """Return a range that is as long as the track is heard.

    Parameters
    ----------
    found : MatchedRange
        With tempo and pitch.
    a, b : numpy.ndarray
        (n_frames, n_bands) uint8, spectra of the mix and of the track, both whole.
    """
    before_s = _heard_beyond(found, a, b, at_end=False)
    after_s = _heard_beyond(found, a, b, at_end=True)
    return dataclasses.replace(
        found,
        a_start_s=found.a_start_s - before_s,
        a_end_s=found.a_end_s + after_s,
        b_start_s=found.b_start_s - found.tempo * before_s,
        b_end_s=found.b_end_s + found.tempo * after_s,
    )


def _heard_beyond(found: MatchedRange, a: np.ndarray, b: np.ndarray, *, at_end: bool) -> float:
    """Return for how many seconds beyond an end the track is heard."""
    hop_s, sign = SPECTRUM.frame_hop_s, 1.0 if at_end else -1.0
    edge_s, edge_b_s = (
        (found.a_end_s, found.b_end_s) if at_end else (found.a_start_s, found.b_start_s)
    )
    inside_s = min(_INSIDE_S, found.a_end_s - found.a_start_s)
    ends = sorted((edge_s - sign * inside_s, edge_s + sign * REACH_S))
    rows = np.arange(max(0, round(ends[0] / hop_s)), min(len(a), round(ends[1] / hop_s)))
    if sign < 0:
        rows = rows[::-1]  # from inside outwards
    beyond_s = sign * (rows * hop_s - edge_s)
    at = (edge_b_s + found.tempo * (rows * hop_s - edge_s)) / hop_s
    outside = (beyond_s > 0.0) & (at >= 0.0) & (at <= len(b) - 1.0)
    if not outside.any() or outside.all():
        return 0.0
    pair = _MovedPair(a, b, rows, at, found)
    n_lags, first, last = (round(s / hop_s) for s in (_MAX_LAG_S, *_WRONG_S))
    inside = beyond_s <= 0.0
    right = max(
        (pair.agreement(lag) for lag in range(-n_lags, n_lags + 1)),
        key=lambda agreement: float(agreement[inside].mean()),
    )
    off = np.linspace(first, last, _N_WRONG)
    wrong = np.array([pair.agreement(lag) for lag in (*-off, *off)])
    z = (right - wrong.mean(axis=0)) / np.maximum(wrong.std(axis=0), _LEAST_SPREAD)
    sums = np.concatenate([[0.0], np.cumsum(z[outside] - _LEAST_Z)])
    heard = int(sums.argmax())
    return float(beyond_s[outside][heard - 1]) if heard else 0.0


class _MovedPair:
    """The frames of a mix and of a track along a line, compared as the line is moved.

    Parameters
    ----------
    a, b : numpy.ndarray
        See ``reach_into_fades``.
    rows, at : numpy.ndarray
        (n,) frames of the mix and, with fractions, of the track.
    found : MatchedRange
    """

    def __init__(
        self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, at: np.ndarray, found: MatchedRange
    ) -> None:
        span = (_WRONG_S[1] / SPECTRUM.frame_hop_s + 1.0) * found.tempo
        first = max(0, int(at.min() - span))
        of_b = local_frames(unpack_frames(b[first : int(at.max() + span) + 2]), SPECTRUM)
        self._of_b, there = moved_bands(of_b, found.pitch_semitones or 0.0, SPECTRUM)
        self._of_a = _changes(local_frames(unpack_frames(a[rows]), SPECTRUM)[:, there])
        self._power_a = _smooth((self._of_a**2).sum(axis=1))
        self._at, self._tempo = at - first, found.tempo

    def agreement(self, lag: float) -> np.ndarray:
        """Return the correlation around each frame, (n,), with the track so many frames later."""
        at = np.clip(self._at + lag * self._tempo, 0.0, len(self._of_b) - 1.001)
        low, share = at.astype(int), (at % 1.0).astype(np.float32)[:, None]
        of_b = _changes(self._of_b[low] * (1.0 - share) + self._of_b[low + 1] * share)
        power = self._power_a * _smooth((of_b**2).sum(axis=1))
        return _smooth((self._of_a * of_b).sum(axis=1)) / np.sqrt(np.maximum(power, 1e-9))


def _changes(frames: np.ndarray) -> np.ndarray:
    """Return frames less what stays for some seconds."""
    return frames - _smooth(frames, _LOCAL_S)


def _smooth(values: np.ndarray, length_s: float = _SMOOTH_S) -> np.ndarray:
    return moving_mean(values, round(length_s / SPECTRUM.frame_hop_s), axis=0)
