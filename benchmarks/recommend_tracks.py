"""What the benchmark of recommendations and the training of its model know of each track.

The start of each track is decoded once; d-vectors, spectrum, embeddings and mean MFCCs are kept in
one file a track, so a killed run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.audio.files import find_audio, hash_file
from auditor.records import TrackEmbedding
from auditor.training.dataset import group_tracks, read_same_list
from auditor.training.genres import GenreSource, genre_label, read_genre_list

HERE = Path(__file__).parent
N_MFCC = 20
OTHER_EXTRACTORS = ("track", "genre")


@dataclass(frozen=True)
class HeardTrack:
    """One track of a role.

    Attributes
    ----------
    path, package, style, album, artist : str
        The album is its tag, or else the package; style and artist may be empty.
    group : int
        The same for tracks that share material.
    excerpt : TrackEmbedding
        By the default extractor.
    spectrum : numpy.ndarray
        (n_frames, n_bands) uint8.
    mfcc : numpy.ndarray
        (2 * N_MFCC,) means and standard deviations.
    others : dict
        Embeddings by further extractors, by name.
    """

    path: str
    package: str
    style: str
    album: str
    artist: str
    group: int
    excerpt: TrackEmbedding
    spectrum: np.ndarray
    mfcc: np.ndarray
    others: dict[str, np.ndarray]


def mfcc_statistics(waveform: np.ndarray) -> np.ndarray:
    """Return means and standard deviations of MFCCs (40 mel bands), (2 * N_MFCC,) float32."""
    from scipy.fft import dct

    from auditor.embedding.config import PAPER
    from auditor.embedding.frames import LogBands

    frames = LogBands(PAPER.features)(waveform)
    cepstra = dct(np.maximum(frames, frames.max() - 80.0), axis=1, norm="ortho")[:, :N_MFCC]
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0)]).astype(np.float32)


class Listener:
    """Turns waveforms into what is kept of them; extractors are loaded when they are needed.

    Parameters
    ----------
    others : sequence of str
        Further extractors.
    """

    def __init__(self, others: Sequence[str] = OTHER_EXTRACTORS) -> None:
        from auditor.embedding.extractor import load_extractor
        from auditor.parallel import one_thread

        one_thread()
        self._excerpt = load_extractor()
        self._others = [load_extractor(name) for name in others]

    def hear(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        """Return d-vectors, levels, spectrum, MFCCs and the other embeddings of a waveform.

        Raises
        ------
        AudioError
            If it is shorter than a window.
        """
        from auditor.embedding.embed import embed_waveform
        from auditor.embedding.spectrogram import waveform_spectrum

        made = embed_waveform(waveform, [self._excerpt])[self._excerpt.weights_id]
        kept = {
            "dvectors": made.dvectors,
            "levels": made.levels,
            "spectrum": waveform_spectrum(waveform),
            "mfcc": mfcc_statistics(waveform),
        }
        for extractor in self._others:
            embedding = embed_waveform(waveform, [extractor])[extractor.weights_id].embedding
            kept[extractor.name] = embedding
        return kept


def read_tags(path: str) -> dict[str, str]:
    """Return the tags of a file and of its first stream, names in lower case."""
    import av

    with av.open(path, metadata_errors="replace") as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.lower(): value.strip() for name, value in tags.items()}


def keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a file that is whole or absent."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def hear_role(
    corpus: Path,
    role: str,
    *,
    cache: Path,
    max_s: float,
    others: Sequence[str] = OTHER_EXTRACTORS,
    genres: Path = HERE / "genres.tsv",
    same: Path = HERE / "natural_duplicates.tsv",
) -> list[HeardTrack]:
    """Return the tracks of a role in the order of their paths; silent and short ones left out.

    Parameters
    ----------
    corpus : pathlib.Path
    role : str
    cache : pathlib.Path
        Where one file a track is kept.
    max_s : float
        Of each track, from its start, in seconds.
    others : sequence of str
        Further extractors.
    genres, same : pathlib.Path
        Lists of styles and of tracks that share material.
    """
    from auditor.audio.isolated import load_waveform
    from auditor.embedding.pooling import pool_dvectors
    from auditor.errors import AudioError

    root = Path(os.path.realpath(corpus / role))
    paths = [os.fsdecode(file.path) for file in find_audio([root]).files]
    hashes = [hash_file(path) for path in paths]
    groups = group_tracks(paths, hashes, read_same_list(same))
    listed = GenreSource("list", listed=read_genre_list(genres))
    cache.mkdir(parents=True, exist_ok=True)
    listener = None
    heard = []
    for n, (path, digest, group) in enumerate(zip(paths, hashes, groups, strict=True), 1):
        file = cache / f"{digest[:16]}-{max_s:g}s{'-'.join(['', *others])}.npz"
        if not file.exists():
            listener = listener or Listener(others)
            try:
                keep(file, listener.hear(load_waveform(path, duration_s=max_s)))
            except AudioError as error:
                print(error, file=sys.stderr)
                continue
            if n % 20 == 0:
                print(f"{role}: {n} of {len(paths)} tracks", file=sys.stderr, flush=True)
        with np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        excerpt = pool_dvectors(arrays["dvectors"], arrays["levels"])
        if not excerpt.embedding.any():
            continue
        tags, package = read_tags(path), Path(path).relative_to(root).parts[0]
        heard.append(
            HeardTrack(
                path,
                package,
                genre_label(Path(path), [root], listed),
                tags.get("album", "").casefold() or package,
                tags.get("artist", "").casefold(),
                group,
                excerpt,
                arrays["spectrum"],
                arrays["mfcc"],
                {name: arrays[name] for name in others},
            )
        )
    return heard


def replace_excerpt(track: HeardTrack, arrays: dict[str, np.ndarray]) -> HeardTrack:
    """Return a track heard anew: the same labels, other arrays (of a re-encoded copy)."""
    from auditor.embedding.pooling import pool_dvectors

    return dataclasses.replace(
        track,
        excerpt=pool_dvectors(arrays["dvectors"], arrays["levels"]),
        spectrum=arrays["spectrum"],
        mfcc=arrays["mfcc"],
        others={name: arrays[name] for name in track.others},
    )
