"""Bootstrap samples of pairs whose tracks, or sources of tracks, were drawn with replacement.

Pairs that share a track are not independent, and neither are those of tracks that share an artist:
what is drawn is therefore not a pair but a unit, a track or all tracks of one source
(``auditor.catalogue.sources``).  A pair counts as often as its units were drawn: the product of
both multiplicities, or the multiplicity of its one unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_SOURCES = 5
"""Of fewer sources the tracks are drawn: so few units say nothing of how others would differ."""


class UnitBootstrap:
    """Multiplicities of the units in each bootstrap sample.

    Parameters
    ----------
    n_tracks : int
    sources : sequence of str
        (n_tracks,) source of each track; without, and below ``MIN_SOURCES`` different ones, each
        track is a unit.
    n_samples : int
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        n_tracks: int,
        sources: Sequence[str] = (),
        *,
        n_samples: int,
        rng: np.random.Generator,
    ) -> None:
        unit_of = np.unique(np.asarray(sources, dtype=str), return_inverse=True)[1]
        n_units = int(unit_of.max(initial=-1)) + 1
        if n_units < MIN_SOURCES:
            unit_of, n_units = np.arange(n_tracks), n_tracks
        self._unit_of, self._n_units = unit_of, n_units
        drawn = rng.multinomial(n_units, np.full(n_units, 1.0 / n_units), size=n_samples)
        self._drawn = drawn.astype(np.float64)  # (n_samples, n_units)

    def multiplicities(self, rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
        """Return how often each pair counts, (n_samples, n_pairs) float64.

        Parameters
        ----------
        rows_a, rows_b : numpy.ndarray
            (n_pairs,) int, the tracks of the pairs.
        """
        a, b = self._unit_of[rows_a], self._unit_of[rows_b]
        return np.where(a == b, self._drawn[:, a], self._drawn[:, a] * self._drawn[:, b])

    def totals(self, pairs: np.ndarray) -> np.ndarray:
        """Return how many pairs there are in each sample, (n_samples,) float64.

        Parameters
        ----------
        pairs : numpy.ndarray
            (n_tracks, n_tracks) bool, the pairs that count, each once; or float, how many pairs
            each stands for.
        """
        rows_a, rows_b = np.nonzero(pairs)
        a, b = self._unit_of[rows_a], self._unit_of[rows_b]
        each = pairs[rows_a, rows_b].astype(np.float64)
        counts = np.bincount(a * self._n_units + b, each, minlength=self._n_units**2)
        counts = counts.reshape(self._n_units, self._n_units)
        inside = self._drawn @ counts.diagonal()
        np.fill_diagonal(counts, 0.0)
        return inside + ((self._drawn @ counts) * self._drawn).sum(axis=1)
