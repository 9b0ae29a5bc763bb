"""Stored spectra come back as they were, however long."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from auditor.catalogue.spectrograms import pack_spectrum, unpack_spectrum


@pytest.mark.parametrize("n_frames", [0, 1, 2, 511, 512, 513, 1500])
def test_a_spectrum_is_the_sum_of_its_steps(n_frames):
    steps = np.random.default_rng(n_frames).integers(0, 256, (n_frames, 100)).astype(np.uint8)
    expected = np.cumsum(steps, axis=0, dtype=np.uint8)
    np.testing.assert_array_equal(unpack_spectrum(zlib.compress(steps.tobytes()), 100), expected)
    np.testing.assert_array_equal(unpack_spectrum(pack_spectrum(expected), 100), expected)
