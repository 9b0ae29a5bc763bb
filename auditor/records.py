"""The nouns of an audit: tracks, embeddings, pairs, clusters and the results made of them.

Plain frozen dataclasses with no behaviour beyond their forms for other programs, shared by every
module above.  The JSON written by ``to_json`` is what ``--format json`` prints and what reports are
rendered from.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar

import auditor
from auditor.errors import RETRYABLE, ResultError, show_text
from auditor.serialisation import from_json, parse_json

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 2
"""Version of the JSON of scan, check and recommend results."""


FAR_FLOOR = 1e-9
"""The lowest rate that results state: "below one in a billion".

No calibration counts so many pairs, and a curve fitted to some thousands says nothing of rarer
ones.  Thresholds and verdicts are chosen by the curve itself.
"""


def floor_rate(rate: float | None) -> float | None:
    """Return a rate as results state it: never below ``FAR_FLOOR``, which stands for all below.

    Examples
    --------
    >>> floor_rate(8.5e-31), floor_rate(3e-7), floor_rate(None)
    (1e-09, 3e-07, None)
    """
    return None if rate is None else max(rate, FAR_FLOOR)


class _Explained(StrEnum):
    """Words of results, each with what it means in one sentence."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member of its name in results, and what it means in one sentence."""
        member = str.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member


class _Judged(_Explained):
    """Words of verdicts; ``severity`` is what the service makes of one unless a policy differs."""

    severity: str

    def __new__(cls, value: str, meaning: str, severity: str) -> Self:
        """Make a member of its name, its meaning, and ``pass``, ``warn`` or ``block``."""
        member = str.__new__(cls, value)
        member._value_, member.meaning, member.severity = value, meaning, severity
        return member

    @property
    def flagged(self) -> bool:
        """Whether the verdict alerts; the others are only shown."""
        return self.severity != "pass"


class Verdict(_Judged):
    """What is said of a pair (``auditor.scoring.verdict``), the strongest first."""

    IDENTICAL_FILE = (
        "identical file",
        "Both files hold the same bytes: one file under two names.",
        "block",
    )
    SAME_RECORDING = (
        "same recording",
        "Most of one track occurs in the other at the same speed and pitch: one recording, perhaps "
        "cut, louder, or re-encoded.",
        "block",
    )
    ALTERED_RECORDING = (
        "altered recording",
        "Most of one track occurs in the other at another speed or pitch: one recording that "
        "somebody changed, or a second performance that follows it very closely.",
        "block",
    )
    SHARED_EXCERPT = (
        "shared excerpt",
        "One or more passages of one track occur in the other, and the rest does not: a sample, a "
        "loop that both bought, a quotation or a medley.",
        "warn",
    )
    SOUNDS_ALIKE = (
        "sounds alike",
        "The two tracks sound alike as a whole. What lines up, if anything does, is a loop or a "
        "drone, has other spectra, was played twice, or is too weak to count: a style, an "
        "arrangement, the same instruments, a close cover. It is shown and not flagged.",
        "pass",
    )
    CLEAR = (
        "clear",
        "No sign of shared material was found. A copy may still have been missed.",
        "pass",
    )


class DecisionKind(_Explained):
    """What people can decide of a pair."""

    FALSE_ALARM = (
        "false-alarm",
        "The two have nothing in common that matters. The pair is set aside.",
    )
    LICENSED = (
        "licensed",
        "The match is real, and a licence or contract allows it. The pair is set aside.",
    )
    SAME_OWNER = (
        "same-owner",
        "The match is real, and both belong to one owner. The pair is set aside.",
    )
    COVER = "cover", "Two performances of one work, not one recording. The pair is set aside."
    CONFIRMED = (
        "confirmed",
        "The match is real, and somebody has to act on it. The pair stays flagged.",
    )

    @property
    def flagged(self) -> bool:
        """Whether a pair that was decided so stays flagged."""
        return self is DecisionKind.CONFIRMED


DECISION_KEYS = {
    DecisionKind.CONFIRMED: "c",
    DecisionKind.FALSE_ALARM: "d",
    DecisionKind.LICENSED: "l",
    DecisionKind.SAME_OWNER: "o",
    DecisionKind.COVER: "v",
}
"""Keys that decide, in the page as in the terminal."""

UNDO = "undo"
"""Kind of the decision that takes back those before it."""


IDENTIFIERS = {
    "isrc": "ISRC",
    "mb-recording": "MusicBrainz recording",
    "acoustid": "AcoustID",
    "iswc": "ISWC",
    "mb-release": "MusicBrainz release",
}
"""Schemes of the identifiers that tags hold, and their names for people."""


