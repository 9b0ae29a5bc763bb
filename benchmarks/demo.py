"""A first look: real music, altered copies planted among it, and the commands that find them.

``make demo`` runs it.  It fetches some seventy megabytes of freely licensed game music (packages
that no weights were trained on and no threshold was measured on), or takes a folder of the user's
own music; plants altered copies below ``demo/planted``; runs ``audit scan``, ``audit check`` and
``audit recommend``, each shown as it would be typed; and compares what was found with what was
planted.  Run again, it takes up what is there.

::

    python benchmarks/demo.py --music ~/Music
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_catalogue import (
    DEMO,
    MUSIC,
    NEW,
    PLANTED,
    SYNTHETIC,
    WORKSPACE,
    Plant,
    get_music,
    plant_copies,
)

from auditor.errors import AuditError, show_path
from auditor.records import CheckResult, RecommendResult, Result, ScanResult, result_from_json

REPOSITORY = Path(__file__).resolve().parent.parent
REPORTS = Path("reports")
NATURAL_DUPLICATES = Path("benchmarks/natural_duplicates.tsv")


@dataclass(frozen=True)
class Comparison:
    """What a scan flagged, against what was planted; pairs are of absolute paths, shown escaped."""

    found: dict[Plant, float]
    missed: tuple[Plant, ...]
    known: tuple[tuple[float, str, str], ...]
    others: tuple[tuple[float, str, str], ...]


def run_audit(*arguments: str, ok: Sequence[int] = (0,)) -> None:
    """Run one command line of ``audit``, shown as it would be typed; end if it fails."""
    print(f"\n$ audit {show_path(shlex.join(arguments))}", flush=True)
    code = subprocess.run([sys.executable, "-m", "auditor.cli", *arguments], check=False).returncode
    if code not in ok:
        print(f"\nThe demo ends here: that command failed (exit code {code}).", file=sys.stderr)
        raise SystemExit(code)


def read_result(report: Path) -> Result:
    """Return the result behind a report."""
    return result_from_json(report.with_suffix(".json").read_text(encoding="utf-8"))


def compare(
    result: ScanResult, plants: Sequence[Plant], known: set[frozenset[str]] | None = None
) -> Comparison:
    """Set what a scan flagged against what was planted.

    Parameters
    ----------
    result : ScanResult
    plants : sequence of Plant
        Those that were scanned.
    known : set of frozenset of str, optional
        Ends of paths of two tracks that are known to share material though nobody planted them.
    """
    path_of = {track.id: track.path for track in result.tracks}
    flagged = {frozenset((path_of[p.a], path_of[p.b])): p for p in result.pairs if p.flagged}
    found: dict[Plant, float] = {}
    for plant in plants:
        pair = flagged.pop(frozenset((show_path(plant.file), show_path(plant.original))), None)
        if pair is not None:
            found[plant] = pair.score
    original_of = {show_path(plant.file): show_path(plant.original) for plant in plants}
    natural, others = [], []
    for pair in flagged.values():
        paths = [path_of[pair.a], path_of[pair.b]]
        ends = [original_of.get(path, path) for path in paths]
        is_known = ends[0] == ends[1] or any(
            all(any(end.endswith(f"/{name}") for end in ends) for name in names)
            for names in known or ()
        )
        (natural if is_known else others).append((pair.score, *paths))
    missed = tuple(plant for plant in plants if plant not in found)
    return Comparison(found, missed, tuple(natural), tuple(others))


def read_known_pairs() -> set[frozenset[str]]:
    """Return the pairs of the benchmark music that share material by nature."""
    with NATURAL_DUPLICATES.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {frozenset((row["path_a"], row["path_b"])) for row in rows}


def say_scan(comparison: Comparison, threshold: float) -> list[str]:
    """Return in words what a scan found of what was planted."""
    n_found, n_missed = len(comparison.found), len(comparison.missed)
    lines = [f"Found {n_found} of the {n_found + n_missed} planted copies:"]
    for plant, score in comparison.found.items():
        lines.append(f"  found   {score:.4f}  {show(plant.file)}: {plant.what}")
    for plant in comparison.missed:
        lines.append(f"  missed   below   {show(plant.file)}: {plant.what}")
    if n_missed:
        lines.append(
            f"  A missed copy scores below the threshold of {threshold:.4f}. To see its nearest "
            f"track:\n  audit check {shlex.quote(show(comparison.missed[0].file))} "
            f"--workspace {WORKSPACE}"
        )
    if comparison.known:
        lines.append(f"Flagged, not planted, but known to share material: {len(comparison.known)}")
        lines += [f"  {score:.4f}  {show(a)}  {show(b)}" for score, a, b in comparison.known[:5]]
    lines.append(f"Flagged and not planted: {len(comparison.others)}")
    lines += [f"  {score:.4f}  {show(a)}  {show(b)}" for score, a, b in comparison.others[:5]]
    if comparison.others:
        lines.append("  Such a pair shares material that nobody listed, or is a false alarm.")
    return lines


def say_check(result: CheckResult, plant: Plant) -> str:
    """Return in words whether a check led to the original."""
    if not result.pairs:
        return "Nothing was compared."
    best = max(result.pairs, key=lambda pair: pair.score)
    path_of = {track.id: track.path for track in result.tracks}
    verdict = "flagged" if best.flagged else "below the threshold, so not flagged"
    if path_of[best.b] == show_path(plant.original):
        return f"Its original is the nearest track: score {best.score:.4f}, {verdict}."
    return (
        f"Its original {show(plant.original)} is not the nearest track: that is "
        f"{show(path_of[best.b])}, score {best.score:.4f}, {verdict}. This is a miss."
    )


def say_recommend(result: RecommendResult, plant: Plant) -> str:
    """Return in words whether the copy was kept out of the recommendations."""
    paths = [answer.track.path for answer in result.recommendations]
    if show_path(plant.original) in paths:
        return "The track recommends itself: that is a bug, please report it."
    if show_path(plant.file) in paths:
        return f"Its planted copy {show(plant.file)} is among them: it was not flagged as a copy."
    return f"Neither the track itself nor its planted copy {show(plant.file)} is among them."


def show(path: str) -> str:
    """Return a path for reading, from the working folder on where it lies below it."""
    below = os.path.relpath(path)
    return show_path(path if below.startswith("..") else below)


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", metavar="DIR", help="a folder of your own music")
    parser.add_argument("--extractor", help="passed on to every audit command")
    parser.add_argument("--threshold", help="passed on to audit scan and audit check")
    options = parser.parse_args()
    given = options.music and os.path.abspath(os.path.expanduser(options.music))
    os.chdir(REPOSITORY)
    DEMO.mkdir(exist_ok=True)
    try:
        tour(given, options.extractor, options.threshold)
    except AuditError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return 0


def tour(given: str | None, extractor: str | None, threshold: str | None) -> None:
    """Get music, plant copies, scan, check, recommend, and say what came of it."""
    music = get_music(given)
    *scanned, submitted = plants = plant_copies(music)
    print(f"\nPlanted {len(scanned)} altered copies, and kept one out to be checked:")
    for plant in plants:
        print(f"  {show(plant.file)}: {plant.what}\n    made from {show(plant.original)}")
    print(
        f"\nWhat to expect: {len(scanned)} pairs, each a planted copy with its original, and what "
        "was done to it."
    )
    common = ["--workspace", str(WORKSPACE), *(["--extractor", extractor] if extractor else [])]
    flagging = [*common, *(["--threshold", threshold] if threshold else [])]
    reports = [REPORTS / f"demo-{name}.html" for name in ("scan", "check", "recommend")]

    run_audit("scan", show(str(music)) if music in (MUSIC, SYNTHETIC) else str(music),
              str(PLANTED), *flagging, "--output", str(reports[0]), ok=(0, 1))  # fmt: skip
    scan = read_result(reports[0])
    print()
    print("\n".join(say_scan(compare(scan, scanned, read_known_pairs()), scan.threshold.threshold)))

    submission = str(NEW / Path(submitted.file).name)
    run_audit("check", submission, *flagging, "--output", str(reports[1]), ok=(0, 1))
    print()
    print(say_check(read_result(reports[1]), submitted))

    query = os.path.relpath(scanned[0].original) if not given else scanned[0].original
    run_audit("recommend", query, "--top", "5", *common, "--output", str(reports[2]))
    print()
    print(say_recommend(read_result(reports[2]), scanned[0]))

    command = show(str(Path(sys.executable).with_name("audit")))
    print("\nThe reports, to be opened in a browser:")
    for report in reports:
        print(f"  {report}")
    print(f"The same on music of your own:\n  {command} scan /a/folder/of/music --open")


if __name__ == "__main__":
    sys.exit(main())
