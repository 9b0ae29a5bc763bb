"""``audit calibrate``: a threshold with measured error rates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    QuietOption,
    WorkspaceOption,
    command_line,
    open_for_command,
)
from auditor.errors import show_path

EXAMPLES = """\b
Examples:
  audit calibrate music/
  audit calibrate music/ --same same.tsv --far 1e-5 --output mine.json
  audit scan music/ --threshold-file mine.json
"""


def calibrate(
    context: typer.Context,
    roots: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR",
            help="Music that shares no material, but for what --same lists.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The threshold file to write; by default one in the workspace, where scan and "
            "check find it.",
        ),
    ] = None,
    same: Annotated[
        Path | None,
        typer.Option(
            "--same",
            metavar="FILE",
            help="TSV with a header and pairs of paths that share material, left out of the count.",
        ),
    ] = None,
    far: Annotated[
        float,
        typer.Option(
            "--far", min=1e-9, max=1.0, help="False alarm rate per pair of the default threshold."
        ),
    ] = 1e-4,
    copies: Annotated[
        int, typer.Option("--copies", min=1, help="Tracks of which altered copies are made.")
    ] = 40,
    data: Annotated[
        str, typer.Option("--data", metavar="NAME", help="What to call the music in the file.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything chance decides.")] = 0,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = "track",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure error rates and write a threshold.

    Takes the music into the catalogue, counts how often unrelated tracks reach a score, and prints
    where the threshold file is.
    """
    from auditor import calibrate as api
    from auditor.progress import Progress
    from auditor.thresholds import save_thresholds
    from auditor.training_set import read_same_list

    options = api.CalibrateOptions(target_far=far, n_copies=copies, data=data, seed=seed)
    pairs = read_same_list(same) if same is not None else ()
    with (
        open_for_command(workspace, extractor=extractor) as opened,
        Progress(quiet=quiet) as embedding,
        Progress(quiet=quiet, noun="copies") as copying,
    ):
        thresholds = api.calibrate(
            opened,
            roots,
            same_pairs=pairs,
            options=options,
            on_event=embedding,
            on_copy=copying.advance,
            command=command_line(context),
        )
        name = f"{opened.extractor.name}-{opened.weights_id}.json"
        written = save_thresholds(thresholds, output or opened.directory / "thresholds" / name)
    if not quiet:
        print(
            f"threshold {thresholds.threshold:.4f} at FAR {far:g}, from "
            f"{thresholds.n_nonmatching_pairs:,} pairs of {thresholds.n_tracks:,} tracks",
            file=sys.stderr,
        )
    print(show_path(written))
