"""Train a GE2E extractor: one flat loop.

Music is decoded once into band frames (``frame_store``).  Each step draws a batch of classes and
moments (``sampling``), alters every window in its own way (``augment.bands``), and takes one AdamW
step on the GE2E loss.  A batch depends on the seed and the step alone, and the checkpoint holds the
weights, the optimiser and the best weights so far, so a killed run that resumes ends with the
weights of one that was not killed.  Checkpoints are safetensors and JSON, never pickle.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from auditor.augment.bands import BandAlterations, alter_windows
from auditor.config import ExtractorConfig, TrainConfig, to_json
from auditor.errors import UsageError, WeightsError, show_path
from auditor.extractor import Extractor, pack_tensors, save_extractor, unpack_tensors
from auditor.features import SILENCE_DB, normalise_windows
from auditor.loss import GE2ELoss
from auditor.metrics import equal_error_rate, recall_at_far
from auditor.sampling import (
    Batch,
    SamplingPool,
    able_genres,
    fewest_moments,
    sample_batch,
)

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
CURVE_COLUMNS = ("step", "loss", "learning_rate", "scale", "eer", "recall_at_far_1e-3", "seconds")
N_VALIDATION_BATCHES = 6


@dataclass(frozen=True)
class TrainingTracks:
    """The frames and labels of the tracks to train or to validate on.

    Attributes
    ----------
    frames : tuple of numpy.ndarray
        (n_frames, n_bands) float16 dB each, memory-mapped.
    pool : SamplingPool
        Where to draw windows from.
    """

    frames: tuple[np.ndarray, ...]
    pool: SamplingPool


def gather_tracks(
    frames: Sequence[np.ndarray],
    *,
    labels: Sequence[str],
    groups: Sequence[int],
    albums: Sequence[str],
    window_frames: int,
) -> TrainingTracks:
    """Find the audible window slots of each track.

    Parameters
    ----------
    frames : sequence of numpy.ndarray
        (n_frames, n_bands) dB each.
    labels, groups, albums : sequences
        One for each track, see ``SamplingPool``.
    window_frames : int
        Length of a slot.

    Returns
    -------
    TrainingTracks
    """
    moments = []
    for track in frames:
        n_slots = len(track) // window_frames
        level = np.asarray(track[: n_slots * window_frames]).max(axis=1, initial=-np.inf)
        level = level.reshape(n_slots, window_frames).astype(np.float32)
        loud = np.sort(level, axis=1)[:, window_frames // 2] >= SILENCE_DB + 15.0
        moments.append(np.flatnonzero(loud) * window_frames + window_frames // 2)
    pool = SamplingPool(tuple(moments), tuple(labels), tuple(groups), tuple(albums))
    return TrainingTracks(tuple(frames), pool)


def read_stretches(tracks: TrainingTracks, batch: Batch, n_source: int) -> torch.Tensor:
    """Return the frames around each moment of a batch.

    Returns
    -------
    torch.Tensor
        (n_classes * n_utterances, n_source, n_bands) float32, dB, centred on the moments; what lies
        beyond a track's ends repeats its outermost frame.
    """
    rows, centres = batch.tracks.ravel(), np.round(batch.centres.ravel()).astype(np.int64)
    offsets = np.arange(n_source) - n_source // 2
    stretches = [
        tracks.frames[t][np.clip(c + offsets, 0, len(tracks.frames[t]) - 1)]
        for t, c in zip(rows, centres, strict=True)
    ]
    return torch.from_numpy(np.stack(stretches).astype(np.float32))


def make_batch(
    tracks: TrainingTracks,
    step: int,
    *,
    config: ExtractorConfig,
    train: TrainConfig,
    alterations: BandAlterations,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draw, alter and normalise the windows of one step.

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
    stretches = read_stretches(tracks, batch, n_source)
    generator = torch.Generator().manual_seed(train.seed * 1_000_003 + step)
    lead = torch.full((len(stretches),), float(n_source // 2))
    windows = alter_windows(
        stretches,
        n_frames=n_frames,
        lead=lead,
        features=config.features,
        alterations=alterations,
        generator=generator,
    )
    excluded = None
    if train.classes == "excerpt":
        excluded = repeated(stretches[:: train.n_utterances], batch.tracks[:, 0], n_frames)
    shape = (train.n_classes, train.n_utterances, *windows.shape[1:])
    return normalise_windows(windows).view(shape), excluded


def repeated(stretches: torch.Tensor, rows: np.ndarray, n_frames: int) -> torch.Tensor:
    """Return which excerpts of one track sound the same: cosine of their frames above 0.6.

    Parameters
    ----------
    stretches : torch.Tensor
        (n_classes, n_source, n_bands), unaltered, dB.
    rows : numpy.ndarray
        (n_classes,) track of each.

    Returns
    -------
    torch.Tensor
        (n_classes, n_classes) bool.
    """
    first = (stretches.shape[1] - n_frames) // 2
    x = normalise_windows(stretches[:, first : first + n_frames])
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


def validate(
    extractor: Extractor,
    tracks: TrainingTracks,
    *,
    train: TrainConfig,
    alterations: BandAlterations,
) -> tuple[float, float]:
    """Return EER and recall at FAR 1e-3 of altered windows of unseen tracks.

    The same windows and alterations are used at every call.  Matching pairs are windows of one
    class, non-matching ones are of two classes from different tracks.
    """
    matching, nonmatching = [], []
    extractor.eval()
    fixed = validation_config(tracks.pool, train)
    with torch.inference_mode():
        for step in range(N_VALIDATION_BATCHES):
            windows, excluded = make_batch(
                tracks, step, config=extractor.config, train=fixed, alterations=alterations
            )
            n, m = windows.shape[:2]
            dvectors = extractor(windows.flatten(0, 1))
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


def learning_rate(step: int, train: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine down to a hundredth."""
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    progress = (step - train.warmup_steps) / max(1, train.n_steps - train.warmup_steps)
    return train.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def train_extractor(
    tracks: TrainingTracks,
    validation: TrainingTracks,
    *,
    config: ExtractorConfig,
    train: TrainConfig,
    directory: Path,
    name: str,
    data: dict[str, Any],
    alterations: BandAlterations | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train, resuming from the directory's checkpoint if there is one.

    Parameters
    ----------
    tracks, validation : TrainingTracks
        No track of one may share material with a track of the other.
    config, train : configurations
    directory : pathlib.Path
        Takes ``checkpoint.safetensors``, ``curve.csv`` and the weights.
    name : str
        Of the weights file.
    data : dict
        What the weights' header says of the music: names, counts, hours.
    alterations : BandAlterations, optional
    report : callable, optional
        Called with each row of the curve.

    Returns
    -------
    pathlib.Path
        The weights of the best validation.

    Raises
    ------
    UsageError
        If there is too little music for one batch, or the loss is no longer finite.
    WeightsError
        If the checkpoint or curve is damaged or of another configuration.
    """
    alterations = alterations or BandAlterations()
    require_batches(tracks.pool, train, n_batches=1, purpose="train on")
    require_batches(
        validation.pool,
        validation_config(validation.pool, train),
        n_batches=N_VALIDATION_BATCHES,
        purpose="validate on",
    )
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(train.seed)
    extractor, loss = Extractor(config), GE2ELoss(train.scale, train.offset)
    extractor.name = name
    parameters = [*extractor.parameters(), *loss.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=train.learning_rate, weight_decay=train.weight_decay
    )
    identity = json.dumps(
        {"config": to_json(config), "train": to_json(train), "alterations": to_json(alterations)},
        sort_keys=True,
    )
    state = {"step": 0, "best_eer": math.inf, "best_step": 0, "stale": 0, "seconds": 0.0}
    best: dict[str, torch.Tensor] = {}
    checkpoint = directory / CHECKPOINT
    if checkpoint.exists():
        best = load_checkpoint(checkpoint, identity, extractor, loss, optimiser, state)
    rows = read_curve(directory / CURVE, upto=state["step"])

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return make_batch(tracks, step, config=config, train=train, alterations=alterations)

    losses: list[float] = []
    started = time.monotonic() - state["seconds"]
    with ThreadPoolExecutor(1) as loader:
        upcoming = loader.submit(batch_at, state["step"])
        while state["step"] < train.n_steps and state["stale"] < train.patience:
            step = state["step"]
            try:
                windows, excluded = upcoming.result()
            except ValueError as error:
                raise UsageError(f"too little music to train on: {error}.") from None
            upcoming = loader.submit(batch_at, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, train)
            extractor.train()
            n, m = windows.shape[:2]
            with torch.autocast("cpu", torch.bfloat16, enabled=train.precision == "bfloat16"):
                dvectors = extractor(windows.flatten(0, 1))
            value = loss(dvectors.float().view(n, m, -1), excluded)
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, train.clip_norm)
            optimiser.step()
            losses.append(float(value.detach()))
            if not math.isfinite(losses[-1]):
                raise UsageError(
                    f"the loss is {losses[-1]} at step {step + 1}; it must stay finite. "
                    f"Give a learning rate below {train.learning_rate:g}."
                )
            state["step"] = step + 1
            if (step + 1) % train.evaluate_every and step + 1 < train.n_steps:
                continue
            try:
                eer, recall = validate(extractor, validation, train=train, alterations=alterations)
            except ValueError as error:
                raise UsageError(f"too little music to validate on: {error}.") from None
            state["seconds"] = time.monotonic() - started
            row = {
                "step": step + 1,
                "loss": round(sum(losses) / len(losses), 6),
                "learning_rate": round(learning_rate(step, train), 8),
                "scale": round(float(loss.log_scale.detach().exp()), 4),
                "eer": round(eer, 6),
                "recall_at_far_1e-3": round(recall, 6),
                "seconds": round(state["seconds"], 1),
            }
            losses = []
            rows.append(row)
            state["stale"] += 1
            if eer < state["best_eer"]:
                state.update(best_eer=eer, best_step=step + 1, stale=0)
                best = {k: v.detach().clone() for k, v in extractor.state_dict().items()}
            # The curve first: rows beyond the checkpoint are dropped by the run that resumes.
            write_curve(directory / CURVE, rows)
            save_checkpoint(checkpoint, identity, extractor, loss, optimiser, state, best)
            if report:
                report(row)
        upcoming.cancel()
    extractor.load_state_dict(best)
    summary = {
        "classes": train.classes,
        "train": to_json(train),
        "alterations": to_json(alterations),
        "best_step": state["best_step"],
        "steps": state["step"],
        "validation_eer": round(state["best_eer"], 6),
        "data": data,
    }
    return save_extractor(extractor, directory, name=name, summary=summary)


def save_checkpoint(path, identity, extractor, loss, optimiser, state, best) -> None:
    """Write everything a resumed run needs, in one file that replaces the last one."""
    tensors = {f"model.{k}": v for k, v in extractor.state_dict().items()}
    tensors |= {f"loss.{k}": v for k, v in loss.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for i, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in entry.items()}
    part = path.with_suffix(".part")
    part.write_bytes(pack_tensors(tensors, {"identity": identity, "state": json.dumps(state)}))
    os.replace(part, path)


def load_checkpoint(path, identity, extractor, loss, optimiser, state) -> dict[str, torch.Tensor]:
    """Restore what ``save_checkpoint`` wrote; return the best weights so far.

    Raises
    ------
    WeightsError
        If the file is damaged or belongs to a run with other settings.
    """
    try:
        tensors, header = unpack_tensors(path.read_bytes())
        if header["identity"] != identity:
            raise WeightsError(
                f"{show_path(path)} belongs to a run with other settings. "
                "Give the same ones to resume, or another --output to start anew."
            )
        saved = json.loads(header["state"])
        part = {
            kind: {
                k.removeprefix(f"{kind}."): v
                for k, v in tensors.items()
                if k.startswith(f"{kind}.")
            }
            for kind in ("model", "loss", "best", "optimiser")
        }
        extractor.load_state_dict(part["best"])  # sees to it that they fit
        extractor.load_state_dict(part["model"])
        loss.load_state_dict(part["loss"])
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in part["optimiser"].items():
            i, _, name = key.partition(".")
            entries.setdefault(int(i), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": entries, "param_groups": groups})
        state.update({k: type(v)(saved[k]) for k, v in state.items()})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(" .")  # torch's messages have several lines
        raise WeightsError(
            f"{show_path(path)} is damaged: {reason}. Delete it to start the run anew."
        ) from None
    return part["best"]


def read_curve(path: Path, *, upto: int) -> list[dict[str, float]]:
    """Return the rows of the loss curve up to a step; none if there is no file.

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        rows = [{k: float(row[k]) for k in CURVE_COLUMNS} for row in table]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise WeightsError(
            f"{show_path(path)} is damaged: {error}. Delete it; the run goes on without it."
        ) from None
    return [{**row, "step": int(row["step"])} for row in rows if row["step"] <= upto]


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the loss curve, replacing the file."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
