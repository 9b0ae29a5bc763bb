"""Values of a similarity matrix along lines through it, looked up many at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class LineValues(NamedTuple):
    """A matrix along its rows or, turned, along its columns; ``flat`` holds it for both.

    Looking values up in ``flat`` takes half the time of indexing rows and columns.
    """

    flat: np.ndarray
    n_rows: int
    n_columns: int
    row_step: int
    column_step: int

    @classmethod
    def of(cls, matrix: np.ndarray) -> LineValues:
        """Return those of a matrix, (n_rows, n_columns) float32."""
        return cls(np.ascontiguousarray(matrix).reshape(-1), *matrix.shape, matrix.shape[1], 1)

    @property
    def turned(self) -> LineValues:
        """Rows for columns."""
        return LineValues(self.flat, self.n_columns, self.n_rows, self.column_step, self.row_step)

    def between(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values between columns; what lies outside is taken from the border.

        Parameters
        ----------
        rows : numpy.ndarray
            (n,) int64, inside the matrix.
        columns : numpy.ndarray
            (..., n) float64.

        Returns
        -------
        numpy.ndarray
            (..., n) float32.

        Examples
        --------
        >>> line = LineValues.of(np.asarray([[0.0, 1.0, 4.0]], np.float32))
        >>> line.between(np.zeros(3, np.int64), np.asarray([0.5, 1.25, 9.0])).tolist()
        [0.5, 1.75, 4.0]
        """
        columns = np.minimum(np.maximum(columns, 0.0), self.n_columns - 1.0)
        low = np.minimum(columns.astype(np.int64), max(self.n_columns - 2, 0))
        share = (columns - low).astype(np.float32)
        at = rows * self.row_step + low * self.column_step
        beside = self.column_step if self.n_columns > 1 else 0
        return (1.0 - share) * self.flat.take(at) + share * self.flat.take(at + beside)


def running_sums(values: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... values, (n + 1,) float64, in their own precision."""
    sums = np.zeros(len(values) + 1)
    sums[1:] = values.cumsum()
    return sums
