r"""The second witness: what two tracks share, from when to when, and how sure that is.

Both tracks are sequences of d-vectors of short windows (``excerpt``).  Their similarity matrix S
shows a stretch of one that is heard in the other as a bright straight line; its slope is the tempo
ratio.  What proves nothing is taken out first:

* **Background.**  Of every window i its own background ``g_i`` is the mean similarity with the rest
  of its track, windows that overlap with it left out.  A drone, noise or a metronome is similar to
  all of itself, and to all of its kind.  What is followed is

      Z_ij = S_ij - contrast * (g_i + g_j) / 2.

  It is taken from the own track, not from the other one, because a short excerpt matches most of
  what it is compared with.
* **Repetition.**  A window that is heard n times counts once, not n times:

      w_i = min(1, own / sum_k max(0, (K_ik - alike) / (1 - alike))),

  K being the track's similarity with itself, ``own`` the sum that a window and its overlapping
  neighbours leave in music that never repeats.
* **Silence** (``features.audible_windows``) has Z = 0 and w = 0.

A stretch of the line scores its mean Z less ``penalty / sqrt(n)``, n being the sum of
``min(w_i, w_j)`` along it.  A bar that is looped through two tracks has the n of one bar, however
long the loop runs.  The score of a range is that of its best stretch.

Ranges are found greedily: the line that explains most first; then all that lies in a stretch of a
that is explained *and* in a stretch of b that is explained is taken out, and the search goes on.  A
chorus that returns inside a copy is so no second match, while an excerpt used twice is two.

A range starts and ends where the similarity along the line crosses half of its level: there, half
of the window (its centre) lies inside.  A range that reaches the first or last window of a track
reaches the track's start or end.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from auditor.features import audible_windows
from auditor.lines import Grid, Run, Stretch, measure_line, search_lines
from auditor.records import Evidence, MatchedRange

_EXPLAINED = -1.0
"""Stands in Z for what a range explained already; no stretch gains by crossing it."""

_PRIOR_WINDOWS = 20.0
"""Windows' worth of ``WitnessConfig.prior`` in every background: short tracks have few of their
own."""

_SAME_LINE = 3.0
"""Stretches whose lines pass within so many windows of each other are measured once."""


@dataclass(frozen=True)
class WitnessConfig:
    """How evidence is searched and weighed; see the module for the formulae.

    Attributes
    ----------
    max_tempo : float
        Tempo ratios from ``1 / max_tempo`` to ``max_tempo`` are searched.
    n_tempos : int
        Ratios of the first search, evenly spaced in logarithm; odd, so that 1 is one of them.
    step : int
        Every so many-th window of the shorter track is followed in the first search.
    span, n_doublings : int
        Followed windows of its shortest stretch, and how often it is doubled.
    contrast, alike, own, penalty : float
        Of the formulae.
    tempo_cost : float
        Of two short lines that fit alike, the one nearer to the original tempo is taken: from what
        speaks for a line, the sum of its Z, ``tempo_cost * |ln tempo|`` is taken off.
    prior : float
        Background of a window of which nothing is known.
    n_tried : int
        Stretches of the first search that are measured before the best is taken.
    max_ranges : int
        Ranges of a pair at most.
    min_score : float
        A range needs this score.
    min_s : float
        And this length in both tracks, in seconds.
    """

    max_tempo: float = 1.36
    n_tempos: int = 21
    step: int = 2
    span: int = 3
    n_doublings: int = 4
    contrast: float = 0.5
    alike: float = 0.95
    own: float = 1.2
    penalty: float = 0.8
    tempo_cost: float = 2.0
    prior: float = 0.2
    n_tried: int = 4
    max_ranges: int = 12
    min_score: float = 0.3
    min_s: float = 2.0

    def __post_init__(self) -> None:
        if self.max_tempo <= 1.0 or self.n_tempos < 1 or self.n_tempos % 2 == 0:
            raise ValueError(
                f"max_tempo is {self.max_tempo}, n_tempos {self.n_tempos}; "
                "above 1 and an odd number are needed"
            )
        for name, low in (("step", 1), ("span", 2), ("n_doublings", 0), ("n_tried", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if not 0.0 <= self.alike < 1.0 or self.own <= 0.0 or self.max_ranges < 1:
            raise ValueError(
                f"alike is {self.alike}, own {self.own}, max_ranges {self.max_ranges}; "
                "0 to below 1, above 0 and at least 1 are needed"
            )

    @property
    def grid(self) -> Grid:
        """What the first search follows."""
        tempos = np.exp(np.linspace(-1.0, 1.0, self.n_tempos) * math.log(self.max_tempo))
        return Grid(tempos, self.step, self.span, self.n_doublings, self.tempo_cost)


@dataclass(frozen=True)
class WitnessTrack:
    """A track as the witness sees it; made once, it serves every pair of the track.

    Attributes
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims) float32, unit norm.
    audible : numpy.ndarray
        (n_windows,) bool.
    weights : numpy.ndarray
        (n_windows,) float32 in [0, 1]: w of the module.
    backgrounds : numpy.ndarray
        (n_windows,) float32: g of the module.
    duration_s : float
        Where the track ends, in seconds.
    """

    dvectors: np.ndarray
    audible: np.ndarray
    weights: np.ndarray
    backgrounds: np.ndarray
    duration_s: float


def prepare_track(
    dvectors: np.ndarray,
    *,
    hop_s: float,
    window_s: float,
    levels: np.ndarray | None = None,
    duration_s: float | None = None,
    config: WitnessConfig | None = None,
) -> WitnessTrack:
    """Weigh the windows of a track.

    Parameters
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims), unit norm, in order of time.
    hop_s, window_s : float
        Step and length of the windows, in seconds.
    levels : numpy.ndarray, optional
        (n_windows,) dB, from ``features.window_levels``; all windows are audible without.
    duration_s : float, optional
        Length of the track, in seconds; by the windows without, which is up to a hop too long.
    config : WitnessConfig, optional
        Defaults to ``WitnessConfig()``.

    Raises
    ------
    ValueError
        If there is no window, or not one level for each.
    """
    config = config or WitnessConfig()
    if dvectors.ndim != 2 or len(dvectors) == 0:
        raise ValueError(f"dvectors has shape {dvectors.shape}; (n_windows, n_dims) is needed")
    if levels is not None and len(levels) != len(dvectors):
        raise ValueError(
            f"{len(levels)} levels for {len(dvectors)} d-vectors; one for each is needed"
        )
    rows = np.ascontiguousarray(dvectors, dtype=np.float32)
    audible = np.ones(len(rows), bool) if levels is None else audible_windows(levels)
    own = rows @ rows.T
    own[:, ~audible] = 0.0
    heard = np.maximum((own - config.alike) / (1.0 - config.alike), 0.0).sum(axis=1)
    weights = np.where(audible, np.minimum(1.0, config.own / np.maximum(heard, 1e-6)), 0.0)
    at = np.arange(len(rows))
    far = (np.abs(at[:, None] - at[None, :]) * hop_s >= window_s) & audible[None, :]
    total = (own * far).sum(axis=1) + _PRIOR_WINDOWS * config.prior
    backgrounds = total / (far.sum(axis=1) + _PRIOR_WINDOWS)
    reach_s = (len(rows) - 1) * hop_s + window_s
    return WitnessTrack(
        rows,
        audible,
        weights.astype(np.float32),
        backgrounds.astype(np.float32),
        reach_s if duration_s is None else min(duration_s, reach_s),
    )


def find_evidence(
    a_dvectors: np.ndarray,
    b_dvectors: np.ndarray,
    *,
    hop_s: float,
    window_s: float,
    a_levels: np.ndarray | None = None,
    b_levels: np.ndarray | None = None,
    a_duration_s: float | None = None,
    b_duration_s: float | None = None,
    config: WitnessConfig | None = None,
) -> Evidence:
    """Return what two tracks share.

    Exchanging a and b exchanges their ranges and inverts the tempo ratios, exactly.

    Parameters
    ----------
    a_dvectors, b_dvectors : numpy.ndarray
        (n_a, n_dims) and (n_b, n_dims) excerpt d-vectors, unit norm, in order of time.
    hop_s, window_s : float
        Step and length of the windows, in seconds.
    a_levels, b_levels : numpy.ndarray, optional
        (n_a,) and (n_b,) dB; all windows are audible without.
    a_duration_s, b_duration_s : float, optional
        Lengths of the tracks; by the windows without, which is up to a hop too long.
    config : WitnessConfig, optional
        Defaults to ``WitnessConfig()``.

    Returns
    -------
    Evidence
        Without pitch; see ``auditor.pitch``.

    Raises
    ------
    ValueError
        If a track has no window, or levels or dimensions do not fit.
    """
    config = config or WitnessConfig()
    a, b = (
        prepare_track(
            dvectors,
            hop_s=hop_s,
            window_s=window_s,
            levels=levels,
            duration_s=duration_s,
            config=config,
        )
        for dvectors, levels, duration_s in (
            (a_dvectors, a_levels, a_duration_s),
            (b_dvectors, b_levels, b_duration_s),
        )
    )
    return compare_tracks(a, b, hop_s=hop_s, window_s=window_s, config=config)


def compare_tracks(
    a: WitnessTrack,
    b: WitnessTrack,
    *,
    hop_s: float,
    window_s: float,
    config: WitnessConfig | None = None,
) -> Evidence:
    """Do what ``find_evidence`` does with tracks prepared before."""
    config = config or WitnessConfig()
    if a.dvectors.shape[1] != b.dvectors.shape[1]:
        raise ValueError(
            f"the d-vectors have {a.dvectors.shape[1]} and {b.dvectors.shape[1]} dimensions; "
            "both must come from the same extractor"
        )
    # The shorter one is followed: less to search, and the same result whichever comes first.
    if _order(a) > _order(b):
        return _exchanged(compare_tracks(b, a, hop_s=hop_s, window_s=window_s, config=config))
    similarity = a.dvectors @ b.dvectors.T
    matrix = similarity - 0.5 * config.contrast * (a.backgrounds[:, None] + b.backgrounds[None, :])
    matrix[~a.audible] = 0.0
    matrix[:, ~b.audible] = 0.0
    score, runs = _find_runs(matrix, a.weights, b.weights, config, min_n=config.min_s / hop_s)
    a_s, b_s = a.duration_s, b.duration_s
    ranges = tuple(_to_seconds(run, hop_s, window_s, a_s, b_s) for run in runs)
    return Evidence(
        score=score,
        ranges=ranges,
        share_a=_covered([(r.a_start_s, r.a_end_s) for r in ranges]) / a_s,
        share_b=_covered([(r.b_start_s, r.b_end_s) for r in ranges]) / b_s,
        tempo=ranges[0].tempo if ranges else 1.0,
        background=float(similarity.mean()),
    )


def _order(track: WitnessTrack) -> tuple[int, bytes]:
    return len(track.dvectors), track.dvectors.tobytes()


def _exchanged(evidence: Evidence) -> Evidence:
    ranges = tuple(
        MatchedRange(
            r.b_start_s,
            r.b_end_s,
            r.a_start_s,
            r.a_end_s,
            1.0 / r.tempo,
            r.score,
            None,
            r.repetition,
        )
        for r in evidence.ranges
    )
    return dataclasses.replace(
        evidence,
        ranges=ranges,
        share_a=evidence.share_b,
        share_b=evidence.share_a,
        tempo=1.0 / evidence.tempo,
    )


def _find_runs(
    matrix: np.ndarray,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    config: WitnessConfig,
    *,
    min_n: float,
) -> tuple[float, list[Run]]:
    """Return the best score and the runs that are good enough, best first; changes the matrix."""
    weights = np.sqrt(row_weights[:, None] * column_weights[None, :])
    explained_rows = np.zeros(len(row_weights), dtype=bool)
    explained_columns = np.zeros(len(column_weights), dtype=bool)
    runs: list[Run] = []
    score = -1.0
    while len(runs) < config.max_ranges:
        stretches = search_lines(matrix * weights, penalty=config.penalty, grid=config.grid)
        measured = [
            measure_line(
                matrix,
                stretch,
                row_weights=row_weights,
                column_weights=column_weights,
                penalty=config.penalty,
            )
            for stretch in _candidates(stretches, config.n_tried)
        ]
        run = _most_telling([run for run in measured if run], config)
        if run is None:
            break
        score = max(score, run.score)
        n = min(run.i_end - run.i_start, run.j_end - run.j_start)
        if run.score < config.min_score or n < min_n:
            break
        runs.append(run)
        explained_rows[_inside(run.i_start, run.i_end)] = True
        explained_columns[_inside(run.j_start, run.j_end)] = True
        matrix[np.ix_(explained_rows, explained_columns)] = _EXPLAINED
    return score, sorted(runs, key=lambda run: -run.score)


def _inside(start: float, end: float) -> slice:
    return slice(max(0, math.floor(start)), max(0, math.ceil(end)) + 1)


def _candidates(stretches: list[Stretch], n: int) -> list[Stretch]:
    """Return n stretches on different lines: those of the best score, and those that explain most.

    In music that repeats itself, a short stretch scores well on many a wrong line; only the right
    one goes on and on.
    """
    if not stretches:
        return []
    base = 0.5 * max(stretch.mean for stretch in stretches)
    by_length = sorted(stretches, key=lambda stretch: -stretch.n * (stretch.mean - base))
    taken: list[Stretch] = []
    for ordered, wanted in ((stretches, n - n // 2), (by_length, n)):
        for stretch in ordered:
            if len(taken) == wanted:
                break
            i = stretch.i0 + 0.5 * stretch.n
            j = stretch.j0 + 0.5 * stretch.tempo * stretch.n
            if all(abs(t.j0 + t.tempo * (i - t.i0) - j) > _SAME_LINE for t in taken):
                taken.append(stretch)
    return taken


def _most_telling(runs: list[Run], config: WitnessConfig) -> Run | None:
    """Return the run that explains most: its length times what its mean exceeds the half by."""
    base = 0.5 * max((run.mean for run in runs), default=0.0)

    def explained(run: Run) -> float:
        n = run.i_end - run.i_start + 1.0
        return n * (run.mean - base) - config.tempo_cost * abs(math.log(run.tempo))

    return max(runs, key=explained, default=None)


def _to_seconds(
    run: Run, hop_s: float, window_s: float, a_duration_s: float, b_duration_s: float
) -> MatchedRange:
    """Turn places in the matrix into times, along the line to the borders where it gets there."""
    half_s = 0.5 * window_s
    offset_s = run.j_start * hop_s + half_s - run.tempo * (run.i_start * hop_s + half_s)
    start_s, end_s = run.i_start * hop_s + half_s, run.i_end * hop_s + half_s
    first_s = max(0.0, -offset_s / run.tempo)
    last_s = min(a_duration_s, (b_duration_s - offset_s) / run.tempo)
    start_s = first_s if run.from_border else max(start_s, first_s)
    end_s = last_s if run.to_border else min(end_s, last_s)
    return MatchedRange(
        a_start_s=start_s,
        a_end_s=end_s,
        b_start_s=max(0.0, offset_s + run.tempo * start_s),
        b_end_s=min(b_duration_s, offset_s + run.tempo * end_s),
        tempo=run.tempo,
        score=run.score,
        pitch_semitones=None,
        repetition=1.0 - run.counted,
    )


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of a union of intervals."""
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
