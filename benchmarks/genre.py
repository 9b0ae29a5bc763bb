"""Genre benchmark: are the nearest neighbours of a track of its kind?

Embeds the start of every track of a role by each extractor and counts how many of its 1, 5 and 10
nearest neighbours are of its class, for three notions of class:

package
    Neighbours from the same package, which here mostly is one soundtrack.  The class is the album,
    so neighbours of the same album cannot be left out.
style
    Neighbours of the same style of ``benchmarks/genres.tsv``.
style elsewhere
    The same, with the track's own package left out of its neighbours: what is not explained by
    one artist, one set of instruments or one mastering.

Tracks that share material are never neighbours of each other.  Chance is the share of a track's
class among its possible neighbours; the ceiling is what a perfect extractor would get, for a class
may have fewer members than neighbours are asked for.  Intervals are of 95 %, from a bootstrap over
tracks; for the difference between the first and the last extractor also over packages, since tracks
of one package are alike.

Examples
--------
::

    python benchmarks/genre.py corpus --role test
    python benchmarks/genre.py corpus --extractor runs/genre/genre-0a1b2c3d.safetensors \
        --extractor track
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from copies import ORIGINAL, copies_folder, copy_name

from auditor.audio.files import find_audio, hash_file
from auditor.training.dataset import group_tracks, read_same_list
from auditor.training.genres import GenreSource, genre_label, read_genre_list

HERE = Path(__file__).parent
N_NEAREST = (1, 5, 10)
N_RESAMPLES = 2000
SEED = 20_261_122


def precision_at(
    scores: np.ndarray, same_class: np.ndarray, allowed: np.ndarray, n_nearest: Sequence[int]
) -> np.ndarray:
    """Return for each track the share of its nearest neighbours that are of its class.

    Parameters
    ----------
    scores : numpy.ndarray
        (n, n), higher is more alike.
    same_class, allowed : numpy.ndarray
        (n, n) bool: the column is of the row's class; the column may be a neighbour of the row.
    n_nearest : sequence of int
        How many neighbours.

    Returns
    -------
    numpy.ndarray
        (n, len(n_nearest)) float; NaN for tracks that no allowed neighbour is of the class of.

    Raises
    ------
    ValueError
        If a track has fewer allowed neighbours than asked for.
    """
    if allowed.sum(axis=1).min() < max(n_nearest):
        raise ValueError(f"a track has fewer than {max(n_nearest)} possible neighbours")
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")
    hits = np.take_along_axis(same_class & allowed, order, axis=1)
    found = np.stack([hits[:, :k].mean(axis=1) for k in n_nearest], axis=1)
    found[~(same_class & allowed).any(axis=1)] = np.nan
    return found


def chance_and_ceiling(
    same_class: np.ndarray, allowed: np.ndarray, n_nearest: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each track what neighbours drawn at random and what perfect ones would get.

    Returns
    -------
    chance, ceiling : numpy.ndarray
        (n, len(n_nearest)) float each; NaN where ``precision_at`` is.
    """
    n_mates = (same_class & allowed).sum(axis=1).astype(float)[:, None]
    n_mates[n_mates == 0] = np.nan
    k = np.asarray(n_nearest, dtype=float)[None]
    chance = n_mates / allowed.sum(axis=1)[:, None] + 0.0 * k
    return chance, np.minimum(n_mates, k) / k


