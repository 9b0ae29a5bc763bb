"""What people decided of pairs, laid over the pairs of a scan or check.

A decision belongs to the contents of two files.  A pair that was decided not to matter stays in the
result with its reason and is no longer flagged; ``confirmed`` keeps it flagged.  ``--same-owner``
does the same by rule, for pairs whose owner a tag names; a person's decision comes before the rule.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from auditor.audio.files import hash_file
from auditor.audio.object_store import is_object
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.sources import name_of_tag, normalise_tag
from auditor.errors import CatalogueError, UsageError, show_path
from auditor.records import (
    UNDO,
    CheckResult,
    CompositionMatch,
    Decision,
    DecisionKind,
    Pair,
    ScanResult,
    Track,
)

Hashes = tuple[str, str]
"""SHA-256 of two files in sorted order: what a decision belongs to."""

N_PAIR_ID = 8
"""Hex digits of a pair id."""

OWNER_TAGS = ("artist", "album", "licence")
"""Tags that ``--same-owner`` takes."""

MATCHING = (DecisionKind.CONFIRMED, DecisionKind.LICENSED, DecisionKind.SAME_OWNER)
"""Decisions that say that both files hold the same recording; a cover is another one."""

_PAIR_ID = re.compile(rf"[0-9a-f]{{{N_PAIR_ID},64}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def in_order(sha256_a: str, sha256_b: str) -> Hashes:
    """Return two hashes as what a decision belongs to."""
    return (sha256_a, sha256_b) if sha256_a <= sha256_b else (sha256_b, sha256_a)


def pair_id(sha256_a: str, sha256_b: str) -> str:
    """Return the short id of a pair: the same for both orders, in every run and catalogue.

    The first 8 hex digits of the SHA-256 over both hashes, sorted, with a line break between.

    Examples
    --------
    >>> pair_id("b" * 64, "a" * 64)
    '5e9ae866'
    """
    return _pair_digest(in_order(sha256_a, sha256_b))[:N_PAIR_ID]


def _pair_digest(hashes: Hashes) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def standing(decisions: Iterable[Decision]) -> dict[Hashes, Decision]:
    """Return the decision that counts for each pair: its newest one, unless that takes it back.

    Parameters
    ----------
    decisions : iterable of Decision
        Oldest first, as ``Catalogue.decisions`` returns them.
    """
    newest = {(made.sha256_a, made.sha256_b): made for made in decisions}
    return {hashes: made for hashes, made in newest.items() if made.kind != UNDO}


def apply_decisions(
    pairs: Iterable[Pair],
    tracks: Mapping[str, Track],
    decisions: Iterable[Decision],
    same_owner: Collection[str] = (),
) -> tuple[Pair, ...]:
    """Return pairs with their ids, decisions and licence conflicts.

    A pair that was decided, other than ``confirmed``, is no longer flagged.  Flagged pairs whose
    licences are known and differ come first; the others stay in their order.

    Parameters
    ----------
    pairs : iterable of Pair
        ``flagged`` says whether the score reaches the threshold.
    tracks : mapping of id to Track
        The tracks of the pairs.
    decisions : iterable of Decision
        Oldest first.
    same_owner : collection of str
        Of ``OWNER_TAGS``; a flagged, undecided pair with one of these tags known and equal, but
        for case and white space, counts as decided ``same-owner``.  An album counts only with the
        same artist, and what names nobody ("Unknown Artist") counts as unknown.

    Raises
    ------
    ValueError
        If ``same_owner`` holds another tag.
    """
    decided = _laid_over(pairs, tracks, decisions, same_owner)
    return tuple(sorted(decided, key=lambda pair: not (pair.flagged and pair.licences_differ)))


def apply_to_compositions(
    matches: Iterable[CompositionMatch],
    tracks: Mapping[str, Track],
    decisions: Iterable[Decision],
    same_owner: Collection[str] = (),
) -> tuple[CompositionMatch, ...]:
    """Return the lines of a composition match with ids and decisions, in their order.

    See ``apply_decisions``; a decision on a pair holds for both kinds of match.
    """
    return tuple(_laid_over(matches, tracks, decisions, same_owner))


_Match = TypeVar("_Match", Pair, CompositionMatch)


def _laid_over(
    pairs: Iterable[_Match],
    tracks: Mapping[str, Track],
    decisions: Iterable[Decision],
    same_owner: Collection[str],
) -> list[_Match]:
    check_owner_tags(same_owner)
    counts = standing(decisions)
    decided = []
    for pair in pairs:
        a, b = tracks[pair.a], tracks[pair.b]
        made = counts.get(in_order(a.sha256, b.sha256))
        kind, note = (made.kind, made.note) if made else ("", "")
        if pair.flagged and not made and (tag := _shared_owner(a, b, same_owner)):
            kind, note = "same-owner", f"same {tag}: {getattr(a, tag)}"
        decided.append(
            dataclasses.replace(
                pair,
                pair_id=pair_id(a.sha256, b.sha256),
                flagged=pair.flagged and kind in ("", DecisionKind.CONFIRMED),
                decision=kind,
                decision_note=note,
                decision_by=made.by if made else "",
                decision_when=made.when if made else "",
                licences_differ=pair.flagged and _licences_differ(a, b),
            )
        )
    return decided


def check_owner_tags(tags: Collection[str]) -> None:
    """Raise ValueError unless every tag is one of ``OWNER_TAGS``."""
    if unknown := sorted(set(tags) - set(OWNER_TAGS)):
        raise ValueError(f"same_owner is {unknown[0]!r}; it must be one of {', '.join(OWNER_TAGS)}")


def _shared_owner(a: Track, b: Track, tags: Collection[str]) -> str:
    for tag in OWNER_TAGS:
        needed = ("album", "artist") if tag == "album" else (tag,)  # many have "Greatest Hits"
        if tag in tags and all(_names_alike(a, b, name) for name in needed):
            return tag
    return ""


def _names_alike(a: Track, b: Track, tag: str) -> bool:
    value = name_of_tag(getattr(a, tag))
    return value != "" and value == name_of_tag(getattr(b, tag))


def _licences_differ(a: Track, b: Track) -> bool:
    licences = {normalise_tag(a.licence), normalise_tag(b.licence)}
    return len(licences) == 2 and "" not in licences


def labelled_pairs(catalogue: Catalogue) -> tuple[tuple[Hashes, ...], tuple[Hashes, ...]]:
    """Return the pairs that people have called the same recording, and those called false alarms.

    Covers are in neither, nor are two files of the same bytes.

    Returns
    -------
    matching, nonmatching : tuple of (str, str)
        SHA-256 of both files, sorted.
    """
    counts = standing(catalogue.decisions())
    kinds = {hashes: made.kind for hashes, made in counts.items() if hashes[0] != hashes[1]}
    return (
        tuple(sorted(hashes for hashes, kind in kinds.items() if kind in MATCHING)),
        tuple(sorted(hashes for hashes, kind in kinds.items() if kind == DecisionKind.FALSE_ALARM)),
    )


def find_pair(
    words: Sequence[str],
    catalogue: Catalogue,
    results: Sequence[ScanResult | CheckResult] = (),
) -> Hashes:
    """Return the pair that somebody names: by its pair id, or by two tracks.

    Parameters
    ----------
    words : sequence of str
        A pair id; or two tracks, as one text or as two.  A track is an id of the catalogue or of a
        result, the path of a file, or a SHA-256.
    catalogue : Catalogue
    results : sequence of ScanResult or CheckResult
        Where pair ids and the ids of submissions are looked for.

    Raises
    ------
    UsageError
        If that names no pair, or more than one.
    """
    named = list(words)
    if len(named) == 1:
        if _PAIR_ID.fullmatch(named[0].lower()):
            return _by_pair_id(named[0].lower(), catalogue, results)
        named = named[0].split()
    if len(named) != 2:
        raise UsageError(
            f"{' '.join(words)!r:.200} does not name a pair. Give a pair id, or two tracks by id "
            "or path."
        )
    if named[0] == named[1]:
        raise UsageError(f"{named[0]} was given twice. A pair is two tracks; give both.")
    first, second = (_sha256_of(name, catalogue, results) for name in named)
    return in_order(first, second)


def report_orders(results: Iterable[ScanResult | CheckResult]) -> dict[Hashes, Hashes]:
    """Return for the sorted hashes of every pair of some results those of its tracks A and B.

    Where results differ, the first one counts.
    """
    found: dict[Hashes, Hashes] = {}
    for result in results:
        sha256 = {track.id: track.sha256 for track in _tracks_of(result)}
        pairs: list[Pair | CompositionMatch] = [*result.pairs]
        if result.compositions is not None:
            pairs += result.compositions.matches
        for pair in pairs:
            if pair.a in sha256 and pair.b in sha256:
                a, b = sha256[pair.a], sha256[pair.b]
                found.setdefault(in_order(a, b), (a, b))
    return found


def _tracks_of(result: ScanResult | CheckResult) -> Iterable[Track]:
    submissions = result.submissions if isinstance(result, CheckResult) else ()
    return chain(result.tracks, submissions)


def _by_pair_id(
    wanted: str, catalogue: Catalogue, results: Sequence[ScanResult | CheckResult]
) -> Hashes:
    known = dict.fromkeys(report_orders(results))
    known |= dict.fromkeys((made.sha256_a, made.sha256_b) for made in catalogue.decisions())
    found = [hashes for hashes in known if _pair_digest(hashes).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no pair of the last scan or check has the id {wanted}. Give the JSON beside its "
            "report with --result RESULT.json, or both tracks instead of the id."
        )
    raise UsageError(f"{len(found)} pairs have the id {wanted}. Give both tracks instead.")


def _sha256_of(name: str, catalogue: Catalogue, results: Sequence[ScanResult | CheckResult]) -> str:
    if sha256 := catalogue.sha256_of(name):
        return sha256
    for track in chain.from_iterable(map(_tracks_of, results)):
        if track.id == name:
            return track.sha256
    if _SHA256.fullmatch(name.lower()):
        return name.lower()
    if is_object(name) or os.path.lexists(name):
        try:
            return hash_file(name)
        except OSError as error:
            reason = f"{show_path(name)} cannot be read: {error.strerror}. Give another file."
            raise UsageError(reason) from None
    try:
        return catalogue.track(name).sha256
    except CatalogueError as error:
        raise UsageError(f"{show_path(name)} is not a file, and {error}") from None
