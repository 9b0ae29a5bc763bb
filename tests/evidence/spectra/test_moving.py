"""Moving means and maxima are those of scipy, in single precision to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from auditor.evidence.spectra.moving import moving_max, moving_mean, moving_sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 63, 200])
def test_means_are_those_of_scipy(size, dtype):
    rng = np.random.default_rng(size)
    for shape, axis in (((300,), 0), ((50, 99), 1), ((90, 20), 0), ((1, 5), 1), ((5000, 3), 1)):
        values = rng.normal(0.0, 40.0, shape).astype(dtype)
        expected = uniform_filter1d(values, size, axis=axis, mode="nearest")
        got = moving_mean(values, size, axis)
        assert got.dtype == dtype
        if dtype == np.float32:
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-11)


def test_maxima_are_those_of_scipy():
    for shape in ((40, 99), (3, 1), (2, 2)):
        values = np.random.default_rng(1).normal(size=shape)
        np.testing.assert_array_equal(moving_max(values), maximum_filter1d(values, 3, axis=-1))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 16, 21])
def test_sums_are_those_of_each_place(size):
    values = np.random.default_rng(size).normal(size=(40, 3))
    expected = [values[k : k + size].sum(axis=0) for k in range(len(values) - size + 1)]
    np.testing.assert_allclose(moving_sums(values, size), expected, rtol=1e-12, atol=1e-12)
