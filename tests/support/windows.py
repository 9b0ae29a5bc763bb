"""Windows of noise, as a network takes them."""

from __future__ import annotations

import numpy as np

from auditor.embedding.config import ExtractorConfig
from auditor.embedding.frames import normalise_windows


def windows_of(config: ExtractorConfig, n: int = 3, seed: int = 0) -> np.ndarray:
    """Return (n, window_frames, n_bands) float32, normalised."""
    shape = (n, config.window_frames, config.features.n_bands)
    noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return normalise_windows(np.float32(20.0) * noise)
