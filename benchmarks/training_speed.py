"""Does drawing and altering batches starve the arithmetic of training?

For each recipe: seconds for one batch (read, altered, normalised), for one step of the network on
it, and for a step of the loop, in which the next batch is made by a thread beside the arithmetic.
Where the loop takes hardly longer than the arithmetic, the data keep up.

Examples
--------
::

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py corpus/train --steps 20
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from auditor.embedding.network import Network
from auditor.training.batches import TrainingTracks, make_batch, make_talk
from auditor.training.checkpoint import TrainingState
from auditor.training.config import TrainConfig
from auditor.training.dataset import gather_training_set
from auditor.training.loop import take_step
from auditor.training.loss import GE2ELoss
from auditor.training.recipes import RECIPES, Recipe


def measure(recipe: Recipe, tracks: TrainingTracks, n_steps: int) -> tuple[float, float, float]:
    """Return the seconds of a batch, of the arithmetic on it, and of a step of both."""
    config, train = recipe.extractor, recipe.train
    talk = make_talk(config.features, seed=train.seed) if recipe.alterations.talk else None
    network, loss = Network(config), GE2ELoss(train.scale, train.offset)
    optimiser = torch.optim.AdamW([*network.parameters(), *loss.parameters()], lr=1e-5)
    state = TrainingState(network, loss, optimiser)

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return make_batch(
            tracks, step, config=config, train=train, alterations=recipe.alterations, talk=talk
        )

    batch = batch_at(0)
    take_step(state, *batch, train)  # memory and threads are there from now on
    started = time.perf_counter()
    for step in range(n_steps):
        batch_at(step)
    batch_s = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(n_steps):
        take_step(state, *batch, train)
    learn_s = time.perf_counter() - started
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as loader:
        upcoming = loader.submit(batch_at, 0)
        for step in range(n_steps):
            batch = upcoming.result()
            upcoming = loader.submit(batch_at, step + 1)
            take_step(state, *batch, train)
        both_s = time.perf_counter() - started
    return batch_s / n_steps, learn_s / n_steps, both_s / n_steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path)
    parser.add_argument("--frames", type=Path, default=Path("runs/frames"))
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    print("| recipe | windows a step | batch, s | arithmetic, s | both, s | both / arithmetic |")
    print("|---|---|---|---|---|---|")
    for name in ("excerpt", "track"):
        recipe = RECIPES[name]
        train: TrainConfig = recipe.train
        tracks = gather_training_set(
            [args.music], config=recipe.extractor, frames_dir=args.frames
        ).tracks
        batch_s, learn_s, both_s = measure(recipe, tracks, args.steps)
        print(
            f"| {name} | {train.n_classes * train.n_utterances} | {batch_s:.3f} | {learn_s:.3f} "
            f"| {both_s:.3f} | {both_s / learn_s:.2f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