@dataclass(frozen=True)
class Track:
    """One recording, in the catalogue or under audit.

    Attributes
    ----------
    id : str
        Short, unique in the catalogue and stable between runs.
    path : str
        As found on disk, printable (``errors.show_path``); for people, not for opening.
    sha256 : str
        Hash of the file's bytes, 64 hex digits.
    size : int
        Bytes.
    duration_s : float
        Seconds that were decoded.
    declared_s : float or None
        Seconds that the file's header promises, where it does.
    truncated : bool
        Less was decoded than the header promises, or packets were damaged.
    silent : bool
        No window is loud enough to be embedded; the track takes part in no pair.
    codec, container : str
        FFmpeg's names.
    sample_rate_hz, n_channels : int
        Of the file, before conversion.
    bit_rate : int or None
        Bits per second.
    title, artist, album, genre, date, licence : str
        From the tags or from FMA; empty when unknown.
    genres : tuple of str
        Genre path from the top level down, where a hierarchy is known (FMA).
    source : str
        ``file`` or ``fma``: where the tags come from.
    missing : bool
        The file was in the catalogue and is no longer on disk.
    parts_s : tuple of float
        Seconds of each audio stream where a file has several; they are compared one after the
        other, as one track.  Else empty.
    downmix : str
        How the channels became one where their mean would hide what they hold; else empty.
    identifiers : tuple of str
        What the tags hold of ``IDENTIFIERS``, each as ``SCHEME:VALUE``, such as
        ``isrc:USRC17607839``.
    record_label : str
        From the tags; empty when unknown.
    c2pa : tuple of str
        What a C2PA manifest in the file says, each as ``NAME:VALUE``: ``state`` (``valid``,
        ``trusted``, ``invalid``, ``elsewhere``), ``signer``, ``generator``, ``source``; empty
        where there is none, or the extra that reads it is not installed.
    """

    id: str
    path: str
    sha256: str
    size: int
    duration_s: float
    declared_s: float | None
    truncated: bool
    silent: bool
    codec: str
    container: str
    sample_rate_hz: int
    n_channels: int
    bit_rate: int | None
    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    genres: tuple[str, ...] = ()
    date: str = ""
    licence: str = ""
    source: str = "file"
    missing: bool = False
    parts_s: tuple[float, ...] = ()
    downmix: str = ""
    identifiers: tuple[str, ...] = ()
    record_label: str = ""
    c2pa: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Artist and title where known, else the file's name."""
        if self.title:
            return f"{self.artist} – {self.title}" if self.artist else self.title
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class TrackEmbedding:
    """What one extractor says of one track.

    Attributes
    ----------
    embedding : numpy.ndarray
        (n_dims,) float32, unit norm; all zeros for a silent track.
    dvectors : numpy.ndarray
        (n_windows, n_dims) float16, unit norm, one per window in order of time.
    levels : numpy.ndarray
        (n_windows,) float16, loudest band power of each window in dB below full scale.
    """

    embedding: np.ndarray
    dvectors: np.ndarray
    levels: np.ndarray


@dataclass(frozen=True)
class MatchedRange:
    """A passage of one track that matches a passage of another, with start and end.

    Attributes
    ----------
    a_start_s, a_end_s, b_start_s, b_end_s : float
        In seconds from the start of either track.
    tempo : float
        Seconds of b that pass in one second of a; above 1 a is the faster one.
    score : float
        Of the d-vectors (``auditor.evidence.alignment.ranges``), at most 1; 0 for a range that the
        spectra alone found.
    pitch_semitones : float or None
        How much higher a is than b; None where it was not, or could not be, measured.
    repetition : float
        0 where every moment of the range occurs once in each track, near 1 for loops and
        drones.
    correlation : float or None
        Of both spectra, moment by moment, at one tempo and pitch, at most 1; None where they were
        not compared.
    match_score : float or None
        What the range counts for, at most 1 (``auditor.evidence.match_score``); None until both
        tracks' spectra were asked.
    """

    a_start_s: float
    a_end_s: float
    b_start_s: float
    b_end_s: float
    tempo: float
    score: float
    pitch_semitones: float | None
    repetition: float
    correlation: float | None = None
    match_score: float | None = None


@dataclass(frozen=True)
class Evidence:
    """Result of aligning the two tracks of a pair.

    Attributes
    ----------
    score : float
        Of the best passage, whether or not it is good enough to be one of the ranges; -1 if none.
    ranges : tuple of MatchedRange
        Best first.
    share_a, share_b : float
        Share of either track that lies in a range, 0 to 1.
    tempo : float
        Of the best range; 1 where there is none.
    background : float
        Mean similarity of the two tracks, -1 to 1: how alike they sound anyhow.
    played_apart : float or None
        Log odds that the best ranges are not one recording but the same notes played twice
        (``auditor.evidence.spectra.performance``); None where it cannot be said.
    """

    score: float
    ranges: tuple[MatchedRange, ...]
    share_a: float
    share_b: float
    tempo: float
    background: float
    played_apart: float | None = None


