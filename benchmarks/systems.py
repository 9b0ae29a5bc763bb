"""Our own systems on the copies of ``copies.py``: embeddings, aligned excerpts, and both.

Each copy is embedded once by each extractor and kept below ``<cache>/<weights_id>/``, so a killed
run goes on where it was.  What the lines of the aligned score say (``aligned_score.LineMeans``) is
kept as well: penalty, contrast and normalisation can be tried without following them again.

References
----------
Matejka et al. (2017), "Analysis of score normalization in multilingual speaker recognition",
Interspeech, section 2.3: symmetric score normalisation with an adaptive cohort.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from aligned_score import LOOP_POWER, AlignConfig, References, line_means, weigh_windows
from copies import ORIGINAL, copy_name
from evaluation import Scores, combine

from auditor.embedding.pooling import audible_windows
from auditor.errors import AudioError, UsageError

LOWEST = -1.0
"""Score of what cannot be embedded."""

LOWEST_NORMALISED = -1000.0

QUERIES_A_TASK = 25


@dataclass(frozen=True)
class Embedded:
    """One file by one extractor.

    Attributes
    ----------
    embedding : numpy.ndarray
        (n_dims,) float32, unit norm; zeros if the file holds nothing to embed.
    dvectors : numpy.ndarray
        (n_windows, n_dims) float16.
    levels : numpy.ndarray
        (n_windows,) float16, dB.
    """

    embedding: np.ndarray
    dvectors: np.ndarray
    levels: np.ndarray

    def save(self, path: Path) -> None:
        """Write an npz file whole or not at all; its folder is created if absent."""
        _save_arrays(path, embedding=self.embedding, dvectors=self.dvectors, levels=self.levels)

    def audible(self) -> np.ndarray:
        """Return the d-vectors, (n_windows, n_dims) float32, zeros where the window is silent.

        Silence is like silence, and proves nothing: a row of zeros is like nothing at all.
        """
        rows = self.dvectors.astype(np.float32)
        rows[~np.asarray(audible_windows(self.levels))] = 0.0
        return rows

    @classmethod
    def load(cls, path: Path) -> Embedded:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["embedding"], stored["dvectors"], stored["levels"])


def _save_arrays(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def is_stale(made: Path, sources: Sequence[Path]) -> bool:
    """Return whether a file is missing or older than what it was made of."""
    if not made.exists():
        return True
    age = made.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > age for source in sources)


@dataclass(frozen=True)
class EmbedTask:
    """Files, each with its place in the cache by weights, and what embeds them."""

    files: tuple[tuple[Path, dict[str, Path]], ...]
    extractors: tuple[str, ...]
    max_s: float | None


def embed_files(task: EmbedTask) -> int:
    """Embed the files that are not in the cache yet; return how many."""
    from auditor.audio.isolated import load_waveform
    from auditor.embedding.embed import embed_waveform
    from auditor.embedding.extractor import load_extractor
    from auditor.parallel import one_thread

    wanted = [
        (path, {w for w, cached in places.items() if is_stale(cached, [path])}, places)
        for path, places in task.files
    ]
    wanted = [entry for entry in wanted if entry[1]]
    if not wanted:
        return 0
    one_thread()
    extractors = [load_extractor(name) for name in task.extractors]
    for path, missing, places in wanted:
        by_features: dict[object, list] = {}
        for extractor in extractors:
            if extractor.weights_id in missing:
                by_features.setdefault(extractor.config.features, []).append(extractor)
        for sharing in by_features.values():
            try:
                made = embed_waveform(load_waveform(path, duration_s=task.max_s), sharing)
            except AudioError as error:
                print(error, file=sys.stderr)
                made = {}
            for extractor in sharing:
                found, n_dims = made.get(extractor.weights_id), extractor.config.n_dims
                nothing = Embedded(
                    np.zeros(n_dims, np.float32),
                    np.zeros((0, n_dims), np.float16),
                    np.zeros(0, np.float16),
                )
                kept = Embedded(found.embedding, found.dvectors, found.levels) if found else nothing
                kept.save(places[extractor.weights_id])
    return len(wanted)


@dataclass(frozen=True)
class Inputs:
    """Where the copies of a role lie, which of them are used, and where results are kept.

    Attributes
    ----------
    folder : pathlib.Path
        Of ``copies.copies_folder``; its name is used in the cache.
    n_tracks : int
        Of the role.
    kinds : tuple of str
        Alterations.
    every : int
        Copies of every n-th track only.
    cache : pathlib.Path
    jobs : int
        Processes.
    """

    folder: Path
    n_tracks: int
    kinds: tuple[str, ...]
    every: int = 1
    cache: Path = Path("runs/dvectors")
    jobs: int = 2

    def file(self, kind: str, row: int) -> Path:
        """Return where a copy lies."""
        return self.folder / kind / copy_name(row)

    def cached(self, weights_id: str, kind: str, row: int) -> Path:
        """Return where a copy's d-vectors lie."""
        folder = self.cache / weights_id / self.folder.name / kind
        return folder / Path(copy_name(row)).with_suffix(".npz")

    def rows(self) -> dict[str, np.ndarray]:
        """Return the tracks of which there is a copy, and an original, by alteration.

        Raises
        ------
        UsageError
            If there is no original or no copy.
        """
        originals = [i for i in range(self.n_tracks) if self.file(ORIGINAL, i).exists()]
        rows = {
            kind: [i for i in originals if i % self.every == 0 and self.file(kind, i).exists()]
            for kind in self.kinds
        }
        if not any(rows.values()):
            raise UsageError(
                f"{self.folder} holds {len(originals)} originals and no copy of them in any of "
                f"{len(self.kinds)} alterations. Run: python benchmarks/copies.py"
            )
        found = {kind: np.asarray(of_kind) for kind, of_kind in rows.items() if of_kind}
        return {ORIGINAL: np.asarray(originals), **found}


