"""The original project's recipe, as a peer: its song model, trained on the same music as ours.

*D-Vector Music Recommendations* trains GE2E on log-mel frames of 40 bands with a plain LSTM, on
samples of 160 frames, where a class is a song and a batch holds 5 of them with 10 samples each; the
embedding of a song is the plain average of the d-vectors of its windows of 240 ms.  What differs
here, so that it can be made on a CPU within half an hour:

* The LSTM has 3 layers of 256 (those of Resemblyzer), not of 768.
* Some 1,200 steps of AdamW with a cosine schedule, not SGD until the loss stays.
* Each sample is normalised by itself (``features.normalise_windows``), which the original lacks and
  which helps it: a copy at another level is no other song.
* The windows of 240 ms overlap by half; the original does not say by how much.
* Silent windows take part in the average, as they do there.
* Training and embedding are done in bfloat16, on half of the training music where time is short.

No alterations are trained on, as in the original.  A killed run goes on from its last checkpoint.

Examples
--------
::

    python benchmarks/recipe.py corpus --output runs/recipe --every 2

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from auditor.audio.files import find_audio
from auditor.augment.bands import BandAlterations
from auditor.embedding.config import PAPER
from auditor.embedding.frames import LogBands, normalise_windows
from auditor.embedding.network import Network, mixed_precision
from auditor.parallel import one_thread
from auditor.training.config import TrainConfig
from auditor.training.dataset import gather_training_set, music_sha256, read_same_list
from auditor.training.loop import train_extractor

SAME = Path(__file__).with_name("natural_duplicates.tsv")

EXTRACTOR = dataclasses.replace(PAPER, lstm_size=256)
"""40 mel bands, no convolutions, 3 x 256 to 256."""

TRAIN = TrainConfig(
    classes="track",
    n_classes=5,
    n_utterances=10,
    n_steps=1200,
    learning_rate=5e-4,
    evaluate_every=100,
    patience=1000,
    jitter_s=0.5,
)
"""Batches of the original: 5 songs with 10 samples each."""

UNALTERED = BandAlterations(clean=1.0, clean_first=1.0, tempo=1.0, talk=0.0)
"""Samples as they are."""

WINDOW_FRAMES = 24
HOP_FRAMES = 12
BATCH_WINDOWS = 1024


def average_dvector(network: Network, waveform: np.ndarray) -> np.ndarray:
    """Return the plain average of the d-vectors of a track's windows of 240 ms.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    waveform : numpy.ndarray
        (n_samples,) float32 in [-1, 1] at 16 kHz.

    Returns
    -------
    numpy.ndarray
        (n_dims,) float32, not of unit norm; empty if the track is shorter than one window.
    """
    config = network.config.features
    if len(waveform) < config.n_fft + (WINDOW_FRAMES - 1) * config.frame_hop:
        return np.zeros(0, np.float32)
    with torch.inference_mode():
        frames = LogBands(config)(waveform)  # (n_frames, n_bands)
        windows = sliding_window_view(frames, WINDOW_FRAMES, axis=0)[::HOP_FRAMES]
        dvectors = []
        for start in range(0, len(windows), BATCH_WINDOWS):
            batch = windows[start : start + BATCH_WINDOWS].transpose(0, 2, 1)
            normalised = torch.from_numpy(normalise_windows(batch))
            with mixed_precision("bfloat16"):
                dvectors.append(network(normalised).float())
        return torch.cat(dvectors).mean(dim=0).numpy()


def describe(row: dict[str, float]) -> str:
    """Return one row of the curve as a line."""
    return (
        f"step {row['step']}: loss {row['loss']:.3f}, validation EER {100 * row['eer']:.2f} %, "
        f"{row['seconds']:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="with the folders train and val")
    parser.add_argument("--output", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--every", type=int, default=1, help="train on every n-th track only")
    parser.add_argument("--steps", type=int, default=TRAIN.n_steps)
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    started = time.monotonic()
    train, val = (
        gather_training_set(
            [Path(os.fsdecode(file.path)) for file in files],
            config=EXTRACTOR,
            frames_dir=args.output / "frames",
            same=read_same_list(SAME),
        )
        for files in (
            find_audio([args.corpus / "train"]).files[:: args.every],
            find_audio([args.corpus / "val"]).files,
        )
    )
    n_tracks, seconds = len(train.tracks.frames), time.monotonic() - started
    print(f"{n_tracks} tracks, {train.n_hours} hours, {seconds:.0f} s", file=sys.stderr, flush=True)
    weights = train_extractor(
        train.tracks,
        val.tracks,
        config=EXTRACTOR,
        train=dataclasses.replace(TRAIN, n_steps=args.steps),
        directory=args.output,
        name="recipe",
        data={"folders": ["train"], "n_tracks": n_tracks, "hours": train.n_hours},
        music_sha256=music_sha256([train, val], by_label=False),
        alterations=UNALTERED,
        report=lambda row: print(describe(row), file=sys.stderr, flush=True),
    )
    print(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
