"""The decision as a user gets it: candidates, both witnesses, spectra, verdicts.

The originals of a role (``benchmarks/copies.py`` writes them) become a catalogue, and every altered
copy is checked against it by the code of ``audit check``, from the d-vectors that
``benchmarks/quality.py`` kept.  Pairs that were no candidate score -1: what the indexes miss counts
as missed.  Written are the match scores (``match.npz``, which ``quality.py`` puts beside the other
systems) and ``verdicts.json``; ``--report`` renders the tables from them.

With ``--cross ROLE`` the originals are also compared with those of another role, for the number of
false pairs that an error budget really raises.

Examples
--------
::

    python benchmarks/copies.py corpus --role test --every 2
    python benchmarks/quality.py corpus --role test --every 2 --systems ours
    python benchmarks/verdicts.py corpus --role test --every 2 --cross train
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from copies import ORIGINAL, copies_folder, corpus_paths
from evaluation import Scores
from witness import (
    MADE_HERE,
    PARTIAL,
    RIGHT_S,
    SAME,
    Bench,
    errors_s,
    right_range,
    traps,
    truths,
)

from auditor.api.run import MAX_FALSE_PAIRS
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.audio.tags import read_tags
from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.choose import RunThreshold, ThresholdOptions
from auditor.calibration.metrics import wilson_interval
from auditor.catalogue.sources import track_sources
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import load_extractor
from auditor.embedding.pooling import pool_dvectors
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.evidence.alignment.ranges import WitnessConfig
from auditor.evidence.match_score import MIN_SCORE_TO_CONFIRM, MIN_SCORE_TO_SHOW
from auditor.ingest.session import ingest
from auditor.ingest.submissions import Submission
from auditor.parallel import one_thread
from auditor.records import Track, TrackEmbedding, Verdict
from auditor.scoring.base import ScoredPair
from auditor.scoring.match import examine_submissions
from auditor.scoring.track_reader import CatalogueReader
from auditor.scoring.verdict import decide_verdict
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import Workspace, open_workspace

BUDGETS = (0.1, 1.0, 10.0, 100.0)


class Catalogue:
    """The originals, as examined by ``audit check``."""

    def __init__(self, workspace: Workspace, bench: Bench) -> None:
        self.workspace, self.bench = workspace, bench
        self.ids, self.embeddings = workspace.catalogue.embeddings(workspace.weights_id)
        self.tracks = {track.id: track for track in workspace.catalogue.tracks()}
        self.row_of = {i: int(Path(t.path).stem) for i, t in self.tracks.items()}

    def query(self, kind: str, row: int) -> Submission | None:
        """Return a copy as a submission; None if it is too short or absent."""
        cached = self.bench.shared / kind / f"{row:04d}.npz"
        try:
            waveform = self.bench.waveform(kind, row)
            if kind not in MADE_HERE and cached.exists():
                with np.load(cached, allow_pickle=False) as stored:
                    made = pool_dvectors(stored["dvectors"], stored["levels"])
            else:
                made = embed_waveform(waveform, [self.bench.extractor])[self.workspace.weights_id]
        except (AudioError, FileNotFoundError) as error:
            print(f"{kind}/{row}: {error}", file=sys.stderr)
            return None
        return self.submission(f"{kind}/{row}", made, waveform)

    def submission(
        self, name: str, made: TrackEmbedding, waveform: np.ndarray
    ) -> Submission | None:
        """Return an embedded waveform as a submission; None if it is silent."""
        if not made.embedding.any():
            return None
        some = next(iter(self.tracks.values()))
        track = replace(
            some, id=f"new-{name}", sha256=name, duration_s=len(waveform) / SAMPLE_RATE_HZ
        )
        spectrum = waveform_spectrum(waveform)
        return Submission(b"", track, made.embedding, made.dvectors, made.levels, spectrum)

    def examine(
        self, query: Submission, shown_from: float = MIN_SCORE_TO_SHOW
    ) -> tuple[ScoredPair, ...]:
        """Return the examined candidates of a submission."""
        table = self.workspace.catalogue.table(self.workspace.weights_id)
        reader = CatalogueReader.of(self.workspace, table=table)
        return examine_submissions(reader, [query], shown_from=shown_from).pairs


def original_query(catalogue: Catalogue, track: Track) -> Submission:
    """Return a track of the catalogue as a submission that is not compared with itself."""
    workspace = catalogue.workspace
    row = catalogue.ids.index(track.id)
    dvectors, levels = workspace.catalogue.dvectors(track.id, workspace.weights_id)
    spectrum = workspace.catalogue.spectrum(track.sha256)
    return Submission(b"", track, catalogue.embeddings[row], dvectors, levels, spectrum, track.id)


def check_copies(
    catalogue: Catalogue, kinds: list[str], rows: list[int], folder: Path
) -> tuple[Scores, list]:
    """Check every copy; return the scores of all pairs, and what was said of the right ones.

    What was measured is kept in the folder, by kind, so that a killed run resumes.
    """
    n = len(catalogue.ids)
    scores: dict[str, np.ndarray] = {}
    said = []
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        kept = folder / f"{kind}-{len(rows)}.json"
        if not kept.exists():
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(check_kind(catalogue, kind, rows)))
            part.replace(kept)
            print(f"{kind}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        checked = json.loads(kept.read_text())
        said += [row["said"] for row in checked]
        scores[kind] = np.full((len(rows), n), -1.0, np.float32)
        for line, row in zip(scores[kind], checked, strict=True):
            for other, score in row["scores"]:
                line[other] = score
    originals = np.full((n, n), -1.0, np.float32)
    for track in catalogue.tracks.values():
        a = catalogue.row_of[track.id]
        # As low as the thresholds of large budgets, where a scan shows as weak ranges too.
        for pair in catalogue.examine(original_query(catalogue, track), MIN_SCORE_TO_CONFIRM):
            b = catalogue.row_of[pair.b]
            originals[a, b] = originals[b, a] = max(originals[a, b], pair.score)
    in_table = {kind: values for kind, values in scores.items() if kind not in MADE_HERE}
    return Scores(originals, in_table, {kind: np.asarray(rows) for kind in in_table}), said


def check_kind(catalogue: Catalogue, kind: str, rows: list[int]) -> list[dict]:
    """Check the copies of one alteration."""
    checked = []
    for row in rows:
        query = catalogue.query(kind, row)
        pairs = catalogue.examine(query) if query else ()
        own = next((pair for pair in pairs if catalogue.row_of[pair.b] == row), None)
        scored = [(catalogue.row_of[pair.b], pair.score) for pair in pairs]
        checked.append({"scores": scored, "said": describe(catalogue.bench, kind, row, own)})
    return checked


def describe(bench: Bench, kind: str, row: int, pair: ScoredPair | None) -> dict:
    """Return score and evidence of a copy and its original, and how they stand to the truth."""
    known = truths(bench, kind, row)
    row_said = {"kind": kind, "row": row, "n_truths": len(known), "score": -1.0, "matches": []}
    if pair is None:
        return row_said
    row_said |= {
        "score": pair.score,
        "witness": pair.evidence.score,
        "similarity": pair.similarity,
        "evidence": asdict(pair.evidence),
    }
    for truth in known:
        found = right_range(pair.evidence, truth)
        if found is None:
            continue
        errors = errors_s(found, truth)
        row_said["matches"].append(
            {
                "errors_s": errors.tolist(),
                "tempo_error": abs(found.tempo / truth.tempo - 1.0),
                "pitch_error": None
                if found.pitch_semitones is None
                else abs(found.pitch_semitones - truth.pitch_semitones),
            }
        )
    return row_said


def check_traps(catalogue: Catalogue, folder: Path) -> list[dict]:
    """Return what is said of pairs that share a sound and nothing else."""
    said = []
    for name, a, b in traps(catalogue.bench):
        place = folder / name.replace(" ", "-").replace(",", "")
        place.mkdir(parents=True, exist_ok=True)
        for side, waveform in (("a", a), ("b", b)):
            write_audio(place / f"{side}.flac", waveform, codec="flac")
        with open_workspace(
            place / "ws", extractor=catalogue.bench.extractor.name, write=True
        ) as workspace:
            from auditor.api.run import Options
            from auditor.api.scan import scan

            result = scan(workspace, [place], options=Options(threshold=threshold_of(workspace)))
        pair = result.pairs[0] if result.pairs else None
        said.append(
            {
                "trap": name,
                "verdict": pair.verdict if pair else "clear",
                "score": pair.score if pair else None,
                "evidence": asdict(pair.evidence) if pair and pair.evidence else None,
            }
        )
    return said


def threshold_of(
    workspace: Workspace, n: int = 19_701, n_one_source: int = 0, budget: float = MAX_FALSE_PAIRS
) -> float:
    """Return the threshold of an error budget for so many comparisons."""
    return run_threshold(workspace, budget).choose(n, n_one_source).threshold


def run_threshold(workspace: Workspace, budget: float) -> RunThreshold:
    """Return the threshold of the match score for an error budget."""
    return RunThreshold(
        workspace.weights_id,
        workspace.threshold_directories,
        scorer="match/1",
        options=ThresholdOptions(max_false=budget),
    )


def count_budgets(
    workspace: Workspace, scores: np.ndarray, n_comparisons: int, n_one_source: int
) -> list[dict[str, float]]:
    """Return what budgets raise among the scores of unrelated pairs."""
    counted = []
    for budget in BUDGETS:
        use = run_threshold(workspace, budget).choose(n_comparisons, n_one_source)
        counted.append(
            {
                "budget": budget,
                "threshold": use.threshold,
                "low": use.expected_low,
                "high": use.expected_high,
                "observed": int((scores >= use.threshold).sum()),
            }
        )
    return counted


def name_sources(catalogue: Catalogue, paths: list[str]) -> np.ndarray:
    """Return the sources of files, (n,) str."""
    some = next(iter(catalogue.tracks.values()))
    tracks = []
    for path in paths:
        tags = read_tags(path)
        tracks.append(replace(some, id=path, path=path, artist=tags.artist, album=tags.album))
    return np.asarray(track_sources(tracks))


def compare_roles(
    catalogue: Catalogue, corpus: Path, role: str, folder: Path, max_s: float, names: list[str]
) -> tuple[np.ndarray, tuple[int, int], list[tuple[str, str, float]]]:
    """Check the tracks of another role, cut to the same length, against the catalogue.

    Returns
    -------
    scores : numpy.ndarray
        Of the examined pairs that are not known to share material.
    n_pairs : (int, int)
        All pairs of the two roles that are not, and those of them that are of one source.
    hardest : list of (str, str, float)
        The highest of them, by path.
    """
    paths = [str(path) for path in corpus_paths(corpus, role)]
    hashes = [hash_file(path) for path in [*names, *paths]]
    groups = np.asarray(group_tracks([*names, *paths], hashes, read_same_list(SAME)))
    here, there = groups[: len(names)], groups[len(names) :]
    unrelated = here[:, None] != there[None, :]
    sources = name_sources(catalogue, [*names, *paths])
    one_source = sources[: len(names), None] == sources[None, len(names) :]
    n_pairs = int(unrelated.sum()), int((unrelated & one_source).sum())
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(paths):
        cached = folder / f"{i:04d}.json"
        if not cached.exists():
            try:
                waveform = load_waveform(path, duration_s=max_s)
                made = embed_waveform(waveform, [catalogue.bench.extractor])
            except AudioError as error:
                print(f"{path}: {error}", file=sys.stderr)
                continue
            query = catalogue.submission(path, made[catalogue.workspace.weights_id], waveform)
            pairs = catalogue.examine(query, MIN_SCORE_TO_CONFIRM) if query else ()
            scored = [(catalogue.row_of[p.b], p.score) for p in pairs]
            cached.write_text(json.dumps(scored))
        for row, score in json.loads(cached.read_text()):
            if here[row] != there[i]:
                found.append((names[row], path, score))
    found.sort(key=lambda item: -item[2])
    return np.asarray([score for _, _, score in found]), n_pairs, found[:10]


def render(report: dict) -> str:
    """Return the report as Markdown."""
    threshold = report["threshold"]
    lines = [
        f"{report['n_tracks']} references, threshold {threshold:.4f} (1 false pair in "
        f"{report['n_pairs']:,} pairs, {report['n_one_source']:,} of them of one source)",
        "",
        "| alteration | n | flagged | verdicts | right range | start, end error, median s "
        "| tempo within 1 % | pitch within 0.5 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    everything: dict[str, list[float]] = {"errors": [], "tempo": [], "pitch": []}
    for kind in dict.fromkeys(row["kind"] for row in report["said"]):
        rows = [row for row in report["said"] if row["kind"] == kind]
        flagged = [
            row for row in rows if row["score"] >= threshold and Verdict(row["verdict"]).flagged
        ]
        verdicts = [row["verdict"] for row in rows]
        counts = ", ".join(f"{v} {verdicts.count(v)}" for v in dict.fromkeys(sorted(verdicts)))
        n_truths = sum(row["n_truths"] for row in rows)
        matches = [m for row in flagged for m in row["matches"]]
        right = sum(max(m["errors_s"]) <= RIGHT_S for m in matches)
        near = [m for m in matches if kind not in PARTIAL or max(m["errors_s"]) <= 10.0]
        errors = np.asarray([m["errors_s"] for m in near]).reshape(-1, 4)
        tempo = [m["tempo_error"] <= 0.01 for m in near]
        pitch = [m["pitch_error"] is not None and m["pitch_error"] <= 0.5 for m in near]
        everything["errors"] += errors.ravel().tolist()
        everything["tempo"] += tempo
        everything["pitch"] += pitch
        low, high = wilson_interval(len(flagged), len(rows))
        start = np.median(errors[:, [0, 2]]) if len(errors) else np.nan
        end = np.median(errors[:, [1, 3]]) if len(errors) else np.nan
        lines.append(
            f"| {kind} | {len(rows)} | {len(flagged) / len(rows):.2f} ({low:.2f}-{high:.2f}) "
            f"| {counts} | {right}/{n_truths} | {start:.2f}, {end:.2f} "
            f"| {np.mean(tempo) if tempo else np.nan:.2f} "
            f"| {np.mean(pitch) if pitch else np.nan:.2f} |"
        )
    lines += [
        "",
        f"All flagged: median error of starts and ends {np.median(everything['errors']):.2f} s, "
        f"tempo within 1 % on {np.mean(everything['tempo']):.3f}, pitch within half a semitone on "
        f"{np.mean(everything['pitch']):.3f}.",
        "",
        "| pairs | budget | threshold | expected, 95 % | observed |",
        "|---|---|---|---|---|",
    ]
    for name, budgets in report["budgets"].items():
        lines += [
            f"| {name} | {b['budget']:g} | {b['threshold']:.4f} | {b['low']:.2g}-{b['high']:.3g} "
            f"| {b['observed']} |"
            for b in budgets
        ]
    for name, pairs in report["hardest"].items():
        lines += ["", f"Highest of {name}:", ""]
        lines += [f"* {score:.3f} {a} / {b}" for a, b, score in pairs]
    lines += ["", "| trap | verdict | score | ranges |", "|---|---|---|---|"]
    for trap in report["traps"]:
        ranges = (trap["evidence"] or {}).get("ranges", [])
        shown = "; ".join(
            f"a {r['a_start_s']:.1f}-{r['a_end_s']:.1f} b {r['b_start_s']:.1f}-{r['b_end_s']:.1f}"
            for r in ranges[:3]
        )
        score = "-" if trap["score"] is None else f"{trap['score']:.3f}"
        lines.append(f"| {trap['trap']} | {trap['verdict']} | {score} | {shown or '-'} |")
    return "\n".join(lines) + "\n"


def judged(row: dict, threshold: float) -> str:
    """Return the verdict of a row at a threshold."""
    from auditor.records import Evidence
    from auditor.serialisation import from_json

    if "evidence" not in row:
        return "clear"
    evidence = from_json(Evidence, row["evidence"], where="evidence")
    return decide_verdict(evidence, score=row["score"], threshold=threshold)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--extractor", default="excerpt")
    parser.add_argument("--every", type=int, default=2, help="as given to copies.py")
    parser.add_argument("--max-s", type=float, default=90.0, help="as given to copies.py")
    parser.add_argument(
        "--alteration",
        action="append",
        choices=[*ALTERATIONS, *MADE_HERE],
        help="check these only, and keep the result for a whole run",
    )
    parser.add_argument("--cross", help="a role whose tracks are checked too")
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"))
    parser.add_argument("--dvectors", type=Path, default=Path("runs/dvectors"))
    parser.add_argument("--output", type=Path, default=Path("runs/verdicts"))
    parser.add_argument("--report", action="store_true", help="only render what was measured")
    args = parser.parse_args()
    output = args.output / args.role
    if args.report:
        print(render(json.loads((output / "verdicts.json").read_text())))
        return 0
    one_thread()
    extractor = load_extractor(args.extractor)
    names = [str(path) for path in corpus_paths(args.corpus, args.role)]
    folder = copies_folder(args.copies, args.role, args.max_s)
    shared = args.dvectors / extractor.weights_id / folder.name
    bench = Bench(extractor, WitnessConfig(), folder, shared, output / "cache", len(names))
    kinds = args.alteration or [*ALTERATIONS, *MADE_HERE]
    rows = list(range(0, len(names), args.every))
    writes = not args.alteration
    with open_workspace(output / "ws", extractor=args.extractor, write=writes) as workspace:
        if writes:
            ingest(workspace, [folder / ORIGINAL])
        catalogue = Catalogue(workspace, bench)
        if args.alteration:  # part of the work, for a second process
            check_copies(catalogue, kinds, rows, output / "kinds")
            return 0
        scores, said = check_copies(catalogue, kinds, rows, output / "kinds")
        scores.save(output / "match.npz")
        hashes = [hash_file(name) for name in names]
        groups = np.asarray(group_tracks(names, hashes, read_same_list(SAME)))
        unrelated = np.triu(groups[:, None] != groups[None, :], 1)
        own = scores.originals[unrelated]
        sources = name_sources(catalogue, names)
        n_close = int((unrelated & (sources[:, None] == sources[None, :])).sum())
        threshold = threshold_of(workspace, own.size, n_close)
        order = np.argsort(-np.where(unrelated, scores.originals, -2.0), axis=None)[:10]
        places = [divmod(int(i), len(names)) for i in order]
        report = {
            "threshold": threshold,
            "n_tracks": len(names),
            "n_pairs": own.size,
            "n_one_source": n_close,
            "said": [{**row, "verdict": judged(row, threshold)} for row in said],
            "budgets": {
                f"{args.role} x {args.role}": count_budgets(workspace, own, own.size, n_close)
            },
            "hardest": {
                f"{args.role} x {args.role}": [
                    (names[a], names[b], float(scores.originals[a, b])) for a, b in places
                ]
            },
        }
        if args.cross:
            pair = f"{args.role} x {args.cross}"
            found, n_pairs, hardest = compare_roles(
                catalogue, args.corpus, args.cross, output / args.cross, args.max_s, names
            )
            report["budgets"][pair] = count_budgets(workspace, found, *n_pairs)
            report["hardest"][pair] = hardest
        report["traps"] = check_traps(catalogue, output / "traps")
    (output / "verdicts.json").write_text(json.dumps(report, indent=1))
    print(render(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
