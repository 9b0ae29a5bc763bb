"""Generated music whose repeats are known: what ``audit generated`` finds of them.

Three trials, each written to disk and compared by the code of the command:

``splices``
    Clips of 30 s of real music, with 10, 5 or 3 s of a training track pasted in, or nothing; MP3.
``model``
    An n-gram model over the notes of tunes, overfitted: it goes on from its last ``--order`` notes
    as a tune of the training music does, so it copies tunes for seconds at a time, and which notes
    it copied is known exactly.  Training, held-out music and outputs are played by one synthesiser
    with one instrument and human timing, so everything sounds alike and no copy is exact.
``honest``
    The same model with an order so low that it copies nothing of note, against training and
    held-out music that are split at random a hundred times.  Which tracks an output matches is
    found once; the excess of each split is then counted as the command counts it.

Examples
--------
::

    python benchmarks/generated.py splices corpus --role test
    python benchmarks/generated.py splices corpus --role test --wide
    python benchmarks/generated.py model scores --tunes 60 --outputs 60
    python benchmarks/generated.py honest scores --tunes 60 --outputs 60
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arrangements import BASS, CHORDS, MELODY, Note, Taste, Work
from copies import corpus_paths
from rendering import Synthesizer
from works import load_works, plain_title

from auditor.api.excess import CountedSide, measure_excess
from auditor.api.generated import GeneratedOptions, find_repeats
from auditor.api.run import MAX_FALSE_PAIRS, Options, open_threshold
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import plant
from auditor.calibration.metrics import wilson_interval
from auditor.errors import AudioError
from auditor.evidence.alignment.ranges import covered_s
from auditor.ingest.collections import parse_collection, take_collections
from auditor.ingest.embedders import make_embedder
from auditor.parallel import LocalTiles, one_thread
from auditor.records import GeneratedResult
from auditor.scoring.base import open_scorer
from auditor.scoring.segments import count_segments, search_outputs
from auditor.scoring.track_reader import CatalogueReader
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import open_workspace

FONT = "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"
OUTPUT_S = 30.0
SPLICES_S = (10.0, 5.0, 3.0)
QUARTER_S = 0.5
MEMORISED_S = 5.0
"""Seconds of notes in the order of one tune, from which an output repeats it."""

_START = (-1, 0.0, 0)
_SHARPS = {-2: 21, -1: 22, 0: 0, 1: 40, 2: 73, 3: 24, 4: 11}
"""Program of a tune by the sharps of its key: accordion, harmonica, piano, violin, flute, ..."""

Token = tuple[int, float, int]
"""MIDI pitch, length in quarter notes, and sharps of the key, which tells the instrument."""


@dataclass(frozen=True)
class Copied:
    """Seconds of an output, and the tune and its seconds that they are of."""

    start_s: float
    end_s: float
    tune: str


class NoteModel:
    """An n-gram model of tunes, with stupid backoff (Brants et al. 2007).

    Parameters
    ----------
    tunes : list of list of Token
    order : int
        Notes that the next one depends on; fewer where they were never seen.
    """

    def __init__(self, tunes: list[list[Token]], order: int) -> None:
        self._order = order
        self._next: dict[tuple[Token, ...], list[Token]] = defaultdict(list)
        for tune in tunes:
            padded = [_START] * order + tune
            for i in range(order, len(padded)):
                for n in range(1, order + 1):
                    self._next[tuple(padded[i - n : i])].append(padded[i])
        self._starts = [tune[0] for tune in tunes]

    def sample(self, rng: np.random.Generator, length: float, *, bend: float) -> list[Token]:
        """Return notes of so many quarter notes.

        With probability ``bend``, a note is drawn as if only one note before it were known.
        """
        notes: list[Token] = [_START] * self._order
        now = 0.0
        while now < length:
            n = 1 if rng.random() < bend else self._order
            while n > 1 and tuple(notes[-n:]) not in self._next:
                n -= 1
            choices = self._next.get(tuple(notes[-n:])) or self._starts
            if now:  # a tune that ends goes on in its key
                choices = [note for note in choices if note[2] == notes[-1][2]] or choices
            notes.append(choices[int(rng.integers(len(choices)))])
            now += notes[-1][1]
        return notes[self._order :]


def verbatim_spans(
    notes: list[Token], tunes: dict[str, list[Token]], *, min_s: float
) -> list[Copied]:
    """Return the spans of notes that stand in a tune in the same order, the longest ones."""
    places: dict[tuple[Token, ...], list[tuple[str, int]]] = defaultdict(list)
    n_gram = 6
    for name, tune in tunes.items():
        for i in range(len(tune) - n_gram + 1):
            places[tuple(tune[i : i + n_gram])].append((name, i))
    starts_s = np.concatenate([[0.0], np.cumsum([length * QUARTER_S for _, length, _ in notes])])
    spans: list[Copied] = []
    at = 0
    while at <= len(notes) - n_gram:
        best, name = 0, ""
        for tune_name, i in places.get(tuple(notes[at : at + n_gram]), ()):
            tune, n = tunes[tune_name], n_gram
            while at + n < len(notes) and i + n < len(tune) and notes[at + n] == tune[i + n]:
                n += 1
            if n > best:
                best, name = n, tune_name
        if best and starts_s[at + best] - starts_s[at] >= min_s:
            spans.append(Copied(float(starts_s[at]), float(starts_s[at + best]), name))
            at += best
        else:
            at += 1
    return spans


def tune_tokens(work: Work) -> list[Token]:
    """Return the melody of a tune."""
    return [(pitch, length, work.sharps) for _, length, pitch, _ in work.notes if length <= 4.0]


def play(synthesizer: Synthesizer, notes: list[Token], rng: np.random.Generator) -> np.ndarray:
    """Return the sound of notes over bass and chords that follow from the notes alone."""
    made: list[Note] = []
    now = 0.0
    sharps = notes[0][2]
    tonic, program = 7 * sharps % 12, _SHARPS[sharps]
    for pitch, length, _ in notes:
        start, seconds = now * QUARTER_S, length * QUARTER_S
        made.append(_played(start, seconds, pitch, MELODY, 0.85, rng))
        if abs(now - round(now)) < 1e-6 and round(now) % 2 == 0:
            root = _ROOTS[(pitch - tonic) % 12]
            third = 4 if root in (0, 5, 7) else 3
            bass = 36 + (tonic + root) % 12
            made.append(_played(start, 2 * QUARTER_S, bass, BASS, 0.7, rng))
            for step in (0, third, 7):
                chord_pitch = 48 + (tonic + root + step) % 12
                made.append(_played(start, 1.8 * QUARTER_S, chord_pitch, CHORDS, 0.45, rng))
        now += length
    made.sort(key=lambda note: note.start)
    return synthesizer.play(made, Taste(seed=0, lead=program, pad=program, bass=32))


_ROOTS = {0: 0, 1: 9, 2: 7, 3: 0, 4: 0, 5: 5, 6: 2, 7: 0, 8: 4, 9: 5, 10: 7, 11: 7}
"""Root of the chord under a pitch class, both counted from the tonic."""


def _played(
    start: float, seconds: float, pitch: int, role: int, velocity: float, rng: np.random.Generator
) -> Note:
    """Return a note with the timing and loudness of a hand."""
    return Note(
        max(0.0, start + float(rng.normal(0.0, 0.01))),
        max(0.08, 0.95 * seconds),
        pitch,
        role,
        float(np.clip(velocity + rng.normal(0.0, 0.05), 0.15, 1.0)),
        0,
    )


def draw_tunes(scores: Path, n: int, rng: np.random.Generator) -> dict[str, list[Token]]:
    """Return n tunes of O'Neill's collection, each title once, in random order."""
    seen: set[str] = set()
    tunes: dict[str, list[Token]] = {}
    works = [w for w in load_works(scores) if w.collection == "oneill" and w.sharps in _SHARPS]
    for i in rng.permutation(len(works)).tolist():
        title, tokens = plain_title(works[i].title), tune_tokens(works[i])
        seconds = sum(length for _, length, _ in tokens) * QUARTER_S
        if title not in seen and 15.0 <= seconds <= 90.0:
            seen.add(title)
            tunes[works[i].id.replace("/", "-")] = tokens
        if len(tunes) == n:
            return tunes
    return tunes


def write_tunes(folder: Path, tunes: dict[str, list[Token]], rng: np.random.Generator) -> None:
    """Render tunes that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    synthesizer = Synthesizer(FONT)
    for name, tokens in tunes.items():
        path = folder / f"{name}.flac"
        if not path.exists():
            write_audio(path, play(synthesizer, tokens, rng), codec="flac")


