"""A case as evidence that stands alone: one ZIP with a page to print, the sound, and a replay.

The file holds the pair as JSON, a page, the clips of both tracks, and what the comparison is made
of: the d-vectors and the spectrum of either track.  So it can be compared anew wherever audit is
installed, without the music and without the catalogue.  A manifest has the SHA-256 of every part,
of both recordings, the weights, the calibration and the code.

It comes from a stranger when it is verified.  Nothing of it is written to the disk; names and sizes
are checked first, and the archive must be, byte for byte, the one that its parts make.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from auditor.embedding.config import SPECTRUM, Retuning
from auditor.errors import ResultError, show_text
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.match_score import MIN_SCORE_TO_SHOW, match_score
from auditor.evidence.side import Side, compare_sides, mirrored_evidence
from auditor.records import (
    CheckResult,
    Decision,
    Evidence,
    Pair,
    ScanResult,
    ThresholdUse,
    Track,
    Verdict,
    find_track,
    result_bytes,
    result_from_json,
)
from auditor.report.html.cases import MediaLookup, case_view, with_media
from auditor.report.html.page import content_policy, environment, source
from auditor.report.html.tracks import TRACK_FIELDS, provenance_rows
from auditor.report.media.model import Media
from auditor.report.text.error_rates import false_alarm_rate, show_threshold
from auditor.report.text.general import show_kind, show_score, show_when
from auditor.scoring.hearings import as_submitted
from auditor.scoring.verdict import decide_verdict
from auditor.serialisation import from_json, parse_json

FORMAT = "audit-case/1"
MANIFEST, RESULT, PAGE = "manifest.json", "case.json", "case.html"
MAX_BYTES = 512 << 20
"""Size of a case file at most."""

MAX_PARTS = 64
_MAX_TEXT = 64 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_DATE = (1980, 1, 1, 0, 0, 0)
_SCORE_BOUND, _TIME_BOUND_S = 1e-4, 0.05
"""By how much a replay may differ: other processors round in another order."""


@dataclass(frozen=True)
class SideArrays:
    """What is compared of one track.

    Attributes
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims) float16.
    levels : numpy.ndarray
        (n_windows,) float16, dB.
    spectrum : numpy.ndarray or None
        (n_frames, n_bands) uint8; None where there is none.
    """

    dvectors: np.ndarray
    levels: np.ndarray
    spectrum: np.ndarray | None


@dataclass(frozen=True)
class StoredSide:
    """How a track lies in a case file: its content, and the shapes of its arrays."""

    id: str
    sha256: str
    duration_s: float
    n_windows: int
    n_dims: int
    n_frames: int


@dataclass(frozen=True)
class CaseHearing:
    """How one track was heard in the way that found a pair (``--wide``).

    Attributes
    ----------
    side : "a" or "b"
        Whose arrays are those of this hearing.
    retuning : Retuning
    duration_s : float
        Seconds of sound, as the retuning's tempo has them.
    brief_cost : float or None
        As ``evidence.side.Side`` has it: passages of seconds were looked for.
    difference : float
        What is added to the score of this way: less than 0 for its part of the budget, more than 0
        where another way reached a higher score.
    """

    side: str
    retuning: Retuning
    duration_s: float
    brief_cost: float | None = None
    difference: float = 0.0

    def __post_init__(self) -> None:
        bounds = (
            (abs(self.retuning.semitones), 0.0, 24.0),
            (self.retuning.tempo, 0.25, 4.0),
            (self.retuning.skip_s, 0.0, 10.0),
            (self.duration_s, 0.0, 1e6),
            (self.brief_cost or 0.0, 0.0, 1.0),
            (abs(self.difference), 0.0, 1.0),
        )
        if self.side not in ("a", "b") or not all(low <= x <= high for x, low, high in bounds):
            raise ValueError("a way to hear a track is out of range")


@dataclass(frozen=True)
class CaseManifest:
    """What a case rests on.

    Attributes
    ----------
    pair_id : str
    command : str
        What replays it.
    code : str
        Version of audit, with a hash of the code that examines pairs.
    extractor, weights_id, weights_sha256 : str
        The hash is empty where the weights file was not found.
    threshold_file, threshold_sha256 : str
        The calibration.
    hop_s, window_s : float
        Step and length of the windows.
    threshold : float
        Of the pair.
    a, b : StoredSide
    catalogue_sha256 : str
        See ``records.ScanResult``.
    decisions : tuple of Decision
        Every decision on the pair, the oldest first.
    hearing : CaseHearing or None
        None for a pair of both tracks as they are.
    parts : dict of str to str
        SHA-256 of each other file of the archive.
    """

    pair_id: str
    command: str
    code: str
    extractor: str
    weights_id: str
    weights_sha256: str
    threshold_file: str
    threshold_sha256: str
    hop_s: float
    window_s: float
    threshold: float
    a: StoredSide
    b: StoredSide
    catalogue_sha256: str = ""
    decisions: tuple[Decision, ...] = ()
    hearing: CaseHearing | None = None
    parts: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT


@dataclass(frozen=True)
class Replay:
    """A comparison made anew.

    Attributes
    ----------
    what : str
        What was compared, in words.
    score, stored_score : float
    verdict, stored_verdict : str
    agrees : bool
        Score, verdict and the times of every range are those of the case.
    """

    what: str
    score: float
    stored_score: float
    verdict: str
    stored_verdict: str
    agrees: bool


def single_case(result: ScanResult | CheckResult, pair: Pair) -> ScanResult | CheckResult:
    """Return a result of one pair alone, with its two tracks.

    Raises
    ------
    ResultError
        If the result does not list a track of the pair.
    """
    tracks_b = {track.id: track for track in result.tracks}
    changes: dict[str, Any] = {"pairs": (pair,), "skipped": (), "identical": ()}
    changes |= {"compositions": None, "identifiers": None}
    if isinstance(result, CheckResult):
        submissions = {track.id: track for track in result.submissions}
        changes["submissions"] = (find_track(submissions, pair.a),)
        changes["tracks"] = (find_track(tracks_b, pair.b),)
        changes["thresholds"] = tuple(u for u in result.thresholds if u.submission == pair.a)
    else:
        changes["tracks"] = tuple(find_track(tracks_b, side) for side in (pair.a, pair.b))
        changes |= {"clusters": (), "histogram": {}, "since": None}
    return dataclasses.replace(result, **changes)


def sides_of(case: ScanResult | CheckResult) -> tuple[Track, Track]:
    """Return both tracks of a result of one pair."""
    if isinstance(case, CheckResult):
        return case.submissions[0], case.tracks[0]
    return case.tracks[0], case.tracks[1]


def threshold_of(case: ScanResult | CheckResult) -> float:
    """Return the threshold that the pair of a case was compared with."""
    if isinstance(case, CheckResult) and case.thresholds:
        return case.thresholds[0].threshold
    return case.threshold.threshold


def write_case(
    case: ScanResult | CheckResult,
    manifest: CaseManifest,
    media: Media,
    arrays: tuple[SideArrays, SideArrays],
) -> bytes:
    """Return a case as the bytes of a ZIP file, the same for the same arguments.

    Parameters
    ----------
    case : ScanResult or CheckResult
        Of one pair, see ``single_case``.
    manifest : CaseManifest
        Its ``parts`` are filled in here.
    media : Media
        Clips of both tracks, without links.
    arrays : (SideArrays, SideArrays)
    """
    parts = {RESULT: result_bytes(case)}
    parts[PAGE] = _page(case, manifest, media).encode("utf-8", "backslashreplace")
    for pair in media.pairs:
        for clip in pair.clips:
            suffix = "m4a" if clip.mime.startswith("audio/mp4") else "ogg"
            parts[f"clip-{clip.range + 1}-{clip.side}.{suffix}"] = base64.b64decode(clip.audio)
    for side, one in zip("ab", arrays, strict=True):
        parts |= _array_parts(side, one)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(parts.items())}
    text = json.dumps(
        dataclasses.asdict(dataclasses.replace(manifest, parts=hashes)),
        ensure_ascii=False,
        allow_nan=False,
        indent=1,
    )
    return _archive({MANIFEST: (text + "\n").encode("utf-8", "backslashreplace")} | parts)


def _array_parts(side: str, arrays: SideArrays) -> dict[str, bytes]:
    parts = {
        f"{side}-dvectors.f16": np.ascontiguousarray(arrays.dvectors, "<f2").tobytes(),
        f"{side}-levels.f16": np.ascontiguousarray(arrays.levels, "<f2").tobytes(),
    }
    if arrays.spectrum is not None:
        parts[f"{side}-spectrum.u8"] = np.ascontiguousarray(arrays.spectrum, np.uint8).tobytes()
    return parts


def _archive(parts: Mapping[str, bytes]) -> bytes:
    """Return a ZIP of some files, the manifest first, without any freedom left in its bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts, key=lambda name: (name != MANIFEST, name)):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, parts[name])
    return buffer.getvalue()