def embed_all(
    inputs: Inputs, rows: dict[str, np.ndarray], extractors: Sequence[str]
) -> tuple[str, ...]:
    """Embed what is not in the cache; return the weights ids of the extractors.

    Raises
    ------
    WeightsError
        If an extractor cannot be loaded.
    """
    weights = weights_ids(extractors)
    by_track: dict[int, list[tuple[Path, dict[str, Path]]]] = {}
    for kind, of_kind in rows.items():
        for i in of_kind:
            places = {w: inputs.cached(w, kind, i) for w in weights}
            by_track.setdefault(int(i), []).append((inputs.file(kind, i), places))
    tasks = [EmbedTask(tuple(files), tuple(extractors), None) for files in by_track.values()]
    _run("embedded tracks", embed_files, tasks, inputs.jobs)
    return weights


def weights_ids(extractors: Sequence[str]) -> tuple[str, ...]:
    """Return what names the weights of extractors, given by name or path."""
    from auditor.embedding.extractor import load_extractor

    return tuple(load_extractor(name).weights_id for name in extractors)


def _run(what: str, function, tasks: list, jobs: int) -> list:
    """Return the results of tasks in their order; several jobs are as many processes."""
    results = []
    with ExitStack() as stack:
        if jobs == 1:
            made = map(function, tasks)
        else:
            pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
            made = stack.enter_context(pool).map(function, tasks)
        for result in made:
            results.append(result)
            if len(results) % 20 == 0 or len(results) == len(tasks):
                print(f"{what}: {len(results)}/{len(tasks)}", file=sys.stderr, flush=True)
    return results


