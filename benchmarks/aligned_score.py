"""The aligned score of two tracks: what is played when, compared moment by moment.

Both tracks are sequences of d-vectors at one hop.  If one is a copy of the other, their similarity
matrix holds a bright straight line: its slope is the tempo ratio, its start the offset.  Every line
of a grid of slopes is followed, and scores by its best stretch: the mean cosine less a penalty that
shrinks with the length, less a share of the mean of the whole matrix, so that two drones, which
agree everywhere, agree nowhere in particular.

A query is compared with many references in one pass: their windows lie behind each other in one
matrix, with gaps between, so that no line leads from one reference into the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

_GAP = -1000.0
"""Stands where a reference ends; a stretch that touches it can never win."""


@dataclass(frozen=True)
class AlignConfig:
    """The grid that is searched, and how a stretch scores.

    Attributes
    ----------
    max_tempo : float
        Slopes go from ``1 / max_tempo`` to ``max_tempo``.
    n_tempos : int
        Slopes, evenly spaced in logarithm; odd, so that 1 is one of them.
    query_step : int
        Only every so many-th window of the query is followed: windows overlap, and time is saved.
    span : int
        Followed windows of the shortest stretch; it is doubled ``n_doublings`` times.
    n_doublings : int
    penalty : float
        A stretch of L followed windows loses ``penalty / sqrt(L)``.
    contrast : float
        Share of the matrix's mean that is taken off.
    """

    max_tempo: float = 1.36
    n_tempos: int = 21
    query_step: int = 2
    span: int = 5
    n_doublings: int = 4
    penalty: float = 0.8
    contrast: float = 0.1

    def __post_init__(self) -> None:
        if self.max_tempo <= 1.0 or self.n_tempos < 1 or self.n_tempos % 2 == 0:
            raise ValueError(
                f"max_tempo is {self.max_tempo}, n_tempos {self.n_tempos}; "
                "above 1 and an odd number are needed"
            )
        if self.span < 2 or self.n_doublings < 0 or self.query_step < 1:
            raise ValueError(
                f"span is {self.span}, n_doublings {self.n_doublings}, query_step "
                f"{self.query_step}; at least 2, 0 and 1 are needed"
            )

    @property
    def tempos(self) -> np.ndarray:
        """(n_tempos,) reference windows passed for each query window."""
        return np.exp(np.linspace(-1.0, 1.0, self.n_tempos) * math.log(self.max_tempo))


ALIKE = 0.5
"""Cosine from which on two windows of a track count as repeating each other."""

LOOP_POWER = 0.08
"""Power to which the distinctiveness of a window is raised; 0 would leave loops as they are."""


def weigh_windows(dvectors: np.ndarray, *, overlap: float) -> np.ndarray:
    """Shorten the d-vectors of windows that sound like much of their own track.

    Two tracks over one drum loop agree wherever the loop is heard, and prove nothing.  A window's
    distinctiveness is 1 unless it repeats more of its track than the windows it overlaps with, and
    falls as 1 over the number of windows it repeats.

    Parameters
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims) unit rows; rows of zeros, for silent windows, stay zeros.
    overlap : float
        Length of a window over the step between windows.

    Returns
    -------
    numpy.ndarray
        (n_windows, n_dims) float32, rows of norm at most 1.

    Examples
    --------
    >>> rows = np.eye(64, dtype=np.float32)  # no window is like another
    >>> float(np.linalg.norm(weigh_windows(rows, overlap=4.0), axis=1).min())
    1.0
    """
    rows = np.asarray(dvectors, dtype=np.float32)
    mass = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), 1024):  # a ten-hour track has 45,000 windows
        own = rows[start : start + 1024] @ rows.T
        mass[start : start + 1024] = np.maximum((own - ALIKE) / (1.0 - ALIKE), 0.0).sum(axis=1)
    distinct = np.minimum(1.0, overlap * (1.0 - ALIKE) / np.maximum(mass, 1e-6))
    return rows * (distinct**LOOP_POWER)[:, None].astype(np.float32)


@dataclass(frozen=True)
class References:
    """The d-vectors of many tracks, one behind the other.

    Attributes
    ----------
    dvectors : torch.Tensor
        (n_windows, n_dims) float32, unit rows.
    lengths : numpy.ndarray
        (n_tracks,) windows of each track, none of them 0.
    """

    dvectors: torch.Tensor
    lengths: np.ndarray

    @classmethod
    def of(cls, tracks: list[np.ndarray]) -> References:
        """Stack the d-vectors of tracks, (n_windows, n_dims) each.

        Raises
        ------
        ValueError
            If there is no track, or one has no window.
        """
        lengths = np.asarray([len(track) for track in tracks], dtype=np.int64)
        if len(lengths) == 0 or lengths.min() == 0:
            raise ValueError(f"{len(lengths)} tracks, one of them empty; every one needs a window")
        stacked = np.concatenate(tracks).astype(np.float32)
        return cls(torch.from_numpy(stacked), lengths)


@dataclass(frozen=True)
class Alignment:
    """The best line of a pair; a span of 0 where no stretch fits.

    Attributes
    ----------
    score : float
        See the module.
    tempo : float
        Reference windows passed for each query window; above 1 the query plays faster.
    query_start, reference_start : int
        First windows of the best stretch.
    span : int
        Its length, in query windows.
    """

    score: float
    tempo: float
    query_start: int
    reference_start: int
    span: int


@dataclass(frozen=True)
class LineMeans:
    """What the lines of a query say of each reference, before it is made one score.

    Attributes
    ----------
    spans : tuple of int
        Followed windows of each length of stretch.
    means : numpy.ndarray
        (n_spans, n_tracks) float32, highest mean cosine of any stretch of that length.
    background : numpy.ndarray
        (n_tracks,) float32, mean cosine of all windows.
    """

    spans: tuple[int, ...]
    means: np.ndarray
    background: np.ndarray

    def scores(self, *, penalty: float, contrast: float) -> np.ndarray:
        """Return the aligned scores, (n_tracks,) float32; -1 where no stretch fits."""
        lost = penalty / np.sqrt(np.asarray(self.spans, dtype=np.float32))[:, None]
        best = (self.means - lost).max(axis=0)
        return np.maximum(best - contrast * self.background, -1.0).astype(np.float32)


def line_means(query: np.ndarray, references: References, *, config: AlignConfig) -> LineMeans:
    """Follow every line of a query through every reference.

    Parameters
    ----------
    query : numpy.ndarray
        (n_query, n_dims) unit d-vectors.
    references : References
        At the same hop.
    config : AlignConfig

    Returns
    -------
    LineMeans

    Raises
    ------
    ValueError
        If the query has no window.
    """
    padded, first, background = _padded_similarity(query, references, config)
    spans: list[int] = []
    means: list[np.ndarray] = []
    for tempo in config.tempos:
        steps = _steps(len(padded), tempo, config)
        for i, (stretches, span) in enumerate(_stretches(padded, steps, config)):
            columns = stretches.amax(dim=0).numpy()  # (n_columns,)
            highest = np.maximum.reduceat(columns, first)  # (n_tracks,)
            if i == len(means):
                spans.append(span)
                means.append(highest)
            else:
                np.maximum(means[i], highest, out=means[i])
    return LineMeans(tuple(spans), np.stack(means), background)


def aligned_scores(query: np.ndarray, references: References, *, config: AlignConfig) -> np.ndarray:
    """Return the aligned score of a query with every reference, (n_tracks,) float32.

    Parameters and errors are those of ``line_means``.
    """
    lines = line_means(query, references, config=config)
    return lines.scores(penalty=config.penalty, contrast=config.contrast)


def best_alignment(query: np.ndarray, reference: np.ndarray, *, config: AlignConfig) -> Alignment:
    """Return the best line of one pair; its score is that of ``aligned_scores``.

    Parameters
    ----------
    query, reference : numpy.ndarray
        (n_windows, n_dims) unit d-vectors at one hop.
    config : AlignConfig

    Raises
    ------
    ValueError
        If either has no window.
    """
    references = References.of([reference])
    padded, _, background = _padded_similarity(query, references, config)
    gap = (padded.shape[1] - len(reference)) // 2
    base = config.contrast * float(background[0])
    best = Alignment(-1.0, 1.0, 0, 0, 0)
    for tempo in config.tempos:
        steps = _steps(len(padded), tempo, config)
        for means, span in _stretches(padded, steps, config):
            row, column = divmod(int(means.argmax()), means.shape[1])
            score = float(means[row, column]) - config.penalty / math.sqrt(span) - base
            if score > best.score:
                start = column + int(steps[row]) - gap
                query_start, length = row * config.query_step, span * config.query_step
                best = Alignment(score, float(tempo), query_start, start, length)
    return best


def _steps(n_followed: int, tempo: float, config: AlignConfig) -> torch.Tensor:
    """Return the reference windows passed at each followed window, (n_followed,) int64."""
    steps = np.round(np.arange(n_followed) * config.query_step * tempo)
    return torch.from_numpy(steps.astype(np.int64))


def _padded_similarity(
    query: np.ndarray, references: References, config: AlignConfig
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return similarities with a gap before each reference and behind the last.

    Returns
    -------
    padded : torch.Tensor
        (n_followed, n_columns) float32.
    first : numpy.ndarray
        (n_tracks,) column at which the gap of each reference begins: lines that start in its gap or
        in its windows are its own.
    background : numpy.ndarray
        (n_tracks,) float32, mean similarity with each reference.
    """
    if len(query) == 0:
        raise ValueError("the query has no window")
    followed = query[:: config.query_step].astype(np.float32)
    similarity = torch.from_numpy(followed) @ references.dvectors.T  # (Q, R)
    gap = math.ceil((len(followed) - 1) * config.query_step * config.max_tempo) + 1
    lengths = references.lengths
    first = np.concatenate([[0], np.cumsum(lengths + gap)[:-1]])
    n_columns = int(lengths.sum() + gap * (len(lengths) + 1))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    columns = torch.from_numpy(np.arange(len(owner)) + gap * (owner + 1))
    padded = torch.full((len(followed), n_columns), _GAP)
    padded[:, columns] = similarity
    means = similarity.mean(dim=0).numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return padded, first, (np.add.reduceat(means, starts) / lengths).astype(np.float32)


def _stretches(padded: torch.Tensor, steps: torch.Tensor, config: AlignConfig):
    """Yield the means of all stretches of one slope, for each length, and the length.

    They are (Q - span + 1, n_columns - last step): the row is where in the query the stretch
    begins, the column which line it lies on.
    """
    n_query = len(steps)
    width = padded.shape[1] - int(steps[-1])
    lines = padded.gather(1, steps[:, None] + torch.arange(width)[None, :])  # (Q, width)
    span = min(config.span, n_query)
    sums = lines.unfold(0, span, 1).sum(dim=-1)  # (Q - span + 1, width)
    for _ in range(config.n_doublings + 1):
        yield sums / span, span
        if 2 * span > n_query:
            return
        sums = sums[:-span] + sums[span:]
        span *= 2
