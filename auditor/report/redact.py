"""Results without paths: what a report, its JSON and its CSV say of the folders of a disk.

The absolute path of a file names a user, a customer or a project.  A redacted result keeps the name
of each file and tells folders apart by numbers; commands keep their options, not their values.
Titles, other tags and the notes of decisions are left as they are.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from auditor.records import (
    CheckResult,
    CompareResult,
    GeneratedResult,
    LeakResult,
    Provenance,
    RecommendResult,
    Result,
    ScanResult,
    Skipped,
    Track,
)
from auditor.report.media.model import Media

if TYPE_CHECKING:
    from auditor.api.map import Atlas

HIDDEN = "…"
"""What stands in place of a folder or a value."""

_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(?<![\w/.…-])(?:[a-z][a-z0-9+]*:/)?(?:/[^\s/'\":;,]+)+/?", re.IGNORECASE)
_T = TypeVar("_T")


class Redaction:
    """New names for the paths of one result.

    Parameters
    ----------
    paths : iterable of str
        Every path that occurs, as shown (``errors.show_path``).
    """

    def __init__(self, paths: Iterable[str]) -> None:
        every = sorted({path for path in paths if path})
        folders = sorted({path.rpartition("/")[0] for path in every})
        numbers = {folder: number for number, folder in enumerate(folders, start=1)}
        self._names = {}
        for path in every:
            folder, _, name = path.rpartition("/")
            # What has no suffix is a folder that could not be read: it may be somebody's home.
            self._names[path] = f"folder-{numbers[folder]}/{name if '.' in name else HIDDEN}"
        longest_first = sorted((path for path in every if "/" in path), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def path(self, path: str) -> str:
        """Return the name that stands for a path; nothing for nothing."""
        return self._names.get(path, HIDDEN if path else "")

    def text(self, text: str) -> str:
        """Return a sentence without the paths in it, known ones and any that is absolute."""
        if self._known is not None:
            text = self._known.sub(lambda found: self._names[found.group()], text)
        return _ABSOLUTE.sub(HIDDEN, text)

    def track(self, track: Track) -> Track:
        """Return a track under its new path."""
        return dataclasses.replace(track, path=self.path(track.path))

    def skipped(self, skipped: Skipped) -> Skipped:
        """Return a skipped file under its new path."""
        return dataclasses.replace(
            skipped, path=self.path(skipped.path), reason=self.text(skipped.reason)
        )


def redact_command(command: str) -> str:
    """Return a command with its options, and of their values the numbers alone.

    Examples
    --------
    >>> redact_command("audit scan /home/ana/music --far 1e-6 -w '/home/ana/my ws' --format=json")
    'audit scan … --far 1e-6 -w … --format=…'
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    shown = words[:2]
    for word in words[2:]:
        if word.startswith("-") and not _NUMBER.fullmatch(word):
            name, equals, value = word.partition("=")
            is_plain = bool(re.fullmatch(r"--?[A-Za-z][A-Za-z-]*", name))
            kept = value if _NUMBER.fullmatch(value) else HIDDEN
            shown.append(f"{name}{equals}{kept if equals else ''}" if is_plain else HIDDEN)
        else:
            shown.append(word if _NUMBER.fullmatch(word) else HIDDEN)
    return " ".join(shown)


def redact_provenance(made: Provenance) -> Provenance:
    """Return a provenance without the folder of its workspace and the values of its command."""
    return dataclasses.replace(
        made, command=redact_command(made.command), workspace=HIDDEN if made.workspace else ""
    )


def redact_result(result: Result) -> Result:
    """Return a result in which no path but the names of files is left.

    Its ids, hashes, scores and pairs are the same, so decisions on it hold for the original.
    Renditions of the same result have the same names.

    Parameters
    ----------
    result : Result

    Returns
    -------
    Result
        Of the same kind.
    """
    names = Redaction(_paths(result))
    changes: dict[str, Any] = {"provenance": redact_provenance(result.provenance)}
    if isinstance(result, RecommendResult):
        changes["recommendations"] = tuple(
            dataclasses.replace(
                answer,
                track=names.track(answer.track),
                same=tuple(map(names.path, answer.same)),
                nearest_to=names.text(answer.nearest_to),
            )
            for answer in result.recommendations
        )
        changes["query"] = {
            name: tuple(names.path(word) if "/" in word else word for word in words)
            for name, words in result.query.items()
        }
        changes["notes"] = tuple(map(names.text, result.notes))
    else:
        changes["tracks"] = tuple(map(names.track, result.tracks))
        changes["skipped"] = tuple(map(names.skipped, result.skipped))
        use = result.threshold
        changes["threshold"] = dataclasses.replace(
            use, source=names.text(use.source), note=names.text(use.note)
        )
    if isinstance(result, CheckResult):
        changes["submissions"] = tuple(map(names.track, result.submissions))
    if isinstance(result, ScanResult | CheckResult) and result.compositions is not None:
        changes["compositions"] = dataclasses.replace(
            result.compositions,
            source=names.text(result.compositions.source),
            note=names.text(result.compositions.note),
        )
    if isinstance(result, CompareResult):
        changes["collections"] = tuple(
            dataclasses.replace(side, name=f"collection {letter}")
            for letter, side in zip("AB", result.collections, strict=False)
        )
        changes["notes"] = tuple(map(names.text, result.notes))
    if isinstance(result, LeakResult):
        changes["splits"] = tuple(
            dataclasses.replace(split, source=HIDDEN) for split in result.splits
        )
    if isinstance(result, GeneratedResult):
        changes["statement"] = names.text(result.statement)
        changes["outputs"] = tuple(
            dataclasses.replace(
                output, columns={name: names.text(text) for name, text in output.columns.items()}
            )
            for output in result.outputs
        )
    return _replace(result, changes)


def redact_media(media: Media | None) -> Media | None:
    """Return the media of a report without links to files."""
    return None if media is None else media.without_links()


def redact_atlas(atlas: Atlas) -> Atlas:
    """Return a map without links to files, and without folders in what made it."""
    names = Redaction(track.path for track in atlas.tracks)
    return dataclasses.replace(
        atlas,
        tracks=tuple(map(names.track, atlas.tracks)),
        paths=(b"",) * len(atlas.paths),
        provenance=redact_provenance(atlas.provenance),
        notes=tuple(map(names.text, atlas.notes)),
    )


def _replace(result: _T, changes: dict[str, Any]) -> _T:
    return dataclasses.replace(result, **changes)  # type: ignore[type-var]


def _paths(result: Result) -> Iterable[str]:
    if isinstance(result, RecommendResult):
        for answer in result.recommendations:
            yield answer.track.path
            yield from answer.same
        for words in result.query.values():
            yield from (word for word in words if "/" in word)
        return
    submitted = result.submissions if isinstance(result, CheckResult) else ()
    for track in (*submitted, *result.tracks):
        yield track.path
    for skipped in result.skipped:
        yield skipped.path
