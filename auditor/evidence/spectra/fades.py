"""How far a track is heard into a fade, where another one drowns it.

The spectra of a mix and of a track agree until one of them is louder by far, which in a crossfade
of two tracks is its middle.  Beyond, a track still leaves traces: in the bands and moments in which
the other one is quiet, the mix is as loud as the track is there.  So the line of a range is
followed outwards.  At each moment, and for each of some levels of the track, the log odds are added
over the bands that the mix sounds like the louder of the track and what else plays, and not like
what else plays alone.  What else plays is known where a neighbour of the range is: its own line
says which frames of its track these are.  Elsewhere it is taken to be as loud as the mix on
average.

Odds that a drone would have as well say little, so they are set against those of the same track
some seconds too early and too late.  The end is where the sum of both, less a fee for each moment,
is largest.  On crossfades of 8 to 16 s this is half a second off in the median
(``benchmarks/mixes.py``).

References
----------
The louder of two sources in each band stands for both: Nadas, Nahamoo, Picheny (1989), "Speech
recognition using noise-adaptive prototypes", doi:10.1109/29.35387.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import unpack_frames
from auditor.evidence.spectra.moving import moving_mean
from auditor.evidence.spectra.pitch_tempo import moved_bands
from auditor.records import MatchedRange

REACH_S = 16.0
"""Seconds by which a range grows, and by which it may grow where a neighbour is known: a longer
fade is found by itself.  Where none is, under a voice, it goes on from there."""

_PATIENCE_S = 30.0
"""A track is followed through so many seconds in which nothing of it is heard, at most."""

_INSIDE_S = 6.0
"""Seconds inside a range by which its line is set right."""

_LEVEL_S = (2.0, 24.0)
"""Seconds inside a range, from its end, between which the level of each band is measured."""

_MAX_LAG_S, _MAX_DRIFT_S = 0.4, 0.2
_WRONG_S = (1.5, 6.5)
_N_WRONG = 8
"""Wrong moments on either side, from so many seconds off to so many."""

_LEVELS_DB = (3.0, 0.0, -3.0, -6.0, -9.0, -12.0, -15.0, -18.0)
"""Levels of a track in a fade, against those inside its range."""

_AUDIBLE_DB = 5.0
"""Bands of a track that are louder than the quietest ones of the mix by less say nothing."""

_TRACK_DB, _NEIGHBOUR_DB, _UNKNOWN_DB = 2.5, 3.0, 6.0
"""Spread of the mix around a track that is heard alone: this one, a neighbour, or one unknown."""

_LOUDER_SHARE, _LOUDER_DB, _LOUDER_SPREAD_DB = 0.25, 10.0, 8.0
"""Share of bands in which something else is louder than the neighbour, as a voice over it."""

_MAX_LOG_ODDS = 3.0
_SMOOTH_S, _AVERAGE_S = 1.0, 6.0
_LEAST_SPREAD, _MAX_Z = 2.0, 6.0
_ODDS_WEIGHT, _MAX_ODDS, _UNKNOWN_WEIGHT = 0.2, 1.5, 0.3
_FEE, _LITTLE = 2.0, 5.0
"""Of each moment; half of it where the log odds of all moments tried are so small on average."""


def reach_into_fades(
    found: MatchedRange,
    a: np.ndarray,
    b: np.ndarray,
    neighbours: Sequence[tuple[MatchedRange, np.ndarray]] = (),
) -> MatchedRange:
    """Return a range that is as long as the track is heard.

    Parameters
    ----------
    found : MatchedRange
        With tempo and pitch.
    a, b : numpy.ndarray
        (n_frames, n_bands) uint8, spectra of the mix and of the track, both whole.
    neighbours : sequence of tuple
        Ranges of other tracks in the mix, with the spectrum of each track.
    """
    near = [_Placed(other, spectrum) for other, spectrum in neighbours]
    before_s = _heard_beyond(_Placed(found, b), a, near, at_end=False)
    after_s = _heard_beyond(_Placed(found, b), a, near, at_end=True)
    return _grown(found, before_s, after_s)


def _grown(found: MatchedRange, before_s: float, after_s: float) -> MatchedRange:
    return dataclasses.replace(
        found,
        a_start_s=found.a_start_s - before_s,
        a_end_s=found.a_end_s + after_s,
        b_start_s=found.b_start_s - found.tempo * before_s,
        b_end_s=found.b_end_s + found.tempo * after_s,
    )


def _heard_beyond(
    track: _Placed, a: np.ndarray, neighbours: Sequence[_Placed], *, at_end: bool
) -> float:
    """Return for how many seconds beyond an end a track is heard."""
    found, hop_s, sign = track.found, SPECTRUM.frame_hop_s, 1.0 if at_end else -1.0
    edge_s = found.a_end_s if at_end else found.a_start_s
    inside_s = min(_INSIDE_S, found.a_end_s - found.a_start_s)
    levels_db = track.levels_db(a, edge_s, -sign)
    most = heard_s = total = lag_s = known_s = 0.0
    n = 0
    while True:
        from_s = n * REACH_S  # beyond the end
        ends = sorted((edge_s + sign * (from_s - inside_s), edge_s + sign * (from_s + REACH_S)))
        rows = np.arange(max(0, round(ends[0] / hop_s)), min(len(a), round(ends[1] / hop_s)))
        rows = rows if at_end else rows[::-1]  # from inside outwards
        beyond_s = sign * (rows * hop_s - edge_s)
        further = (beyond_s > from_s) & track.holds(rows * hop_s)
        reach = _Reach(a, rows, neighbours, edge_s)
        of_known_s = known_s + hop_s * np.cumsum(reach.known & further)
        further &= of_known_s <= REACH_S
        if not further.any() or further.all():
            return heard_s
        known_s = float(of_known_s[-1])
        n_lags = round((_MAX_DRIFT_S if n else _MAX_LAG_S) / hop_s)
        lags_s = lag_s + hop_s * np.arange(-n_lags, n_lags + 1)
        lag_s = reach.best_lag_s(track, levels_db, lags_s, slice(None) if n else ~further)
        sums = total + np.cumsum(reach.gain(track, levels_db, lag_s, further))
        best = int(sums.argmax())
        if sums[best] > most:
            most, heard_s = float(sums[best]), float(beyond_s[further][best])
        total = float(sums[-1])
        if from_s + REACH_S - heard_s > _PATIENCE_S:
            return heard_s
        n += 1


class _Reach:
    """Some moments of a mix, at which a track is listened for.

    Parameters
    ----------
    a : numpy.ndarray
        (n_frames, n_bands) uint8, the whole mix.
    rows : numpy.ndarray
        (n,) its frames.
    neighbours : sequence of _Placed
    edge_s : float
        The end of the range from which the track is followed.
    """

    def __init__(
        self, a: np.ndarray, rows: np.ndarray, neighbours: Sequence[_Placed], edge_s: float
    ) -> None:
        mix, self._at_s = unpack_frames(a[rows]), rows * SPECTRUM.frame_hop_s
        self.known = np.zeros(len(rows), bool)
        if not len(rows):
            return
        floor = float(np.quantile(mix, 0.02))
        loudest = np.full(mix.shape, -np.inf, np.float32)
        for other in neighbours:
            there = other.heard_in(a, mix, self._at_s, edge_s)
            loudest = np.maximum(loudest, there)
            self.known |= np.isfinite(there).any(axis=1)
        average = moving_mean(mix, round(_AVERAGE_S / SPECTRUM.frame_hop_s), axis=0) - 3.0
        other_db = np.maximum(np.where(self.known[:, None], loudest, average), floor)
        self._odds = _LogOdds(mix, other_db, self.known, floor + _AUDIBLE_DB)

    def best_lag_s(
        self, track: _Placed, levels_db: np.ndarray, lags_s: np.ndarray, where: slice | np.ndarray
    ) -> float:
        """Return by how much the line of a track is late, of some lags the one that fits best."""
        odds, at_s = self._odds.at(where), self._at_s[where]
        fits = [odds.of(track.frames_at(at_s + s) + levels_db).max(axis=0).mean() for s in lags_s]
        return float(lags_s[int(np.argmax(fits))])

    def gain(
        self, track: _Placed, levels_db: np.ndarray, lag_s: float, where: np.ndarray
    ) -> np.ndarray:
        """Return by how much some moments speak for a track, (n,)."""
        off_s = np.linspace(*_WRONG_S, _N_WRONG)
        right, *wrong = (
            self._odds.of(track.frames_at(self._at_s + s) + levels_db)[:, where]
            for s in (lag_s, *-off_s, *off_s)
        )
        return _gain(right, np.array(wrong), self.known[where])


def _gain(right: np.ndarray, wrong: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return by how much a moment speaks for the track, at the level that suits it, (n,).

    Parameters
    ----------
    right : numpy.ndarray
        (n_levels, n) log odds of the track at the right moments.
    wrong : numpy.ndarray
        (n_wrong, n_levels, n) those at wrong ones.
    known : numpy.ndarray
        (n,) bool, where a neighbour is known.
    """
    mean, spread = wrong.mean(axis=0), np.maximum(wrong.std(axis=0), _LEAST_SPREAD)
    z = np.clip((right - mean) / spread, -_MAX_Z, _MAX_Z)
    best_of_wrong = ((wrong - mean) / spread).max(axis=1).mean(axis=0)
    says = np.abs(np.concatenate([wrong, right[None]])).mean(axis=(0, 1))
    fee = 0.5 * np.maximum(best_of_wrong, 0.0) + _FEE * says / (says + _LITTLE)
    direct = np.clip(_ODDS_WEIGHT * right, -_MAX_ODDS, _MAX_ODDS)
    best = (z + direct * np.where(known, 1.0, _UNKNOWN_WEIGHT)).max(axis=0)
    return best - fee


