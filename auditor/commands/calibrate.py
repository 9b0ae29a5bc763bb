"""``audit calibrate``: a threshold with measured error rates."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    BatchOption,
    DebugOption,
    Device,
    DeviceOption,
    ExtractorOption,
    JobsOption,
    Precision,
    PrecisionOption,
    QuietOption,
    WorkspaceOption,
)
from auditor.commands.running import command_line, n_jobs, open_for_command, workers_for
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH
from auditor.errors import show_path
from auditor.scoring import SCORERS

if TYPE_CHECKING:
    from auditor.api.calibrate import Effort
    from auditor.calibration.thresholds import Thresholds

EXAMPLES = """\b
Examples:
  audit calibrate music/
  audit calibrate --copies 0
  audit calibrate music/ --same same.tsv --alterations all --plots --output mine.json
  audit scan music/ --threshold-file mine.json
"""


Score = StrEnum("Score", dict(zip(SCORERS, SCORERS, strict=True)))  # type: ignore[misc]  # a table


class Alterations(StrEnum):
    """Which altered copies to make."""

    QUICK = "quick"
    ALL = "all"


def calibrate(
    context: typer.Context,
    roots: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR",
            help="Music without shared material, except for the pairs listed in --same; by "
            "default the catalogue as it is.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Threshold file to write; by default one in the workspace, where scan and check "
            "find it.",
        ),
    ] = None,
    same: Annotated[
        Path | None,
        typer.Option(
            "--same",
            metavar="FILE",
            help="TSV file with a header and pairs of paths that share material; these pairs are "
            "not counted.",
        ),
    ] = None,
    from_decisions: Annotated[
        bool,
        typer.Option(
            "--from-decisions",
            help="Use your decisions: count confirmed pairs as copies and false alarms as "
            "unrelated.",
        ),
    ] = False,
    from_identifiers: Annotated[
        bool,
        typer.Option(
            "--from-identifiers",
            help="Count pairs whose tags have an ISRC or a MusicBrainz recording in common as "
            "copies.",
        ),
    ] = False,
    far: Annotated[
        float,
        typer.Option(
            "--far", min=1e-9, max=1.0, help="False alarm rate per pair at the default threshold."
        ),
    ] = 1e-4,
    copies: Annotated[
        int,
        typer.Option(
            "--copies",
            min=0,
            help="Number of tracks to make altered copies of; 0 for error rates only.",
        ),
    ] = 40,
    alterations: Annotated[
        Alterations,
        typer.Option("--alterations", help="Make 8 kinds of altered copies, or all 37."),
    ] = Alterations.QUICK,
    all_pairs: Annotated[
        bool,
        typer.Option(
            "--all-pairs",
            help="Count all pairs; by default, of more than 4,000, those with the nearest "
            "embeddings and a sample of the others, with weights that leave the rates unbiased.",
        ),
    ] = False,
    score: Annotated[
        Score | None,
        typer.Option(
            "--score",
            help="Score to calibrate: the match score, which flags pairs, or the embedding "
            "cosine, which measures how alike they sound; by default the one that flags "
            "pairs.",
        ),
    ] = None,
    plots: Annotated[
        bool,
        typer.Option("--plots", help="Also write an HTML page with charts beside the file."),
    ] = False,
    data: Annotated[
        str, typer.Option("--data", metavar="NAME", help="Name of the music in the file.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure error rates and write a threshold.

    Adds the music to the catalogue, counts how often unrelated tracks reach a score, fits a tail
    for rates too low to count, and prints the path of the threshold file.
    """
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    from auditor.api import calibrate as api
    from auditor.augment.alterations import ALTERATIONS
    from auditor.calibration.thresholds import save_thresholds
    from auditor.commands.progress import Progress
    from auditor.training.dataset import read_same_list

    options = api.CalibrateOptions(
        target_far=far,
        n_copies=copies,
        alterations=tuple(ALTERATIONS) if alterations is Alterations.ALL else api.QUICK,
        data=data,
        seed=seed,
        from_decisions=from_decisions,
        from_identifiers=from_identifiers,
        all_pairs=all_pairs,
        score=score.value if score else "",
    )
    pairs = read_same_list(same) if same is not None else ()
    with (
        open_for_command(workspace, extractor=extractor, precision=precision) as opened,
        Progress(quiet=quiet) as embedding,
        Progress(quiet=quiet, noun="pairs") as comparing,
        Progress(quiet=quiet, noun="copies") as copying,
        workers_for(context, opened, jobs=jobs, device=device, batch=batch) as (embedder, tiles),
    ):
        made = api.calibrate(
            opened,
            roots or [],
            same_pairs=pairs,
            options=options,
            embedder=embedder,
            tiles=tiles,
            on_event=embedding,
            on_effort=None if quiet else lambda effort: _say_effort(effort, n_jobs(jobs)),
            on_pair=comparing.advance,
            on_copy=copying.advance,
            command=command_line(context),
        )
        model = made.thresholds.scorer.partition("/")[0]
        kind = "" if model == "cosine" else f"-{model}"
        name = f"{opened.extractor.name}-{opened.weights_id}{kind}.json"
        written = save_thresholds(made.thresholds, output or opened.directory / "thresholds" / name)
    if plots:
        from auditor.report.html.calibration import write_calibration

        page = write_calibration(
            made.thresholds,
            made.nonmatching,
            made.matching,
            written.with_suffix(".html"),
            one_source=made.one_source,
        )
    for a, b, correlation in made.confirmed:
        print(
            f"set aside: {show_path(a)} and {show_path(b)} share material, their spectra "
            f"correlate by {correlation:.2f}",
            file=sys.stderr,
        )
    if not quiet:
        for line in _said(made.thresholds):
            print(line, file=sys.stderr)
        if plots:
            print(f"plots: {show_path(page)}", file=sys.stderr)
    print(show_path(written))


def _say_effort(effort: Effort, jobs: int) -> None:
    """Say what is to be done, and how long it will take."""
    from auditor.commands.progress import show_seconds

    copies = f" and {effort.n_copies:,} copies" if effort.n_copies else ""
    told = (
        f"{effort.n_pairs:,} pairs{copies} to compare: about {show_seconds(effort.seconds(jobs))}"
    )
    print(told, file=sys.stderr)


def _said(thresholds: Thresholds) -> list[str]:
    """Return what is worth knowing of a calibration, in lines."""
    made = thresholds
    n_pairs = made.n_nonmatching_pairs
    counted = f"{n_pairs:,} pairs"
    tables = [("", made.rates)]
    if made.one_source is not None:
        n_close = made.one_source.n_nonmatching_pairs
        counted = f"{n_pairs:,} pairs of two sources and {n_close:,} of one"
        tables = [(" of two sources", made.rates), (" of one source", made.one_source)]
    if made.n_stood_for:
        counted += f", a sample of {made.n_stood_for:,}"
    lines = [
        f"threshold {made.threshold:.4f} at FAR {made.target_far:g}, from {counted}, of "
        f"{made.n_tracks:,} tracks, {made.n_set_aside_pairs:,} pairs set aside"
    ]
    for kind, rates in tables:
        tail = rates.tail
        if tail is None:
            lines.append(
                f"no tail: too few pairs{kind} to say anything of rates below those counted"
            )
        else:
            lines.append(
                f"tail from {tail.threshold:.4f} to {tail.end_point:.4f}, fitted to "
                f"{tail.n_exceedances:,} scores of unaltered pairs{kind}: shape {tail.shape:.3f}, "
                f"goodness of fit p = {tail.p_value:g}"
            )
    return lines
