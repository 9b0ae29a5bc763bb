"""Where tracks come from: two of one artist, album or folder are more alike than two of any others.

Unrelated tracks of one album reach a score many times as often as those of two, so an error rate
holds for a catalogue only if it is known how many of its pairs are of one source
(docs/calibration.md).  A track's source is the first of these that it has:

* its artist, where the tag names one,
* its album,
* its folder, where few enough tracks lie in it to be an album rather than a heap,
* itself alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from auditor.records import Track

MAX_FOLDER = 100
"""A folder of more tracks says nothing of them."""

NOBODY = frozenset(
    ("various artists", "various", "va", "v/a", "v.a.", "unknown", "unknown artist", "none", "n/a")
)
"""Values of a tag that name nobody."""


def name_of_tag(value: str) -> str:
    """Return what a tag names, so that two spellings of one name are equal; empty for nobody.

    Examples
    --------
    >>> name_of_tag("  The  Band "), name_of_tag("Various Artists")
    ('the band', '')
    """
    name = normalise_tag(value)
    return "" if name in NOBODY else name


def normalise_tag(value: str) -> str:
    """Return a tag without what two spellings of one value differ by: case and spaces."""
    return " ".join(value.casefold().split())


def track_sources(tracks: Sequence[Track]) -> list[str]:
    """Return the source of each track; equal for tracks of one source.

    Parameters
    ----------
    tracks : sequence of Track
        All of those that are compared: how many lie in a folder counts.
    """
    n_in_folder = Counter(os.path.dirname(track.path) for track in tracks)
    sources = []
    for track in tracks:
        folder = os.path.dirname(track.path)
        if tag := tag_source(track):
            sources.append(tag)
        elif n_in_folder[folder] <= MAX_FOLDER:
            sources.append(f"folder {folder}")
        else:
            sources.append(f"track {track.id}")
    return sources


def tag_source(track: Track) -> str:
    """Return the source that a track's tags name; empty if they name none."""
    tag = naming_tag(track)
    return f"{tag} {name_of_tag(getattr(track, tag))}" if tag else ""


def naming_tag(track: Track) -> str:
    """Return the tag by which a track's source goes, ``artist`` or ``album``; empty for neither."""
    return next((tag for tag in ("artist", "album") if name_of_tag(getattr(track, tag))), "")


def n_pairs_of_one_source(sources: Sequence[str]) -> int:
    """Return how many pairs of tracks are of one source.

    Examples
    --------
    >>> n_pairs_of_one_source(["a", "b", "a", "a"])
    3
    """
    return sum(n * (n - 1) // 2 for n in Counter(sources).values())
