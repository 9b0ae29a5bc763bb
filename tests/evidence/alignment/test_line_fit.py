"""Lines are measured as their definition says, step by step: here once more, in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auditor.evidence.alignment.line_fit import LineValues, measure_lines
from auditor.evidence.alignment.line_search import Segment

TEMPOS, SHIFTS = 1.0 + np.linspace(-0.02, 0.02, 9), np.linspace(-1.5, 1.5, 13)


def sums_of(values):
    return np.concatenate([[0.0], np.cumsum(values)])


def crossing(inside, outside, level):
    return 0.5 if inside <= outside else float((inside - level) / (inside - outside))


def plain_extent(values):
    """First and last place of the run along a line, and its level."""
    if len(values) == 0:
        return 0, 0, 0.0
    level = float(np.sort(values)[-8:].mean())
    first, last = 0, len(values) - 1
    for _ in range(3):
        if level <= 0.0:
            break
        sums = sums_of(values - 0.4 * level)
        last = int((sums - np.minimum.accumulate(sums)).argmax()) - 1
        first = int(sums[: last + 2].argmin())
        strong = np.flatnonzero(values[first : last + 1] >= 0.5 * level)
        first, last = first + strong[0], first + strong[-1]
        level = float(np.median(values[first : last + 1]))
    return first, max(last, first), level


def plain_peaks(matrix, rows, line):
    """Rows that peak within two columns of the line: where, and how much each counts."""
    found = []
    for row, column in zip(rows.tolist(), line.tolist(), strict=True):
        centre = round(column)
        if not 2 < centre < matrix.shape[1] - 3:
            continue
        at = centre - 2 + int(matrix[row, centre - 2 : centre + 3].argmax())
        left, top, right = matrix[row, at - 1 : at + 2]
        curvature = np.float32(2.0) * top - left - right
        if top > left and top >= right and top > 0.0 and curvature > 1e-6:
            found.append((row, at + float(0.5 * (right - left) / curvature), top * curvature))
    return np.array(found, np.float64).reshape(-1, 3).T


def plain_fit(matrix, rows, tempo, offset):
    line = offset + tempo * rows
    columns = np.arange(max(round(line[0]), 0), min(round(line[-1]), matrix.shape[1] - 1) + 1)
    of_rows = plain_peaks(matrix, rows, line)
    of_columns = plain_peaks(matrix.T, columns, (columns - offset) / tempo)
    x, y, weights = np.concatenate([of_rows, of_columns[[1, 0, 2]]], axis=1)
    if len(x) < 3 or np.ptp(x) < 2.0:
        return tempo, offset, None
    x_mean, y_mean = np.average(x, weights=weights), np.average(y, weights=weights)
    away = x - x_mean
    scatter = (weights * away**2).sum()
    slope = float((weights * away * (y - y_mean)).sum() / scatter)
    if abs(slope / tempo - 1.0) >= 0.05:
        return tempo, offset, None
    residuals = y - y_mean - slope * away
    power = ((weights * away * residuals) ** 2).sum()
    error = math.sqrt(power * len(x) / max(len(x) - 2, 1)) / scatter
    near = abs(slope - 1.0) <= min(3.0 * (1.0 + 8.0 / len(x)) * error, 0.1)
    return slope, y_mean - slope * x_mean, y_mean - x_mean if near else None


def plain_line(matrix, segment):
    """Mean, tempo, rows and columns of the ends, and borders of a run; None where nothing is."""
    values_of = LineValues.of(matrix)

    def follow(tempo, offset):
        columns = offset + tempo * np.arange(len(matrix))
        rows = np.flatnonzero((columns > -0.5) & (columns < matrix.shape[1] - 0.5))
        return rows, values_of.between(rows, columns[rows])

    rows = np.arange(segment.i0, min(segment.i0 + segment.n, len(matrix)))
    middle = rows.mean()
    centre = segment.j0 + segment.tempo * (middle - segment.i0)
    tried = [
        (values_of.between(rows, centre + shift + segment.tempo * share * (rows - middle)).sum(),
         segment.tempo * share, centre + shift - segment.tempo * share * middle)
        for share in TEMPOS for shift in SHIFTS
    ]  # fmt: skip
    _, tempo, offset = max(tried, key=lambda one: one[0])
    for _ in range(3):
        tempo, offset, simplest = plain_fit(matrix, rows, tempo, offset)
        on_line, values = follow(tempo, offset)
        first, last, level = plain_extent(values)
        if level <= 0.0:
            return None
        rows = on_line[first : last + 1]
    if simplest is None and len(rows) <= 24:
        offsets = offset + (tempo - 1.0) * rows.mean() + SHIFTS
        means = [values_of.between(rows, one + rows).mean() for one in offsets]
        best = int(np.argmax(means))
        if means[best] >= values_of.between(rows, offset + tempo * rows).mean() * (
            1.0 - 0.3 / len(rows)
        ):
            simplest = offsets[best]
    if simplest is not None:
        tempo, offset = 1.0, simplest
        on_line, values = follow(tempo, offset)
        first, last, level = plain_extent(values)
        if level <= 0.0:
            return None
    i_start, i_end = float(on_line[first]), float(on_line[last])
    if first > 0:
        i_start -= crossing(values[first], values[first - 1], 0.5 * level)
    if last + 1 < len(values):
        i_end += crossing(values[last], values[last + 1], 0.5 * level)
    return (
        *(values[first : last + 1].mean(), tempo, i_start, i_end),
        *(offset + tempo * i_start, offset + tempo * i_end),
        *(first <= 1, last >= len(values) - 2),
    )


def ridge(seed):
    """A line that is heard through noise, and a segment near it."""
    rng = np.random.default_rng(seed)
    n_rows, n_columns = rng.integers(12, 80, 2)
    tempo, offset = rng.uniform(0.75, 1.35), rng.uniform(-5.0, 9.0)
    i, j = np.mgrid[:n_rows, :n_columns]
    first, length = int(rng.integers(0, 8)), int(rng.integers(6, 60))
    line = np.maximum(1.0 - 0.3 * np.abs(offset + tempo * i - j), 0.0)
    line[(i < first) | (i >= first + length)] = 0.0
    noise = rng.normal(0.0, 0.08, line.shape)
    matrix = (rng.uniform(0.0, 0.9) * line + noise).astype(np.float32)
    i0 = int(min(first, n_rows - 6))
    j0 = int(np.clip(round(offset + tempo * i0), 0, n_columns - 1))
    return matrix, Segment(0.0, 0.0, tempo * rng.uniform(0.98, 1.02), i0, j0, min(length, 24))


@pytest.mark.parametrize("seed", range(60))
def test_a_line_is_measured_as_its_definition_says(seed):
    matrix, segment = ridge(seed)
    (found,), expected = measure_lines(matrix, [segment]), plain_line(matrix, segment)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found[:8] == pytest.approx(expected, abs=1e-6)
    columns = found.j_start + found.tempo * (found.rows - found.i_start)
    assert found.columns == pytest.approx(columns)


@pytest.mark.parametrize("seed", range(20))
def test_lines_that_are_measured_together_do_not_change_each_other(seed):
    matrix, segment = ridge(seed)
    segments = [segment._replace(j0=max(segment.j0 - 9, 0)), segment, segment._replace(tempo=1.0)]
    together = measure_lines(matrix, [*segments, segment])
    alone = [measure_lines(matrix, [one])[0] for one in segments]
    for one, other in zip(together, [*alone, alone[1]], strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one[:8] == other[:8]
            np.testing.assert_array_equal(one.values, other.values)
    assert measure_lines(matrix, []) == []
