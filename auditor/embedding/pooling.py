"""The d-vectors of a track become its embedding: the normalised mean of those that are audible.

It works on stored arrays and needs neither the network nor torch.
"""

from __future__ import annotations

import numpy as np

from auditor.records import TrackEmbedding

SILENCE_DB = -80.0
"""A window whose loudest band stays below this is silent."""

SILENCE_BELOW_TRACK_DB = 50.0
"""So is one that stays this far below the loudest window of its track."""

POOL_ROWS = 4096
"""D-vectors summed at a time."""


def audible_windows(levels: np.ndarray) -> np.ndarray:
    """Return which windows are loud enough to say anything of a track.

    Parameters
    ----------
    levels : numpy.ndarray
        (n_windows,) dB, from ``frames.window_levels``.

    Returns
    -------
    numpy.ndarray
        (n_windows,) bool.
    """
    levels = np.asarray(levels, dtype=np.float32)
    if levels.size == 0:
        return np.zeros(0, dtype=bool)
    return (levels >= SILENCE_DB) & (levels >= levels.max() - SILENCE_BELOW_TRACK_DB)


def pool_dvectors(dvectors: np.ndarray, levels: np.ndarray) -> TrackEmbedding:
    """Return the embedding of a track: the normalised mean of its audible d-vectors.

    Parameters
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims), unit norm; taken in float16, as they are stored.
    levels : numpy.ndarray
        (n_windows,) dB.

    Returns
    -------
    TrackEmbedding
        Its embedding is all zeros if no window is audible.
    """
    dvectors = np.asarray(dvectors, dtype=np.float16)
    levels = np.asarray(levels, dtype=np.float16)
    rows = np.flatnonzero(audible_windows(levels))
    mean = np.zeros(dvectors.shape[1])
    for start in range(0, len(rows), POOL_ROWS):  # float64 copies of a few rows at a time
        mean += dvectors[rows[start : start + POOL_ROWS]].astype(np.float64).sum(axis=0)
    norm = np.linalg.norm(mean)
    embedding = (mean / norm if norm > 1e-9 else np.zeros_like(mean)).astype(np.float32)
    return TrackEmbedding(
        embedding=embedding,
        dvectors=dvectors,
        levels=levels,
    )
