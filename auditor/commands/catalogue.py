"""``audit catalogue``: what is in a catalogue, and whether it is sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditor.commands.options import DebugOption, ListFormat, ListFormatOption, WorkspaceOption

if TYPE_CHECKING:
    from auditor.catalogue.catalogue import Catalogue
    from auditor.records import Track

EXAMPLES = """\b
Examples:
  audit catalogue list
  audit catalogue show mjq2hx5a
  audit catalogue remove mjq2hx5a b3wz7kqd
  audit catalogue verify --hashes
  audit catalogue stats --format json
"""

VERIFY_EXAMPLES = """\b
Example:
  audit catalogue verify --hashes

Exit code: 0 no problems, 1 problems found, 2 error.
"""

EXIT_PROBLEMS = 1
NO_TRACK_INDEX = (
    "none; audit scan --search annoy builds it, and every scan without a second witness"
)
NO_EXCERPT_INDEX = "none; audit scan builds it, if the extractor has a second witness"
N_NEIGHBOURS = 10
"""Neighbours that the index recall is measured for."""

app = typer.Typer(
    help="List, show, remove and verify the tracks of a catalogue.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog="\b\nExample:\n  audit catalogue list --format json\n")
def list_tracks(
    workspace: WorkspaceOption = None,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """List the tracks: id, duration, artist, title and problems."""
    from auditor.errors import show_text

    damaged: dict[str, str] = {}
    with _open(workspace) as catalogue:
        tracks = catalogue.tracks(damaged=damaged)
    for problem in damaged.values():
        print(show_text(problem), file=sys.stderr)
    if form is ListFormat.JSON:
        _print_json([_as_dict(track) for track in tracks])
        return
    from auditor.report.text.general import repeated_labels, show_duration, track_badges

    repeated = repeated_labels(tracks)
    ids = [show_text(track.id) for track in tracks]
    width = max(map(len, ids), default=0)
    for track, track_id in zip(tracks, ids, strict=True):
        odd = f"  [{', '.join(track_badges(track))}]" if track_badges(track) else ""
        duration = show_duration(track.duration_s)
        path = f"  {show_text(track.path)}" if track.label in repeated else ""
        print(f"{track_id:<{width}}  {duration:>8}  {show_text(track.label)}{path}{odd}")
    if not tracks:
        print("the catalogue is empty. Run: audit scan DIR", file=sys.stderr)


@app.command("show", epilog="\b\nExample:\n  audit catalogue show mjq2hx5a\n")
def show_track(
    track_id: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            help="Id of a track, or a file that the catalogue knows.",
            show_default=False,
        ),
    ],
    workspace: WorkspaceOption = None,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """Show everything known about one track."""
    from auditor.decisions.apply import find_track

    with _open(workspace) as catalogue:
        facts = _as_dict(catalogue.track(find_track(catalogue, track_id)))
    if form is ListFormat.JSON:
        _print_json(facts)
    else:
        _print_facts(facts)


@app.command("remove", epilog="\b\nExample:\n  audit catalogue remove mjq2hx5a --yes\n")
def remove_tracks(
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID|FILE", help="Ids of tracks, or files of the catalogue.", show_default=False
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = None,
    debug: DebugOption = False,
) -> None:
    """Remove tracks from the catalogue; their audio files stay where they are."""
    from auditor.catalogue.catalogue import Catalogue
    from auditor.decisions.apply import find_track
    from auditor.errors import show_text
    from auditor.report.text.general import show_count
    from auditor.workspace import lock_workspace, workspace_directory

    with _open(workspace) as catalogue:
        found = dict.fromkeys(find_track(catalogue, word) for word in ids)
        tracks = [catalogue.track(track_id) for track_id in found]
    if not yes:
        for track in tracks:
            print(f"{show_text(track.id)}  {show_text(track.label)}", file=sys.stderr)
        typer.confirm(f"Remove {show_count(len(tracks), 'track')}?", abort=True, err=True)
    folder = workspace_directory(workspace)
    with lock_workspace(folder), Catalogue.open(_file(folder)) as catalogue:
        catalogue.remove([track.id for track in tracks])
    print(f"removed {show_count(len(tracks), 'track')}", file=sys.stderr)


@app.command("verify", epilog=VERIFY_EXAMPLES)
def verify(
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Also read every audio file and compare its hash.")
    ] = False,
    workspace: WorkspaceOption = None,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """Look for damage in the catalogue and its index, and for changed or missing files."""
    with _open(workspace) as catalogue:
        problems = catalogue.verify(hashes=hashes)
        if not problems:
            problems = [entry["problem"] for entry in _indexes(catalogue) if entry["problem"]]
            problems += _excerpt_problems(catalogue)
        problems += _missing(catalogue)
    if form is ListFormat.JSON:
        _print_json(problems)
    else:
        from auditor.errors import show_text
        from auditor.report.text.general import show_count

        for problem in problems:
            print(show_text(problem))
        said = show_count(len(problems), "problem") if problems else "no problems found"
        print(said, file=sys.stderr)
    if problems:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command("stats", epilog="\b\nExample:\n  audit catalogue stats --format json\n")
def stats(
    workspace: WorkspaceOption = None,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """Count tracks, hours and windows, and measure the index recall."""
    with _open(workspace) as catalogue:
        facts = catalogue.stats()
        facts["index"] = _indexes(catalogue, measure=True)
        facts["excerpt_index"] = _excerpt_indexes(catalogue)
    if form is ListFormat.JSON:
        _print_json(facts)
        return
    from auditor.errors import show_text

    indexes, excerpts = facts.pop("index"), facts.pop("excerpt_index")
    facts["hours"] = f"{facts['hours']:.2f}"
    facts["n_bytes"] = f"{facts['n_bytes']:,}"
    _print_facts(facts)
    for entry in indexes:
        where = f"track index of weights {show_text(entry['weights_id'])}"
        if entry["index_recall"] is None:
            problem = show_text(entry["problem"])
            print(f"{where}: {problem or NO_TRACK_INDEX}")
        else:
            print(
                f"{where}: recall {entry['index_recall']:.4f} of the {N_NEIGHBOURS} nearest, "
                f"{entry['n_tracks']:,} tracks of {entry['n_dims']} dimensions, "
                f"{entry['n_overlay']:,} of them not indexed yet, {entry['n_bytes']:,} bytes"
            )
    for entry in excerpts:
        where = f"excerpt index of weights {show_text(entry['weights_id'])}"
        built = (
            f"{entry['n_tracks']:,} tracks in {entry['n_shards']:,} files ({entry['backend']}), "
            f"{entry['n_uncovered']:,} tracks not indexed yet, {entry['n_bytes']:,} bytes"
        )
        print(f"{where}: {built if entry['n_shards'] else NO_EXCERPT_INDEX}")


def _file(folder: Path) -> Path:
    return folder / "catalogue.sqlite3"


def _open(workspace: Path | None) -> Catalogue:
    from auditor.catalogue.catalogue import Catalogue
    from auditor.workspace import workspace_directory

    return Catalogue.open(_file(workspace_directory(workspace)), read_only=True)


def _missing(catalogue: Catalogue) -> list[str]:
    """Return what is to be said of each track that is marked missing."""
    from auditor.errors import CatalogueError

    try:
        missing = [track for track in catalogue.tracks() if track.missing]
    except CatalogueError:  # a row that cannot be read is a problem that verify has named
        return []
    return [
        f"track {track.id}: {track.path} is missing: the scanned file no longer exists. Put it "
        f"back and run: audit scan DIR, or run: audit catalogue remove {track.id}"
        for track in missing
    ]


def _excerpt_problems(catalogue: Catalogue) -> list[str]:
    """Return what is wrong with the shards of the excerpt index, read to their ends."""
    from auditor.search.excerpts.index import ExcerptSource, read_shards

    problems: list[str] = []
    for weights_id in sorted(catalogue.stats()["by_weights"]):
        source = ExcerptSource.of(catalogue, weights_id)
        folder = catalogue.path.parent / "index" / "excerpts"
        _, damaged = read_shards(folder, source, verify=True)
        problems += [str(error) for error in damaged.values()]
    return problems


def _indexes(catalogue: Catalogue, *, measure: bool = False) -> list[dict[str, Any]]:
    """Return what is to be said of the index of each extractor, sorted by its weights."""
    from auditor.errors import IndexFileError
    from auditor.search.annoy_index import open_index

    entries = []
    for weights_id in sorted(catalogue.stats()["by_weights"]):
        table = catalogue.table(weights_id).distinct()  # as a scan indexes them
        ids, embeddings = table.tracks.names(), table.embeddings
        entry: dict[str, Any] = {
            "weights_id": weights_id,
            "n_tracks": len(ids),
            "n_dims": embeddings.shape[1],
            "n_overlay": None,
            "n_bytes": None,
            "index_recall": None,
            "problem": "",
        }
        entries.append(entry)
        if not ids:
            continue
        folder = catalogue.path.parent / "index"
        try:
            index = open_index(folder, weights_id, ids, embeddings, verify=True)
        except FileNotFoundError:
            continue
        except IndexFileError as error:
            entry["problem"] = str(error)
            continue
        entry["n_overlay"] = index.n_overlay
        entry["n_bytes"] = index.sidecar.ann_size
        if measure:
            entry["index_recall"] = index.recall(top=N_NEIGHBOURS)
    return entries


def _excerpt_indexes(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return what is to be said of the excerpt index of each extractor, sorted by its weights."""
    from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource, read_shards

    entries = []
    folder = catalogue.path.parent / "index" / "excerpts"
    for weights_id in sorted(catalogue.stats()["by_weights"]):
        source = ExcerptSource.of(catalogue, weights_id)
        shards, damaged = read_shards(folder, source, verify=False)
        uncovered = ExcerptIndex(shards, source, hop_s=1.0).uncovered
        entries.append(
            {
                "weights_id": weights_id,
                "n_shards": len(shards),
                "backend": shards[0].sidecar.config.backend if shards else None,
                "n_tracks": len(source.versions) - len(uncovered),
                "n_uncovered": len(uncovered),
                "n_bytes": sum(shard.path.stat().st_size for shard in shards),
                "problem": "; ".join(str(error) for error in damaged.values()),
            }
        )
    return entries


def _as_dict(track: Track) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(track)


def _print_facts(facts: dict[str, Any]) -> None:
    from auditor.errors import show_text

    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key or '-'}: {n:,}" for key, n in value.items())
        elif isinstance(value, (tuple, list)):
            value = " / ".join(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        shown = "-" if value in ("", None) else show_text(str(value))
        print(f"{name.removeprefix('n_').replace('_', ' '):<{width}}  {shown}")


def _print_json(data: Any) -> None:
    import json

    from auditor.errors import escape_json

    print(escape_json(json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)))
