"""Train a GE2E extractor: one flat loop.

Music is decoded once into band frames (``frame_store``).  Each step draws and alters a batch
(``training_batches``) and takes one AdamW step on the GE2E loss.  A batch depends on the seed and
the step alone, and the checkpoint holds the weights, the optimiser and the best weights so far
(``checkpoint``), so a killed run that resumes ends with the weights of one that was not killed.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auditor.augment.bands import BandAlterations
from auditor.calibration.metrics import equal_error_rate, recall_at_far
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.extractor import save_weights
from auditor.embedding.network import Network, mixed_precision
from auditor.errors import UsageError
from auditor.parallel import map_ahead
from auditor.serialisation import to_json
from auditor.training.batches import (
    make_batch,
    make_talk,
    require_batches,
    validation_config,
)
from auditor.training.checkpoint import (
    CHECKPOINT,
    CURVE,
    TrainingState,
    load_checkpoint,
    lock_run,
    read_curve,
    save_checkpoint,
    write_curve,
)
from auditor.training.config import TrainConfig
from auditor.training.loss import GE2ELoss
from auditor.training.sampling import TrainingTracks

N_VALIDATION_BATCHES = 6


def validate(
    network: Network,
    tracks: TrainingTracks,
    *,
    train: TrainConfig,
    alterations: BandAlterations,
    talk: torch.Tensor | None = None,
) -> tuple[float, float]:
    """Return EER and recall at FAR 1e-3 of altered windows of unseen tracks.

    The same windows and alterations are used at every call.  Matching pairs are windows of one
    class, non-matching ones are of two classes.  With ``classes="excerpt"`` two excerpts of one
    track are two classes, so their windows count as non-matching too, unless ``repeated`` excludes
    them because they sound the same.
    """
    matching, nonmatching = [], []
    network.eval()
    fixed = validation_config(tracks.pool, train)
    with torch.inference_mode():
        for step in range(N_VALIDATION_BATCHES):
            windows, excluded = make_batch(
                tracks,
                step,
                config=network.config,
                train=fixed,
                alterations=alterations,
                talk=talk,
            )
            n, m = windows.shape[:2]
            dvectors = network(windows.flatten(0, 1))
            scores = (dvectors @ dvectors.T).numpy()
            label = np.repeat(np.arange(n), m)
            same = label[:, None] == label[None, :]
            other = ~same
            if excluded is not None:
                other &= ~excluded.numpy()[label[:, None], label[None, :]]
            upper = np.triu(np.ones_like(same), 1)
            matching.append(scores[same & upper])
            nonmatching.append(scores[other & upper])
    positive, negative = np.concatenate(matching), np.concatenate(nonmatching)
    return equal_error_rate(positive, negative)[0], recall_at_far(positive, negative, 1e-3)


def take_step(
    state: TrainingState,
    windows: torch.Tensor,
    excluded: torch.Tensor | None,
    train: TrainConfig,
) -> float:
    """Take one step of the optimiser on a batch of ``make_batch`` and return the loss before it."""
    network = state.network.train()
    n, m = windows.shape[:2]
    with mixed_precision(train.precision):
        dvectors = network(windows.flatten(0, 1))
    value = state.loss(dvectors.float().view(n, m, -1), excluded)
    state.optimiser.zero_grad()
    value.backward()
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, train.clip_norm)
    state.optimiser.step()
    return float(value.detach())


def learning_rate(step: int, train: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine down to a hundredth."""
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    share = (step - train.warmup_steps) / max(1, train.n_steps - train.warmup_steps)
    return train.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * share)))


