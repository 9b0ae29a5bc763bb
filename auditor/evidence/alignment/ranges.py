"""The second witness: what two tracks share, from when to when, and how sure that is.

Both tracks are sequences of d-vectors of short windows (``excerpt``).  Their similarity matrix S
shows a segment of one that is heard in the other as a bright straight line; its slope is the tempo
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
* **Silence** (``pooling.audible_windows``) has Z = 0 and w = 0.

A segment of the line scores its mean Z less ``penalty / sqrt(n)``, n being the sum of
``min(w_i, w_j)`` along it.  A bar that is looped through two tracks has the n of few bars, however
long the loop runs.  The score of a range is that of its best segment, less what it fails to stand
out by: with s the mean S along the range and m the mean S of all of its rows and columns, it loses

    stand_out_cost * max(0, stand_out - (s - m) / (1 - m)).

Two takes of white noise, or of one synthesiser, are alike everywhere, and no line stands out.

Ranges are found greedily: the line that explains most first; then all that lies in a segment of a
that is explained *and* in a segment of b that is explained is taken out, and the search goes on.  A
chorus that returns inside a copy is so no second match, while an excerpt used twice is two.

A range starts and ends where the similarity along the line crosses half of its level: there, half
of the window (its centre) lies inside.  A range that reaches the first or last window of a track
reaches the track's start or end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from auditor.evidence.alignment.line_fit import (
    LineValues,
    Run,
    mean_of,
    measure_lines,
    running_sums,
)
from auditor.evidence.alignment.line_search import Segment, search_lines
from auditor.evidence.alignment.track import WitnessConfig, WitnessTrack, prepare_track
from auditor.records import Evidence, MatchedRange


class ScoredRun(NamedTuple):
    """A run, its score, at least -1, and the share of its windows that count, 0 to 1."""

    run: Run
    score: float
    counted: float


def score_run(
    run: Run,
    similarity: np.ndarray,
    around: tuple[np.ndarray, np.ndarray],
    *,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    penalty: float,
    stand_out: float,
    stand_out_cost: float,
) -> ScoredRun:
    """Return a run with its score: that of its best segment, less what it fails to stand out by.

    Parameters
    ----------
    run : Run
    similarity : numpy.ndarray
        (n_rows, n_columns) float32, S.
    around : tuple of numpy.ndarray
        (n_rows,) and (n_columns,), means of the rows and columns of S.
    row_weights, column_weights : numpy.ndarray
        (n_rows,) and (n_columns,) in [0, 1]: how much of a new window each one is.
    penalty : float
        As in ``search_lines``, with the sum of the weights for n: the smaller of both sums.
    stand_out, stand_out_cost : float
    """
    of_columns = LineValues.of(column_weights[None, :])
    weights = np.minimum(
        row_weights[run.rows], of_columns.between(np.zeros(len(run.rows), np.int64), run.columns)
    )
    sums, counts = running_sums(run.values), running_sums(weights)
    n = np.arange(len(sums))
    lengths = n[None, :] - n[:, None]  # (start, end)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (sums[None, :] - sums[:, None]) / lengths
        scores = means - penalty / np.sqrt(np.maximum(counts[None, :] - counts[:, None], 1e-3))
    loss = stand_out_cost * max(0.0, stand_out - _standing_out(run, similarity, around))
    score = float(scores[lengths > 0].max())
    return ScoredRun(run, max(score - loss, -1.0), float(weights.mean()))


def _standing_out(run: Run, similarity: np.ndarray, around: tuple[np.ndarray, np.ndarray]) -> float:
    """Return how far the mean along a run is above that of all its rows and columns, 1 for all."""
    n_rows, n_columns = similarity.shape
    rows = np.arange(math.ceil(run.i_start), math.floor(run.i_end) + 1)
    if len(rows) == 0:  # the run lies between two rows
        rows = np.asarray([min(round(run.i_start), n_rows - 1)])
    columns = np.rint(run.j_start + run.tempo * (rows - run.i_start)).astype(np.int64)
    columns = np.minimum(np.maximum(columns, 0), n_columns - 1)
    inside = float(mean_of(similarity[rows, columns]))
    outside = 0.5 * float(mean_of(around[0][rows]) + mean_of(around[1][columns]))
    return (inside - outside) / max(1.0 - outside, 1e-3)


__all__ = [
    "WitnessConfig",
    "WitnessTrack",
    "compare_tracks",
    "covered_s",
    "find_evidence",
    "gather_evidence",
    "prepare_track",
]

_EXPLAINED = -1.0
"""Stands in Z for what a range explained already; no segment gains by crossing it."""

_BASE = 0.65
"""Share of the highest mean that a line must exceed to explain anything."""

_HOPELESS = 0.0
"""Score of the best segment of the search at which no line is measured.  Of 1,034 copies of the
validation music, altered as hard as any, one that began below ended above 0.1, at 0.104; strangers
that began below ended at 0.08 or less.  Most pairs of unrelated tracks end here."""

_SAME_LINE = 3.0
"""Segments whose lines pass within so many windows of each other are measured once."""


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

    Exchanging a and b exchanges their ranges and inverts the tempo ratios: exactly, except that
    the two sides of a range of two equal tracks differ by rounding, some 1e-8 s.

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
        Without pitch; see ``auditor.evidence.spectra.pitch_tempo``.

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
    score, runs = _find_runs(similarity, matrix, a.weights, b.weights, config, config.min_s / hop_s)
    a_s, b_s = a.duration_s, b.duration_s
    ranges = tuple(_to_seconds(scored, hop_s, window_s, a_s, b_s) for scored in runs)
    background = float(similarity.mean())
    return gather_evidence(score, ranges, a_s=a_s, b_s=b_s, background=background)


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
    similarity: np.ndarray,
    matrix: np.ndarray,
    row_weights: np.ndarray,
    column_weights: np.ndarray,
    config: WitnessConfig,
    min_n: float,
) -> tuple[float, list[ScoredRun]]:
    """Return the best score and the runs that are good enough, best first; changes the matrix Z."""
    around: tuple[np.ndarray, np.ndarray] | None = None
    weights = np.sqrt(row_weights[:, None] * column_weights[None, :])
    explained_rows = np.zeros(len(row_weights), dtype=bool)
    explained_columns = np.zeros(len(column_weights), dtype=bool)
    runs: list[ScoredRun] = []
    score = -1.0
    while len(runs) < config.max_ranges:
        segments = search_lines(matrix * weights, penalty=config.penalty, grid=config.grid)
        if segments and segments[0].score <= _HOPELESS:
            score = max(score, segments[0].score)
            break
        measured = measure_lines(matrix, _candidates(segments, config.n_tried))
        run = _most_telling([run for run in measured if run], config)
        if run is None:
            break
        around = around or (similarity.mean(axis=1), similarity.mean(axis=0))
        scored = score_run(
            run,
            similarity,
            around,
            row_weights=row_weights,
            column_weights=column_weights,
            penalty=config.penalty,
            stand_out=config.stand_out,
            stand_out_cost=config.stand_out_cost,
        )
        score = max(score, scored.score)
        n = min(run.i_end - run.i_start, run.j_end - run.j_start)
        if scored.score < config.min_score or n < min_n:
            break
        runs.append(scored)
        explained_rows[_inside(run.i_start, run.i_end)] = True
        explained_columns[_inside(run.j_start, run.j_end)] = True
        matrix[np.ix_(explained_rows, explained_columns)] = _EXPLAINED
    return score, sorted(runs, key=lambda scored: -scored.score)


def _inside(start: float, end: float) -> slice:
    return slice(max(0, math.floor(start)), max(0, math.ceil(end)) + 1)


def _candidates(segments: list[Segment], n: int) -> list[Segment]:
    """Return n segments on different lines: those of the best score, and those that explain most.

    In music that repeats itself, a short segment scores well on many a wrong line; only the right
    one goes on and on.
    """
    if not segments:
        return []
    base = _BASE * max(segment.mean for segment in segments)
    by_length = sorted(segments, key=lambda segment: -segment.n * (segment.mean - base))
    taken: list[Segment] = []
    for ordered, wanted in ((segments, n - n // 2), (by_length, n)):
        for segment in ordered:
            if len(taken) == wanted:
                break
            i = segment.i0 + 0.5 * segment.n
            j = segment.j0 + 0.5 * segment.tempo * segment.n
            if all(abs(t.j0 + t.tempo * (i - t.i0) - j) > _SAME_LINE for t in taken):
                taken.append(segment)
    return taken


def _most_telling(runs: list[Run], config: WitnessConfig) -> Run | None:
    """Return the run that explains most: its length times what its mean exceeds the base by."""
    base = _BASE * max((run.mean for run in runs), default=0.0)

    def explained(run: Run) -> float:
        n = run.i_end - run.i_start + 1.0
        return n * (run.mean - base) - config.tempo_cost * abs(math.log(run.tempo))

    return max(runs, key=explained, default=None)


def _to_seconds(
    scored: ScoredRun, hop_s: float, window_s: float, a_duration_s: float, b_duration_s: float
) -> MatchedRange:
    """Turn places in the matrix into times, along the line to the borders where it gets there."""
    run, half_s = scored.run, 0.5 * window_s
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
        score=scored.score,
        pitch_semitones=None,
        repetition=1.0 - scored.counted,
    )


def gather_evidence(
    score: float, ranges: Sequence[MatchedRange], *, a_s: float, b_s: float, background: float
) -> Evidence:
    """Return the evidence of ranges, best first, with what they cover of tracks so long."""
    return Evidence(
        score=score,
        ranges=tuple(ranges),
        share_a=covered_s([(r.a_start_s, r.a_end_s) for r in ranges]) / max(a_s, 1e-3),
        share_b=covered_s([(r.b_start_s, r.b_end_s) for r in ranges]) / max(b_s, 1e-3),
        tempo=ranges[0].tempo if ranges else 1.0,
        background=background,
    )


def covered_s(spans: list[tuple[float, float]]) -> float:
    """Return the length of a union of intervals.

    Examples
    --------
    >>> covered_s([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
