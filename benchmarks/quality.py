"""Quality benchmark: is the right original found, for every way a copy may be altered?

Every system scores the same files, those that ``copies.py`` wrote: copies of the tracks of a role
against all its originals, each system at its own thresholds for the same FAR.  ``ours`` is the
cosine of embeddings, the aligned score of the excerpt d-vectors, both, and where ``verdicts.py``
left it the match score, by which ``audit`` decides; the peers are those of ``peers.py``.  A system
that cannot run is skipped with a line that says why.

Written are ``report.md``, ``report.json``, DET curves and score histograms as pictures, and the
scores of each system, by which all of it can be made again.

Examples
--------
::

    python benchmarks/copies.py corpus --role test --every 2
    python benchmarks/quality.py corpus --role test --every 2 --systems ours,chromaprint,mfcc
    python benchmarks/quality.py corpus --role val --extractors runs/v2/track.safetensors,excerpt
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from aligned_score import AlignConfig
from copies import copies_folder, corpus_paths
from evaluation import (
    FARS,
    Evaluation,
    NamedPair,
    Scores,
    evaluate,
    on_common_copies,
    split_pairs,
    stand_to_targets,
)
from pictures import draw_det, draw_histogram
from systems import Inputs, Settings, our_systems

from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import wilson_interval
from auditor.errors import AuditError, UsageError
from auditor.training.dataset import group_tracks, read_same_list

SAME = Path(__file__).with_name("natural_duplicates.tsv")
SYSTEMS = ("ours", "chromaprint", "audfprint", "recipe", "mfcc")

PANAKO = {
    "compression": 1.0,
    "pitch+1": 1.0,
    "pitch-2": 1.0,
    "pitch+4": 0.55,
    "tempo+5": 1.0,
    "tempo-10": 0.82,
    "tempo+20": 0.82,
    "speed+3": 0.82,
    "speed+25": 0.36,
    "noise0": 0.82,
    "crop10": 0.82,
}
"""Recall of Panako at FAR 1e-4, measured beforehand: 97 references, 11 copies of each kind."""


def peer_scores(name: str, inputs: Inputs, args: argparse.Namespace) -> Scores:
    """Return the scores of a peer.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    from peers import PEERS

    options: dict[str, object] = {}
    if name == "recipe":
        options["weights"] = args.recipe
    if name == "audfprint":
        options |= {"source": args.audfprint, "python": args.audfprint_python}
    return PEERS[name](
        inputs.folder,
        inputs.n_tracks,
        kinds=inputs.kinds,
        every=inputs.every,
        jobs=inputs.jobs,
        cache=args.peers_cache / name / inputs.folder.name,
        **options,
    )


def gather(
    names: list[str], inputs: Inputs, args: argparse.Namespace
) -> tuple[dict[str, Scores], list[str], list[str]]:
    """Return the scores of all systems, which of them are ours, and why others were skipped."""
    systems: dict[str, Scores] = {}
    ours: list[str] = []
    skipped: list[str] = []
    for name in names:
        try:
            if name == "ours":
                systems |= our_systems(inputs, settings_of(args))
                kept = args.verdicts / args.role / "match.npz"
                if kept.exists():
                    systems["match"] = Scores.load(kept)
                ours = list(systems)
            else:
                systems[name] = peer_scores(name, inputs, args)
        except (AuditError, ImportError) as error:
            skipped.append(f"{name} is skipped: {error}")
            print(skipped[-1], file=sys.stderr)
    return systems, ours, skipped


def settings_of(args: argparse.Namespace) -> Settings:
    """Return what our systems are asked for."""
    cohort: list[str] = []
    if args.cohort:
        train = corpus_paths(args.corpus, "train")
        cohort = [train[int(i)] for i in np.linspace(0, len(train) - 1, args.cohort)]
    return Settings(
        extractors=tuple(args.extractors.split(",")),
        align=AlignConfig(penalty=args.penalty, contrast=args.contrast),
        share=args.share,
        cohort=tuple(Path(path) for path in cohort),
        cohort_s=args.max_s,
        top=args.top,
    )