def train_extractor(
    tracks: TrainingTracks,
    validation: TrainingTracks,
    *,
    config: ExtractorConfig,
    train: TrainConfig,
    directory: Path,
    name: str,
    data: dict[str, Any],
    music_sha256: str = "",
    alterations: BandAlterations | None = None,
    start: Network | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train, resuming from the directory's checkpoint if there is one.

    Parameters
    ----------
    tracks, validation : TrainingTracks
        No track of one may share material with a track of the other.
    config, train : configurations
    directory : pathlib.Path
        Takes ``checkpoint.safetensors``, ``curve.csv``, the weights, and a lock while it runs.
    name : str
        Of the weights file.
    data : dict
        What the weights' header says of the music: names, counts, hours.
    music_sha256 : str
        Of ``training_set.music_sha256``.  Goes into the checkpoint, and a run on other music does
        not resume from there; empty to leave it out.
    alterations : BandAlterations, optional
    start : Network, optional
        Of ``read_network`` and of the same config: its weights are where training starts.
    report : callable, optional
        Called with each row of the curve.

    Returns
    -------
    pathlib.Path
        The weights of the best validation.

    Raises
    ------
    UsageError
        If there is too little music for one batch, ``start`` has another config, the loss is no
        longer finite, or another process trains in the folder.
    WeightsError
        If the checkpoint or curve is damaged, of another configuration or of other music, or the
        best weights are too large for their file.
    """
    alterations = alterations or BandAlterations()
    if start is not None:
        if start.config != config:
            raise UsageError(
                f"{start.name}-{start.weights_id} does not have the shape of the network to train."
            )
        train = dataclasses.replace(train, start=start.weights_id)
    require_batches(tracks.pool, train, n_batches=1, purpose="train on")
    require_batches(
        validation.pool,
        validation_config(validation.pool, train),
        n_batches=N_VALIDATION_BATCHES,
        purpose="validate on",
    )
    identity = json.dumps(
        {"config": to_json(config), "train": to_json(train), "alterations": to_json(alterations)},
        sort_keys=True,
    )
    belongs = {"identity": identity, "data": music_sha256}
    talk = make_talk(config.features, seed=train.seed) if alterations.talk else None
    how: dict[str, Any] = {"train": train, "alterations": alterations, "talk": talk}

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return make_batch(tracks, step, config=config, **how)

    with lock_run(directory), ThreadPoolExecutor(1) as loader:
        torch.manual_seed(train.seed)
        network, loss = Network(config), GE2ELoss(train.scale, train.offset)
        if start is not None:
            network.load_state_dict(start.state_dict())
        network.name = name
        parameters = [*network.parameters(), *loss.parameters()]
        optimiser = torch.optim.AdamW(
            parameters, lr=train.learning_rate, weight_decay=train.weight_decay
        )
        state = TrainingState(network, loss, optimiser)
        checkpoint = directory / CHECKPOINT
        if checkpoint.exists():
            load_checkpoint(checkpoint, state, **belongs)
        status = state.status
        rows = read_curve(directory / CURVE, upto=status.step)
        losses: list[float] = []
        started = time.monotonic() - status.seconds
        batches = map_ahead(loader, batch_at, itertools.count(status.step), n_ahead=2)
        while status.step < train.n_steps and status.stale < train.patience:
            step = status.step
            try:
                windows, excluded = next(batches)
            except ValueError as error:
                raise UsageError(f"too little music to train on: {error}.") from None
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, train)
            losses.append(take_step(state, windows, excluded, train))
            if not math.isfinite(losses[-1]):
                raise UsageError(
                    f"the loss is {losses[-1]} at step {step + 1}; it must stay finite. "
                    f"Give a learning rate below {train.learning_rate:g}."
                )
            status.step = step + 1
            if (step + 1) % train.evaluate_every and step + 1 < train.n_steps:
                continue
            try:
                eer, recall = validate(network, validation, **how)
            except ValueError as error:
                raise UsageError(f"too little music to validate on: {error}.") from None
            status.seconds = time.monotonic() - started
            row = {
                "step": step + 1,
                "loss": round(sum(losses) / len(losses), 6),
                "learning_rate": round(learning_rate(step, train), 8),
                "scale": round(float(loss.log_scale.detach().exp()), 4),
                "eer": round(eer, 6),
                "recall_at_far_1e-3": round(recall, 6),
                "seconds": round(status.seconds, 1),
            }
            losses = []
            rows.append(row)
            status.stale += 1
            if eer < status.best_eer:
                status.best_eer, status.best_step, status.stale = eer, step + 1, 0
                state.best = {k: v.detach().clone() for k, v in network.state_dict().items()}
            # The curve first: rows beyond the checkpoint are dropped by the run that resumes.
            write_curve(directory / CURVE, rows)
            save_checkpoint(checkpoint, state, **belongs)
            if report:
                report(row)
        batches.close()
        network.load_state_dict(state.best)
        summary = {
            "classes": train.classes,
            "train": to_json(train),
            "alterations": to_json(alterations),
            "best_step": status.best_step,
            "steps": status.step,
            "validation_eer": round(status.best_eer, 6),
            "data": data,
        }
        return save_weights(network.weights(), directory, name=name, summary=summary)