def run(
    folder: Path,
    *,
    jobs: int,
    power: bool,
    n_hosts: int,
    min_s: float = 10.0,
    wide: bool = False,
) -> tuple[GeneratedResult, dict]:
    """Compare a folder of outputs, training and held-out music; return the result and its cost."""
    moments: dict[str, float] = {}

    def on_output(done: int, _: int) -> None:
        moments.setdefault("embedded", time.monotonic())
        moments["compared"] = time.monotonic()

    started = time.monotonic()
    with open_workspace(folder / "ws", write=True) as workspace, LocalTiles(jobs) as tiles:
        result = find_repeats(
            workspace,
            str(folder / "outputs"),
            str(folder / "training"),
            str(folder / "heldout"),
            options=Options(wide=wide),
            counting=GeneratedOptions(power=power, n_hosts=n_hosts, keep_artists=True, min_s=min_s),
            embedder=make_embedder(workspace.extractor, jobs=jobs),
            tiles=tiles,
            on_output=on_output,
        )
    costs = {
        "statement": result.statement,
        "notes": result.notes,
        "threshold": result.threshold.threshold,
        "n_comparisons": result.threshold.n_comparisons,
        "n_examined": result.n_pairs_compared,
        "n_segments": result.n_segments,
        "seconds": round(time.monotonic() - started, 1),
        "seconds_comparing": round(moments["compared"] - moments["embedded"], 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "excess": [(e.min_s, e.n_training, e.n_heldout, e.low, e.high) for e in result.excess],
        "replications": [
            (r.alteration, r.share, r.mean_s, r.n, r.n_found) for r in result.replications
        ],
    }
    return result, costs


def plant_splices(paths: list[str], folder: Path, *, per_length: int, clip_s: float) -> None:
    """Write training and held-out music, outputs with and without splices, and ``truth.json``."""
    listed = read_same_list(Path(__file__).with_name("natural_duplicates.tsv"))
    groups = group_tracks(paths, [hash_file(path) for path in paths], listed)
    packages = sorted({Path(path).parts[-2] for path in paths})
    of_hosts = set(packages[::3])
    rng = np.random.default_rng(7)
    hosts = [path for path in paths if Path(path).parts[-2] in of_hosts]
    others = [i for i, path in enumerate(paths) if path not in set(hosts)]
    sides = ("training", "heldout")
    side_of = {
        g: sides[k % 2] for k, g in enumerate(rng.permutation(sorted({groups[i] for i in others})))
    }
    training: list[str] = []
    for name in ("training", "heldout", "outputs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in others:
        try:
            waveform = load_waveform(paths[i], duration_s=clip_s)
        except AudioError:
            continue
        side = side_of[groups[i]]
        path = folder / side / f"{i:04}.flac"
        write_audio(path, waveform, codec="flac")
        if side == "training":
            training.append(str(path))
    truth = []
    wanted = [*(s for s in SPLICES_S for _ in range(per_length)), *([0.0] * per_length)]
    for number, splice_s in enumerate(wanted):
        host = _clip(hosts, OUTPUT_S, rng)
        row = {"splice_s": splice_s}
        if splice_s:
            source = None
            while source is None:
                name = training[int(rng.integers(len(training)))]
                source = _excerpt(name, splice_s, rng)
            at_s = float(rng.uniform(0.0, OUTPUT_S - splice_s))
            host = plant(source[0], host, position_s=at_s)
            row |= {"source": Path(name).stem, "at_s": at_s, "from_s": source[1]}
        host = host / max(1.0, float(np.abs(host).max()))
        row["output"] = f"{number:04}.mp3"
        write_audio(folder / "outputs" / row["output"], host, codec="mp3", bit_rate=128_000)
        truth.append(row)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))


