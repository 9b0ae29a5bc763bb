"""Whether a whole track was moved in pitch, told by its mean spectrum.

On a log-frequency axis a pitch shift is a translation, of the mean over time as of every frame.
Which notes a piece dwells on is much the same in a copy at another speed or pitch, moved, and
another piece has others: so few pairs of unrelated tracks are told to be moved, and a comparison
of 100 numbers tells which pairs deserve a search at another speed.
"""

from __future__ import annotations

import numpy as np

from auditor.config import SPECTRUM
from auditor.pitch import common_bands, vertex

MAX_SEMITONES = 6.0
"""Larger shifts are not looked for: speeds of 0.71 to 1.41."""

ALIKE = 0.8
"""Correlation from which two outlines are of one piece."""


def outline_shift(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return by how many semitones a looks moved against b.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n_bands,) mean spectra of whole tracks, the local mean over the frequencies taken off.

    Returns
    -------
    float or None
        None where they are not alike, or most alike as they are or within three quarters of a
        semitone of it, where a shift tells little.

    Examples
    --------
    >>> outline = np.random.default_rng(0).normal(size=SPECTRUM.n_bands)
    >>> round(outline_shift(np.roll(outline, 8), outline), 1)
    4.0
    """
    reach = round(MAX_SEMITONES * SPECTRUM.bands_per_octave / 12.0)
    found = np.zeros(2 * reach + 1)
    for k, shift in enumerate(range(-reach, reach + 1)):
        of_a, of_b = common_bands(shift, len(a))
        upper, lower = a[of_a] - a[of_a].mean(), b[of_b] - b[of_b].mean()
        norm = float(np.sqrt((upper @ upper) * (lower @ lower)))
        found[k] = float(upper @ lower) / max(norm, 1e-9)
    best = int(found.argmax())
    if found[best] < ALIKE or abs(best - reach) <= 1:
        return None
    return float(best - reach + vertex(found, best)) * 12.0 / SPECTRUM.bands_per_octave