@dataclass(frozen=True)
class Pair:
    """Two tracks and what the comparison says of them; ``a`` sorts before ``b`` in a scan.

    In a check, ``a`` is the submission and ``b`` the track of the catalogue.  ``flagged`` is False
    below the threshold, for a pair that only sounds alike, and for one that was decided not to
    matter.

    Attributes
    ----------
    score : float
        What the threshold is compared with, at most 1.
    identical_file : bool
        Both files hold the same bytes.
    pair_id : str
        Short id made of both files' SHA-256, the same in every run (``decisions.pair_id``).
    decision : str
        What was decided of the pair, one of ``DECISIONS``; empty while undecided.
    decision_note : str
        Why, in the words of whoever decided, or the rule that did.
    licences_differ : bool
        The score reaches the threshold, and both licences are known and are not the same.
    similarity : float or None
        Cosine of the two embeddings; None where it was not requested.
    far : float or None
        How often unrelated tracks score as high, per pair; None where nobody counted.  1e-9 says
        that it is below one in a billion, which no calibration resolves.
    verdict : str
        One of ``Verdict``; empty where no aligned passage was found.
    evidence : Evidence or None
        Result of the alignment; None where the pair was not aligned.
    decision_by, decision_when : str
        Who decided and when, as in ``Decision``; empty where a rule did, or nobody said who.
    n_files_a, n_files_b : int
        Files of the same bytes as either track, with itself: this pair stands for those of all of
        them.
    """

    a: str
    b: str
    score: float
    identical_file: bool = False
    flagged: bool = True
    pair_id: str = ""
    decision: str = ""
    decision_note: str = ""
    licences_differ: bool = False
    similarity: float | None = None
    far: float | None = None
    verdict: str = ""
    evidence: Evidence | None = None
    decision_by: str = ""
    decision_when: str = ""
    n_files_a: int = 1
    n_files_b: int = 1


class CompositionVerdict(_Judged):
    """What is said of two tracks as compositions (``auditor.scoring.composition``)."""

    SAME_COMPOSITION = (
        "same composition",
        "Both tracks play the same melody for some time: one piece, in two performances or "
        "arrangements.",
        "warn",
    )
    SAME_CHORDS = (
        "same chords",
        "The chords follow each other in the same order, as far as they are heard, and the "
        "melodies differ. It is shown and not flagged.",
        "pass",
    )
    COMMON_FIGURE = (
        "common figure",
        "Both tracks repeat one short figure from start to end, such as a scale or a riff. It is "
        "shown and not flagged.",
        "pass",
    )


@dataclass(frozen=True)
class CompositionMatch:
    """Two tracks that may be the same piece of music, whatever recording it is.

    In a scan ``a`` sorts before ``b``; in a check ``a`` is the submission.

    Attributes
    ----------
    a, b : str
        Ids.
    score : float
        At most 1; what ``far`` is read at.
    verdict : str
        One of ``CompositionVerdict``.
    flagged : bool
        The chance share of the list down to this line is at most that of the run, the melodies
        agree, and nobody decided otherwise.
    far : float or None
        How often unrelated tracks score as high, per pair; None where nobody counted.  1e-9 says
        that it is below one in a billion, which no calibration resolves.
    expected_by_chance : float or None
        Unrelated pairs to expect among all pairs compared that score as high as this one.
    chance_share, chance_share_low, chance_share_high : float or None
        Share of the list down to this line that is expected to be chance, 0 to 1, and its 95 %
        interval.
    a_start_s, a_end_s, b_start_s, b_end_s : float
        The passage in either track, in seconds.
    transposition : int
        Semitones by which b is moved up to fit a, -5 to 6; octaves do not count.
    tempo : float
        Seconds of b that pass in one second of a; above 1 a is the faster one.
    melody, harmony : float
        How far the melodies and the chords agree along the passage, 0 to 1.
    melody_a, melody_b : tuple of int
        MIDI pitches of the melodies, step by step through the passage of a, that of b in the key of
        a; 0 where none is heard.
    chords_a, chords_b : tuple of int
        Triads along the passage, 0 to 11 major from C upwards and 12 to 23 minor, -1 for none.
    moments_b : tuple of float
        The alignment path: the time in b beside each of these steps, in seconds.
    step_s : float
        Seconds of a from one step to the next.
    pair_id, decision, decision_note, licences_differ, decision_by, decision_when
        As in ``Pair``; a decision on a pair holds for its recordings and its compositions.
    """

    a: str
    b: str
    score: float
    verdict: str
    flagged: bool
    far: float | None
    expected_by_chance: float | None
    chance_share: float | None
    chance_share_low: float | None
    chance_share_high: float | None
    a_start_s: float = 0.0
    a_end_s: float = 0.0
    b_start_s: float = 0.0
    b_end_s: float = 0.0
    transposition: int = 0
    tempo: float = 1.0
    melody: float = 0.0
    harmony: float = 0.0
    melody_a: tuple[int, ...] = ()
    melody_b: tuple[int, ...] = ()
    chords_a: tuple[int, ...] = ()
    chords_b: tuple[int, ...] = ()
    moments_b: tuple[float, ...] = ()
    step_s: float = 0.384
    pair_id: str = ""
    decision: str = ""
    decision_note: str = ""
    licences_differ: bool = False
    decision_by: str = ""
    decision_when: str = ""


@dataclass(frozen=True)
class NotComparable:
    """A track that has no composition to compare, and why."""

    track: str
    reason: str


