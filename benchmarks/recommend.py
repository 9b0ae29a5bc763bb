"""Benchmark of recommendations: is what is near of its kind, and what is far of another?

Hears the start of every track of a role and ranks all others by several embeddings: what
``audit recommend`` uses, the means of the d-vectors of each extractor, and mean MFCCs,
standardised over the tracks.  It measures

precision at 1, 5 and 10
    the share of the nearest that are of the track's album, of its artist on other albums, of its
    style, and of its style elsewhere: in another package and not of its artist, which no one
    artist, set of instruments or mastering explains;
hubness
    the skewness of the k-occurrence (k = 10), how often a track is among the ten nearest of others,
    and the share of tracks that never are;
stability
    the share of the ten nearest that stay when the track is re-encoded, and how often the track
    itself is then the nearest;
farthest
    the share of its own style among the ten farthest, and among those farthest from a profile of
    three disliked tracks of one style; and the precision of a profile of three liked ones.

An album is the tag, or else the package.  Tracks that share material are never neighbours of each
other.  Chance is the share of a track's class among its possible neighbours; the ceiling is what
perfect neighbours would get, for a class may have fewer members than are asked for.  Intervals are
of 95 %, from a bootstrap over tracks; those of differences over packages, since tracks of one
package are alike (``--json`` has both).

Examples
--------
::

    python benchmarks/recommend.py corpus --role test
    python benchmarks/recommend.py corpus --role val --recoded 0 --json val.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from recommend_tracks import (
    HERE,
    N_MFCC,
    HeardTrack,
    Listener,
    hear_role,
    keep,
    replace_excerpt,
)

from auditor.embedding.sound import load_sound_model

N_NEAREST = (1, 5, 10)
N_RESAMPLES = 2000
N_PROFILE = 3
CODECS = {"mp3 64 kbit/s": ("mp3", 64_000), "opus 32 kbit/s": ("opus", 32_000)}
RECODED_S = 60.0
SEED = 20_261_122


def precision_at(
    scores: np.ndarray, same_class: np.ndarray, allowed: np.ndarray, n_nearest: Sequence[int]
) -> np.ndarray:
    """Return for each row the share of its nearest columns that are of its class.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_rows, n), higher is more alike.
    same_class, allowed : numpy.ndarray
        (n_rows, n) bool: the column is of the row's class; the column may be a neighbour of the
        row.
    n_nearest : sequence of int
        How many neighbours.

    Returns
    -------
    numpy.ndarray
        (n_rows, len(n_nearest)) float; NaN for rows that no allowed neighbour is of the class of.

    Raises
    ------
    ValueError
        If a row has fewer allowed neighbours than asked for.
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