def shipped_threshold(extractor: str) -> float | None:
    """Return the threshold that a scan would use, None if nothing is calibrated."""
    from auditor.calibration.thresholds import find_thresholds, shipped_directory
    from auditor.embedding.extractor import load_extractor

    found = find_thresholds(
        load_extractor(extractor).weights_id, [shipped_directory()], scorer="cosine/1"
    )
    return found[0].threshold if found else None


def rate(value: float | None, digits: int = 3) -> str:
    """Return a rate as text, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def rates(values: tuple[float | None, ...]) -> str:
    """Return rates as text, one behind the other."""
    return " / ".join(rate(value) for value in values)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table, with an empty one behind it."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines] + [""]


def few_pairs(evaluation: Evaluation) -> list[str]:
    """Return a line for each FAR that cannot be counted."""
    return [
        f"FAR {far:g} is not counted: it takes {round(1 / far):,} impostor pairs, "
        f"{evaluation.n_impostor_pairs:,} there are."
        for far, threshold in zip(FARS, evaluation.thresholds, strict=True)
        if threshold is None
    ]


def render_side_by_side(systems: dict[str, Evaluation]) -> list[str]:
    """Return recalls at all FARs, rows alterations, columns systems."""
    first = next(iter(systems.values()))
    fars = " / ".join(f"{far:g}" for far in FARS)
    lines = ["## Side by side", "", f"Recall at FAR {fars}, one threshold for all alterations.", ""]
    body = [
        [row.label, str(row.n)] + [rates(of.rows[i].recalls) for of in systems.values()]
        for i, row in enumerate(first.rows)
    ]
    body.append(["**mean**", ""] + [f"**{rates(of.mean_recalls)}**" for of in systems.values()])
    for i, far in enumerate(FARS):
        if first.mean_intervals[i] is not None:
            cells = ["–".join(map(rate, of.mean_intervals[i] or ())) for of in systems.values()]
            body.append([f"its 95 % at {far:g}", "", *cells])
    return lines + table(["alteration", "copies", *systems], body) + few_pairs(first) + [""]


def render_targets(systems: dict[str, Evaluation]) -> list[str]:
    """Return how systems stand to the targets."""
    standings = {name: stand_to_targets(of) for name, of in systems.items()}
    body = []
    for of_target in zip(*standings.values(), strict=True):
        target, far = of_target[0].target, of_target[0].far
        cells = []
        for standing in of_target:
            cell = standing.verdict
            if standing.mean is not None:
                cell = f"{cell}: {standing.mean:.3f}"
                if target.group != "mean":
                    cell += f", lowest {standing.lowest:.3f} ({standing.lowest_row})"
            cells.append(cell)
        body.append([target.group, f"{far:g}", f"{target.recalls[far]:.3f}", *cells])
    return [
        "## Targets",
        "",
        "*met*: every row of the group; *mean met*: the mean of its rows only.",
        "",
        *table(["group", "FAR", "target", *systems], body),
    ]


def find_below(
    best: Evaluation, peers: dict[str, Evaluation]
) -> list[tuple[str, float, str, float, float]]:
    """Return rows at FAR 1e-4 and 1e-5 where a peer's recall is higher than ours.

    Returns
    -------
    list of tuple
        Alteration, FAR, peer, its recall, ours.
    """
    found = []
    for k, row in enumerate(best.rows):
        for i, far in enumerate(FARS):
            own = row.recalls[i]
            if far > 1e-4 or own is None:
                continue
            theirs = {name: of.rows[k].recalls[i] for name, of in peers.items()}
            if far == 1e-4 and row.alteration in PANAKO:
                theirs["Panako (other files)"] = PANAKO[row.alteration]
            found += [
                (row.alteration, far, name, value, own)
                for name, value in theirs.items()
                if value is not None and value > own
            ]
    return found


def render_below(name: str, best: Evaluation, peers: dict[str, Evaluation]) -> list[str]:
    """Return the rows in which a peer is better."""
    found = find_below(best, peers)
    lines = [f"## Rows in which `{name}` is below a peer", ""]
    if not found:
        return [*lines, "None.", ""]
    body = [[kind, f"{far:g}", peer, rate(a), rate(b)] for kind, far, peer, a, b in found]
    return lines + table(["alteration", "FAR", "peer", "its recall", name], body)


def render_pairs(title: str, pairs: tuple[NamedPair, ...]) -> list[str]:
    """Return pairs by name, and at which FAR each is flagged."""
    lines = [title, ""]
    for pair in pairs:
        how = f" [{pair.alteration}]" if pair.alteration else ""
        at = [f"{far:g}" for far, yes in zip(FARS, pair.flagged, strict=True) if yes]
        flagged = f"flagged at {', '.join(at)}" if at else "not flagged"
        lines.append(f"- {pair.score:.4f} {pair.query}{how} | {pair.reference}: {flagged}")
    return [*lines, "" if pairs else "None.\n"]


def render_system(name: str, evaluation: Evaluation) -> list[str]:
    """Return the report of one system."""
    thresholds = ", ".join(
        f"{far:g}: {rate(t, 4)}" for far, t in zip(FARS, evaluation.thresholds, strict=True)
    )
    lines = [
        f"## {name}",
        "",
        f"{evaluation.n_tracks} references, {evaluation.n_impostor_pairs:,} impostor pairs "
        f"({evaluation.n_original_impostor_pairs:,} of originals). Thresholds at FAR {thresholds}.",
        *few_pairs(evaluation),
        "",
    ]
    given = evaluation.given_threshold is not None
    if given:
        n_false, n = evaluation.n_false, evaluation.n_original_impostor_pairs
        low, high = wilson_interval(n_false, n)
        lines += [
            f"Shipped threshold {evaluation.given_threshold:.4f}: {n_false} false pairs of {n:,} "
            f"unaltered ones, FAR {n_false / n:.2g} (95 %: {low:.2g}–{high:.2g}).",
            "",
        ]
    head = ["alteration", "copies", "top-1 (95 %)"] + [f"recall at {far:g}" for far in FARS]
    body = []
    for row in evaluation.rows:
        low, high = row.top1_interval
        cells = [row.label, str(row.n), f"{row.top1:.3f} ({low:.3f}–{high:.3f})"]
        cells += [*map(rate, row.recalls), rate(row.eer, 4)]
        if given:
            low, high = wilson_interval(row.n_flagged, row.n)
            cells.append(f"{row.n_flagged} = {row.n_flagged / row.n:.3f} ({low:.3f}–{high:.3f})")
        body.append(cells)
    mean = ["**mean**", "", rate(evaluation.mean_top1)]
    for value, interval in zip(evaluation.mean_recalls, evaluation.mean_intervals, strict=True):
        within = f" ({'–'.join(map(rate, interval))})" if interval else ""
        mean.append(f"**{rate(value)}**{within}")
    body.append([*mean, rate(evaluation.mean_eer, 4), *([""] if given else [])])
    extra = ["found at the shipped threshold (95 %)"] if given else []
    lines += table([*head, "EER", *extra], body)
    lines += render_pairs("Natural duplicates:", evaluation.duplicates)
    lines += render_pairs("Hardest impostors among originals:", evaluation.hardest_originals)
    lines += render_pairs("Hardest impostors among copies:", evaluation.hardest_copies)
    return [*lines, f"![scores](scores-{name}.png)", ""]


def draw(
    out: Path, groups: np.ndarray, found: dict[str, Scores], evaluations: dict[str, Evaluation]
) -> list[str]:
    """Draw the pictures; return a line for each that cannot be drawn."""
    split = {name: split_pairs(groups, scores) for name, scores in found.items()}
    try:
        draw_det(split, out / "det.png")
        for name, pairs in split.items():
            marks = zip(FARS, evaluations[name].thresholds, strict=True)
            marks = {far: threshold for far, threshold in marks if threshold is not None}
            draw_histogram(name, pairs, marks, out / f"scores-{name}.png")
    except UsageError as error:
        return [f"No pictures: {error}"]
    return []


def render(evaluations: dict[str, Evaluation], *, ours: list[str], best: str) -> list[str]:
    """Return the report of systems on the same copies, as lines of Markdown.

    Parameters
    ----------
    evaluations : dict of Evaluation
        By system, rows in the same order.
    ours : list of str
        Systems that are held against the targets.
    best : str
        The one of them that is held against the others.
    """
    lines = render_side_by_side(evaluations)
    if ours:
        lines += render_targets({name: evaluations[name] for name in ours})
    if best in ours:
        peers = {name: of for name, of in evaluations.items() if name not in ours}
        lines += render_below(best, evaluations[best], peers)
    for name, evaluation in evaluations.items():
        lines += render_system(name, evaluation)
    return lines


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--every", type=int, default=1, help="copies of every n-th track only")
    parser.add_argument("--systems", default="ours", help=f"of {','.join(SYSTEMS)}")
    parser.add_argument("--alteration", action="append", choices=sorted(ALTERATIONS), default=[])
    parser.add_argument("--out", type=Path, help="folder of the report; runs/quality/ROLE")
    parser.add_argument(
        "--extractors", default="excerpt", help="one, or A,B: the first embeds, the last aligns"
    )
    parser.add_argument("--penalty", type=float, default=AlignConfig.penalty)
    parser.add_argument("--contrast", type=float, default=AlignConfig.contrast)
    parser.add_argument("--share", type=float, default=0.95, help="of the aligned score in both")
    parser.add_argument("--cohort", type=int, default=0, help="tracks of train to normalise by")
    parser.add_argument("--top", type=int, default=50, help="of their scores that count")
    parser.add_argument("--best", help="our system that is held against peers; the last of ours")
    parser.add_argument("--verdicts", type=Path, default=Path("runs/verdicts"), help="match scores")
    parser.add_argument("--max-s", type=float, default=90.0, help="of copies.py")
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"), help="of copies.py")
    parser.add_argument("--cache", type=Path, default=Path("runs/dvectors"))
    parser.add_argument("--peers-cache", type=Path, default=Path("runs/peers"))
    parser.add_argument("--recipe", type=Path, default=Path("runs/recipe"), help="its weights")
    parser.add_argument("--audfprint", type=Path, metavar="FOLDER", help="its source")
    parser.add_argument("--audfprint-python", default=sys.executable)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.out = args.out or Path("runs/quality") / args.role
    unknown = set(args.systems.split(",")) - set(SYSTEMS)
    if unknown or args.every < 1 or args.jobs < 1:
        parser.error(
            f"--systems {args.systems} --every {args.every} --jobs {args.jobs}: systems are "
            f"{', '.join(SYSTEMS)}; numbers are 1 or more"
        )
    return args


def main() -> int:
    args = parse_arguments()
    paths = corpus_paths(args.corpus, args.role)
    inputs = Inputs(
        folder=copies_folder(args.copies, args.role, args.max_s),
        n_tracks=len(paths),
        kinds=tuple(args.alteration or ALTERATIONS),
        every=args.every,
        cache=args.cache,
        jobs=args.jobs,
    )
    found, ours, skipped = gather(args.systems.split(","), inputs, args)
    found = on_common_copies(found)
    if not found:
        return 1
    names = [str(Path(path).relative_to((args.corpus / args.role).resolve())) for path in paths]
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    groups = np.asarray(group_tracks(paths, hashes, read_same_list(SAME)))
    given = {}
    if "embeddings" in found:
        given["embeddings"] = shipped_threshold(args.extractors.split(",")[0])
    evaluations = {
        name: evaluate(names, groups, scores, threshold=given.get(name))
        for name, scores in found.items()
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name, scores in found.items():
        scores.save(args.out / f"{name}.npz")
    skipped += draw(args.out, groups, found, evaluations)
    command = shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]])
    lines = [f"# Quality on {args.role}", "", f"`{command}`", "", *skipped, ""]
    best = args.best or (ours or [""])[-1]
    lines += ["![DET curves](det.png)", "", *render(evaluations, ours=ours, best=best)]
    (args.out / "report.md").write_text("\n".join(lines), encoding="utf-8")
    content = {
        "role": args.role,
        "command": command,
        "skipped": skipped,
        "tracks": names,
        "fars": FARS,
        "systems": {name: asdict(of) for name, of in evaluations.items()},
        "targets": {
            name: [asdict(s) for s in stand_to_targets(evaluations[name])] for name in ours
        },
    }
    (args.out / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