def _clip(paths: list[str], seconds: float, rng: np.random.Generator) -> np.ndarray:
    while True:
        found = _excerpt(paths[int(rng.integers(len(paths)))], seconds, rng)
        if found is not None:
            return found[0]


def _excerpt(
    path: str, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, float] | None:
    """Return a loud excerpt of a file and where it begins, None where it is too short or quiet."""
    try:
        waveform = load_waveform(path, duration_s=240.0)
    except AudioError:
        return None
    n = round(seconds * SAMPLE_RATE_HZ)
    if len(waveform) < n:
        return None
    start = int(rng.integers(0, len(waveform) - n + 1))
    part = waveform[start : start + n]
    return (part, start / SAMPLE_RATE_HZ) if float(np.abs(part).mean()) > 0.01 else None


def splices(args: argparse.Namespace) -> None:
    """Run the trial of splices."""
    folder = args.folder / f"splices-{args.role}"
    paths = [str(Path(path).resolve()) for path in corpus_paths(args.corpus, args.role)]
    if not (folder / "truth.json").exists():
        plant_splices(paths, folder, per_length=args.per_length, clip_s=args.clip_s)
    result, costs = run(
        folder, jobs=args.jobs, power=args.hosts > 0, n_hosts=max(1, args.hosts), wide=args.wide
    )
    truth = {row["output"]: row for row in json.loads((folder / "truth.json").read_text())}
    name_of = {track.id: Path(track.path).name for track in result.tracks}
    copies = {one.track: {one.track, *one.copies} for one in result.repeated}
    found: dict[float, list[bool]] = defaultdict(list)
    errors: list[float] = []
    false: list[tuple[str, str, float]] = []
    of_output = defaultdict(list)
    for one in result.repeats:
        of_output[name_of[one.output]].append(one)
    for output, row in truth.items():
        hit = False
        for one in of_output[output]:
            if one.side != "training":
                false.append((output, name_of[one.track], round(one.score, 3)))
                continue
            names = {name_of[i].split(".")[0] for i in copies.get(one.track, {one.track})}
            inside = (
                row["splice_s"]
                and one.end_s > row["at_s"]
                and (one.start_s < row["at_s"] + row["splice_s"])
            )
            if row.get("source") in names and inside:
                if not hit:
                    errors += [
                        abs(one.start_s - row["at_s"]),
                        abs(one.end_s - row["at_s"] - row["splice_s"]),
                    ]
                hit = True
            else:
                false.append((output, name_of[one.track], round(one.score, 3)))
        if row["splice_s"]:
            found[row["splice_s"]].append(hit)
    for splice_s, hits in found.items():
        low, high = wilson_interval(sum(hits), len(hits))
        print(
            f"pasted {splice_s:g} s: {sum(hits)} of {len(hits)} "
            f"({100 * low:.0f}–{100 * high:.0f} %)"
        )
    print(json.dumps(costs | {"false": false, "median_error_s": float(np.median(errors))}))