def k_occurrence(scores: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """Return how often each column is among the ``k`` nearest of the rows, (n,) int64."""
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return np.bincount(order.ravel(), minlength=scores.shape[1])


def skewness(counts: np.ndarray) -> np.ndarray:
    """Return the skewness along the last axis: the third standardised moment, 0 if all are equal.

    References
    ----------
    Radovanović, Nanopoulos, Ivanović (2010), "Hubs in space", JMLR 11, equation 1.
    """
    centred = counts - counts.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1)
    return (centred**3).mean(axis=-1) / np.where(spread > 0, spread, 1.0) ** 3


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return (n, n_dims) float64 rows brought to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def standardise(vectors: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return unit rows of vectors less the mean of others, each column in standard deviations."""
    return unit_rows((vectors - among.mean(axis=0)) / (among.std(axis=0) + 1e-9))


def systems(tracks: Sequence[HeardTrack], among: Sequence[HeardTrack]) -> dict[str, np.ndarray]:
    """Return the embeddings of tracks by each system, (n, n_dims) unit rows.

    Parameters
    ----------
    tracks, among : sequence of HeardTrack
        What is embedded, and the collection that MFCCs are standardised over.
    """
    model = load_sound_model()
    mfcc, others = (np.stack([t.mfcc for t in x]).astype(float) for x in (tracks, among))
    return {
        "sound": np.stack([model.embed(t.excerpt.embedding, t.spectrum) for t in tracks]),
        "excerpt": np.stack([track.excerpt.embedding for track in tracks]),
        "genre": np.stack([track.others["genre"] for track in tracks]),
        "track": np.stack([track.others["track"] for track in tracks]),
        "MFCCs, mean and deviation": standardise(mfcc, others),
        "MFCCs, mean": standardise(mfcc[:, :N_MFCC], others[:, :N_MFCC]),
    }


def notions(tracks: Sequence[HeardTrack]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by notion which columns are of the class of a row, and which may be its neighbours."""
    package, style, album, artist, group = (
        np.asarray([getattr(track, name) for track in tracks])
        for name in ("package", "style", "album", "artist", "group")
    )

    def same(labels: np.ndarray) -> np.ndarray:
        named = labels != "" if labels.dtype.kind == "U" else np.ones(len(labels), bool)
        return (labels[:, None] == labels[None]) & named[:, None]

    others = ~same(group)
    elsewhere = others & ~same(package) & ~same(artist)
    return {
        "album": (same(album), others),
        "artist, other albums": (same(artist), others & ~same(album)),
        "style": (same(style), others),
        "style elsewhere": (same(style), elsewhere),
    }


def measure_precision(
    embeddings: Mapping[str, np.ndarray], tracks: Sequence[HeardTrack]
) -> dict[str, dict]:
    """Return for each notion of class the precision of each system, chance and ceiling.

    Returns
    -------
    dict
        By notion, where some track has a possible neighbour of its class: ``n_tracks``,
        ``chance`` and ``ceiling`` (a value for each of ``N_NEAREST``), ``systems`` by name and
        ``differences`` (the first system less each other): each a ``mean`` with its intervals.
    """
    packages = [track.package for track in tracks]
    found = {}
    for notion, (same_class, allowed) in notions(tracks).items():
        asked = (same_class & allowed).any(axis=1)
        if not asked.any():
            continue
        values = {
            name: precision_at(x @ x.T, same_class, allowed, N_NEAREST)
            for name, x in embeddings.items()
        }
        chance, ceiling = chance_and_ceiling(same_class, allowed, N_NEAREST)
        first, *rest = values
        found[notion] = {
            "n_tracks": int(asked.sum()),
            "chance": np.nanmean(chance, axis=0).tolist(),
            "ceiling": np.nanmean(ceiling, axis=0).tolist(),
            "systems": {name: _with_intervals(v, packages) for name, v in values.items()},
            "differences": {
                name: _with_intervals(values[first] - values[name], packages) for name in rest
            },
        }
    return found


def _with_intervals(values: np.ndarray, packages: Sequence[str]) -> dict[str, list]:
    return {
        "mean": np.nanmean(values, axis=0).tolist(),
        "over_tracks": np.stack(bootstrap_interval(values, range(len(values))), 1).tolist(),
        "over_packages": np.stack(bootstrap_interval(values, packages), 1).tolist(),
    }


def measure_hubness(
    embeddings: Mapping[str, np.ndarray], tracks: Sequence[HeardTrack]
) -> dict[str, dict]:
    """Return by system the skewness of the k-occurrence, its interval, and who never occurs."""
    k = N_NEAREST[-1]
    allowed = notions(tracks)["album"][1]
    found = {}
    for name, x in embeddings.items():
        counts = k_occurrence(x @ x.T, allowed, k)
        drawn = np.random.default_rng(SEED).integers(0, len(counts), (N_RESAMPLES, len(counts)))
        found[name] = {
            "skewness": float(skewness(counts)),
            "interval": np.quantile(skewness(counts[drawn]), [0.025, 0.975]).tolist(),
            "most": int(counts.max()),
            "never": float((counts == 0).mean()),
        }
    return found


def measure_far(
    embeddings: Mapping[str, np.ndarray], tracks: Sequence[HeardTrack]
) -> dict[str, dict]:
    """Return by system the share of the own style among the farthest, and of profiles.

    A profile is the normalised mean of ``N_PROFILE`` tracks of one style, drawn for each track that
    has a style: itself and others.  Farthest from it lie those that a disliked profile finds.
    """
    same_style, others = notions(tracks)["style"]
    style = np.asarray([track.style for track in tracks])
    rng = np.random.default_rng(SEED)
    profiles = [
        np.concatenate([[row], rng.permutation(mates)[: N_PROFILE - 1]])
        for row in np.flatnonzero(style != "")
        if len(mates := np.flatnonzero((same_style & others)[row])) >= N_PROFILE
    ]
    if not profiles:
        return {}
    rows = np.asarray([profile[0] for profile in profiles])
    allowed = np.stack([others[profile].all(axis=0) for profile in profiles])
    k = N_NEAREST[-1:]
    found = {}
    for name, x in embeddings.items():
        means = unit_rows(np.stack([x[profile].mean(axis=0) for profile in profiles]))
        values = {
            "farthest": precision_at(-(x @ x.T)[rows], same_style[rows], others[rows], k),
            "disliked profile": precision_at(-(means @ x.T), same_style[rows], allowed, k),
            "liked profile": precision_at(means @ x.T, same_style[rows], allowed, k),
        }
        found[name] = {
            what: {
                "mean": float(np.nanmean(v)),
                "over_tracks": np.stack(bootstrap_interval(v, range(len(v))), 1)[0].tolist(),
            }
            for what, v in values.items()
        }
    chance, _ = chance_and_ceiling(same_style[rows], allowed, k)
    found["chance"] = {what: {"mean": float(np.nanmean(chance))} for what in values}
    return found


def measure_stability(
    tracks: Sequence[HeardTrack], recoded: Mapping[str, Mapping[int, HeardTrack]]
) -> dict[str, dict[str, dict]]:
    """Return by codec and system how much of the ten nearest stays when a track is re-encoded.

    Parameters
    ----------
    tracks : sequence of HeardTrack
        Of the same length as the copies.
    recoded : mapping
        Copies by codec and row.
    """
    allowed = notions(tracks)["album"][1]
    k = N_NEAREST[-1]
    embeddings = systems(tracks, tracks)
    found: dict[str, dict[str, dict]] = {}
    for codec, copies in recoded.items():
        rows = np.asarray(list(copies))
        found[codec] = {}
        for name, y in systems(list(copies.values()), tracks).items():
            x = embeddings[name]
            nearest = [
                np.argsort(np.where(allowed[rows], -scores, np.inf), axis=1, kind="stable")[:, :k]
                for scores in (x[rows] @ x.T, y @ x.T)
            ]
            kept = [len(set(a) & set(b)) / k for a, b in zip(*nearest, strict=True)]
            values = np.asarray(kept)[:, None]
            found[codec][name] = {
                "kept": float(values.mean()),
                "over_tracks": np.stack(bootstrap_interval(values, rows), 1)[0].tolist(),
                "itself_first": float(((y @ x.T).argmax(axis=1) == rows).mean()),
            }
    return found


def recode(
    tracks: Sequence[HeardTrack], n: int, *, cache: Path
) -> tuple[list[HeardTrack], dict[str, dict[int, HeardTrack]]]:
    """Return all tracks cut to ``RECODED_S`` and ``n`` of them re-encoded, spread evenly."""
    import hashlib
    import tempfile

    from auditor.audio.encode import encode
    from auditor.audio.isolated import load_waveform

    listener: Listener | None = None

    def heard(track: HeardTrack, codec: str) -> HeardTrack:
        nonlocal listener
        digest = hashlib.sha256(track.path.encode()).hexdigest()[:16]
        file = cache / f"{digest}-{RECODED_S:g}s-{codec.split(' ')[0] or 'cut'}.npz"
        if not file.exists():
            listener = listener or Listener()
            waveform = load_waveform(track.path, duration_s=RECODED_S)
            if codec:
                kind, bit_rate = CODECS[codec]
                with tempfile.NamedTemporaryFile(suffix=f".{kind}") as copy:
                    copy.write(encode(waveform, codec=kind, bit_rate=bit_rate))
                    copy.flush()
                    waveform = load_waveform(copy.name)
            keep(file, listener.hear(waveform))
        with np.load(file, allow_pickle=False) as stored:
            return replace_excerpt(track, dict(stored))

    rows = np.unique(np.linspace(0, len(tracks) - 1, n).round().astype(int)).tolist()
    cut = [heard(track, "") for track in tracks]
    return cut, {codec: {row: heard(tracks[row], codec) for row in rows} for codec in CODECS}


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _with(mean: float, interval: Sequence[float], *, sign: str = "", digits: int = 3) -> str:
    low, high = interval
    return f"{mean:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"


def precision_table(found: Mapping[str, dict]) -> str:
    """Return the precisions as a Markdown table."""
    lines = [_row("class", "embedding", *(f"P@{k}" for k in N_NEAREST)), "|---" * 5 + "|"]
    for notion, rows in found.items():
        shown = f"{notion} ({rows['n_tracks']} tracks)"
        for name, row in rows["systems"].items():
            cells = map(_with, row["mean"], row["over_tracks"])
            lines.append(_row(shown, name, *cells))
        for name, row in rows["differences"].items():
            cells = [
                _with(mean, interval, sign="+")
                for mean, interval in zip(row["mean"], row["over_packages"], strict=True)
            ]
            lines.append(_row(notion, f"first less {name}", *cells))
        for what in ("chance", "ceiling"):
            lines.append(_row(notion, what, *(f"{mean:.3f}" for mean in rows[what])))
    return "\n".join(lines)


def hubness_table(found: Mapping[str, dict]) -> str:
    """Return the hubness as a Markdown table."""
    k = N_NEAREST[-1]
    lines = [
        _row("embedding", f"skewness of the {k}-occurrence", "most often", "never"),
        "|---|---|--:|--:|",
    ]
    for name, row in found.items():
        shown = _with(row["skewness"], row["interval"], digits=2)
        lines.append(_row(name, shown, str(row["most"]), f"{row['never']:.3f}"))
    return "\n".join(lines)


def far_table(found: Mapping[str, dict]) -> str:
    """Return the shares of the own style among the farthest as a Markdown table."""
    whats = list(next(iter(found.values()), {}))
    lines = [_row("embedding", *whats), "|---" * (1 + len(whats)) + "|"]
    for name, row in found.items():
        cells = (
            _with(row[what]["mean"], row[what]["over_tracks"])
            if "over_tracks" in row[what]
            else f"{row[what]['mean']:.3f}"
            for what in whats
        )
        lines.append(_row(name, *cells))
    return "\n".join(lines)


def stability_table(found: Mapping[str, dict]) -> str:
    """Return the stability as a Markdown table."""
    lines = [
        _row("codec", "embedding", "of the ten nearest stay", "itself first"),
        "|---|---|---|--:|",
    ]
    for codec, rows in found.items():
        for name, row in rows.items():
            shown = _with(row["kept"], row["over_tracks"])
            lines.append(_row(codec, name, shown, f"{row['itself_first']:.3f}"))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--max-s", type=float, default=180.0, help="of each track, from its start")
    parser.add_argument("--recoded", type=int, default=50, help="tracks to re-encode; 0: none")
    parser.add_argument("--genres", type=Path, default=HERE / "genres.tsv")
    parser.add_argument("--cache", type=Path, default=Path("runs/recommend"))
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    tracks = hear_role(
        args.corpus, args.role, cache=args.cache, max_s=args.max_s, genres=args.genres
    )
    embeddings = systems(tracks, tracks)
    found = {
        "precision": measure_precision(embeddings, tracks),
        "hubness": measure_hubness(embeddings, tracks),
        "farthest": measure_far(embeddings, tracks),
    }
    print(f"role {args.role}, {len(tracks)} tracks, first {args.max_s:g} s\n")
    print(precision_table(found["precision"]), hubness_table(found["hubness"]), sep="\n\n")
    print("", far_table(found["farthest"]), sep="\n")
    if args.recoded:
        found["stability"] = measure_stability(*recode(tracks, args.recoded, cache=args.cache))
        print("", stability_table(found["stability"]), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
