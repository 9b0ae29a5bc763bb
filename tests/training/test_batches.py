"""Batches of training: audible moments, what is drawn, what repeats, and too little of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from auditor.augment.bands import BandAlterations
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.frames import LogBands
from auditor.errors import UsageError
from auditor.training.batches import (
    make_batch,
    make_talk,
    read_segments,
    repeat_mask,
    require_batches,
    validation_config,
)
from auditor.training.config import TrainConfig
from auditor.training.sampling import Batch, TrainingTracks, gather_tracks

SHORT = TrainConfig(n_classes=3, n_utterances=2)


@pytest.fixture(scope="module")
def music(make_tune) -> TrainingTracks:
    """Return five tracks of four windows in two genres."""
    bands = LogBands(ExtractorConfig().features)
    return gather_tracks(
        [bands(make_tune(i, duration_s=7.0)).astype(np.float16) for i in range(5)],
        labels=list("ababa"),
        groups=range(5),
        albums=list("00112"),
        window_frames=160,
    )


def test_moments_are_the_audible_slots():
    track = np.full((170 * 4, 72), -100.0, dtype=np.float16)
    track[160:320] = -20.0
    track[320:390] = -20.0  # less than half of its slot
    tracks = gather_tracks(
        [track, track[:100]],
        labels=["", ""],
        groups=[0, 1],
        albums=["", ""],
        window_frames=160,
    )
    assert [m.tolist() for m in tracks.pool.moments] == [[240], []]


def test_stretches_are_centred_and_repeat_the_ends():
    track = np.arange(50, dtype=np.float16)[:, None].repeat(3, axis=1)
    tracks = gather_tracks([track], labels=[""], groups=[0], albums=[""], window_frames=16)
    batch = Batch(tracks=np.asarray([[0, 0]]), centres=np.asarray([[2.4, 48.0]]))
    segments = read_segments(tracks, batch, 8)
    assert segments.shape == (2, 8, 3)
    assert segments[0, :, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert segments[1, :, 0].tolist() == [44, 45, 46, 47, 48, 49, 49, 49]


def test_a_batch_is_decided_by_seed_and_step(music, tiny_config):
    def batch(step: int, seed: int = 0) -> torch.Tensor:
        settings = dataclasses.replace(SHORT, seed=seed)
        how = {"config": tiny_config, "train": settings, "alterations": BandAlterations()}
        windows, excluded = make_batch(music, step, **how)
        assert excluded is None
        return windows

    one = batch(3)
    assert one.shape == (3, 2, 160, 72)
    assert bool(torch.isfinite(one).all())
    torch.manual_seed(5)
    assert torch.equal(one, batch(3))
    assert not torch.equal(one, batch(4))
    assert not torch.equal(one, batch(3, seed=1))


def test_repeated_excerpts_of_one_track_are_found():
    segments = 20.0 * torch.randn(4, 30, 72, generator=torch.Generator().manual_seed(0))
    segments[2] = segments[0]
    segments[3] = segments[0]
    found = repeat_mask(segments, np.asarray([5, 5, 5, 6]), 20)
    assert found.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_excerpts_exclude_what_repeats(music, tiny_config):
    settings = dataclasses.replace(SHORT, classes="excerpt", n_classes=6)
    how = {"config": tiny_config, "train": settings, "alterations": BandAlterations()}
    windows, excluded = make_batch(music, 0, **how)
    assert windows.shape == (6, 2, 160, 72)
    assert excluded.shape == (6, 6)
    assert bool(excluded.diagonal().all())


def test_validation_shrinks_to_the_music_there_is(music):
    pool = music.pool
    many = dataclasses.replace(SHORT, n_classes=50, n_steps=7)
    assert validation_config(pool, many).n_classes == 3
    assert validation_config(pool, dataclasses.replace(many, classes="genre")).n_classes == 2
    n_excerpts = sum(map(len, pool.moments))
    excerpts = validation_config(pool, dataclasses.replace(many, classes="excerpt"))
    assert excerpts.n_classes == n_excerpts
    assert excerpts.seed != SHORT.seed


def test_too_little_music_is_told(music):
    require_batches(music.pool, SHORT, n_batches=3, purpose="train on")
    with pytest.raises(UsageError, match="too little music to train on: 5 tracks with 2 audible"):
        require_batches(
            music.pool, dataclasses.replace(SHORT, n_classes=6), n_batches=1, purpose="train on"
        )


def test_voices_and_crowds_are_made_of_the_seed(tiny_config):
    make = make_talk.__wrapped__  # nothing is kept
    talk = make(tiny_config.features, seed=3)
    assert talk.shape == (4, 497, 72)
    assert bool(torch.isfinite(talk).all())
    assert torch.equal(talk, make(tiny_config.features, seed=3))
    assert not torch.equal(talk, make(tiny_config.features, seed=4))
    # A crowd never pauses; one person does.
    level = talk.amax(dim=2)
    assert level[1].std() < level[0].std()


def test_talk_changes_a_batch(music, tiny_config):
    how = {"config": tiny_config, "train": SHORT, "alterations": BandAlterations(talk=1.0)}
    talk = 10.0 * torch.randn(2, 400, 72, generator=torch.Generator().manual_seed(0)) - 30.0
    plain, talked = make_batch(music, 0, **how)[0], make_batch(music, 0, **how, talk=talk)[0]
    assert plain.shape == talked.shape
    assert not torch.equal(plain, talked)
