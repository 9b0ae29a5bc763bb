"""``audit train``: an extractor of one's own."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditor.commands.options import DebugOption, Precision, QuietOption
from auditor.embedding.config import PAPER
from auditor.errors import UsageError, show_path
from auditor.training.config import TrainConfig

if TYPE_CHECKING:
    from auditor.training.dataset import TrainingSet
    from auditor.training.sampling import TrainingTracks

EXAMPLES = """\b
Examples:
  audit train music/ --classes track
  audit train train/ --validation val/ --classes genre --genre-from top
  audit train fma_large/ --classes genre --fma fma_metadata/
  audit train fma_large/ --classes genre --fma fma_metadata/ --genre-from fma-leaf
  audit train music/ --classes genre --genres genres.tsv
  audit scan music/ --extractor runs/track/track-0a1b2c3d.safetensors

To resume a stopped run from its last checkpoint, give the same command again.
"""

FRAMES = "frames"
"""Folder below the output that keeps the decoded music; runs share it."""

N_HELD_OUT = 2
"""Groups of tracks that are needed for validation."""


class Classes(StrEnum):
    """What the loss calls a class."""

    TRACK = "track"
    GENRE = "genre"
    EXCERPT = "excerpt"


class GenreFrom(StrEnum):
    """Where genres come from."""

    TAG = "tag"
    FMA = "fma"
    FMA_LEAF = "fma-leaf"
    PARENT = "parent"
    TOP = "top"
    LIST = "list"


class Architecture(StrEnum):
    """Shape of the network."""

    SMALL = "small"
    PAPER = "paper"


def train(
    roots: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="Folders of music to train on.", show_default=False),
    ],
    classes: Annotated[
        Classes,
        typer.Option(
            "--classes",
            help="What the network learns to distinguish: tracks, genres, or short excerpts.",
        ),
    ] = Classes.TRACK,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the runs; each gets a subfolder."
        ),
    ] = Path("runs"),
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name of the run and its weights; by default the value of --classes."
        ),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            "--validation",
            metavar="DIR",
            help="Music to validate on, repeatable; by default a tenth of the training music.",
        ),
    ] = None,
    genre_from: Annotated[
        GenreFrom | None,
        typer.Option(
            "--genre-from",
            help="Where genres come from: the files' tags, FMA's top-level or deepest genres, the "
            "parent folder, the top folder, or the --genres list. By default list with "
            "--genres, fma with --fma, else tag.",
        ),
    ] = None,
    fma: Annotated[
        Path | None,
        typer.Option("--fma", metavar="DIR", help="Folder with FMA's tracks.csv and genres.csv."),
    ] = None,
    genres: Annotated[
        Path | None,
        typer.Option(
            "--genres",
            metavar="FILE",
            help="TSV file with a header: path prefixes relative to the folders, and their genres.",
        ),
    ] = None,
    same: Annotated[
        Path | None,
        typer.Option(
            "--same",
            metavar="FILE",
            help="TSV file with a header and pairs of paths that share material; these are never "
            "trained as different classes.",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            metavar="WEIGHTS",
            help="Continue from this extractor: the name of a pretrained one or a weights file.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Total number of batches.")
    ] = None,
    batch_classes: Annotated[
        int | None, typer.Option("--batch-classes", min=2, max=4096, help="Classes per batch.")
    ] = None,
    batch_utterances: Annotated[
        int | None,
        typer.Option("--batch-utterances", min=2, max=256, help="Windows per class and batch."),
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option("--evaluate-every", min=1, help="Steps between validations.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Random seed.")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes that decode the music.")
    ] = 1,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Arithmetic of the network.")
    ] = Precision.BFLOAT16,
    architecture: Annotated[
        Architecture,
        typer.Option("--architecture", help="A small network, or the larger one from the paper."),
    ] = Architecture.SMALL,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Train an extractor on folders of music.

    Prints one line per validation, and finally the path of the weights file, which the other
    commands accept as --extractor. The loss curve is in curve.csv beside it.
    """
    run = name or classes.value
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", run):
        raise UsageError(
            f"--name is {show_path(run)!r}; letters, digits, '_', '.' and '-' are needed."
        )
    source = genre_from or (
        GenreFrom.LIST
        if genres is not None
        else GenreFrom.FMA
        if fma is not None
        else GenreFrom.TAG
    )
    if classes is Classes.GENRE:
        if source in (GenreFrom.FMA, GenreFrom.FMA_LEAF) and fma is None:
            raise UsageError(f"--genre-from {source.value} needs FMA's tables. Give --fma DIR.")
        if source is GenreFrom.LIST and genres is None:
            raise UsageError("--genre-from list needs a list of genres. Give --genres FILE.")
    from auditor.parallel import TRAINING_BYTES, require_memory

    require_memory(TRAINING_BYTES)
    from auditor.embedding.network import has_bfloat16_training, read_network
    from auditor.training.recipes import RECIPES, TUNING

    start = read_network(start_from) if start_from is not None else None
    recipe = RECIPES[classes.value]
    if start is not None:
        recipe = TUNING.get(classes.value, recipe)
        config = start.config
    else:
        config = PAPER if architecture is Architecture.PAPER else recipe.extractor
    settings: dict[str, Any] = {
        "n_steps": steps,
        "n_classes": batch_classes,
        "n_utterances": batch_utterances,
        "evaluate_every": evaluate_every,
        "seed": seed,
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    schedule = dataclasses.replace(recipe.train, precision=precision.value, **settings)

    from auditor.audio.fma_tags import load_fma
    from auditor.parallel import reserve_memory
    from auditor.training.dataset import music_sha256, read_same_list, split_validation
    from auditor.training.genres import GenreSource, read_genre_list
    from auditor.training.loop import train_extractor

    gathering: dict[str, Any] = {
        "config": config,
        "frames_dir": output / FRAMES,
        "same": read_same_list(same) if same is not None else (),
        "jobs": jobs,
    }
    if classes is Classes.GENRE:
        gathering["genres"] = GenreSource(
            source.value,
            fma=load_fma(fma) if fma is not None else None,
            listed=read_genre_list(genres) if genres is not None else None,
        )
    gathered = _gather(roots, gathering, quiet)
    heard = [gathered]
    if validation:
        heard.append(_gather(validation, gathering, quiet))
        tracks, held_out = (one.tracks for one in heard)
    else:
        n_groups = len(set(gathered.tracks.pool.groups))
        tracks, held_out = split_validation(
            gathered.tracks, share=max(0.1, N_HELD_OUT / max(1, n_groups))
        )
    n_held_out = len(set(held_out.pool.groups))
    if n_held_out < N_HELD_OUT:
        raise UsageError(
            f"{n_held_out} tracks are left to validate on; {N_HELD_OUT} that share nothing are "
            "needed at least. Give more music, or --validation DIR."
        )

    def report(row: dict[str, float]) -> None:
        if not quiet:
            print(describe_row(row, schedule), file=sys.stderr, flush=True)

    if schedule.precision == "bfloat16" and not has_bfloat16_training():
        print("This processor cannot train in bfloat16; float32 is used.", file=sys.stderr)
    reserve_memory()
    weights = train_extractor(
        tracks,
        held_out,
        config=config,
        train=schedule,
        alterations=recipe.alterations,
        start=start,
        directory=output / run,
        name=run,
        data={
            "folders": [show_path(os.path.basename(os.path.abspath(root))) for root in roots],
            "n_tracks": len(tracks.frames),
            "n_validation_tracks": len(held_out.frames),
            "hours": gathered.n_hours,
            "sha256": gathered.sha256,
            **({"genres": count_genres(tracks)} if classes is Classes.GENRE else {}),
        },
        music_sha256=music_sha256(heard, by_label=classes is Classes.GENRE),
        report=report,
    )
    print(show_path(weights))


def describe_row(row: dict[str, float], schedule: TrainConfig) -> str:
    """Return one row of the curve as a line for people."""
    return (
        f"step {row['step']:,} of {schedule.n_steps:,}: loss {row['loss']:.3f}, "
        f"validation EER {100 * row['eer']:.2f} %, "
        f"recall at FAR 1e-3 {100 * row['recall_at_far_1e-3']:.1f} %, {row['seconds']:,.0f} s"
    )


def count_genres(tracks: TrainingTracks) -> dict[str, int]:
    """Return the number of tracks of each genre, the largest first."""
    counts = Counter(label for label in tracks.pool.labels if label)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _gather(roots: list[Path], gathering: dict[str, Any], quiet: bool) -> TrainingSet:
    from auditor.commands.progress import Progress
    from auditor.training.dataset import gather_training_set

    with Progress(quiet=quiet) as progress:
        gathered = gather_training_set(roots, on_progress=progress.advance, **gathering)
    for skipped in gathered.skipped:
        path, reason = show_path(skipped.path), show_path(skipped.reason)
        print(f"skipped {path}: {reason.removeprefix(f'{path}: ')}", file=sys.stderr)
    if not quiet:
        line = f"{len(gathered.tracks.frames):,} tracks, {gathered.n_hours:.2f} hours"
        if "genres" in gathering:
            counts = count_genres(gathered.tracks)
            line += f"; {sum(counts.values()):,} of them in {len(counts):,} genres"
        print(line, file=sys.stderr)
    return gathered
