"""The vectors that recommendations and the map compare: what the tracks of a catalogue sound like.

A sound model (``embedding.sound``) turns what is stored of each content into one vector, without
decoding anything, and ``search.sounds`` keeps it.  Embeddings of an extractor that no sound model
belongs to are compared as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.catalogue.track_spectrum import read_track_spectrum
from auditor.embedding.config import float32_weights_id
from auditor.embedding.sound import MIN_FRAMES, SoundModel, load_sound_model
from auditor.search.sounds import read_sounds, sounds_path, write_sounds
from auditor.workspace import Workspace

STORED_AT_ONCE = 2000
"""Vectors that a killed run loses at most."""

OnTrack = Callable[[int, int], None]
"""Is called with the vectors made so far and all that are to be made."""


@dataclass(frozen=True)
class Sounds:
    """Tracks of a catalogue, row by row.

    Attributes
    ----------
    ids : list of str
        Sorted; tracks that have no vector are left out.
    embeddings : numpy.ndarray
        (n, n_dims) float32, by the extractor: whether two tracks are copies.
    vectors : numpy.ndarray
        (n, n_dims) float32, unit norm: whether they are alike.
    name : str
        What made the vectors, for example ``sound-1a2b3c4d`` or ``track-d4649fb6``.
    model : SoundModel or None
        None where the vectors are the embeddings.
    notes : tuple of str
        What a reader must know.
    """

    ids: list[str]
    embeddings: np.ndarray
    vectors: np.ndarray
    name: str
    model: SoundModel | None
    notes: tuple[str, ...] = ()

    def vector(self, embedding: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
        """Return the vector of a file that was embedded just now."""
        if self.model is None or len(spectrum) < MIN_FRAMES:
            return embedding
        return self.model.embed(embedding, spectrum)


def read_catalogue_sounds(workspace: Workspace, *, on_track: OnTrack | None = None) -> Sounds:
    """Return the vectors of all present tracks that are not silent; missing ones are made.

    Parameters
    ----------
    workspace : Workspace
        May be open for reading only; the file of vectors is written in one step, where that is
        possible.
    on_track : callable, optional

    Raises
    ------
    CatalogueError
        If an embedding is damaged.
    WeightsError
        If the sound model is damaged.
    """
    table = workspace.catalogue.table(workspace.weights_id)
    ids, embeddings = table.tracks.names(), np.asarray(table.embeddings)
    model = load_sound_model()
    if model.extractor != float32_weights_id(workspace.weights_id):
        name = f"{workspace.extractor.name}-{workspace.weights_id}"
        return Sounds(ids, embeddings, embeddings, name, None)
    hashes = [sha256.decode() for sha256 in table.hashes.tolist()]
    made = _bring_up_to_date(workspace, model, ids, hashes, embeddings, on_track)
    rows = [row for row, sha256 in enumerate(hashes) if sha256 in made]
    vectors = np.array([made[hashes[row]] for row in rows], np.float32)
    notes: tuple[str, ...] = ()
    if n_left_out := len(ids) - len(rows):
        notes = (
            f"Tracks left out because no spectrum of them is stored and their files cannot be "
            f"read: {n_left_out:,}. Run: audit scan DIR",
        )
    return Sounds(
        [ids[row] for row in rows],
        embeddings[rows],
        vectors.reshape(len(rows), model.n_dims),
        model.name,
        model,
        notes,
    )


def _bring_up_to_date(
    workspace: Workspace,
    model: SoundModel,
    ids: Sequence[str],
    hashes: Sequence[str],
    embeddings: np.ndarray,
    on_track: OnTrack | None,
) -> dict[str, np.ndarray]:
    """Return the vectors by content, and keep those that are new."""
    path = sounds_path(workspace.directory, model.name, workspace.weights_id)
    stored = read_sounds(path, model.n_dims)
    row_of = {sha256: row for row, sha256 in enumerate(hashes)}
    made = {sha256: stored[sha256] for sha256 in row_of if sha256 in stored}
    missing = sorted(row_of.keys() - made.keys())
    files = workspace.catalogue.files() if missing else {}
    for n_done, sha256 in enumerate(missing, start=1):
        row = row_of[sha256]
        spectrum = read_track_spectrum(workspace.catalogue, sha256, files.get(ids[row]))
        if spectrum is not None and len(spectrum) >= MIN_FRAMES:
            made[sha256] = model.embed(embeddings[row], spectrum)
        if made and (n_done % STORED_AT_ONCE == 0 or n_done == len(missing)):
            write_sounds(path, made)
        if on_track is not None:
            on_track(n_done, len(missing))
    return made