def bootstrap_interval(values: np.ndarray, clusters: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean when clusters are drawn again with replacement.

    Parameters
    ----------
    values : numpy.ndarray
        (n, n_columns); rows of NaN are left out.
    clusters : sequence
        (n,) what is drawn together; all different for a bootstrap over rows.

    Returns
    -------
    low, high : numpy.ndarray
        (n_columns,) each.
    """
    kept = ~np.isnan(values).any(axis=1)
    _, cluster = np.unique(np.asarray(clusters)[kept], return_inverse=True)
    sums = np.stack([np.bincount(cluster, weights=column) for column in values[kept].T], axis=1)
    sizes = np.bincount(cluster).astype(float)
    drawn = np.random.default_rng(SEED).integers(0, len(sizes), (N_RESAMPLES, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)[:, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def embed_role(
    paths: Sequence[str],
    extractor_names: Sequence[str],
    *,
    originals: Path,
    cache: Path,
    max_s: float,
) -> tuple[list[str], list[np.ndarray]]:
    """Embed the start of each track, or read that back.

    Parameters
    ----------
    paths : sequence of str
    extractor_names : sequence of str
    originals : pathlib.Path
        Folder of ``benchmarks/copies.py`` with the starts as WAV files; tracks that are not there
        are decoded.
    cache : pathlib.Path
        One file for each track and extractor is kept there.
    max_s : float

    Returns
    -------
    names : list of str
        Weights files' stems, with the hash.
    embeddings : list of numpy.ndarray
        (n_tracks, n_dims) float32 for each extractor, unit norm; zero where a track cannot be
        embedded.
    """
    import torch

    from auditor.audio.isolated import load_waveform
    from auditor.embedding.embed import embed_waveform
    from auditor.embedding.extractor import load_extractor
    from auditor.errors import AudioError

    torch.set_num_threads(1)
    extractors = [load_extractor(name) for name in extractor_names]
    found = [np.zeros((len(paths), e.config.n_dims), np.float32) for e in extractors]
    cache.mkdir(parents=True, exist_ok=True)
    for row, path in enumerate(paths):
        digest, copy = hash_file(path)[:16], originals / copy_name(row)
        kept = {e.weights_id: cache / f"{digest}-{max_s:g}s-{e.weights_id}.npy" for e in extractors}
        missing = [e for e in extractors if not kept[e.weights_id].exists()]
        if missing:
            try:
                waveform = load_waveform(copy if copy.exists() else path, duration_s=max_s)
                made = {k: e.embedding for k, e in embed_waveform(waveform, missing).items()}
            except AudioError as error:
                print(error, file=sys.stderr)
                made = {e.weights_id: np.zeros(e.config.n_dims, np.float32) for e in missing}
            for weights_id, embedding in made.items():
                part = kept[weights_id].with_suffix(".part")
                with part.open("wb") as file:
                    np.save(file, embedding)
                part.replace(kept[weights_id])
        for vectors, extractor in zip(found, extractors, strict=True):
            vectors[row] = np.load(kept[extractor.weights_id], allow_pickle=False)
    return [f"{e.name}-{e.weights_id}" for e in extractors], found


def measure(
    embeddings: Sequence[np.ndarray],
    packages: Sequence[str],
    styles: Sequence[str],
    groups: Sequence,
) -> dict[str, dict]:
    """Return for each notion of class the precision of each extractor, chance and ceiling.

    Parameters
    ----------
    embeddings : sequence of numpy.ndarray
        (n, n_dims) each, unit norm.
    packages, styles : sequence of str
        Of each track; an empty style is none.
    groups : sequence of int
        Of tracks that share material.

    Returns
    -------
    dict
        By notion, where some track has a possible neighbour of its class: ``n_tracks``,
        ``n_classes``, ``chance`` and ``ceiling`` (a value for each of ``N_NEAREST``),
        ``extractors`` and ``difference`` (first less last): each a ``mean`` with its intervals.
    """
    package, style, group = (np.asarray(x) for x in (packages, styles, groups))
    others = group[:, None] != group[None]
    elsewhere = others & (package[:, None] != package[None])
    same_style = (style[:, None] == style[None]) & (style != "")[:, None]
    notions = {
        "package": (package[:, None] == package[None], others, package),
        "style": (same_style, others, style),
        "style elsewhere": (same_style, elsewhere, style),
    }
    found = {}
    for notion, (same_class, allowed, label) in notions.items():
        asked = (same_class & allowed).any(axis=1)
        if not asked.any():
            continue
        values = [precision_at(x @ x.T, same_class, allowed, N_NEAREST) for x in embeddings]
        chance, ceiling = chance_and_ceiling(same_class, allowed, N_NEAREST)
        found[notion] = {
            "n_tracks": int(asked.sum()),
            "n_classes": len(set(label[asked])),
            "chance": np.nanmean(chance, axis=0).tolist(),
            "ceiling": np.nanmean(ceiling, axis=0).tolist(),
            "extractors": [_with_intervals(v, package) for v in values],
            "difference": _with_intervals(values[0] - values[-1], package),
        }
    return found


def _with_intervals(values: np.ndarray, packages: np.ndarray) -> dict[str, list]:
    return {
        "mean": np.nanmean(values, axis=0).tolist(),
        "over_tracks": np.stack(bootstrap_interval(values, range(len(values))), 1).tolist(),
        "over_packages": np.stack(bootstrap_interval(values, packages), 1).tolist(),
    }


def table(found: dict[str, dict], names: Sequence[str]) -> str:
    """Return the result as a Markdown table."""
    lines = [
        "| class | extractor | " + " | ".join(f"P@{k}" for k in N_NEAREST) + " |",
        "|---|---|" + "---|" * len(N_NEAREST),
    ]

    def add(notion: str, who: str, means: Sequence[float], intervals=None, sign: str = "") -> None:
        cells = [f"{100 * mean:{sign}.1f} %" for mean in means]
        if intervals:
            cells = [
                f"{cell} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
                for cell, (low, high) in zip(cells, intervals, strict=True)
            ]
        lines.append(f"| {notion} | {who} | " + " | ".join(cells) + " |")

    for notion, rows in found.items():
        shown = f"{notion}: {rows['n_tracks']} tracks, {rows['n_classes']} classes"
        for name, row in zip(names, rows["extractors"], strict=True):
            add(shown, f"`{name}`", row["mean"], row["over_tracks"])
        if len(names) > 1:
            row = rows["difference"]
            for over in ("over_tracks", "over_packages"):
                text = f"difference, {over.replace('_', ' ')}"
                add(notion, text, row["mean"], row[over], sign="+")
        add(notion, "chance", rows["chance"])
        add(notion, "ceiling", rows["ceiling"])
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument(
        "--extractor", action="append", help="repeat it; genre and track by default"
    )
    parser.add_argument("--max-s", type=float, default=90.0, help="of each track, from its start")
    parser.add_argument("--genres", type=Path, default=HERE / "genres.tsv")
    parser.add_argument("--same", type=Path, default=HERE / "natural_duplicates.tsv")
    parser.add_argument("--copies", type=Path, default=Path("runs/copies"))
    parser.add_argument("--cache", type=Path, default=Path("runs/genre-embeddings"))
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    root = Path(os.path.realpath(args.corpus / args.role))
    paths = [os.fsdecode(file.path) for file in find_audio([root]).files]
    names, embeddings = embed_role(
        paths,
        args.extractor or ["genre", "track"],
        originals=copies_folder(args.copies, args.role, args.max_s) / ORIGINAL,
        cache=args.cache,
        max_s=args.max_s,
    )
    audible = [i for i in range(len(paths)) if all(x[i].any() for x in embeddings)]
    listed = GenreSource("list", listed=read_genre_list(args.genres))
    groups = group_tracks(paths, [hash_file(path) for path in paths], read_same_list(args.same))
    found = measure(
        [x[audible] for x in embeddings],
        [Path(paths[i]).relative_to(root).parts[0] for i in audible],
        [genre_label(Path(paths[i]), [root], listed) for i in audible],
        [groups[i] for i in audible],
    )
    print(f"role {args.role}, {len(audible)} of {len(paths)} tracks, first {args.max_s:g} s\n")
    print(table(found, names))
    if args.json:
        args.json.write_text(json.dumps({"extractors": names, "classes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
