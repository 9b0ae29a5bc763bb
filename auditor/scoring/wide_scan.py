"""Tracks of a catalogue heard at other pitches and tempos, and asked of it (``scan --wide``).

Each is decoded once more and examined like a submission of a wide check
(``auditor.scoring.hearings``).  What that finds follows from the track, from the catalogue as a
whole and from the code, so it is remembered by a hash of all of these: a killed run goes on where
it was, and a second scan of the same catalogue hears nothing again.  The hearings themselves are
not kept, six times what the catalogue stores of a track, so a catalogue that has changed is asked
anew by all of them.

::

    .audit/examined/<weights_id>-wide.sqlite3   16 bytes and a few pairs for each track
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from auditor.audio.files import look_at
from auditor.audio.object_store import fetched
from auditor.catalogue.catalogue import FileStamp
from auditor.catalogue.embedding_table import TrackTable
from auditor.embedding.config import wide_retunings
from auditor.embedding.extractor import Extractor, load_extractor
from auditor.embedding.hearing import hear_file
from auditor.errors import AudioError, DamagedTrackError, show_path
from auditor.evidence.side import mirrored_evidence
from auditor.ingest.session import skip
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress, Tiles
from auditor.records import Skipped, Track
from auditor.scoring.base import ScoredPair
from auditor.scoring.examined import PairMemory, code_id
from auditor.scoring.identical import SameFiles
from auditor.scoring.match import examine_submissions, index_files, pair_keys
from auditor.scoring.track_reader import CatalogueReader
from auditor.serialisation import from_json, to_json
from auditor.workspace import Workspace

_CODE = ("audio", "embedding")
"""Parts of the package that decide what is heard."""


class TrackFile(NamedTuple):
    """A track, and a file of its content that is as it was when it was embedded."""

    track: Track
    path: bytes
    size: int


@dataclass(frozen=True)
class HearingResult:
    """What a track shares with others as it was heard otherwise.

    Attributes
    ----------
    pairs : tuple of ScoredPair
        The track is ``a``; by falling score, nothing taken off.
    damaged : dict
        See ``ScoringResult``.
    skipped : Skipped or None
        Why it could not be heard.
    """

    pairs: tuple[ScoredPair, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)
    skipped: Skipped | None = None


class HearingMemory(PairMemory[HearingResult]):
    """What was found of tracks that were heard otherwise."""

    @staticmethod
    def pack(key: bytes, found: HearingResult) -> bytes | None:
        """See ``PairMemory``; what may be otherwise the next time is not kept.

        Examples
        --------
        >>> HearingMemory.unpack(b"key", HearingMemory.pack(b"key", HearingResult()))
        HearingResult(pairs=(), damaged={}, skipped=None)
        >>> HearingMemory.unpack(b"other", HearingMemory.pack(b"key", HearingResult())) is None
        True
        """
        if found.skipped is not None or found.damaged:
            return None
        data = _packed(found)
        return data + zlib.crc32(key + data).to_bytes(4, "little")

    @staticmethod
    def unpack(key: bytes, value: bytes) -> HearingResult | None:
        """See ``PairMemory``."""
        if type(value) is not bytes or len(value) < 4:
            return None
        data = value[:-4]
        if zlib.crc32(key + data).to_bytes(4, "little") != value[-4:]:
            return None
        return _unpacked(data)


@dataclass(frozen=True)
class HearingTile:
    """Hears a track in all ways of ``wide_retunings``, and asks the catalogue.

    Attributes
    ----------
    reader : CatalogueReader
    weights : pathlib.Path
        Of the extractor.
    precision : str
    shown_from : float
        See ``examine.Limits``.
    """

    reader: CatalogueReader
    weights: Path
    precision: str
    shown_from: float
    shares_memory: ClassVar[bool] = False

    def __call__(self, part: TrackFile) -> HearingResult:
        """Return what was found of a track."""
        track, reader = part.track, self.reader
        extractor = _extractor(self.weights, self.precision)
        try:
            with fetched(part.path, size=part.size) as path:
                heard = hear_file(path, extractor, wide_retunings(track.duration_s))
            embedding = reader.table.by_id[track.id]
            dvectors, levels = reader.dvectors(track.id)
        except (AudioError, OSError) as error:
            return HearingResult(skipped=skip(part.path, error, track.sha256))
        except DamagedTrackError as error:
            return HearingResult(damaged={track.id: str(error)})
        spectrum = reader.spectrum(track.id)
        query = Submission(
            part.path, track, embedding, dvectors, levels, spectrum, track.id, hearings=heard
        )
        found = examine_submissions(reader, [query], shown_from=self.shown_from)
        told = (pair for pair in found.pairs if pair.evidence is not None and pair.evidence.ranges)
        return HearingResult(tuple(told), found.damaged)

    def pack(self, result: HearingResult) -> bytes:
        """Return a result as JSON."""
        return _packed(result)

    def unpack(self, data: bytes) -> HearingResult:
        """Return the result of which ``pack`` made these bytes."""
        return _unpacked(data)


def files_to_hear(
    workspace: Workspace, tracks: Sequence[Track], same: SameFiles
) -> tuple[list[TrackFile], list[Skipped]]:
    """Return of each track a file that is as it was, and those tracks that have none.

    Parameters
    ----------
    workspace : Workspace
    tracks : sequence of Track
        One of each content.
    same : SameFiles
        The files of the same bytes.
    """
    files = workspace.catalogue.files()
    found, skipped = [], []
    for track in tracks:
        problem = Skipped.of(track.path, "is gone", "not-found", track.sha256)
        for track_id in same.get(track.id, (track.id,)):
            if track_id not in files:
                continue
            path, stamp = files[track_id]
            try:
                if FileStamp.of(look_at(path)) == stamp:
                    found.append(TrackFile(track, path, stamp.size))
                    break
                changed = "has changed since it was embedded"
                problem = Skipped.of(show_path(path), changed, "changed", track.sha256)
            except OSError as error:
                problem = skip(path, error, track.sha256)
        else:
            skipped.append(problem)
    return found, skipped


def hear_tracks(
    workspace: Workspace,
    files: Sequence[TrackFile],
    table: TrackTable,
    *,
    shown_from: float,
    tiles: Tiles,
    on_track: OnProgress | None = None,
) -> list[HearingResult]:
    """Hear tracks of a catalogue otherwise and ask it, or say what is remembered of that.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing, its excerpt index up to date.
    files : sequence of TrackFile
    table : TrackTable
        One track of each content.
    shown_from : float
        See ``examine.Limits``.
    tiles : Tiles
        On this machine, which has the files.
    on_track : callable, optional
        Called with the tracks that are done and all of them.
    """
    weights = workspace.extractor.path
    if weights is None:
        raise ValueError("the extractor was not loaded from a file; save it first")
    keys = pair_keys(workspace, table, shown_from=shown_from)
    state = keys.catalogue("wide", code_id(_CODE), index_files(workspace))
    key_of = [keys.track(state, file.track.id) for file in files]
    with HearingMemory.opened(
        workspace.directory, f"{workspace.weights_id}-wide", writable=workspace.writable
    ) as memory:
        known = memory.look_up(key_of)
        unknown = [n for n, found in enumerate(known) if found is None]
        reader = CatalogueReader.of(workspace, table=table)
        work = HearingTile(reader, weights, workspace.extractor.precision, shown_from)
        n_done = len(files) - len(unknown)
        made = tiles.map(work, [files[n] for n in unknown])
        for n, found in zip(unknown, made, strict=True):
            known[n] = found
            memory.add([key_of[n]], [found])
            n_done += 1
            if on_track is not None:
                on_track(n_done, len(files))
        memory.trim(key_of)
    return [found for found in known if found is not None]


def best_of_both(pairs: Sequence[ScoredPair]) -> list[ScoredPair]:
    """Return each two tracks once, in order of their ids, whichever was heard otherwise.

    Parameters
    ----------
    pairs : sequence of ScoredPair
        The track that was heard is ``a``.
    """
    best: dict[tuple[str, str], ScoredPair] = {}
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.a, pair.b)):
        best.setdefault((min(pair.a, pair.b), max(pair.a, pair.b)), pair)
    return [in_order(pair) for pair in best.values()]


def in_order(pair: ScoredPair) -> ScoredPair:
    """Return a pair with the smaller id first."""
    if pair.a <= pair.b:
        return pair
    evidence = None if pair.evidence is None else mirrored_evidence(pair.evidence)
    return ScoredPair(pair.b, pair.a, pair.similarity, evidence, pair.score)


@functools.lru_cache(maxsize=1)
def _extractor(weights: Path, precision: str) -> Extractor:
    return load_extractor(weights, precision=precision)


def _packed(found: HearingResult) -> bytes:
    return json.dumps(to_json(found), allow_nan=False).encode()


def _unpacked(data: bytes) -> HearingResult:
    return from_json(HearingResult, json.loads(data), where="hearing")
