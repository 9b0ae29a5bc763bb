"""A small library of seeded tunes and an extractor that tells them apart, for the audit's tests."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import mutagen
import numpy as np
import torch
from mutagen import id3
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import encode, write_audio
from auditor.calibration.rates import OperatingPoint
from auditor.calibration.thresholds import Thresholds, save_thresholds
from auditor.catalogue.catalogue import Catalogue
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import ExtractorWeights, save_weights
from auditor.embedding.network import Network
from auditor.ingest.session import IngestEvent
from auditor.records import Result, to_json

THRESHOLD = 0.85
"""Between the scores of different tunes and those of one tune in another encoding."""

TUNE_S = 3.0


def save_small_extractor(folder: Path, *, seed: int = 7, name: str = "small") -> Path:
    """Write seeded random weights that tell tunes apart; other seeds make other weights."""
    return save_weights(_small_weights(seed), folder, name=name, summary={})


@functools.cache
def _small_weights(seed: int) -> ExtractorWeights:
    torch.manual_seed(seed)
    config = ExtractorConfig(conv_channels=(4, 8), lstm_size=32, n_dims=32, pooling="mean")
    network = Network(config)
    network.projection.bias.data.zero_()
    extractor = network.extractor()
    seen = [
        embed_waveform(tune(100 + i, duration_s=TUNE_S), [extractor])[""].embedding
        for i in range(6)
    ]
    common = torch.from_numpy(np.mean(seen, axis=0))
    common /= common.norm()
    weight = network.projection.weight.data
    weight -= torch.outer(common, common @ weight)  # what all tunes share says nothing
    return network.weights()


def make_library(folder: Path) -> Path:
    """Write the library: one tune three times (two of the same bytes), four others, silence."""
    (folder / "sub").mkdir(parents=True)
    for name, seed in (("a.wav", 1), ("b.wav", 2), ("c.flac", 3), ("sub/d.ogg", 4), ("e.wav", 5)):
        write_tune(folder / name, seed)
    write_tune(folder / "sub/a-again.mp3", 1)
    shutil.copyfile(folder / "a.wav", folder / "sub/a-same.wav")
    write_audio(folder / "hush.wav", np.zeros(3 * SAMPLE_RATE_HZ, np.float32), codec="wav")
    return folder


def write_tune(path: Path, seed: int, *, duration_s: float = TUNE_S) -> Path:
    """Write the tune of a seed in the codec that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(seed, duration_s, path.suffix[1:]))
    return path


def isrc(number: int) -> str:
    """Return a valid ISRC of that number as tracks hold it."""
    return f"isrc:USRC1{number:07}"


def write_isrc(path: Path, number: int) -> Path:
    """Write the ISRC of a number into the tags of a file."""
    file, value = mutagen.File(path), isrc(number).removeprefix("isrc:")
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, id3.ID3):
        file.tags.add(id3.TSRC(encoding=3, text=[value]))
    else:
        file["isrc"] = value
    file.save()
    return path


@functools.lru_cache(maxsize=512)
def _encoded(seed: int, duration_s: float, codec: str) -> bytes:
    return encode(tune(seed, duration_s=duration_s), codec=codec)


def calibrate_by_hand(workspace: Path, weights_id: str, *, threshold: float = THRESHOLD) -> Path:
    """Write a threshold file for the extractor into a workspace."""
    points = (
        OperatingPoint(0.5, 0.1, 0.08, 0.12),
        OperatingPoint(threshold, 1e-4, 1e-5, 1e-3),
        OperatingPoint(0.999, 0.0, 0.0, 1e-4),
    )
    made = Thresholds(
        weights_id=weights_id,
        extractor="small",
        threshold=threshold,
        target_far=1e-4,
        operating_points=points,
        recalls=(),
        n_tracks=450,
        n_nonmatching_pairs=100_000,
        n_set_aside_pairs=0,
        data="tunes",
        data_sha256="0" * 64,
        date="2024-01-01",
        version="0",
        scorer="cosine/1",
        command="",
    )
    return save_thresholds(made, workspace / "thresholds" / "small.json")


class Log:
    """Outcomes by file name, filled by being given as ``on_event``."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def __call__(self, event: IngestEvent) -> None:
        self.outcomes[event.path.rsplit("/", 1)[-1]] = event.outcome

    def names(self, outcome: str) -> list[str]:
        return sorted(name for name, found in self.outcomes.items() if found == outcome)


def facts(result: Result) -> dict:
    """Return the JSON of a result without its provenance."""
    data = json.loads(to_json(result))
    del data["provenance"]
    return data


def ids_by_name(catalogue: Catalogue) -> dict[str, str]:
    """Return the ids of the tracks by the name of their file, where it is there."""
    tracks = sorted(catalogue.tracks(), key=lambda track: not track.missing)
    return {track.path.rsplit("/", 1)[-1]: track.id for track in tracks}
