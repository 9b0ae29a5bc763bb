"""What encoders took from the tracks of a workspace, measured once for each content.

It is asked only where neither dates nor lengths tell which track of a cluster is the original.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from auditor.audio.isolated import load_waveform
from auditor.audio.losses import Losses, measure_losses
from auditor.audio.object_store import is_object
from auditor.errors import AuditError
from auditor.records import Track
from auditor.serialisation import atomic_write, from_json, parse_json, read_bytes
from auditor.workspace import Workspace

FILE = "examined/losses.json"
"""Below the workspace; may be deleted at any time."""

MAX_MEASURED = 200
"""Files that one run decodes for this at most; of further ones nothing is known."""

PASSAGE_S = 15.0
_MAX_RATE_HZ = 48_000
_MAX_BYTES = 64 << 20
_FORMAT = "audit-losses/1"


class LossReader:
    """The losses of tracks, read from their files, and kept by their contents.

    Parameters
    ----------
    workspace : Workspace
        What is measured is kept if it is open for writing.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path = workspace.directory / FILE
        self._known: dict[str, Losses | None] | None = None
        self._paths: dict[str, bytes] = {}
        self._n_measured = 0

    def __call__(self, tracks: Sequence[Track]) -> list[Losses | None]:
        """Return the losses of some tracks; None where nothing can be said."""
        if self._known is None:
            self._known = self._load()
            self._paths = self._workspace.catalogue.paths()
        n_before = self._n_measured
        found = [self._losses(track, self._known) for track in tracks]
        if self._n_measured > n_before and self._workspace.writable:
            self._save(self._known)
        return found

    def _losses(self, track: Track, known: dict[str, Losses | None]) -> Losses | None:
        if track.sha256 in known:
            return known[track.sha256]
        path = self._paths.get(track.id)
        if path is None or is_object(path) or self._n_measured >= MAX_MEASURED:
            return None
        self._n_measured += 1
        rate_hz = min(max(track.sample_rate_hz, 8_000), _MAX_RATE_HZ)
        try:
            waveform = load_waveform(
                path,
                start_s=max(0.0, (track.duration_s - PASSAGE_S) / 2.0),
                duration_s=PASSAGE_S,
                sample_rate_hz=rate_hz,
            )
        except AuditError:
            return None  # it may be there again next time
        known[track.sha256] = measure_losses(waveform, rate_hz)
        return known[track.sha256]

    def _load(self) -> dict[str, Losses | None]:
        try:
            data = parse_json(read_bytes(self._path, _MAX_BYTES))
            if data["format"] != _FORMAT:
                return {}
            return {
                str(sha256): None if values is None else from_json(Losses, values)
                for sha256, values in data["losses"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def _save(self, known: dict[str, Losses | None]) -> None:
        losses = {
            sha256: None if found is None else dataclasses.asdict(found)
            for sha256, found in sorted(known.items())
        }
        text = json.dumps({"format": _FORMAT, "losses": losses}, indent=0)
        try:
            self._path.parent.mkdir(exist_ok=True)
            atomic_write(self._path, text.encode())
        except OSError:
            pass  # measured again next time