@dataclass(frozen=True)
class Compositions:
    """The composition match of a scan or check: a list that says how much of it is chance.

    Attributes
    ----------
    matches : tuple of CompositionMatch
        Best first; in a check by submission.
    max_chance_share : float
        Lines are flagged down to this share of chance.
    n_pairs : int
        Pairs that the list stands for: all of them.
    n_compared : int
        Pairs that were aligned, the candidates of the summaries among them.
    model_id : str
        Of the pitch model.
    source : str
        The calibration.
    not_comparable : tuple of NotComparable
        Tracks without pitched music.
    note : str
    """

    matches: tuple[CompositionMatch, ...]
    max_chance_share: float
    n_pairs: int
    n_compared: int
    model_id: str
    source: str = ""
    not_comparable: tuple[NotComparable, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Decision:
    """A decision on two recordings, identified by content and not by id or path.

    Attributes
    ----------
    sha256_a, sha256_b : str
        Hashes of both files' bytes, 64 hex digits, in sorted order.
    kind : str
        One of ``DECISIONS``, or ``UNDO``.
    note : str
        Why; may have several lines.
    when : str
        UTC, ``2026-01-31T12:00:00.000000Z``.
    by : str
        Who decided; may be empty.
    """

    sha256_a: str
    sha256_b: str
    kind: str
    note: str = ""
    when: str = ""
    by: str = ""


@dataclass(frozen=True)
class Cluster:
    """Tracks connected by flagged pairs, largest cluster first, ids sorted.

    ``original`` is the one that is suggested to be the original, ``original_why`` says why.
    """

    tracks: tuple[str, ...]
    highest_score: float
    original: str = ""
    original_why: str = ""


@dataclass(frozen=True)
class IdenticalFiles:
    """Files of the same bytes: their SHA-256, and the ids of their tracks, sorted.

    The first track stands for all in pairs; in a scan, a pair of it with another one of them says
    that the files are identical and bears the decision on them.
    """

    sha256: str
    tracks: tuple[str, ...]


@dataclass(frozen=True)
class Detection:
    """How likely a copy altered in one way is to be found, with its 95 % interval.

    Measured with the threshold of the result on the music of its calibration; 0 of 0 copies and an
    interval from 0 to 1 where nobody measured.
    """

    alteration: str
    n_copies: int
    n_found: int
    low: float
    high: float


@dataclass(frozen=True)
class Skipped:
    """A file that took no part, and why.

    Attributes
    ----------
    path, reason : str
        For people.
    code : str
        One of ``errors.SKIP_CODES``, the same from release to release.
    sha256 : str
        Of its content, 64 hex digits; empty where it could not be read.
    retry : bool
        Whether the same file may do when it is tried again.
    """

    path: str
    reason: str
    code: str = "unreadable"
    sha256: str = ""
    retry: bool = False

    @classmethod
    def of(cls, path: str, reason: str, code: str, sha256: str = "") -> Self:
        """Return a skipped file; whether to try again follows from the code."""
        return cls(path, reason, code, sha256, code in RETRYABLE)


@dataclass(frozen=True)
class ThresholdUse:
    """The threshold a result was made with, and what is known of its error rate.

    ``far`` is per pair, with its 95 % interval; all three are None for a ``--threshold``
    outside the calibrated range.  ``expected_false_pairs`` is ``far`` times ``n_comparisons``, the
    pairs that could raise one (all of them, also where an index proposes only some).  With 95 %
    their number lies in ``expected_low`` to ``expected_high``, which takes in how uncertain the
    rate is and that chance decides (Poisson).  ``n_one_source`` of the pairs are of one artist,
    album or folder, where those were counted apart.  ``budget`` is the expected number of
    false pairs that was requested, None where the threshold was chosen otherwise.  ``n_counted`` is
    the number of unrelated pairs whose scores were counted: a rate below one in so many is read off
    a fitted tail.  ``far``, ``far_high`` and ``expected_false_pairs`` are 1e-9 where they are
    lower, and ``far_low`` is 0: rates below one in a billion are not resolved.

    ``per_submission`` says that each submission of a check has a threshold of its own, for the
    budget or rate of that submission alone (``CheckResult.thresholds``).  Then ``threshold`` is the
    highest of them, ``far`` the mean rate, and the numbers of pairs those of all submissions.
    ``catalogue_size`` is the number of tracks that a budget was to hold for, None where it was to
    hold for the catalogue as it is.  ``n_pairs`` is the number of pairs of tracks where ``--wide``
    compares each more than once, so that they are fewer than ``n_comparisons``; else it is None.
    """

    threshold: float
    source: str
    far: float | None = None
    far_low: float | None = None
    far_high: float | None = None
    expected_false_pairs: float | None = None
    note: str = ""
    expected_low: float | None = None
    expected_high: float | None = None
    budget: float | None = None
    n_comparisons: int | None = None
    n_counted: int | None = None
    n_one_source: int | None = None
    per_submission: bool = False
    catalogue_size: int | None = None
    n_pairs: int | None = None


@dataclass(frozen=True)
class SubmissionThreshold:
    """The threshold of one submission of a check, whatever else was checked with it.

    Attributes
    ----------
    submission : str
        Id of the track.
    threshold : float
    n_comparisons : int
        Tracks of the catalogue that it was compared with, each content once; with ``--wide`` twice,
        or without a budget once in each way.
    n_one_source : int or None
        Those of them that have its artist or album; None where they were not counted apart.
    far, expected_false_pairs : float or None
        The rate at this threshold, per pair, and the false pairs to expect of this submission; 1e-9
        where they are lower.
    """

    submission: str
    threshold: float
    n_comparisons: int
    n_one_source: int | None = None
    far: float | None = None
    expected_false_pairs: float | None = None


def floor_use(use: ThresholdUse) -> ThresholdUse:
    """Return what is known of a threshold as results state it: no rate below ``FAR_FLOOR``.

    Examples
    --------
    >>> use = floor_use(ThresholdUse(0.9, "x", 2e-31, 0.0, 1e-12, 4e-29))
    >>> use.far, use.far_low, use.far_high, use.expected_false_pairs
    (1e-09, 0.0, 1e-09, 1e-09)
    """
    low = use.far_low
    return dataclasses.replace(
        use,
        far=floor_rate(use.far),
        far_low=0.0 if low is not None and low < FAR_FLOOR else low,
        far_high=floor_rate(use.far_high),
        expected_false_pairs=floor_rate(use.expected_false_pairs),
    )


@dataclass(frozen=True)
class Provenance:
    """What made a result: enough to make it again."""

    version: str
    command: str
    created: str
    extractor: str
    weights_id: str
    workspace: str
    platform: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class SinceLastScan:
    """What differs from the last scan of the same workspace with the same weights.

    Attributes
    ----------
    when : str
        When that scan was made, as ``Provenance.created``.
    new : tuple of str
        Ids of the pairs that are flagged now and were not listed as flagged then, in the order of
        the result.
    gone : tuple of str
        Ids of the pairs that were flagged then and are not now, sorted.
    """

    when: str
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedIdentifier:
    """An identifier of one recording that the tags of several recordings hold.

    Attributes
    ----------
    identifier : str
        As in ``Track.identifiers``.
    groups : tuple of tuple of str
        Ids of its tracks; those of one group were found to be one recording, those of two were not.
        In a check the first one is the submission, and the tracks of the catalogue were compared
        with it alone; likewise the tracks of one side of a comparison with those of the other.
    n_more : int
        Further tracks, which a check does not list.
    """

    identifier: str
    groups: tuple[tuple[str, ...], ...]
    n_more: int = 0


@dataclass(frozen=True)
class DifferingIdentifiers:
    """Two tracks that are one recording, and whose tags hold different identifiers.

    Attributes
    ----------
    pair_id, a, b : str
        As in ``Pair``.
    identifiers_a, identifiers_b : tuple of str
        Those of one scheme; the two have none in common.
    """

    pair_id: str
    a: str
    b: str
    identifiers_a: tuple[str, ...]
    identifiers_b: tuple[str, ...]


@dataclass(frozen=True)
class IdentifierConflicts:
    """Where the identifiers of tags and the sound of the files disagree.

    Attributes
    ----------
    n_tracks : int
        Compared tracks with an ISRC, a MusicBrainz recording or an AcoustID; in a check
        submissions.
    shared : tuple of SharedIdentifier
        Same identifier, different audio; sorted by the identifier, in a check by submission first.
    differing : tuple of DifferingIdentifiers
        Same audio, different identifiers; in the order of the pairs.
    """

    n_tracks: int
    shared: tuple[SharedIdentifier, ...] = ()
    differing: tuple[DifferingIdentifiers, ...] = ()


class _ForNotebooks:
    """What every result offers to those who go on in Python.

    The data frames are made in ``auditor.report.data_frames``.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON of the result says, as dicts, lists, text and numbers."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))  # type: ignore[call-overload]
        return data

    def to_pandas(self) -> Any:
        """Return the rows of the CSV as a ``pandas.DataFrame`` (``auditor.to_pandas``).

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        return auditor.to_pandas(self)

    def to_polars(self) -> Any:
        """Return the rows of the CSV as a ``polars.DataFrame`` (``auditor.to_polars``).

        Raises
        ------
        UsageError
            If polars is not installed.
        """
        return auditor.to_polars(self)

    def _repr_html_(self) -> str:
        """Return the first rows as an HTML table, for Jupyter."""
        table: str = auditor.to_notebook(self)
        return table


@dataclass(frozen=True)
class ScanResult(_ForNotebooks):
    """Every flagged pair of a catalogue.

    ``search`` is ``exact`` or ``annoy``; ``index_recall`` is the estimated share of true pairs that
    the Annoy search proposes, None for the exact pass.  ``identical`` holds every group of files of
    the same bytes, the largest first; one track of each takes part in pairs.  ``since`` compares
    with the last scan, None where there was none; nothing else depends on earlier scans.
    ``catalogue_sha256`` names what was compared: the SHA-256 of the sorted SHA-256 of all contents,
    each as a line; of all sides together where collections are compared, empty where it is not
    known.  ``identifiers`` compares the identifiers of the tags with what was found; None where
    that was not done.
    """

    tracks: tuple[Track, ...]
    pairs: tuple[Pair, ...]
    clusters: tuple[Cluster, ...]
    skipped: tuple[Skipped, ...]
    n_tracks: int
    n_pairs_compared: int
    search: str
    index_recall: float | None
    histogram: dict[str, tuple[float, ...]]
    threshold: ThresholdUse
    provenance: Provenance
    kind: str = "scan"
    schema_version: int = SCHEMA_VERSION
    detection: tuple[Detection, ...] = ()
    identical: tuple[IdenticalFiles, ...] = ()
    compositions: Compositions | None = None
    since: SinceLastScan | None = None
    catalogue_sha256: str = ""
    identifiers: IdentifierConflicts | None = None


@dataclass(frozen=True)
class ComparedCollection:
    """One side of a comparison of two collections.

    Attributes
    ----------
    name : str
        As it was named.
    given_as : str
        ``folder``, ``list``, ``workspace`` or ``subset``.
    n_tracks : int
        Files that were compared.
    n_contents : int
        Of these, files of different content.
    duration_s : float
        Seconds of sound in them.
    """

    name: str
    given_as: str
    n_tracks: int
    n_contents: int
    duration_s: float


@dataclass(frozen=True)
class CompareResult(ScanResult):
    """Every flagged pair of two collections.

    In each pair, ``a`` is of the first collection and ``b`` of the second, unless pairs inside the
    collections were asked for.

    Attributes
    ----------
    collections : tuple of ComparedCollection
        Both sides.
    within : bool
        Pairs inside either collection were compared, too.
    n_shared : int
        Files that both collections hold; a file is not compared with itself.
    notes : tuple of str
        What else a reader must know, a sentence each.
    """

    kind: str = "compare"
    collections: tuple[ComparedCollection, ...] = ()
    within: bool = False
    n_shared: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """One split of a data set: training, validation or test.

    Attributes
    ----------
    name : str
        ``train``, ``val`` or ``test``.
    source : str
        The collection it was read from, as it was named.
    n_tracks, n_contents : int
        Files that were compared, and files of different content among them.
    duration_s : float
        Seconds of sound in them.
    n_leaked : int
        Files of it that match a file of an earlier split; none of the first one.
    held_s : float
        Seconds of it that the first split holds.
    """

    name: str
    source: str
    n_tracks: int
    n_contents: int
    duration_s: float
    n_leaked: int
    held_s: float


@dataclass(frozen=True)
class SplitGroup:
    """Tracks that flagged pairs connect, of one split or of several.

    Attributes
    ----------
    tracks : tuple of str
        Sorted ids.
    splits : tuple of str
        Splits that hold one of them, in the order of the result.
    leak : bool
        There are several.
    highest_score : float
        Of the pairs that connect them.
    """

    tracks: tuple[str, ...]
    splits: tuple[str, ...]
    leak: bool
    highest_score: float


@dataclass(frozen=True)
class HeldTrack:
    """A track of a later split that the first split holds in whole or in part.

    Attributes
    ----------
    track : str
    split : str
    held_s, duration_s : float
        Seconds that occur in the first split, and seconds in all.
    """

    track: str
    split: str
    held_s: float
    duration_s: float


@dataclass(frozen=True)
class TrackClips:
    """Clips of one track in several splits that share no sound, as far as was found.

    Attributes
    ----------
    artist, title, album : str
        The tags that are equal.
    tracks : tuple of str
        Sorted ids.
    """

    artist: str
    title: str
    album: str
    tracks: tuple[str, ...]


@dataclass(frozen=True)
class LeakResult(CompareResult):
    """What the splits of a data set have in common.

    In each of ``pairs``, ``a`` is of an earlier split than ``b``.

    Attributes
    ----------
    splits : tuple of Split
        In the order train, val, test.
    split_of : dict of str to str
        Split of each file that was compared, by id; of a file in several the first.
    listed_twice : dict of str to tuple of str
        Files that several splits name, by id: these splits.  Each is a leak.
    duplicates : tuple of Pair
        Flagged pairs inside one split, which are no leaks.
    groups : tuple of SplitGroup
        Leaks first, then the largest.
    held : tuple of HeldTrack
        By split, then the longest first.
    same_track : tuple of TrackClips
        Tracks of one artist, title and album in several splits that no flagged pair connects.
    """

    kind: str = "leak"
    splits: tuple[Split, ...] = ()
    split_of: dict[str, str] = field(default_factory=dict)
    listed_twice: dict[str, tuple[str, ...]] = field(default_factory=dict)
    duplicates: tuple[Pair, ...] = ()
    groups: tuple[SplitGroup, ...] = ()
    held: tuple[HeldTrack, ...] = ()
    same_track: tuple[TrackClips, ...] = ()


@dataclass(frozen=True)
class Repeat:
    """A passage of a generated track that a track of the training or held-out music holds, too.

    Attributes
    ----------
    output, track : str
        Ids.
    side : str
        ``training`` or ``heldout``.
    start_s, end_s : float
        In seconds of the output.
    track_start_s, track_end_s : float
        In seconds of the track.
    tempo : float
        Seconds of the track that pass in one second of the output.
    pitch_semitones : float or None
        How much higher the output is than the track; None where it could not be measured.
    score : float
        Match score of its best segment, at most 1.
    counted : bool
        It counts for the excess; False where the track was excluded.
    """

    output: str
    track: str
    side: str
    start_s: float
    end_s: float
    track_start_s: float
    track_end_s: float
    tempo: float
    pitch_semitones: float | None
    score: float
    counted: bool


@dataclass(frozen=True)
class GeneratedOutput:
    """One output of a model.

    Attributes
    ----------
    track : str
        Id; the track has its path and SHA-256.
    n_segments : int
        Segments that were compared.
    training_s, heldout_s : float
        Seconds that occur in the training and in the held-out music, excluded tracks included.
    columns : dict of str to str
        What the manifest says of it.
    """

    track: str
    n_segments: int
    training_s: float
    heldout_s: float
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RepeatedTrack:
    """A track of the training music that outputs repeat.

    Attributes
    ----------
    track : str
        Id.
    n_outputs : int
        Outputs that repeat it.
    repeated_s : float
        Seconds of all outputs that repeat it.
    copies : tuple of str
        Ids of further training files that hold the same recording, or a part of it.
    excluded : str
        Why it does not count for the excess, ``artist`` or ``recording``; empty where it counts.
    """

    track: str
    n_outputs: int
    repeated_s: float
    copies: tuple[str, ...]
    excluded: str


@dataclass(frozen=True)
class Excess:
    """How many outputs repeat the training music beyond what held-out music explains.

    Where one side is the larger, outputs are counted as in a sample of it that is as large as the
    other side, in the mean of all such samples.

    Attributes
    ----------
    what : str
        ``recording`` or ``composition``.
    min_s : float
        Seconds of one track that an output must repeat to count.
    n_training, n_heldout : int
        Outputs that repeat so much of a counted track of either side.
    training, heldout : float
        The same against sides of one size.
    excess, low, high : float
        Outputs: the difference of these two, and its 95 % interval.
    """

    what: str
    min_s: float
    n_training: int
    n_heldout: int
    training: float
    heldout: float
    excess: float
    low: float
    high: float


@dataclass(frozen=True)
class ReferenceSide:
    """The training or the held-out music of a comparison of generated music.

    Attributes
    ----------
    name : str
        ``training`` or ``heldout``.
    n_contents : int
        Different contents that count for the excess.
    duration_s : float
        Their length in seconds.
    n_same_artist, n_same_recording : int
        Contents that do not count, since the other side has the same artist, or the recording.
    n_without_artist : int
        Contents whose tags name no artist, so that they could not be compared by it.
    sampled : float
        Share of the contents in a sample as large as the other side, 1 where all count.
    """

    name: str
    n_contents: int
    duration_s: float
    n_same_artist: int
    n_same_recording: int
    n_without_artist: int
    sampled: float


@dataclass(frozen=True)
class Replication:
    """How many passages of the training music were found again after they were put into outputs.

    Attributes
    ----------
    alteration : str
        What was done to the passages.
    share : float
        Of the output that the passage takes up.
    mean_s : float
        Mean length of the passages, in seconds.
    n, n_found : int
    low, high : float
        95 % interval of the share that is found.
    """

    alteration: str
    share: float
    mean_s: float
    n: int
    n_found: int
    low: float
    high: float


@dataclass(frozen=True)
class GeneratedResult(CompareResult):
    """What the outputs of a model repeat of the music it was trained on.

    In each of ``pairs``, ``a`` is an output and ``b`` a track of the training music.

    Attributes
    ----------
    statement : str
        The result in one sentence.
    excess : tuple of Excess
        The one of the statement first.
    outputs : tuple of GeneratedOutput
        All that were compared, by path.
    repeats : tuple of Repeat
        By output and time.
    repeated : tuple of RepeatedTrack
        Training tracks that outputs repeat, the most often repeated first.
    sides : tuple of ReferenceSide
        Training and held-out music.
    replications : tuple of Replication
        What would have been found; empty where it was not measured.
    segment_s, step_s : float
        Length of the segments of outputs, and from one to the next.
    n_segments : int
    seed : int
        Of intervals and replications.
    """

    kind: str = "generated"
    statement: str = ""
    excess: tuple[Excess, ...] = ()
    outputs: tuple[GeneratedOutput, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    repeated: tuple[RepeatedTrack, ...] = ()
    sides: tuple[ReferenceSide, ...] = ()
    replications: tuple[Replication, ...] = ()
    segment_s: float = 0.0
    step_s: float = 0.0
    n_segments: int = 0
    seed: int = 0


@dataclass(frozen=True)
class CheckResult(_ForNotebooks):
    """Submissions against a catalogue.

    ``pairs`` holds, for each submission, every flagged pair and its nearest unflagged one
    (``flagged`` False), best first.  ``identical`` holds the groups of files of the same bytes in
    the catalogue whose track is in a pair.  ``thresholds`` has the threshold of each submission
    that was compared.  ``detection`` is that of copies of ``detection_s`` seconds, the greatest
    length that was counted and is not above that of the shortest submission; None for whole tracks.
    ``catalogue_sha256`` and ``identifiers`` are as in ``ScanResult``.
    """

    submissions: tuple[Track, ...]
    tracks: tuple[Track, ...]
    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...]
    n_tracks: int
    n_pairs_compared: int
    search: str
    index_recall: float | None
    threshold: ThresholdUse
    provenance: Provenance
    kind: str = "check"
    schema_version: int = SCHEMA_VERSION
    detection: tuple[Detection, ...] = ()
    identical: tuple[IdenticalFiles, ...] = ()
    thresholds: tuple[SubmissionThreshold, ...] = ()
    compositions: Compositions | None = None
    catalogue_sha256: str = ""
    detection_s: float | None = None
    identifiers: IdentifierConflicts | None = None


@dataclass(frozen=True)
class MixEntry:
    """A track at a place of a mix.

    Attributes
    ----------
    track : str
        Id.
    start_s, end_s : float
        In seconds of the mix.
    track_start_s, track_end_s : float
        In seconds of the track.
    tempo : float
        Seconds of the track that pass in one second of the mix; above 1 it is played faster.
    pitch_semitones : float or None
        How much higher the mix is than the track; None where it could not be measured.
    score : float
        Match score of the best part of the range, at most 1.
    overlap_s : float
        Seconds in which the next entry is heard, too, as in a crossfade.
    alternatives : tuple of str
        Ids of weaker matches at the same place, such as other files of the same recording.
    """

    track: str
    start_s: float
    end_s: float
    track_start_s: float
    track_end_s: float
    tempo: float
    pitch_semitones: float | None
    score: float
    overlap_s: float
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class MixGap:
    """Seconds of a mix in which no track of the catalogue was found."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class TracklistResult(CheckResult):
    """Which tracks of a catalogue play in a mix, from when to when.

    Attributes
    ----------
    entries : tuple of MixEntry
        In order of time.
    gaps : tuple of MixGap
        In order of time.
    n_parts : int
        Parts in which the mix was examined.
    """

    kind: str = "tracklist"
    entries: tuple[MixEntry, ...] = ()
    gaps: tuple[MixGap, ...] = ()
    n_parts: int = 0


@dataclass(frozen=True)
class Recommended:
    """One answer of ``recommend``: a track, its score, and the favourite it is nearest to.

    ``same`` holds the paths of further tracks of the same bytes, which are the same answer.
    """

    track: Track
    score: float
    nearest_to: str = ""
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecommendResult(_ForNotebooks):
    """Tracks in the order they are recommended.

    ``compositions`` has a line for each of them where versions of a track were asked for, else it
    is None.  ``compared_by`` names what made the vectors whose cosines are the scores, a sound
    model or an extractor; empty for versions.
    """

    query: dict[str, tuple[str, ...]]
    recommendations: tuple[Recommended, ...]
    n_tracks: int
    provenance: Provenance
    kind: str = "recommend"
    schema_version: int = SCHEMA_VERSION
    notes: tuple[str, ...] = field(default=())
    compositions: Compositions | None = None
    compared_by: str = ""


Result = ScanResult | CheckResult | RecommendResult
_KINDS = {
    "scan": ScanResult,
    "check": CheckResult,
    "recommend": RecommendResult,
    "compare": CompareResult,
    "leak": LeakResult,
    "tracklist": TracklistResult,
    "generated": GeneratedResult,
}


def to_json(result: Result) -> str:
    """Return a result as JSON text, keys in field order, the same bytes for the same result."""
    return json.dumps(dataclasses.asdict(result), ensure_ascii=False, allow_nan=False, indent=1)


def result_bytes(result: Result) -> bytes:
    """Return the JSON of a result as its file holds it.

    A lone surrogate cannot be UTF-8; it is written as the escape that JSON has for it.
    """
    return (to_json(result) + "\n").encode("utf-8", "backslashreplace")


def result_from_json(text: str) -> Result:
    """Read a result back.

    Raises
    ------
    ResultError
        If the text is not JSON or does not follow the schema of this version.
    """
    try:
        data: Any = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ResultError(
            f"the result is not JSON: {error}. Give a file that audit wrote."
        ) from None
    kind, version = (
        (data.get("kind"), data.get("schema_version")) if isinstance(data, dict) else (None, None)
    )
    if not isinstance(kind, str) or kind not in _KINDS or version != SCHEMA_VERSION:
        raise ResultError(
            f"the result has kind {kind!r:.60} and schema_version {version!r:.60}; "
            f"this version reads {', '.join(_KINDS)} of version {SCHEMA_VERSION}."
        )
    try:
        return from_json(_KINDS[kind], data, where=kind)
    except ValueError as error:
        raise ResultError(f"the result does not follow its schema: {error}.") from None


_Pair = TypeVar("_Pair", Pair, CompositionMatch)


def pairs_with_tracks(result: ScanResult | CheckResult) -> list[tuple[Pair, Track, Track]]:
    """Return every pair with its two tracks, in the result's order.

    In a check, ``a`` is looked for among the submissions and ``b`` in the catalogue.

    Raises
    ------
    ResultError
        If the result does not list a track that a pair names.
    """
    return _with_tracks(result, result.pairs)


def compositions_with_tracks(
    result: ScanResult | CheckResult,
) -> list[tuple[CompositionMatch, Track, Track]]:
    """Return the lines of the list of compositions with their tracks, as ``pairs_with_tracks``."""
    return _with_tracks(result, result.compositions.matches if result.compositions else ())


def _with_tracks(
    result: ScanResult | CheckResult, pairs: tuple[_Pair, ...]
) -> list[tuple[_Pair, Track, Track]]:
    tracks_b = {track.id: track for track in result.tracks}
    tracks_a = tracks_b
    if isinstance(result, CheckResult):
        tracks_a = {track.id: track for track in result.submissions}
    return [(pair, find_track(tracks_a, pair.a), find_track(tracks_b, pair.b)) for pair in pairs]


def tracks_by_id(result: ScanResult | CheckResult) -> dict[str, Track]:
    """Return all tracks that a result lists, submissions among them."""
    submissions = result.submissions if isinstance(result, CheckResult) else ()
    return {track.id: track for track in (*result.tracks, *submissions)}


def find_track(tracks: dict[str, Track], track_id: str) -> Track:
    """Return the track of that id.

    Raises
    ------
    ResultError
        If there is none.
    """
    if track_id not in tracks:
        raise ResultError(
            f"the result names the track {show_text(track_id)!r} but does not list it. "
            "Give a file that audit wrote, whole."
        )
    return tracks[track_id]