@dataclass(frozen=True)
class Lines:
    """What the lines of many queries say of each reference.

    Attributes
    ----------
    spans : numpy.ndarray
        (n_queries, n_spans) int, followed windows of each length of stretch; 0 where there is none.
    means : numpy.ndarray
        (n_queries, n_spans, n_references) float32; -inf where the span is 0.
    background : numpy.ndarray
        (n_queries, n_references) float32.
    """

    spans: np.ndarray
    means: np.ndarray
    background: np.ndarray

    def scores(self, *, penalty: float, contrast: float) -> np.ndarray:
        """Return ``LineMeans.scores`` of every query, (n_queries, n_references) float32."""
        lost = penalty / np.sqrt(np.maximum(self.spans, 1).astype(np.float32))[:, :, None]
        best = (self.means - lost).max(axis=1)
        return np.maximum(best - contrast * self.background, LOWEST).astype(np.float32)


@dataclass(frozen=True)
class LineTask:
    """Queries and references, as places of their d-vectors."""

    queries: tuple[Path, ...]
    references: tuple[Path, ...]
    config: AlignConfig


OVERLAP = 4.0
"""Windows of the excerpt extractor over their step."""


def _heard(path: Path) -> np.ndarray:
    """Return d-vectors as they are aligned: silence is nothing, loops are weighed less."""
    return weigh_windows(Embedded.load(path).audible(), overlap=OVERLAP)


def follow_lines(task: LineTask) -> Lines:
    """Follow the lines of queries; a query or reference without a window scores the lowest."""
    from auditor.parallel import one_thread

    one_thread()
    references = [_heard(path) for path in task.references]
    there = np.asarray([len(dvectors) > 0 for dvectors in references])
    stacked = References.of([dvectors for dvectors in references if len(dvectors)])
    shape = (len(task.queries), task.config.n_doublings + 1, len(references))
    lines = Lines(
        np.zeros(shape[:2], np.int64),
        np.full(shape, -np.inf, np.float32),
        np.zeros((shape[0], shape[2]), np.float32),
    )
    for q, path in enumerate(task.queries):
        query = _heard(path)
        if len(query) == 0:
            continue
        found = line_means(query, stacked, config=task.config)
        lines.spans[q, : len(found.spans)] = found.spans
        lines.means[q, : len(found.spans), there] = found.means.T
        lines.background[q, there] = found.background
    return lines


def all_lines(
    name: str,
    queries: dict[str, list[Path]],
    references: list[Path],
    *,
    config: AlignConfig,
    cache: Path,
    jobs: int,
) -> dict[str, Lines]:
    """Follow the lines of queries of several kinds, or read them from the last such run.

    Each run is kept as one npz, named by what it depends on: d-vectors, references, queries and
    grid.  Penalty and contrast are not among them.

    Parameters
    ----------
    name : str
        Begins the file's name.
    queries : dict of list of pathlib.Path
        Alteration to cached d-vectors.
    references : list of pathlib.Path
        Cached d-vectors.
    config : AlignConfig
        Its penalty and contrast are not used.
    cache : pathlib.Path
    jobs : int
    """
    grid = asdict(replace(config, penalty=0.0, contrast=0.0))
    listed = {kind: [str(path) for path in paths] for kind, paths in queries.items()}
    key = json.dumps([LOOP_POWER, grid, listed, [str(p) for p in references]], sort_keys=True)
    path = cache / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    if is_stale(path, [*references, *(path for paths in queries.values() for path in paths)]):
        tasks = [
            LineTask(tuple(paths[i : i + QUERIES_A_TASK]), tuple(references), config)
            for paths in queries.values()
            for i in range(0, len(paths), QUERIES_A_TASK)
        ]
        parts = iter(_run(f"lines of {name}", follow_lines, tasks, jobs))
        arrays = {}
        for kind, paths in queries.items():
            given = [next(parts) for _ in range(0, len(paths), QUERIES_A_TASK)]
            for field in ("spans", "means", "background"):
                arrays[f"{field}/{kind}"] = np.concatenate([getattr(p, field) for p in given])
        _save_arrays(path, **arrays)
    with np.load(path, allow_pickle=False) as stored:
        return {
            kind: Lines(*(stored[f"{field}/{kind}"] for field in ("spans", "means", "background")))
            for kind in queries
        }


