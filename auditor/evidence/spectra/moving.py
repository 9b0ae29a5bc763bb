"""Moving means and maxima, equal to those of ``scipy.ndimage`` to the bit.

To import it takes a quarter of a second, more than a check of one song spends on its spectra.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 256
"""Rows at once: sums have 64 bits, a track may be hours long, and what fits a cache is fast."""


def moving_mean(values: np.ndarray, size: int, axis: int = -1) -> np.ndarray:
    """Return the mean of ``size`` neighbours around each value; beyond an end, its value goes on.

    Parameters
    ----------
    values : numpy.ndarray
        Floats of one or two dimensions.
    size : int
        Of an even number, the middle is the later one.
    axis : int

    Returns
    -------
    numpy.ndarray
        Of the shape and type of ``values``.

    Examples
    --------
    >>> moving_mean(np.array([0.0, 3.0, 6.0, 0.0]), 3)
    array([1., 3., 3., 2.])
    """
    means = np.empty_like(values)
    given, made = (np.atleast_2d(np.moveaxis(array, axis, -1)) for array in (values, means))
    for first in range(0, len(given), _BLOCK):
        rows = slice(first, first + _BLOCK)
        made[rows] = _means_of_rows(given[rows], size)
    return means


def _means_of_rows(rows: np.ndarray, size: int) -> np.ndarray:
    """Return the means along each row; the sums run over columns, all rows at once."""
    n, before = rows.shape[1], size // 2
    wide = np.empty((n + size - 1, len(rows)))
    wide[before : before + n] = rows.T
    wide[:before], wide[before + n :] = rows[:, 0], rows[:, -1]
    sums = np.empty((n, len(rows)))
    sums[0] = np.add.accumulate(wide[:size])[-1]  # one after the other
    np.subtract(wide[size:], wide[:-size], out=sums[1:])
    if len(rows) > n:
        for k in range(1, n):  # faster than accumulate, if there are many rows
            sums[k] += sums[k - 1]
    else:
        np.add.accumulate(sums, out=sums)
    sums /= size
    return sums.T


def moving_max(values: np.ndarray) -> np.ndarray:
    """Return the largest of each value and its two neighbours along the last axis.

    Examples
    --------
    >>> moving_max(np.array([2, 0, 1, 0]))
    array([2, 2, 1, 1])
    """
    largest = values.copy()
    np.maximum(largest[..., 1:], values[..., :-1], out=largest[..., 1:])
    np.maximum(largest[..., :-1], values[..., 1:], out=largest[..., :-1])
    return largest
