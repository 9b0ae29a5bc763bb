"""``audit generated``: what the outputs of a model repeat of its training music."""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.commands.options import (
    MAX_REPORT_MB,
    BatchOption,
    DebugOption,
    Device,
    DeviceOption,
    ExitZeroOption,
    ExtractorOption,
    FarOption,
    Format,
    FormatOption,
    JobsOption,
    MaxFalsePairsOption,
    NoAudioOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RayAddressOption,
    RayStorageOption,
    RedactOption,
    ReportSizeOption,
    SameOwnerOption,
    Search,
    ShowDecidedOption,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WaitOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_format,
    check_report_options,
    command_line,
    exit_code,
    finish,
    gather_media,
    keep_for_decisions,
    make_options,
    open_for_command,
    report_path,
    workers_for,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH

EXAMPLES = """\b
Examples:
  audit generated outputs/ --training train/ --heldout heldout/
  audit generated outputs.csv --training train.csv --heldout @genre=rock --format csv > repeats.csv
  audit generated outputs/ --training train/ --heldout heldout/ --min-seconds 5 --no-power

OUTPUTS may be a list (csv, tsv, parquet) with further columns, such as prompt, seed, model and
step, which are carried through. Held-out music is of the same kind as the training music, by other
artists, and the model never saw it.

Exit code: 0 no output repeats training music, 1 one does, 2 error.
"""

MIN_S, N_HOSTS = 10.0, 8
"""The same as in ``api.generated``, which would import NumPy."""


def generated(
    context: typer.Context,
    outputs: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUTS", help="A collection of generated music.", show_default=False
        ),
    ],
    training: Annotated[
        str,
        typer.Option(
            "--training", metavar="COLLECTION", help="The music that the model was trained on."
        ),
    ],
    heldout: Annotated[
        str,
        typer.Option(
            "--heldout", metavar="COLLECTION", help="Music of the same kind that it never saw."
        ),
    ],
    min_seconds: Annotated[
        float,
        typer.Option(
            "--min-seconds",
            metavar="S",
            min=0.0,
            max=3600.0,
            help="An output counts if it repeats so many seconds of one track.",
        ),
    ] = MIN_S,
    keep_artists: Annotated[
        bool,
        typer.Option(
            "--keep-artists",
            help="Also count tracks by artists who are in both the training and the held-out "
            "music.",
        ),
    ] = False,
    power: Annotated[
        bool,
        typer.Option(
            "--power/--no-power",
            help="Measure which passages would have been found: put some of the training music "
            "into a sample of the outputs, and search again.",
        ),
    ] = True,
    power_outputs: Annotated[
        int,
        typer.Option(
            "--power-outputs", metavar="N", min=1, help="Outputs in the sample of --power."
        ),
    ] = N_HOSTS,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Also look for passages of three seconds at their own pitch and tempo, which "
            "doubles the comparisons of the budget.",
        ),
    ] = False,
    compositions: Annotated[
        bool,
        typer.Option(
            "--compositions/--no-compositions",
            help="Also compare compositions: the same piece, played anew.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of intervals and of --power.")] = 0,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    ray_address: RayAddressOption = None,
    ray_storage: RayStorageOption = None,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_pairs: MaxFalsePairsOption = None,
    threshold_file: ThresholdFileOption = None,
    same_owner: SameOwnerOption = None,
    show_decided: ShowDecidedOption = False,
    form: FormatOption = Format.TABLE,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    no_audio: NoAudioOption = False,
    max_report_size: ReportSizeOption = MAX_REPORT_MB,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    exit_zero: ExitZeroOption = False,
    wait: WaitOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what the outputs of a music model repeat of its training music.

    Compares each segment of each output with the training and with held-out music at one threshold,
    and reports how many outputs repeat the training music beyond what held-out music explains, with
    passages, times, and what would have been found.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form)
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=Search.EXACT,
        same_owner=same_owner,
        max_false=max_false_pairs,
        wide=wide,
        compositions=compositions,
    )
    from auditor.api import generated as api
    from auditor.commands.progress import Progress

    counting = api.GeneratedOptions(
        min_s=min_seconds,
        keep_artists=keep_artists,
        power=power,
        n_hosts=power_outputs,
        seed=seed,
    )
    report = None if no_report else report_path(output, "generated")
    with (
        open_for_command(workspace, extractor=extractor, precision=precision, wait=wait) as opened,
        Progress(quiet=quiet) as progress,
        Progress(quiet=quiet, noun="outputs") as comparing,
        Progress(quiet=quiet, noun="candidate pairs") as linking,
        Progress(quiet=quiet, noun="passages put into outputs") as replicating,
        Progress(quiet=quiet, noun="tracks read for their pitches") as reading,
        workers_for(
            context,
            opened,
            jobs=jobs,
            device=device,
            batch=batch,
            ray_address=ray_address,
            ray_storage=ray_storage,
        ) as (embedder, tiles),
    ):
        result = api.find_repeats(
            opened,
            outputs,
            training,
            heldout,
            options=options,
            counting=counting,
            embedder=embedder,
            tiles=tiles,
            on_event=progress,
            on_output=comparing.advance,
            on_pair=linking.advance,
            on_case=replicating.advance,
            on_track=reading.advance,
            command=command_line(context),
        )
        keep_for_decisions(opened.directory, result)
        media = gather_media(
            opened,
            result,
            report,
            max_report_mb=max_report_size,
            audio=not no_audio,
            quiet=quiet,
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        show_decided=show_decided,
        verbose=verbose,
        quiet=quiet,
    )
    if code := exit_code(result, exit_zero=exit_zero):
        raise typer.Exit(code)
