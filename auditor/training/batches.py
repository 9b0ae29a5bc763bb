"""Batches of training: which music, which windows, altered how.

Each step's batch is drawn by ``sampling``, altered by ``augment.bands`` and normalised by
``features``; it depends on the seed and the step alone.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.bands import BandAlterations, alter_windows
from auditor.augment.voices import crowd, speak
from auditor.embedding.config import ExtractorConfig, FeatureConfig
from auditor.embedding.frames import LogBands, normalise_windows
from auditor.errors import UsageError
from auditor.training.config import TrainConfig
from auditor.training.sampling import (
    Batch,
    SamplingPool,
    TrainingTracks,
    able_genres,
    fewest_moments,
    sample_batch,
)

N_TALKS = 48
"""Voices and crowds that may be mixed over the music."""

TALK_S = 30
"""Length of each, in seconds."""


def read_segments(tracks: TrainingTracks, batch: Batch, n_source: int) -> torch.Tensor:
    """Return the frames around each moment of a batch.

    Returns
    -------
    torch.Tensor
        (n_classes * n_utterances, n_source, n_bands) float32, dB, centred on the moments; what lies
        beyond a track's ends repeats its outermost frame.
    """
    rows, centres = batch.tracks.ravel(), np.round(batch.centres.ravel()).astype(np.int64)
    offsets = np.arange(n_source) - n_source // 2
    segments = [
        tracks.frames[t][np.clip(c + offsets, 0, len(tracks.frames[t]) - 1)]
        for t, c in zip(rows, centres, strict=True)
    ]
    return torch.from_numpy(np.stack(segments).astype(np.float32))


def make_batch(
    tracks: TrainingTracks,
    step: int,
    *,
    config: ExtractorConfig,
    train: TrainConfig,
    alterations: BandAlterations,
    talk: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draw, alter and normalise the windows of one step.

    Parameters
    ----------
    tracks : TrainingTracks
    step : int
    config, train, alterations : configurations
    talk : torch.Tensor, optional
        Of ``make_talk``, to be mixed over the music.

    Returns
    -------
    windows : torch.Tensor
        (n_classes, n_utterances, window_frames, n_bands) float32, normalised.
    excluded : torch.Tensor or None
        For excerpts, (n_classes, n_classes) bool: pairs of one track that sound the same (repeated
        bars) and must not be pushed apart.
    """
    batch = sample_batch(
        tracks.pool,
        classes=train.classes,
        n_classes=train.n_classes,
        n_utterances=train.n_utterances,
        seed=train.seed,
        step=step,
        jitter_frames=train.jitter_s / config.features.frame_hop_s,
    )
    n_frames = config.window_frames
    n_source = math.ceil(n_frames * alterations.context) + 4
    segments = read_segments(tracks, batch, n_source)
    generator = torch.Generator().manual_seed(train.seed * 1_000_003 + step)
    centre = torch.full((len(segments),), float(n_source // 2))
    windows = alter_windows(
        segments,
        n_frames=n_frames,
        centre=centre,
        features=config.features,
        alterations=alterations,
        generator=generator,
        first=torch.arange(len(segments)) % train.n_utterances == 0,
        talk=talk,
    )
    excluded = None
    if train.classes == "excerpt":
        excluded = repeat_mask(segments[:: train.n_utterances], batch.tracks[:, 0], n_frames)
    shape = (train.n_classes, train.n_utterances, *windows.shape[1:])
    return _normalised(windows).view(shape), excluded


def _normalised(windows: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(normalise_windows(windows.numpy()))


@lru_cache(maxsize=1)
def make_talk(features: FeatureConfig, *, seed: int) -> torch.Tensor:
    """Return frames of voices and crowds, half of each.

    Parameters
    ----------
    features : FeatureConfig
    seed : int

    Returns
    -------
    torch.Tensor
        (N_TALKS, n_frames, n_bands) float32, dB, ``TALK_S`` seconds each.
        It is kept for the next call, and not to be written to.
    """
    rng = np.random.default_rng([seed, N_TALKS])
    bands, n_samples = LogBands(features), TALK_S * SAMPLE_RATE_HZ
    talks = []
    for k in range(N_TALKS):
        n_voices = int(rng.integers(3, 24))
        talk = crowd(n_samples, rng, n_voices=n_voices) if k % 2 else speak(n_samples, rng)
        talks.append(torch.from_numpy(bands(talk)))
    return torch.stack(talks)


def repeat_mask(segments: torch.Tensor, rows: np.ndarray, n_frames: int) -> torch.Tensor:
    """Return which excerpts of one track sound the same: cosine of their frames above 0.6.

    Parameters
    ----------
    segments : torch.Tensor
        (n_classes, n_source, n_bands), unaltered, dB.
    rows : numpy.ndarray
        (n_classes,) track of each.

    Returns
    -------
    torch.Tensor
        (n_classes, n_classes) bool.
    """
    first = (segments.shape[1] - n_frames) // 2
    x = _normalised(segments[:, first : first + n_frames])
    x = torch.nn.functional.normalize((x - x.mean(dim=1, keepdim=True)).flatten(1), dim=1)
    same_track = torch.from_numpy(rows[:, None] == rows[None, :])
    return same_track & (x @ x.T > 0.6)


def validation_config(pool: SamplingPool, train: TrainConfig) -> TrainConfig:
    """Return what the validation batches are drawn with: smaller ones where there is less music."""
    n_classes = train.n_classes
    if train.classes == "track":
        able = [len(m) >= train.n_utterances for m in pool.moments]
        n_able = len({g for g, enough in zip(pool.groups, able, strict=True) if enough})
        n_classes = min(n_classes, max(2, len(set(pool.groups)) * 3 // 4), n_able)
    elif train.classes == "genre":
        n_classes = min(n_classes, len(able_genres(pool, train.n_utterances)))
    else:
        fewest = fewest_moments(pool, range(len(pool.moments)))
        n_classes = min(n_classes, sum(fewest.values()))
    return TrainConfig(
        classes=train.classes,
        n_classes=max(2, n_classes),
        n_utterances=train.n_utterances,
        jitter_s=train.jitter_s,
        seed=987_654_321,
    )


def require_batches(
    pool: SamplingPool, train: TrainConfig, *, n_batches: int, purpose: str
) -> None:
    """Draw the first batches to see that there is music for them.

    Raises
    ------
    UsageError
        If there is too little.
    """
    try:
        for step in range(n_batches):
            sample_batch(
                pool,
                classes=train.classes,
                n_classes=train.n_classes,
                n_utterances=train.n_utterances,
                seed=train.seed,
                step=step,
            )
    except ValueError as error:
        raise UsageError(f"too little music to {purpose}: {error}.") from None
