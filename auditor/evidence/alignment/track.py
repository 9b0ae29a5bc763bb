"""What the second witness needs of one track, and how it weighs it.

The formulae are those of ``auditor.evidence.alignment.ranges``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from auditor.embedding.pooling import audible_windows
from auditor.evidence.alignment.line_search import Grid

_PRIOR_WINDOWS = 20.0
"""Windows' worth of ``WitnessConfig.prior`` in every background: short tracks have few of their
own."""

_BLOCK, _CELLS = 1024, 1 << 22
"""Windows compared with all of their track at once, fewer of a track of hours: with four million
others in all."""


@dataclass(frozen=True)
class WitnessConfig:
    """How evidence is searched and weighed; ``alignment.ranges`` has the formulae.

    Attributes
    ----------
    max_tempo : float
        Tempo ratios from ``1 / max_tempo`` to ``max_tempo`` are searched.
    n_tempos : int
        Ratios of the first search, evenly spaced in logarithm; odd, so that 1 is one of them.
    step : int
        Every so many-th window of the shorter track is followed in the first search.
    span, n_doublings : int
        Followed windows of its shortest segment, and how often it is doubled.
    contrast, alike, own, penalty, stand_out, stand_out_cost : float
        Of the formulae.
    tempo_cost : float
        Of two short lines that fit alike, the one nearer to the original tempo is taken: from what
        speaks for a line, the sum of its Z, ``tempo_cost * |ln tempo|`` is taken off.
    prior : float
        Background of a window of which nothing is known.
    n_tried : int
        Segments of the first search that are measured before the best is taken.
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
    contrast: float = 0.3
    alike: float = 0.95
    own: float = 1.1
    penalty: float = 1.1
    stand_out: float = 0.25
    stand_out_cost: float = 2.0
    tempo_cost: float = 3.0
    prior: float = 0.2
    n_tried: int = 4
    max_ranges: int = 12
    min_score: float = 0.28
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

    @functools.cached_property
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
        (n_windows,) float32 in [0, 1]: ``w_i``.
    backgrounds : numpy.ndarray
        (n_windows,) float32: ``g_i``.
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
    at = np.arange(len(rows))
    heard, total, n_far = (np.zeros(len(rows)) for _ in range(3))
    size = max(1, min(_BLOCK, _CELLS // len(rows)))
    for first in range(0, len(rows), size):
        own = rows[first : first + size] @ rows.T
        own[:, ~audible] = 0.0
        block = slice(first, first + size)
        heard[block] = np.maximum((own - config.alike) / (1.0 - config.alike), 0.0).sum(axis=1)
        far = (np.abs(at[block, None] - at[None, :]) * hop_s >= window_s) & audible[None, :]
        total[block], n_far[block] = (own * far).sum(axis=1), far.sum(axis=1)
    weights = np.where(audible, np.minimum(1.0, config.own / np.maximum(heard, 1e-6)), 0.0)
    backgrounds = (total + _PRIOR_WINDOWS * config.prior) / (n_far + _PRIOR_WINDOWS)
    reach_s = (len(rows) - 1) * hop_s + window_s
    return WitnessTrack(
        rows,
        audible,
        weights.astype(np.float32),
        backgrounds.astype(np.float32),
        reach_s if duration_s is None else min(duration_s, reach_s),
    )