@dataclass(frozen=True)
class Cohort:
    """Scores with unrelated music, of which score normalisation learns what is usual.

    Attributes
    ----------
    references : numpy.ndarray
        (n, n_cohort) of every original, NaN where there is none.
    copies : dict of numpy.ndarray
        Alteration to (n_copies, n_cohort).
    """

    references: np.ndarray
    copies: dict[str, np.ndarray]


def normalise(
    scores: np.ndarray, query_cohort: np.ndarray, reference_cohort: np.ndarray, top: int
) -> np.ndarray:
    """Return the mean of the two z-scores of each score (AS-norm).

    Each side's mean and deviation are those of its ``top`` highest scores with the cohort.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_queries, n_references).
    query_cohort : numpy.ndarray
        (n_queries, n_cohort).
    reference_cohort : numpy.ndarray
        (n_references, n_cohort).
    top : int

    Raises
    ------
    ValueError
        If ``top`` is not between 2 and the size of the cohort.
    """
    n_cohort = query_cohort.shape[1]
    if not 2 <= top <= n_cohort:
        raise ValueError(f"top is {top} of a cohort of {n_cohort}; 2 or more, and no more, needed")

    def usual(cohort: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        highest = np.partition(cohort.astype(np.float64), n_cohort - top, axis=1)[:, -top:]
        return highest.mean(axis=1), np.maximum(highest.std(axis=1), 1e-6)

    query_mean, query_deviation = usual(query_cohort)
    reference_mean, reference_deviation = usual(reference_cohort)
    by_query = (scores - query_mean[:, None]) / query_deviation[:, None]
    by_reference = (scores - reference_mean[None, :]) / reference_deviation[None, :]
    return (by_query + by_reference) / 2.0


def normalised(scores: Scores, cohort: Cohort, top: int) -> Scores:
    """Return ``normalise`` of originals and copies; what cannot be scored stays lowest."""

    def of(values: np.ndarray, queries: np.ndarray) -> np.ndarray:
        made = normalise(values, queries, cohort.references, top)
        return np.where(values <= LOWEST, LOWEST_NORMALISED, made)

    return Scores(
        of(scores.originals, cohort.references),
        {kind: of(copies, cohort.copies[kind]) for kind, copies in scores.copies.items()},
        scores.rows,
    )


@dataclass(frozen=True)
class Settings:
    """What is scored, and how.

    Attributes
    ----------
    extractors : tuple of str
        Names or paths; the first gives embeddings, the last d-vectors to align.
    align : AlignConfig
    share : float
        Of the aligned score in ``both``.
    cohort : tuple of pathlib.Path
        Music of no role that is measured; empty for no score normalisation.
    cohort_s : float
        Seconds of each that are used.
    top : int
        Cohort scores that normalisation looks at.
    """

    extractors: tuple[str, ...] = ("excerpt",)
    align: AlignConfig = field(default_factory=AlignConfig)
    share: float = 0.95
    cohort: tuple[Path, ...] = ()
    cohort_s: float = 90.0
    top: int = 50


def our_systems(inputs: Inputs, settings: Settings) -> dict[str, Scores]:
    """Score the copies by embeddings, by aligned excerpts and by both.

    With a cohort each is there a second time, its scores normalised.

    Returns
    -------
    dict of Scores
        ``embeddings``, ``aligned``, ``both``; with a cohort ``embeddings-norm`` and so on.

    Raises
    ------
    UsageError
        If there are no copies.
    WeightsError
        If an extractor cannot be loaded.
    """
    rows = inputs.rows()
    weights = embed_all(inputs, rows, settings.extractors)
    cohort = _embed_cohort(inputs, settings, weights)
    places = {
        w: {kind: [inputs.cached(w, kind, int(i)) for i in rows[kind]] for kind in rows}
        for w in weights
    }
    first, last = places[weights[0]], places[weights[-1]]

    def aligned(name: str, references: list[Path]) -> dict[str, np.ndarray]:
        lines = all_lines(
            f"{inputs.folder.name}-{name}",
            last,
            references,
            config=settings.align,
            cache=inputs.cache.with_name("lines"),
            jobs=inputs.jobs,
        )
        penalty, contrast = settings.align.penalty, settings.align.contrast
        return {kind: of.scores(penalty=penalty, contrast=contrast) for kind, of in lines.items()}

    found = {
        "embeddings": _on_all_tracks(inputs, rows, cosines(first, first[ORIGINAL])),
        "aligned": _on_all_tracks(inputs, rows, aligned("originals", last[ORIGINAL])),
    }
    found["both"] = combine(found["embeddings"], found["aligned"], settings.share)
    if settings.cohort:
        usual = {
            "embeddings": _cohort(inputs, rows, cosines(first, cohort[weights[0]])),
            "aligned": _cohort(inputs, rows, aligned("cohort", cohort[weights[-1]])),
        }
        for name, of in usual.items():
            found[f"{name}-norm"] = normalised(found[name], of, settings.top)
        found["both-norm"] = combine(
            found["embeddings-norm"], found["aligned-norm"], settings.share
        )
    return found


def cosines(queries: dict[str, list[Path]], references: list[Path]) -> dict[str, np.ndarray]:
    """Return the cosines of cached embeddings, (n_queries, n_references) for each kind."""
    columns = np.stack([Embedded.load(path).embedding for path in references])
    found = {}
    for kind, paths in queries.items():
        embeddings = np.stack([Embedded.load(path).embedding for path in paths])
        there = embeddings.any(axis=1)[:, None] & columns.any(axis=1)[None, :]
        found[kind] = np.where(there, embeddings @ columns.T, LOWEST).astype(np.float32)
    return found


def _embed_cohort(
    inputs: Inputs, settings: Settings, weights: tuple[str, ...]
) -> dict[str, list[Path]]:
    """Return where the d-vectors of the cohort lie, by weights."""
    folder = f"cohort-{settings.cohort_s:g}s"
    stems = [hashlib.sha256(str(path).encode()).hexdigest()[:16] for path in settings.cohort]
    places = {w: [inputs.cache / w / folder / f"{stem}.npz" for stem in stems] for w in weights}
    tasks = [
        EmbedTask(
            ((path, {w: places[w][i] for w in weights}),), settings.extractors, settings.cohort_s
        )
        for i, path in enumerate(settings.cohort)
    ]
    if tasks:
        _run("embedded cohort", embed_files, tasks, inputs.jobs)
    return places


def _on_all_tracks(
    inputs: Inputs, rows: dict[str, np.ndarray], values: dict[str, np.ndarray]
) -> Scores:
    """Put scores with the originals that are there into the columns of all tracks."""
    there, n = rows[ORIGINAL], inputs.n_tracks

    def spread(part: np.ndarray) -> np.ndarray:
        whole = np.full((len(part), n), np.nan, np.float32)
        whole[:, there] = part
        return whole

    originals = np.full((n, n), np.nan, np.float32)
    originals[there] = spread(values[ORIGINAL])
    kinds = [kind for kind in rows if kind != ORIGINAL]
    return Scores(
        originals,
        {kind: spread(values[kind]) for kind in kinds},
        {kind: rows[kind] for kind in kinds},
    )


def _cohort(inputs: Inputs, rows: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> Cohort:
    references = np.full((inputs.n_tracks, values[ORIGINAL].shape[1]), np.nan, np.float32)
    references[rows[ORIGINAL]] = values[ORIGINAL]
    return Cohort(references, {kind: values[kind] for kind in rows if kind != ORIGINAL})
