"""What the page of recommendations is given: answers with their reasons, and files to play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from auditor.errors import show_text
from auditor.records import RecommendResult
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.media.model import Media, TrackMedia
from auditor.report.text.general import show_count, show_score

ROLES = (("of", "Start"), ("like", "Liked"), ("dislike", "Disliked"))
"""Keys of the query that hold tracks, and what the page calls them."""


@dataclass(frozen=True)
class Favourite:
    """A track of the query: its role, its id or path, the name of its file, the link to it."""

    role: str
    id: str
    name: str
    link: str


@dataclass(frozen=True)
class Answer:
    """One recommendation.

    ``why`` is the track of the query that it is nearest to, None where there is none; ``same``
    holds the paths of further answers of the same bytes, ``n_files`` says so in words.
    """

    track: TrackView
    score: str
    why: Favourite | None
    link: str
    same: tuple[str, ...]
    n_files: str


def recommend_view(result: RecommendResult, media: Media | None = None) -> dict[str, Any]:
    """Return the variables of ``recommend.html.j2`` that only recommendations have.

    Parameters
    ----------
    result : RecommendResult
    media : Media, optional
        Links by track id (or, for a file outside the catalogue, by its path as the query shows
        it); without, nothing can be played.
    """
    linked = media.by_track() if media else {}
    favourites = [
        _favourite(role, track_id, linked)
        for key, role in ROLES
        for track_id in result.query.get(key, ())
    ]
    by_id = {favourite.id: favourite for favourite in favourites}
    rest = {key: ids for key, ids in result.query.items() if key not in dict(ROLES) and ids}
    return {
        "notes": result.notes,
        "favourites": favourites,
        "query": [(name.replace("_", " "), ", ".join(ids)) for name, ids in rest.items()],
        "playable": any(one.link for one in linked.values()),
        "recommendations": [
            Answer(
                track=track_view(answer.track),
                score=show_score(answer.score),
                why=by_id.get(answer.nearest_to) if answer.nearest_to else None,
                link=_link(answer.track.id, linked),
                same=tuple(show_text(path) for path in answer.same),
                n_files=show_count(len(answer.same) + 1, "identical file") if answer.same else "",
            )
            for answer in result.recommendations
        ],
    }


def _favourite(role: str, track_id: str, linked: Mapping[str, TrackMedia]) -> Favourite:
    link = _link(track_id, linked)
    name = show_text(unquote(link.rsplit("/", 1)[-1])) or track_id.rsplit("/", 1)[-1]
    return Favourite(role, track_id, name, link)


def _link(track_id: str, linked: Mapping[str, TrackMedia]) -> str:
    return linked[track_id].link if track_id in linked else ""
