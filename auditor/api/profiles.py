"""Named profiles of liked and disliked tracks, kept in a workspace for ``audit recommend``.

::

    .audit/profiles/<name>.json    {"like": [...], "dislike": [...]}, each with "sha256" and "path"

A track is kept by its content, so that a profile outlives ids, and by its path for those that are
not in the catalogue.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.audio.files import hash_file
from auditor.audio.object_store import fetched, is_object
from auditor.catalogue.catalogue import Catalogue
from auditor.decisions.apply import find_track
from auditor.errors import AuditError, CatalogueError, UsageError, show_path
from auditor.serialisation import atomic_write, from_json, parse_json, to_json
from auditor.workspace import Workspace

FOLDER = "profiles"
"""Where the files lie in a workspace."""

MAX_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Member:
    """A track of a profile: the SHA-256 of its content, 64 hex digits, and where it was."""

    sha256: str
    path: str


@dataclass(frozen=True)
class Profile:
    """Liked and disliked tracks."""

    like: tuple[Member, ...]
    dislike: tuple[Member, ...] = ()


def save_profile(
    workspace: Workspace, name: str, *, like: Sequence[str], dislike: Sequence[str] = ()
) -> Path:
    """Keep a profile under a name, in place of an earlier one.

    Parameters
    ----------
    workspace : Workspace
        May be open for reading only; a profile is written in one step.
    name : str
        Up to 64 letters, digits, ``_``, ``-`` and dots.
    like, dislike : sequence of str
        Ids, or paths of files.

    Raises
    ------
    UsageError
        If the name cannot be that of a file, or the file cannot be written.
    CatalogueError
        If a track is neither in the catalogue nor a file.
    """
    path = _path(workspace, name)
    catalogue = workspace.catalogue
    profile = Profile(
        tuple(_member(catalogue, word) for word in like),
        tuple(_member(catalogue, word) for word in dislike),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps(to_json(profile), indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(
            f"{show_path(path)}: the profile could not be saved: {error.strerror or error}. Give "
            "another --workspace."
        ) from None
    return path


def load_profile(workspace: Workspace, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the liked and the disliked tracks of a profile: ids, or paths of files.

    Raises
    ------
    UsageError
        If there is no such profile, or it is damaged, or one of its tracks is not to be found.
    """
    path = _path(workspace, name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is larger than 4 MiB")
        profile = from_json(Profile, parse_json(path.read_bytes()), where="profile")
    except FileNotFoundError:
        known = ", ".join(profile_names(workspace)) or "none yet"
        raise UsageError(
            f"there is no profile {name}; profiles: {known}. Save one with --save {name}."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{show_path(path)} is no profile: {error}. Save it again.") from None
    like, dislike = (
        tuple(_name_of(workspace.catalogue, member, name) for member in members)
        for members in (profile.like, profile.dislike)
    )
    return like, dislike


def profile_names(workspace: Workspace) -> list[str]:
    """Return the names of the profiles of a workspace, sorted."""
    folder = workspace.directory / FOLDER
    found: Iterable[Path] = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path.stem for path in found if _NAME.fullmatch(path.stem))


def _path(workspace: Workspace, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{show_path(name)!r:.80} cannot name a profile. Use up to 64 letters, digits, _ and -."
        )
    return workspace.directory / FOLDER / f"{name}.json"


def _member(catalogue: Catalogue, word: str) -> Member:
    try:
        track = catalogue.track(find_track(catalogue, word))
    except CatalogueError:
        if not (is_object(word) or os.path.isfile(word)):
            raise
        path = word if is_object(word) else os.path.abspath(word)
        try:
            with fetched(os.fsencode(path)) as there:
                return Member(hash_file(there), path)
        except (OSError, AuditError) as error:
            raise UsageError(f"{show_path(word)} cannot be read: {error}") from None
    return Member(track.sha256, track.path)


def _name_of(catalogue: Catalogue, member: Member, profile: str) -> str:
    """Return the id of a track of a profile, or its path if only the file is there."""
    present = [track_id for track_id, path in catalogue.ids_by_sha256(member.sha256) if path]
    if present:
        return present[0]
    if os.path.isfile(member.path):
        return member.path
    raise UsageError(
        f"profile {profile}: {show_path(member.path)} is neither in the catalogue nor a file. Put "
        f"it back, or save the profile again with --save {profile}."
    )