@dataclass(frozen=True)
class OpenedCase:
    """A case file whose parts are all there and unchanged.

    Attributes
    ----------
    manifest : CaseManifest
    case : ScanResult or CheckResult
        Of one pair.
    arrays : (SideArrays, SideArrays)
    """

    manifest: CaseManifest
    case: ScanResult | CheckResult
    arrays: tuple[SideArrays, SideArrays]

    @property
    def pair(self) -> Pair:
        """The pair of the case."""
        return self.case.pairs[0]

    @property
    def heard_sha256(self) -> str:
        """Content of the track that was heard otherwise; empty for none."""
        hearing = self.manifest.hearing
        if hearing is None:
            return ""
        return self.manifest.a.sha256 if hearing.side == "a" else self.manifest.b.sha256


class ChangedCaseError(ResultError):
    """A case file that is not, byte for byte, what audit wrote."""


def read_case(data: bytes) -> OpenedCase:
    """Read a case file of a stranger, and check every byte of it against its manifest.

    Raises
    ------
    ResultError
        If it is no case file.
    ChangedCaseError
        If a part is missing, added or changed, or the archive holds more than its parts.
    """
    parts = _parts_of(data)
    try:
        manifest = from_json(CaseManifest, parse_json(parts[MANIFEST]), where="the manifest")
    except (KeyError, ValueError, RecursionError) as error:
        raise ResultError(f"it is no case file: {error}. Give one of audit case.") from None
    if manifest.format != FORMAT:
        raise ResultError(f"its format is {manifest.format!r:.60}; {FORMAT!r} is read.")
    found = {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}
    del found[MANIFEST]
    changed = sorted(
        name
        for name in found.keys() | manifest.parts.keys()
        if found.get(name) != manifest.parts.get(name)
    )
    if changed:
        shown = ", ".join(show_text(name) for name in changed[:5])
        raise ChangedCaseError(f"{shown}: not what the manifest has the SHA-256 of.")
    if _archive(parts) != data:
        raise ChangedCaseError("the archive has bytes that belong to none of its parts.")
    case = result_from_json(parts[RESULT].decode("utf-8", "replace"))
    if not isinstance(case, ScanResult | CheckResult) or len(case.pairs) != 1:
        raise ResultError(f"{RESULT} does not hold one pair. Give one of audit case.")
    pair = case.pairs[0]
    tracks = (*case.submissions, *case.tracks) if isinstance(case, CheckResult) else case.tracks
    if len(tracks) != 2 or {track.id for track in sides_of(case)} != {pair.a, pair.b}:
        raise ResultError(f"{RESULT} does not hold the two tracks of its pair.")
    for side, track in zip((manifest.a, manifest.b), sides_of(case), strict=True):
        if (side.id, side.sha256, side.duration_s) != (track.id, track.sha256, track.duration_s):
            raise ChangedCaseError(f"{RESULT} and the manifest name different tracks.")
    if manifest.threshold != threshold_of(case) or manifest.pair_id != pair.pair_id:
        raise ChangedCaseError(f"{RESULT} and the manifest name different pairs or thresholds.")
    return OpenedCase(
        manifest,
        case,
        (_arrays("a", manifest.a, parts), _arrays("b", manifest.b, parts)),
    )