def write_model(args: argparse.Namespace, folder: Path, *, order: int, bend: float) -> None:
    """Write training, held-out music and outputs of a model of notes, and ``truth.json``."""
    rng = np.random.default_rng(args.seed)
    tunes = draw_tunes(args.corpus, 2 * args.tunes, rng)
    names = list(tunes)
    training = {name: tunes[name] for name in names[: args.tunes]}
    heldout = {name: tunes[name] for name in names[args.tunes :]}
    write_tunes(folder / "training", training, rng)
    write_tunes(folder / "heldout", heldout, rng)
    model = NoteModel(list(training.values()), order)
    synthesizer = Synthesizer(FONT)
    (folder / "outputs").mkdir(exist_ok=True)
    truth = []
    for number in range(args.outputs):
        own = np.random.default_rng([args.seed, number, order])
        notes = model.sample(own, OUTPUT_S / QUARTER_S, bend=bend)
        path = folder / "outputs" / f"{number:04}.flac"
        write_audio(path, play(synthesizer, notes, own), codec="flac")
        row = {"output": path.name}
        for side, of_side in (("training", training), ("heldout", heldout)):
            for min_s in (MEMORISED_S, 10.0):
                spans = verbatim_spans(notes, of_side, min_s=min_s)
                row[f"{side}_{min_s:g}"] = [(s.start_s, s.end_s, s.tune) for s in spans]
        truth.append(row)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))