class _Placed:
    """A track at a place of a mix.

    Parameters
    ----------
    found : MatchedRange
    frames : numpy.ndarray
        (n_frames, n_bands) uint8, of the whole track.
    """

    def __init__(self, found: MatchedRange, frames: np.ndarray) -> None:
        self.found, self.frames = found, frames

    def _rows(self, at_s: np.ndarray) -> np.ndarray:
        """Return the frames, with fractions, that are heard at moments of the mix."""
        of_b_s = self.found.b_start_s + self.found.tempo * (at_s - self.found.a_start_s)
        return of_b_s / SPECTRUM.frame_hop_s

    def holds(self, at_s: np.ndarray) -> np.ndarray:
        """Say which moments of the mix the line of the track has, (n,) bool."""
        rows = self._rows(at_s)
        return (rows >= 0.0) & (rows <= len(self.frames) - 1.0)

    def frames_at(self, at_s: np.ndarray) -> np.ndarray:
        """Return the frames at moments of a mix, (n, n_bands) dB; minus infinity for none."""
        rows = self._rows(at_s)
        there = np.flatnonzero((rows >= 0.0) & (rows <= len(self.frames) - 1.0))
        made = np.full((len(at_s), SPECTRUM.n_bands), -np.inf, np.float32)
        if len(there) and len(self.frames) > 1:
            low = np.minimum(rows[there].astype(int), len(self.frames) - 2)
            share = (rows[there] - low).astype(np.float32)[:, None]
            of_b = unpack_frames(self.frames[low]) * (1.0 - share)
            of_b += unpack_frames(self.frames[low + 1]) * share
            moved, bands = moved_bands(of_b, self.found.pitch_semitones or 0.0, SPECTRUM)
            made[np.ix_(there, np.flatnonzero(bands))] = moved
        return made

    def levels_db(self, a: np.ndarray, from_s: float, sign: float) -> np.ndarray:
        """Return how much louder each band is in the mix, (n_bands,), measured inside the range.

        Parameters
        ----------
        a : numpy.ndarray
            See ``reach_into_fades``.
        from_s, sign : float
            Where to begin, and whether to go on later, 1, or earlier, -1.
        """
        found, hop_s = self.found, SPECTRUM.frame_hop_s
        length_s = found.a_end_s - found.a_start_s
        near_s, far_s = min(_LEVEL_S[0], length_s / 3.0), min(_LEVEL_S[1], length_s)
        ends = sorted((from_s + sign * near_s, from_s + sign * far_s))
        rows = np.arange(max(0, round(ends[0] / hop_s)), min(len(a), round(ends[1] / hop_s)))
        frames = self.frames_at(rows * hop_s)
        heard = np.isfinite(frames).any(axis=1)
        frames, mix = frames[heard], unpack_frames(a[rows[heard]])
        if len(frames) < 2:
            return np.full(SPECTRUM.n_bands, -np.inf, np.float32)
        bands = np.isfinite(frames[0])
        loud = np.argpartition(frames[:, bands], len(frames) // 2, axis=0)[len(frames) // 2 :]
        louder = np.take_along_axis(mix[:, bands] - frames[:, bands], loud, axis=0)
        made = np.full(SPECTRUM.n_bands, -np.inf, np.float32)
        made[bands] = moving_mean(np.quantile(louder, 0.4, axis=0).astype(np.float32), 9)
        return made

    def heard_in(
        self, a: np.ndarray, mix: np.ndarray, at_s: np.ndarray, edge_s: float
    ) -> np.ndarray:
        """Return how loud this track is in a mix, (n, n_bands) dB; minus infinity where unknown.

        Its own level at each moment is that of its loudest bands in the mix.

        Parameters
        ----------
        a, mix : numpy.ndarray
            (n_frames, n_bands) uint8, and (n, n_bands) dB, the frames of some moments.
        at_s : numpy.ndarray
            (n,) those moments.
        edge_s : float
            From which end of the range they are seen.
        """
        found = self.found
        there = (at_s >= found.a_start_s - 3.0) & (at_s <= found.a_end_s + 3.0)
        made = np.full(mix.shape, -np.inf, np.float32)
        if not there.any():
            return made
        from_start = abs(found.a_start_s - edge_s) <= abs(found.a_end_s - edge_s)
        from_s, sign = (found.a_start_s, 1.0) if from_start else (found.a_end_s, -1.0)
        frames = self.frames_at(at_s[there]) + self.levels_db(a, from_s, sign)
        audible = np.isfinite(frames).any(axis=1)
        if not audible.any():
            return made
        there[there] = audible
        frames, n_loud = frames[audible], frames.shape[1] * 2 // 5
        loud = np.argpartition(frames, -n_loud, axis=1)[:, -n_loud:]
        louder = np.take_along_axis(mix[there] - frames, loud, axis=1)
        gain = np.quantile(np.minimum(louder, 60.0), 0.35, axis=1).astype(np.float32)
        gain = np.clip(moving_mean(gain, round(2.0 / SPECTRUM.frame_hop_s)), -25.0, 1.0)
        made[there] = frames + gain[:, None]
        return made


class _LogOdds:
    """Log odds that a track is heard in a mix beside what else plays, at some levels.

    Parameters
    ----------
    mix, other : numpy.ndarray
        (n, n_bands) dB, the mix, and how loud what else plays is.
    known : numpy.ndarray
        (n,) bool, where a neighbour says how loud that is.
    audible_db : float
        Quieter bands of the track say nothing.
    """

    def __init__(
        self, mix: np.ndarray, other: np.ndarray, known: np.ndarray, audible_db: float
    ) -> None:
        self._mix, self._audible_db = mix, audible_db
        spread = np.where(known, _NEIGHBOUR_DB, _UNKNOWN_DB).astype(np.float32)[:, None]
        density, below = _logistic(mix - other, spread)
        of_louder = _logistic(mix - other - np.float32(_LOUDER_DB), np.float32(_LOUDER_SPREAD_DB))
        share = np.float32(_LOUDER_SHARE)
        self._density = np.maximum((1 - share) * density + share * of_louder[0], 1e-9)
        self._below = (1 - share) * below + share * of_louder[1]

    def at(self, rows: slice | np.ndarray) -> _LogOdds:
        """Return those of some rows alone."""
        part = object.__new__(_LogOdds)
        part._mix, part._audible_db = self._mix[rows], self._audible_db
        part._density, part._below = self._density[rows], self._below[rows]
        return part

    def of(self, track: np.ndarray) -> np.ndarray:
        """Return the log odds of a track around each moment, (n_levels, n).

        Parameters
        ----------
        track : numpy.ndarray
            (n, n_bands) dB, at the level that it has inside its range.
        """
        made = np.empty((len(_LEVELS_DB), len(track)), np.float32)
        for i, level_db in enumerate(_LEVELS_DB):
            made[i] = self._of_level(track + np.float32(level_db))
        return moving_mean(made, max(1, round(_SMOOTH_S / SPECTRUM.frame_hop_s)), axis=1)

    def _of_level(self, track: np.ndarray) -> np.ndarray:
        audible = track > self._audible_db
        density, below = _logistic(self._mix[audible] - track[audible], np.float32(_TRACK_DB))
        other, other_below = self._density[audible], self._below[audible]
        odds = np.log(np.maximum(density * other_below + other * below, 1e-9) / other)
        made = np.zeros(track.shape, np.float32)
        made[audible] = np.clip(odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
        return made.sum(axis=1)


def _logistic(x: np.ndarray, spread: np.ndarray | np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Return the density and the distribution of the logistic function around 0."""
    below = 1.0 / (1.0 + np.exp(-np.clip(x / spread, -30.0, 30.0)))
    return below * (1.0 - below) / spread, below
