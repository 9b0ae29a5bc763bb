"""Scenes of a campaign: a command, what lies there before it, and what must lie there after it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from faults import FINE, Zygote, facts_of
from small_audit import write_tune

from auditor.embedding import extractor
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.network import Network

THRESHOLD = "0.9"


@dataclass(frozen=True)
class Inputs:
    """What commands read and never write.

    Attributes
    ----------
    music : Path
        Tunes, one of them in three encodings, and a file that is no audio.
    many : Path
        As many short tunes as a calibration takes.
    new : Path
        A submission: a copy of one tune.
    weights : Path
        A small extractor that aligns.
    """

    music: Path
    many: Path
    new: Path
    weights: Path


def make_inputs(folder: Path) -> Inputs:
    """Write the inputs."""
    music, many = folder / "music", folder / "many"
    for name, seed in (("a.wav", 1), ("b.flac", 2), ("sub/c.ogg", 3), ("sub/a.mp3", 1)):
        write_tune(music / name, seed, duration_s=6.0)
    shutil.copy(music / "a.wav", music / "same.wav")
    (music / "text.mp3").write_text("This is no music.\n" * 40)
    for seed in range(20):
        write_tune(many / f"{seed:02}.flac", 100 + seed, duration_s=3.0)
    new = write_tune(folder / "new" / "new.opus", 2, duration_s=6.0)
    return Inputs(music, many, new, save_weights(folder / "weights"))


def save_weights(folder: Path) -> Path:
    """Write small seeded weights that align, so that excerpts are searched with them."""
    torch.manual_seed(3)
    config = ExtractorConfig(conv_channels=(4, 8), lstm_size=16, n_dims=16)
    return extractor.save_weights(
        Network(config).weights(), folder, name="small", summary={"classes": "excerpt"}
    )


@dataclass(frozen=True)
class Scene:
    """A command and its folder.

    Attributes
    ----------
    name : str
    prepare : callable
        Fills the folder, once; it is copied for each case.
    command : callable
        Returns the arguments of ``audit`` for a folder.
    outcome : callable
        Returns what the folder holds that must not depend on faults; it may run commands.
    """

    name: str
    prepare: Callable[[Zygote, Inputs, Path], None]
    command: Callable[[Inputs, Path], list[object]]
    outcome: Callable[[Zygote, Inputs, Path], Any]

    def __str__(self) -> str:
        return self.name


def base(inputs: Inputs, folder: Path) -> list[object]:
    """Return the options that most commands share."""
    return ["-w", folder / "ws", "--extractor", inputs.weights, "-q"]


def scan_command(inputs: Inputs, folder: Path) -> list[object]:
    options = ["--threshold", THRESHOLD, "--search", "annoy", "--format", "json", "-j", "1"]
    where = ["-o", folder / "out" / "scan.html"]
    return ["scan", inputs.music, *base(inputs, folder), *options, *where]


def scanned_facts(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    """Return what a scan of the catalogue as it is says, and what verify says."""
    options = ["--threshold", THRESHOLD, "--format", "json", "--no-report", "-j", "1"]
    end = zygote.audit("scan", *base(inputs, folder), *options)
    assert end.code in FINE, end.stderr
    verified = zygote.audit("catalogue", "verify", "-w", folder / "ws")
    return facts_of(end), verified.code, verified.stdout


def run_well(zygote: Zygote, *argv: object) -> None:
    end = zygote.audit(*argv)
    assert end.code in FINE, end.stderr


def with_catalogue(zygote: Zygote, inputs: Inputs, folder: Path) -> None:
    run_well(zygote, *scan_command(inputs, folder))


def with_many(zygote: Zygote, inputs: Inputs, folder: Path) -> None:
    some = sorted(inputs.many.iterdir())[:-2]
    options = ["--threshold", THRESHOLD, "--no-report", "-j", "1"]
    run_well(zygote, "scan", *some, *base(inputs, folder), *options)


def thresholds(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    (path,) = (folder / "ws" / "thresholds").glob("*.json")
    data = json.loads(path.read_bytes())
    return {key: value for key, value in data.items() if key not in ("date", "command")}


def weights_made(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    made = sorted((folder / "runs" / "track").glob("*.safetensors"))
    made = [path for path in made if path.name != "checkpoint.safetensors"]
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in made]


def decisions(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    """Return the decisions, each once: one that was stored before the kill is decided again."""
    end = zygote.audit("decide", "--export", "-", "-w", folder / "ws")
    assert end.code == 0, end.stderr
    rows = list(csv.DictReader(io.StringIO(end.stdout)))
    return sorted({tuple(sorted((k, v) for k, v in r.items() if k != "when")) for r in rows})


def decide_command(inputs: Inputs, folder: Path) -> list[object]:
    pair = [inputs.music / "a.wav", inputs.music / "sub" / "c.ogg"]
    return ["decide", *pair, "--as", "licensed", "--by", "Ana", "-w", folder / "ws"]


def rendered(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    return [(folder / "out" / name).read_bytes() for name in ("again.html", "again.csv")]


def leak_command(inputs: Inputs, folder: Path) -> list[object]:
    options = ["--threshold", THRESHOLD, "-j", "1", "-o", folder / "out" / "leak.html"]
    lists = ["--groups", folder / "out" / "groups.csv"]
    return ["leak", inputs.music, inputs.new.parent, *base(inputs, folder), *options, *lists]


def leaked(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    """Return the groups that a leak wrote, and what the catalogue holds."""
    groups = (folder / "out" / "groups.csv").read_bytes()
    return groups, scanned_facts(zygote, inputs, folder)


def generated_command(inputs: Inputs, folder: Path) -> list[object]:
    sides = ["--training", inputs.music, "--heldout", inputs.many, "--no-power"]
    options = ["--threshold", THRESHOLD, "-j", "1", "-o", folder / "out" / "generated.html"]
    return ["generated", inputs.new.parent, *sides, *base(inputs, folder), *options]


def repeated(zygote: Zygote, inputs: Inputs, folder: Path) -> Any:
    """Return what outputs repeat, and what the catalogue holds."""
    result = json.loads((folder / "out" / "generated.json").read_text("utf-8"))
    del result["provenance"]
    return result, scanned_facts(zygote, inputs, folder)


SCENES = {
    scene.name: scene
    for scene in (
        Scene("scan", lambda *_: None, scan_command, scanned_facts),
        Scene("leak", lambda *_: None, leak_command, leaked),
        Scene("generated", lambda *_: None, generated_command, repeated),
        Scene(
            "check --add",
            with_catalogue,
            lambda inputs, folder: [
                *("check", inputs.new, "--add", *base(inputs, folder), "--threshold", THRESHOLD),
                *("-o", folder / "out" / "check.html", "-j", "1"),
            ],
            scanned_facts,
        ),
        Scene(
            "calibrate",
            with_many,
            lambda inputs, folder: [
                *("calibrate", inputs.many, *base(inputs, folder), "--copies", "0"),
                *("--far", "0.1", "-j", "1"),
            ],
            thresholds,
        ),
        Scene(
            "train",
            lambda *_: None,
            lambda inputs, folder: [
                *("train", inputs.music, "-o", folder / "runs", "-q", "--steps", "2"),
                *("--batch-classes", "2", "--batch-utterances", "2", "--evaluate-every", "1"),
                *("--precision", "float32"),
            ],
            weights_made,
        ),
        Scene("decide", with_catalogue, decide_command, decisions),
        Scene(
            "report",
            with_catalogue,
            lambda inputs, folder: [
                *("report", folder / "out" / "scan.json", "-o", folder / "out" / "again.html"),
                "-q",
            ],
            rendered,
        ),
    )
}