def model(args: argparse.Namespace) -> None:
    """Run the trial of an overfitted model."""
    folder = args.folder / f"model-{args.tunes}-{args.order}"
    if not (folder / "truth.json").exists():
        write_model(args, folder, order=args.order, bend=args.bend)
    result, costs = run(folder, jobs=args.jobs, power=False, n_hosts=1)
    print(json.dumps(costs | memorised(result, folder)))


def memorised(result: GeneratedResult, folder: Path) -> dict:
    """Return the seconds and outputs that repeat training music, beside what was copied."""
    truth = {row["output"]: row for row in json.loads((folder / "truth.json").read_text())}
    name_of = {track.id: Path(track.path).name for track in result.tracks}
    spans = defaultdict(list)
    longest: dict[str, float] = defaultdict(float)
    by_track: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in result.repeats:
        if one.side == "training":
            by_track[name_of[one.output], one.track].append((one.start_s, one.end_s))
            if one.end_s - one.start_s >= MEMORISED_S:
                spans[name_of[one.output]].append((one.start_s, one.end_s))
    for (output, _), of_track in by_track.items():
        longest[output] = max(longest[output], covered_s(of_track))
    known = {name: row[f"training_{MEMORISED_S:g}"] for name, row in truth.items()}
    true_s = sum(covered_s([(a, b) for a, b, _ in row]) for row in known.values())
    found_s = sum(covered_s(of_output) for of_output in spans.values())
    both_s = 0.0
    for name, row in known.items():
        a, b = [(s, e) for s, e, _ in row], spans[name]
        both_s += covered_s(a) + covered_s(b) - covered_s([*a, *b])
    all_s = sum(one.duration_s for one in result.collections[:1])
    return {
        "memorised_share_true": round(true_s / all_s, 4),
        "memorised_share_found": round(found_s / all_s, 4),
        "seconds_true_that_are_found": round(both_s / max(true_s, 1e-9), 4),
        "seconds_found_that_are_true": round(both_s / max(found_s, 1e-9), 4),
        "outputs_with_10s_true": sum(bool(row["training_10"]) for row in truth.values()),
        "outputs_with_10s_found": sum(s >= 10.0 for s in longest.values()),
        "outputs_with_10s_of_heldout_true": sum(bool(r["heldout_10"]) for r in truth.values()),
    }