def _parts_of(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive, which must be stored, few, flat, and named as ours are."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(entries) > MAX_PARTS or len(set(names)) != len(names):
                raise ResultError(f"it has {len(entries)} files, or two of one name.")
            for entry in entries:
                odd = entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1
                if odd or not _NAME.fullmatch(entry.filename):
                    raise ResultError(f"it holds {show_text(entry.filename)[:80]!r}.")
                limit = _MAX_TEXT if entry.filename.endswith((".json", ".html")) else len(data)
                if entry.file_size > limit or entry.file_size != entry.compress_size:
                    raise ResultError(f"{entry.filename} is too large, or its size is not true.")
            return {entry.filename: archive.read(entry) for entry in entries}
    except ChangedCaseError:
        raise
    except ResultError as error:
        raise ResultError(f"it is no case file: {error} Give one of audit case.") from None
    except zipfile.BadZipFile as error:
        # A checksum that is wrong is a byte that was changed.
        if "CRC" in str(error):
            raise ChangedCaseError("a part does not have its checksum.") from None
        raise ResultError(f"it is no ZIP file: {error}. Give one of audit case.") from None
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ResultError(f"it cannot be read: {error}. Give one of audit case.") from None


def _arrays(side: str, stored: StoredSide, parts: Mapping[str, bytes]) -> SideArrays:
    """Return the arrays of one side, whose sizes must be those of the manifest.

    Raises
    ------
    ResultError
        If they are not.
    """
    n_windows, n_dims, n_frames = stored.n_windows, stored.n_dims, stored.n_frames
    sizes = {
        f"{side}-dvectors.f16": 2 * n_windows * n_dims,
        f"{side}-levels.f16": 2 * n_windows,
        f"{side}-spectrum.u8": n_frames * SPECTRUM.n_bands,
    }
    wrong = [name for name, size in sizes.items() if len(parts.get(name, b"")) != size]
    if wrong or min(n_windows, n_dims, n_frames) < 0 or not 0 < stored.duration_s < 1e6:
        raise ResultError(f"{', '.join(wrong) or 'a track'} has another size than it says.")
    dvectors, levels, spectrum = (parts.get(name, b"") for name in sizes)
    made = SideArrays(
        np.frombuffer(dvectors, "<f2").reshape(n_windows, n_dims),
        np.frombuffer(levels, "<f2"),
        np.frombuffer(spectrum, np.uint8).reshape(n_frames, SPECTRUM.n_bands) if n_frames else None,
    )
    if not (np.isfinite(made.dvectors).all() and np.isfinite(made.levels).all()):
        raise ResultError("its d-vectors are not numbers.")
    return made


def stored_side(track: Track, arrays: SideArrays) -> StoredSide:
    """Return how a track is described in a manifest."""
    n_windows, n_dims = arrays.dvectors.shape
    n_frames = 0 if arrays.spectrum is None else len(arrays.spectrum)
    return StoredSide(track.id, track.sha256, track.duration_s, n_windows, n_dims, n_frames)


def replay(opened: OpenedCase, *, fresh: Mapping[str, SideArrays] | None = None) -> Replay:
    """Compare both tracks of a case anew.

    Parameters
    ----------
    opened : OpenedCase
    fresh : mapping of str to SideArrays, optional
        By SHA-256 of a file: what was embedded of it just now, in place of what the case holds.
    """
    manifest, pair = opened.manifest, opened.pair
    fresh = fresh or {}
    evidence, score = compare_as_stored(
        manifest,
        fresh.get(manifest.a.sha256, opened.arrays[0]),
        fresh.get(manifest.b.sha256, opened.arrays[1]),
    )
    score = 1.0 if pair.identical_file else score
    verdict = decide_verdict(
        evidence,
        score=score,
        threshold=manifest.threshold,
        identical_file=manifest.a.sha256 == manifest.b.sha256,
    )
    kept_verdict = pair.verdict
    # Whether two tracks sound alike is asked of their embeddings, which a case does not hold.
    same_verdict = verdict == kept_verdict or {verdict, kept_verdict} == {
        Verdict.SOUNDS_ALIKE,
        Verdict.CLEAR,
    }
    agrees = (
        abs(score - pair.score) <= _SCORE_BOUND
        and same_verdict
        and _same_ranges(evidence, pair.evidence)
    )
    n_fresh = len({side.sha256 for side in (manifest.a, manifest.b)} & fresh.keys())
    what = ("what the case holds", "one of the files", "both files")[min(2, n_fresh)]
    if manifest.a.sha256 == manifest.b.sha256 and n_fresh:
        what = "the file"
    return Replay(what, score, pair.score, verdict.value, kept_verdict, agrees)


def compare_as_stored(
    manifest: CaseManifest, a: SideArrays, b: SideArrays
) -> tuple[Evidence, float]:
    """Return the evidence of both tracks, in their own time and pitch, and its score."""
    examiner = Examiner(_no_track, hop_s=manifest.hop_s, window_s=manifest.window_s)
    shown_from = min(MIN_SCORE_TO_SHOW, manifest.threshold)
    sides = _side(manifest.a, a, examiner), _side(manifest.b, b, examiner)
    hearing = manifest.hearing
    if hearing is None:
        evidence = compare_sides(examiner, *sides, shown_from=shown_from)
        return evidence, match_score(evidence)
    mine, other = (
        ((manifest.a, a), sides[1]) if hearing.side == "a" else ((manifest.b, b), sides[0])
    )
    heard = dataclasses.replace(mine[0], sha256="", duration_s=hearing.duration_s)
    way = _side(heard, mine[1], examiner, brief_cost=hearing.brief_cost)
    evidence = compare_sides(examiner, way, other, shown_from=shown_from)
    score = match_score(evidence) + hearing.difference
    if hearing.retuning != Retuning():
        evidence = as_submitted(evidence, hearing.retuning, mine[0].duration_s)
    return (evidence if hearing.side == "a" else mirrored_evidence(evidence)), score


def hearing_of(
    opened: OpenedCase, ways: Iterable[tuple[CaseHearing, SideArrays]]
) -> OpenedCase | None:
    """Return a case with the way to hear a track that gives what its pair says; None for no way.

    Parameters
    ----------
    opened : OpenedCase
        Of both tracks as they are.
    ways : iterable of (CaseHearing, SideArrays)
        Ways, and what is compared of their track in each.
    """
    pair = opened.pair
    if pair.evidence is None or not pair.evidence.ranges:
        return None
    best = pair.evidence.ranges[0].match_score or 0.0
    for way, arrays in ways:
        both = (arrays, opened.arrays[1]) if way.side == "a" else (opened.arrays[0], arrays)
        evidence, score = _compare(opened, way, both)
        if way.brief_cost is not None and isinstance(opened.case, CheckResult) and evidence.ranges:
            cost = (evidence.ranges[0].match_score or 0.0) - best  # of the range, not of the pair
            if not 0.0 <= cost <= 1.0:
                continue
            way = dataclasses.replace(way, brief_cost=cost)
            evidence, score = _compare(opened, way, both)
        if abs(pair.score - score) <= 1.0 and _same_ranges(evidence, pair.evidence):
            way = dataclasses.replace(way, difference=pair.score - score)
            found = _with_hearing(opened, way, both)
            if replay(found).agrees:
                return found
    return None


def _compare(
    opened: OpenedCase, way: CaseHearing, arrays: tuple[SideArrays, SideArrays]
) -> tuple[Evidence, float]:
    return compare_as_stored(_with_hearing(opened, way, arrays).manifest, *arrays)


def _with_hearing(
    opened: OpenedCase, way: CaseHearing, arrays: tuple[SideArrays, SideArrays]
) -> OpenedCase:
    a, b = (
        stored_side(track, one) for track, one in zip(sides_of(opened.case), arrays, strict=True)
    )
    return OpenedCase(
        dataclasses.replace(opened.manifest, a=a, b=b, hearing=way), opened.case, arrays
    )


def _no_track(track_id: str) -> tuple[np.ndarray, np.ndarray, float]:
    raise ValueError(f"{track_id} is not read by its id")


def _side(
    stored: StoredSide,
    arrays: SideArrays,
    examiner: Examiner,
    *,
    brief_cost: float | None = None,
) -> Side:
    return Side(
        stored.id,
        stored.sha256,
        stored.duration_s,
        windows=lambda: examiner.prepare(arrays.dvectors, arrays.levels, stored.duration_s),
        frames=lambda: arrays.spectrum,
        brief_cost=brief_cost,
    )


def _same_ranges(found: Evidence, stored: Evidence | None) -> bool:
    if stored is None or len(found.ranges) != len(stored.ranges):
        return False
    names = ("a_start_s", "a_end_s", "b_start_s", "b_end_s")
    return all(
        abs(getattr(one, name) - getattr(other, name)) <= _TIME_BOUND_S
        for one, other in zip(found.ranges, stored.ranges, strict=True)
        for name in names
    )


def _page(case: ScanResult | CheckResult, manifest: CaseManifest, media: Media) -> str:
    """Return the page of a case, to print."""
    pair = case.pairs[0]
    a, b = sides_of(case)
    shelf = MediaLookup.of(media)
    row = (pair, a, b)
    plain = case_view(1, row, sides=("A", "B"), n_counted=case.threshold.n_counted)
    view = with_media(plain, row, shelf)
    pages = environment()
    style = source(pages, "report.css") + source(pages, "case.css")
    return pages.get_template("case_file.html.j2").render(
        headline=f"{plain.verdict.capitalize()}: {plain.a.track.label} and {plain.b.track.label}",
        created=show_when(case.provenance.created),
        served=None,
        policy=Markup(content_policy(style, "")),
        style=Markup(style),
        tiles=(),
        skipped=(),
        notes=(),
        c=view,
        fields=TRACK_FIELDS,
        side_names=("A (submission)", "B (catalogue)")
        if isinstance(case, CheckResult)
        else ("Track A", "Track B"),
        decisions=[_decision_words(made) for made in manifest.decisions],
        decided=_how_decided(pair, case.threshold),
        basis=_basis(case, manifest),
        provenance=[(name, value) for name, value in provenance_rows(case.provenance) if value],
        command=manifest.command,
    )


def _decision_words(made: Decision) -> str:
    by = f" by {made.by}" if made.by else ""
    note = f": {' / '.join(made.note.splitlines())}" if made.note else ""
    return show_text(f"{show_when(made.when)}, {show_kind(made.kind)}{by}{note}")


def _how_decided(pair: Pair, use: ThresholdUse) -> str:
    state = f"decided: {show_kind(pair.decision)}" if pair.decision else "not decided by anybody"
    flagged = "is flagged" if pair.flagged else "is not flagged"
    rate = false_alarm_rate(use)
    return f"The pair {flagged} and {state}. False alarm rate at the threshold: {rate}."


def _basis(case: ScanResult | CheckResult, manifest: CaseManifest) -> Sequence[tuple[str, str]]:
    rows = (
        ("SHA-256 of A", manifest.a.sha256),
        ("SHA-256 of B", manifest.b.sha256),
        ("Score and threshold", f"{show_score(case.pairs[0].score)}, {show_threshold(case)}"),
        ("Heard", "" if manifest.hearing is None else hearing_words(manifest.hearing)),
        ("Code", manifest.code),
        ("Weights", f"{manifest.extractor} {manifest.weights_id} {manifest.weights_sha256}"),
        ("Calibration", f"{manifest.threshold_file} {manifest.threshold_sha256}"),
        ("Catalogue", f"{case.n_tracks:,} tracks, fingerprint {manifest.catalogue_sha256}"),
    )
    return [(name, value.strip()) for name, value in rows if value]


def hearing_words(hearing: CaseHearing) -> str:
    """Return how a track was heard, in words.

    Examples
    --------
    >>> hearing_words(CaseHearing("a", Retuning(8.1, 1.6), 60.0, difference=-0.06))
    'A, moved 8.1 semitones down and to 1.60 times its length (--wide); score changed by -0.06'
    """
    how = []
    if hearing.retuning.semitones:
        way = "down" if hearing.retuning.semitones > 0 else "up"
        how.append(f"moved {abs(hearing.retuning.semitones):.1f} semitones {way}")
    if hearing.retuning.tempo != 1.0:
        how.append(f"to {hearing.retuning.tempo:.2f} times its length")
    if hearing.retuning.skip_s:
        how.append(f"from {hearing.retuning.skip_s:g} s on")
    if hearing.brief_cost is not None:
        how.append("with passages of seconds")
    changed = f"; score changed by {hearing.difference:+.2f}" if hearing.difference else ""
    return f"{hearing.side.upper()}, {' and '.join(how)} (--wide){changed}"
