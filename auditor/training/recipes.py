"""The recipes of training: one for each notion of a class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from auditor.augment.bands import BandAlterations
from auditor.embedding.config import ExtractorConfig
from auditor.training.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Network, training and alterations that belong together.

    Attributes
    ----------
    extractor : ExtractorConfig
    train : TrainConfig
    alterations : BandAlterations
    """

    extractor: ExtractorConfig
    train: TrainConfig
    alterations: BandAlterations = field(default_factory=BandAlterations)


_SMALL = ExtractorConfig(conv_channels=(16, 32, 64, 96))

RECIPES = {
    "track": Recipe(
        _SMALL,
        TrainConfig(classes="track", n_classes=64, n_utterances=4, n_steps=5000, patience=20),
        BandAlterations(clean_first=0.1, noise=0.4, noise_snr_db=-3.0, mix=0.2, talk=0.0),
    ),
    "genre": Recipe(
        _SMALL,
        TrainConfig(
            classes="genre",
            n_classes=16,
            n_utterances=8,
            n_steps=2000,
            evaluate_every=100,
            patience=20,
        ),
    ),
    "excerpt": Recipe(
        dataclasses.replace(_SMALL, window_frames=320, hop_frames=80, n_dims=128, pooling="mean"),
        TrainConfig(
            classes="excerpt",
            n_classes=96,
            n_utterances=2,
            n_steps=8000,
            evaluate_every=400,
            patience=24,
            jitter_s=0.2,
            scale=20.0,
            offset=-10.0,
        ),
    ),
}
"""What ``audit train --classes`` does, and how the pretrained weights were made."""

TUNING = {
    "excerpt": dataclasses.replace(
        RECIPES["excerpt"],
        train=dataclasses.replace(
            RECIPES["excerpt"].train,
            n_steps=6000,
            evaluate_every=500,
            learning_rate=6e-4,
            scale=13.0,
            seed=1,
        ),
        alterations=BandAlterations(noise=0.45, noise_snr_db=-8.0, mix=0.35, mix_snr_db=-3.0),
    ),
}
"""What ``audit train --start-from`` does instead, where it differs: louder noise, more music mixed
in, a lower rate.  Both, one after the other, made the pretrained excerpt extractor."""