def honest(args: argparse.Namespace) -> None:
    """Run the trial of an honest model, and split training and held-out music at random."""
    folder = args.folder / f"honest-{args.tunes}-{args.low_order}"
    if not (folder / "truth.json").exists():
        write_model(args, folder, order=args.low_order, bend=args.low_bend)
    started = time.monotonic()
    names = ("outputs", "training", "heldout")
    with open_workspace(folder / "ws", write=True) as workspace, LocalTiles(args.jobs) as tiles:
        taken = take_collections(
            workspace,
            [parse_collection(str(folder / name)) for name in names],
            embedder=make_embedder(workspace.extractor, jobs=args.jobs),
        )
        distinct = workspace.catalogue.table(workspace.weights_id).distinct()
        ids = distinct.tracks.names()
        masks = [np.array([i in side.ids for i in ids]) for side in taken[1:]]
        outputs = sorted(set(ids) & taken[0].ids)
        tracks = {track.id: track for track in workspace.catalogue.tracks()}
        n_pairs = sum(count_segments(tracks[i].duration_s) for i in outputs) * int(
            sum(map(sum, masks))
        )
        threshold = open_threshold(
            workspace, open_scorer(workspace), Options().with_budget(MAX_FALSE_PAIRS)
        ).choose(n_pairs)
        reader = CatalogueReader.of(workspace, table=distinct)
        reader.excerpts()
        found = search_outputs(
            tiles,
            tiles.publish(reader, with_excerpts=True),
            outputs,
            (np.packbits(masks[0]).tobytes(), np.packbits(masks[1]).tobytes()),
            threshold=threshold.threshold,
        )
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    for one in found.found:
        seconds[one.output][one.track] = covered_s([(r.a_start_s, r.a_end_s) for r in one.ranges])
    pool = [i for i, mask in zip(ids, masks[0] | masks[1], strict=True) if mask]
    costs = {
        "threshold": threshold.threshold,
        "n_comparisons": n_pairs,
        "n_examined": found.n_examined,
        "n_outputs": len(outputs),
        "n_matches": [sum(one.side == side for one in found.found) for side in (0, 1)],
        "seconds": round(time.monotonic() - started, 1),
    }
    held: dict[float, int] = defaultdict(int)
    rates: dict[float, list[float]] = defaultdict(list)
    for split in range(args.splits):
        order = np.random.default_rng([args.seed, split]).permutation(len(pool))
        parts = [[pool[i] for i in order[k::2]] for k in (0, 1)]
        sides = tuple(CountedSide({track: track for track in part}) for part in parts)
        for min_s in (0.0, 5.0, 10.0):
            one = measure_excess(
                outputs, (seconds, seconds), (sides[0], sides[1]), min_s=min_s, seed=split
            )
            held[min_s] += one.low <= 0.0 <= one.high
            rates[min_s].append(one.training / len(outputs))
    print(
        json.dumps(
            costs
            | {
                "splits": args.splits,
                "interval_holds_0": dict(held),
                "mean_rate_of_a_half": {s: round(float(np.mean(r)), 4) for s, r in rates.items()},
            }
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trial", choices=("splices", "model", "honest"))
    parser.add_argument("corpus", type=Path, help="the corpus, or the folder of scores")
    parser.add_argument("--role", default="test")
    parser.add_argument("--per-length", type=int, default=40)
    parser.add_argument("--clip-s", type=float, default=90.0, help="of each track of splices")
    parser.add_argument("--hosts", type=int, default=8, help="of --power; 0 leaves it out")
    parser.add_argument("--wide", action="store_true", help="look for passages of seconds, too")
    parser.add_argument("--tunes", type=int, default=60, help="of each side")
    parser.add_argument("--outputs", type=int, default=60)
    parser.add_argument("--order", type=int, default=8)
    parser.add_argument("--bend", type=float, default=0.03)
    parser.add_argument("--low-order", type=int, default=3)
    parser.add_argument("--low-bend", type=float, default=0.1)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/generated"))
    args = parser.parse_args()
    one_thread()
    {"splices": splices, "model": model, "honest": honest}[args.trial](args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
