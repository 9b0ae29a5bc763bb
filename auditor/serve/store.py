"""What the service remembers, in one SQLite file: jobs, keys, decisions, cases and webhooks.

The file is in WAL mode and every change is one transaction that is on the disk before anybody is
told of it, so a killed service loses nothing.  What a job's end causes, its cases and its webhook,
is stored in the transaction that ends it, so neither can be lost or made twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.errors import AuditError, UsageError, show_path

APPLICATION_ID = 0x41554453
"""``AUDS``: tells the file from the SQLite files of other programs."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,
        key_name TEXT NOT NULL, external_id TEXT NOT NULL, isrc TEXT NOT NULL, owner TEXT NOT NULL,
        callback_url TEXT NOT NULL, priority INTEGER NOT NULL, adds INTEGER NOT NULL,
        source TEXT NOT NULL, location TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        sha256 TEXT NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
        n_crashes INTEGER NOT NULL DEFAULT 0, n_starts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, started REAL, ended REAL, not_before REAL NOT NULL DEFAULT 0,
        severity TEXT NOT NULL DEFAULT '', reasons TEXT NOT NULL DEFAULT '[]',
        result BLOB, problem TEXT NOT NULL DEFAULT '', track_id TEXT NOT NULL DEFAULT '',
        media TEXT NOT NULL DEFAULT 'none', clips TEXT NOT NULL DEFAULT '[]',
        has_upload INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX jobs_waiting ON jobs (state, priority DESC, seq);
    CREATE INDEX jobs_ended ON jobs (ended);
    CREATE INDEX jobs_media ON jobs (seq) WHERE media = 'wanted';
    CREATE INDEX jobs_track ON jobs (track_id) WHERE track_id <> '';
    CREATE INDEX jobs_external ON jobs (external_id) WHERE external_id <> '';
    CREATE TABLE idempotency (
        key_name TEXT NOT NULL, idempotency_key TEXT NOT NULL, fingerprint TEXT NOT NULL,
        job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        PRIMARY KEY (key_name, idempotency_key));
    CREATE TABLE keys (
        id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,
        hash TEXT NOT NULL, created REAL NOT NULL, revoked REAL);
    CREATE TABLE sessions (
        hash TEXT PRIMARY KEY NOT NULL, key_id TEXT NOT NULL REFERENCES keys (id),
        expires REAL NOT NULL);
    CREATE TABLE cases (
        pair_id TEXT NOT NULL, job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        place INTEGER NOT NULL, kind TEXT NOT NULL, sha256_a TEXT NOT NULL, sha256_b TEXT NOT NULL,
        verdict TEXT NOT NULL, score REAL NOT NULL, severity TEXT NOT NULL, label_a TEXT NOT NULL,
        label_b TEXT NOT NULL, decision TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (job, pair_id, kind));
    CREATE INDEX cases_pair ON cases (pair_id);
    CREATE INDEX cases_open ON cases (decision, created);
    CREATE TABLE assignments (pair_id TEXT PRIMARY KEY NOT NULL, assigned_to TEXT NOT NULL);
    CREATE TABLE decided (
        id INTEGER PRIMARY KEY AUTOINCREMENT, pair_id TEXT NOT NULL, kind TEXT NOT NULL,
        note TEXT NOT NULL, decided_by TEXT NOT NULL, key_name TEXT NOT NULL, address TEXT NOT NULL,
        decided_at TEXT NOT NULL);
    CREATE TRIGGER decided_only_grows BEFORE UPDATE ON decided
        BEGIN SELECT RAISE(ABORT, 'the record of decisions only grows'); END;
    CREATE TRIGGER decided_is_kept BEFORE DELETE ON decided
        BEGIN SELECT RAISE(ABORT, 'the record of decisions only grows'); END;
    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY NOT NULL, job TEXT NOT NULL, url TEXT NOT NULL, body TEXT NOT NULL,
        state TEXT NOT NULL, n_attempts INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL,
        next_at REAL NOT NULL, last_status INTEGER, last_error TEXT NOT NULL DEFAULT '');
    CREATE INDEX deliveries_due ON deliveries (state, next_at);
    """,
    "ALTER TABLE jobs ADD COLUMN wide INTEGER NOT NULL DEFAULT 0",
)
"""Scripts that lead from schema version i to i + 1; a published entry is never edited."""

STATES = ("queued", "running", "adding", "done", "failed")
WAITING = ("queued", "running", "adding")
"""States of jobs that have not ended."""

DELIVERY_STATES = ("pending", "delivered", "dead")
SCOPES = ("check", "decide", "admin")
MAX_STARTS = 50
"""So often a job is begun, whatever ends the service meanwhile."""


class QueueFullError(AuditError):
    """So many jobs wait that no more are taken."""


class ConflictError(AuditError):
    """What is asked contradicts what is stored."""


class UnknownError(AuditError):
    """There is no such job, pair, key or delivery."""


@dataclass(frozen=True)
class NewJob:
    """A check as it was asked for.

    Attributes
    ----------
    id : str
    key_name : str
        Name of the key that asked.
    source : str
        ``upload``, ``path`` or ``url``.
    location : str
        Where the file lies: hex digits of the bytes of its path, or of its URL.
    name : str
        Of the file, for people.
    size : int
        Bytes; 0 of an object that was not asked.
    sha256 : str
        Of the content; empty of an object.
    external_id, isrc, owner, callback_url : str
        As given, or empty.
    priority : int
        0 to 9; higher ones come first.
    adds : bool
        A clear submission becomes a track of the catalogue.
    wide : bool
        It is also heard at other pitches and tempos, whatever the service does by itself.
    """

    id: str
    key_name: str
    source: str
    location: str
    name: str
    size: int
    sha256: str
    external_id: str = ""
    isrc: str = ""
    owner: str = ""
    callback_url: str = ""
    priority: int = 5
    adds: bool = False
    wide: bool = False

    @property
    def fingerprint(self) -> str:
        """What two requests of one idempotency key must have in common, 64 hex digits."""
        content = self.sha256 or self.location
        fields = [self.external_id, self.isrc, self.owner, self.callback_url, self.adds]
        fields += ["wide"] * self.wide  # without it as before there was the field
        return hashlib.sha256(json.dumps([content, *fields]).encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """A check and what has become of it; times are in seconds since 1970.

    Attributes
    ----------
    seq : int
        Rises from job to job.
    state : str
        One of ``STATES``.
    stage : str
        What a worker is at.
    n_crashes, n_starts : int
        Workers that died of it, and how often it was begun.
    severity : str
        ``block``, ``warn`` or ``pass``; empty while there is no verdict.
    reasons : list of dict
        Why, a finding each.
    problem : dict or None
        Why it failed.
    track_id : str
        Of the catalogue, once it was added.
    media : str
        ``none``, ``wanted``, ``ready`` or ``failed``: clips and pictures of the report.
    clips : list of dict
    has_upload : bool
        Its upload has not been removed.
    """

    seq: int
    id: str
    key_name: str
    external_id: str
    isrc: str
    owner: str
    callback_url: str
    priority: int
    adds: bool
    source: str
    location: str
    name: str
    size: int
    sha256: str
    state: str
    stage: str
    n_crashes: int
    n_starts: int
    created: float
    started: float | None
    ended: float | None
    not_before: float
    severity: str
    reasons: list[dict[str, Any]]
    problem: dict[str, Any] | None
    track_id: str
    media: str
    clips: list[dict[str, Any]]
    has_upload: bool
    wide: bool

    @property
    def path(self) -> bytes:
        """Where the file lies: an absolute path, or a URL."""
        return bytes.fromhex(self.location)


_JOB_COLUMNS = ", ".join(Job.__dataclass_fields__)


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret.

    Attributes
    ----------
    id, name : str
    scopes : tuple of str
        Of ``SCOPES``; ``admin`` includes the others.
    created : float
    revoked : float or None
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    revoked: float | None = None

    def may(self, scope: str) -> bool:
        """Say whether the key may do what a scope allows."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class Delivery:
    """A webhook that was sent, or waits to be.

    Attributes
    ----------
    id : str
        The same at every attempt.
    job, url, body : str
    state : str
        One of ``DELIVERY_STATES``.
    n_attempts : int
    created, next_at : float
        When it was made, and when it is tried next.
    last_status : int or None
        Of the last answer.
    last_error : str
    """

    id: str
    job: str
    url: str
    body: str
    state: str
    n_attempts: int
    created: float
    next_at: float
    last_status: int | None
    last_error: str


_DELIVERY_COLUMNS = ", ".join(Delivery.__dataclass_fields__)


@dataclass(frozen=True)
class StoredCase:
    """A pair that a check flagged, for the inbox; of several checks of one pair the newest.

    Attributes
    ----------
    pair_id, job : str
    place : int
        Number of the case in the report of the job, from 1; 0 for a composition.
    kind : str
        ``recording`` or ``composition``.
    sha256_a, sha256_b : str
        Of the submission and of the track.
    verdict, severity, label_a, label_b, decision, assigned_to : str
    score, created : float
    """

    pair_id: str
    job: str
    place: int
    kind: str
    sha256_a: str
    sha256_b: str
    verdict: str
    score: float
    severity: str
    label_a: str
    label_b: str
    decision: str
    created: float
    assigned_to: str = ""


def new_id(prefix: str) -> str:
    """Return a random id of 16 hex digits after a prefix."""
    return f"{prefix}_{secrets.token_hex(8)}"


def hash_secret(secret: str) -> str:
    """Return what is stored of a key or a session: secrets of 256 random bits need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Store:
    """The open file; made by ``open_store``.  Its methods may be called from any thread.

    Attributes
    ----------
    n_case_changes : int
        Rises whenever what the inbox lists changes.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self.n_case_changes = 0

    @property
    def n_changes(self) -> int:
        """How many rows this process has changed."""
        return self._connection.total_changes

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def ping(self) -> None:
        """Read and write; raises ``sqlite3.Error`` where that is not possible."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE expires < ?", (time.time(),))

    # Jobs.

    def accept(
        self, job: NewJob, *, idempotency_key: str = "", max_waiting: int
    ) -> tuple[Job, bool]:
        """Store a new job; say whether it is new, or the one of the same idempotency key.

        Raises
        ------
        ConflictError
            If the idempotency key belongs to another content or other fields.
        QueueFullError
            If ``max_waiting`` jobs wait.
        """
        with self._transaction() as connection:
            if idempotency_key:
                row = connection.execute(
                    "SELECT fingerprint, job FROM idempotency"
                    " WHERE key_name = ? AND idempotency_key = ?",
                    (job.key_name, idempotency_key),
                ).fetchone()
                if row is not None:
                    if row[0] != job.fingerprint:
                        raise ConflictError(
                            f"the idempotency key belongs to the job {row[1]}, whose file or "
                            "fields are others. Give another Idempotency-Key."
                        )
                    return self._job(connection, row[1]), False
            (n_waiting,) = connection.execute(
                f"SELECT count(*) FROM jobs WHERE state IN {WAITING}"
            ).fetchone()
            if n_waiting >= max_waiting:
                raise QueueFullError(
                    f"{n_waiting:,} jobs wait, and no more are taken. Send the file again later."
                )
            connection.execute(
                "INSERT INTO jobs (id, key_name, external_id, isrc, owner, callback_url, priority,"
                " adds, source, location, name, size, sha256, state, stage, created, has_upload,"
                " wide) VALUES"
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 'queued', ?, ?, ?)",
                (
                    *(job.id, job.key_name, job.external_id, job.isrc, job.owner),
                    *(job.callback_url, job.priority, job.adds, job.source, job.location),
                    *(job.name, job.size, job.sha256, time.time(), job.source == "upload"),
                    job.wide,
                ),
            )
            if idempotency_key:
                connection.execute(
                    "INSERT INTO idempotency VALUES (?, ?, ?, ?)",
                    (job.key_name, idempotency_key, job.fingerprint, job.id),
                )
            return self._job(connection, job.id), True

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises
        ------
        UnknownError
            If there is none of that id.
        """
        with self._lock:
            return self._job(self._connection, job_id)

    def _job(self, connection: sqlite3.Connection, job_id: str) -> Job:
        row = connection.execute(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None:
            raise UnknownError(f"there is no check {show_path(job_id)[:80]}.")
        return _job_from(row)

    def result(self, job_id: str) -> str:
        """Return the JSON of a job's result, empty while there is none."""
        rows = self._rows("SELECT result FROM jobs WHERE id = ?", (job_id,))
        return zlib.decompress(rows[0][0]).decode() if rows and rows[0][0] else ""

    def jobs(
        self,
        *,
        state: str = "",
        since: float | None = None,
        key_name: str | None = None,
        external_id: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return jobs, the newest first.

        Parameters
        ----------
        state : str
            One of ``STATES``, or empty.
        since : float, optional
            Those created then or later.
        key_name : str, optional
            Those that this key asked for.
        external_id : str
        before : int, optional
            Those of a lower ``seq``.
        limit : int
        """
        conditions = {
            "state = ?": state or None,
            "created >= ?": since,
            "key_name = ?": key_name,
            "external_id = ?": external_id or None,
            "seq < ?": before,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        rows = self._rows(
            f"SELECT {_JOB_COLUMNS} FROM jobs {where} ORDER BY seq DESC LIMIT ?",
            (*given.values(), limit),
        )
        return [_job_from(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        found = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def place_in_queue(self, job: Job) -> int:
        """Return how many jobs are taken before one that is queued."""
        return self._rows(
            "SELECT count(*) FROM jobs WHERE state = 'queued'"
            " AND (priority > ? OR (priority = ? AND seq < ?))",
            (job.priority, job.priority, job.seq),
        )[0][0]

    def recover(self) -> int:
        """Queue what was running when the service ended; return how many jobs that are."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = 'queued', stage = 'queued' WHERE state = 'running'"
            )
            connection.execute(
                "UPDATE jobs SET stage = 'waiting to be added', not_before = 0"
                " WHERE state = 'adding'"
            )
            return changed.rowcount

    def next_check(self) -> Job | None:
        """Return the next job to check, which is running from now on; None if none waits.

        Of the jobs that add only one is at work at a time, so that of two copies that come together
        the second one is compared with the first.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT id FROM jobs WHERE state = 'queued' AND (NOT adds OR NOT EXISTS"
                " (SELECT 1 FROM jobs WHERE adds AND state IN ('running', 'adding')))"
                " ORDER BY priority DESC, seq LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'running', stage = 'checking', n_starts = n_starts + 1,"
                " started = ? WHERE id = ?",
                (time.time(), row[0]),
            )
            return self._job(connection, row[0])

    def next_adding(self) -> Job | None:
        """Return the clear job that is to be added; None if there is none, or it has to wait."""
        rows = self._rows(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE state = 'adding' AND not_before <= ?"
            " ORDER BY seq LIMIT 1",
            (time.time(),),
        )
        return _job_from(rows[0]) if rows else None

    def next_media(self, *, leave_out: Collection[str] = ()) -> Job | None:
        """Return the oldest ended job whose report still lacks its clips and pictures."""
        rows = self._rows(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE media = 'wanted' AND state = 'done'"
            " ORDER BY seq LIMIT ?",
            (1 + len(leave_out),),
        )
        jobs = (_job_from(row) for row in rows)
        return next((job for job in jobs if job.id not in leave_out), None)

    def set_stage(self, job_id: str, stage: str, *, not_before: float = 0.0) -> None:
        """Note what a worker is at, and before when a job is not taken again."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET stage = ?, not_before = ? WHERE id = ?",
                (stage, not_before, job_id),
            )

    def crashed(self, job_id: str, *, max_crashes: int) -> Job | None:
        """Note that a worker died of a job; return it if it is to be given up, else None.

        It is queued again, or waits to be added again.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET n_crashes = n_crashes + 1,"
                " state = CASE state WHEN 'running' THEN 'queued' ELSE state END,"
                " stage = 'queued again' WHERE id = ?",
                (job_id,),
            )
            try:
                job = self._job(connection, job_id)
            except UnknownError:
                return None
        spent = job.n_crashes >= max_crashes or job.n_starts >= MAX_STARTS
        return job if spent and job.state in WAITING else None

    def checked(
        self,
        job: Job,
        *,
        result: str,
        severity: str,
        reasons: Sequence[Mapping[str, Any]],
        cases: Sequence[StoredCase],
        wants_media: bool,
        adds: bool,
        webhook: str = "",
    ) -> None:
        """Store a verdict: the job ends with it, or if it adds, is added next.

        Parameters
        ----------
        job : Job
        result : str
            JSON.
        severity : str
        reasons : sequence of mappings
        cases : sequence of StoredCase
        wants_media : bool
        adds : bool
            It is clear, and becomes a track.
        webhook : str
            What is sent to its callback; empty for nothing.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = ?, stage = ?, result = ?, severity = ?, reasons = ?,"
                " media = ?, ended = ?, not_before = 0 WHERE id = ? AND state = 'running'",
                (
                    "adding" if adds else "done",
                    "waiting to be added" if adds else "",
                    zlib.compress(result.encode("utf-8", "backslashreplace"), 6),
                    severity,
                    json.dumps(list(reasons)),
                    "wanted" if wants_media else "none",
                    None if adds else time.time(),
                    job.id,
                ),
            )
            if changed.rowcount != 1:  # it was deleted meanwhile
                return
            connection.executemany(
                f"INSERT OR REPLACE INTO cases VALUES ({', '.join('?' * 13)})",
                [tuple(vars(case).values())[:13] for case in cases],
            )
            self.n_case_changes += bool(cases)
            if not adds:
                self._send(connection, job, webhook)

    def added(self, job: Job, track_id: str, *, webhook: str = "") -> None:
        """Store that a job has become a track, which ends it."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = 'done', stage = '', track_id = ?, ended = ?"
                " WHERE id = ? AND state = 'adding'",
                (track_id, time.time(), job.id),
            )
            if changed.rowcount == 1:
                self._send(connection, job, webhook)

    def failed(self, job: Job, problem: Mapping[str, Any], *, webhook: str = "") -> None:
        """Store why a job has failed, which ends it."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = 'failed', stage = '', problem = ?, ended = ?"
                f" WHERE id = ? AND state IN {WAITING}",
                (json.dumps(problem), time.time(), job.id),
            )
            if changed.rowcount == 1:
                self._send(connection, job, webhook)

    def _send(self, connection: sqlite3.Connection, job: Job, body: str) -> None:
        if job.callback_url and body:
            now = time.time()
            connection.execute(
                "INSERT INTO deliveries (id, job, url, body, state, created, next_at)"
                " VALUES (?, ?, ?, ?, 'pending', ?, ?)",
                (new_id("dlv"), job.id, job.callback_url, body, now, now),
            )

    def set_media(self, job_id: str, state: str, clips: Sequence[Mapping[str, Any]] = ()) -> None:
        """Store what has become of the clips and pictures of a report."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET media = ?, clips = ? WHERE id = ?",
                (state, json.dumps(list(clips)), job_id),
            )

    def delete(self, job_id: str) -> Job:
        """Forget a job, with its result, cases and idempotency key; return what it was.

        Raises
        ------
        UnknownError
            If there is none of that id.
        ConflictError
            If it is being added to the catalogue.
        """
        with self._transaction() as connection:
            job = self._job(connection, job_id)
            if job.state == "adding":
                raise ConflictError(
                    f"the check {job.id} is being added to the catalogue. Try again when it has "
                    "ended."
                )
            connection.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
            self.n_case_changes += 1
            return job

    def disposable(
        self, *, uploads_before: float, results_before: float
    ) -> tuple[list[Job], list[Job]]:
        """Return the ended jobs whose upload is to go, and those that are to go as a whole."""
        ended = f"SELECT {_JOB_COLUMNS} FROM jobs WHERE ended IS NOT NULL AND ended < ?"
        uploads = self._rows(
            f"{ended} AND has_upload AND media <> 'wanted' LIMIT 500",
            (uploads_before,),
        )
        results = self._rows(f"{ended} LIMIT 500", (results_before,))
        return [_job_from(row) for row in uploads], [_job_from(row) for row in results]

    def upload_removed(self, job_id: str) -> None:
        """Note that the upload of a job is gone."""
        with self._transaction() as connection:
            connection.execute("UPDATE jobs SET has_upload = 0 WHERE id = ?", (job_id,))

    def known_jobs(self, ids: Sequence[str]) -> set[str]:
        """Return those of some ids that are jobs."""
        found: set[str] = set()
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ", ".join("?" * len(part))
            found |= {
                row[0] for row in self._rows(f"SELECT id FROM jobs WHERE id IN ({marks})", part)
            }
        return found

    def owner_of(self, track_id: str) -> str:
        """Return the owner account of the job that added a track, empty if none did."""
        rows = self._rows(
            "SELECT owner FROM jobs WHERE track_id = ? ORDER BY seq DESC LIMIT 1", (track_id,)
        )
        return rows[0][0] if rows else ""

    # Cases and decisions.

    def cases(
        self,
        *,
        status: str = "open",
        severity: str = "",
        assigned_to: str = "",
        text: str = "",
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[list[StoredCase], int]:
        """Return cases, the newest first, and how many there are in all.

        Parameters
        ----------
        status : str
            ``open`` (nobody decided), ``decided`` or ``all``.
        severity, assigned_to : str
            Empty for any.
        text : str
            Words that stand in one of the labels.
        offset, limit : int
        """
        conditions = ["newest = 1"]
        values: list[Any] = []
        if status != "all":
            conditions.append("decision = ''" if status == "open" else "decision <> ''")
        for column, value in (("severity", severity), ("assigned_to", assigned_to)):
            if value:
                conditions.append(f"{column} = ?")
                values.append(value)
        for word in text.split()[:8]:
            conditions.append("instr(lower(label_a || ' ' || label_b || ' ' || pair_id), ?) > 0")
            values.append(word.lower())
        found = f"""FROM (
            SELECT cases.*, coalesce(assignments.assigned_to, '') AS assigned_to,
                row_number() OVER (PARTITION BY pair_id ORDER BY created DESC, kind DESC) AS newest
            FROM cases LEFT JOIN assignments USING (pair_id))
            WHERE {" AND ".join(conditions)}"""
        columns = ", ".join(StoredCase.__dataclass_fields__)
        rows = self._rows(
            f"SELECT {columns} {found} ORDER BY created DESC, score DESC, pair_id LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        (n_all,) = self._rows(f"SELECT count(*) {found}", values)[0]
        return [StoredCase(*row) for row in rows], n_all

    def hashes_of(self, pair_id: str) -> set[tuple[str, str]]:
        """Return the hashes of the pairs of cases with an id, sorted in each pair."""
        rows = self._rows(
            "SELECT DISTINCT sha256_a, sha256_b FROM cases WHERE pair_id = ?", (pair_id,)
        )
        return {(min(a, b), max(a, b)) for a, b in rows}

    def assign(self, pair_id: str, assigned_to: str) -> None:
        """Say who is to decide a pair; empty for nobody.

        Raises
        ------
        UnknownError
            If no check has flagged such a pair.
        """
        if not self.hashes_of(pair_id):
            raise UnknownError(f"no check of this service has flagged the pair {pair_id}.")
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO assignments VALUES (?, ?)", (pair_id, assigned_to)
            )
            self.n_case_changes += 1

    def note_decision(
        self, pair_id: str, *, kind: str, note: str, by: str, key_name: str, address: str, when: str
    ) -> None:
        """Add who decided what, and with which key, to the record; it only grows."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO decided (pair_id, kind, note, decided_by, key_name, address,"
                " decided_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (pair_id, kind, note, by, key_name, address, when),
            )

    def decided(self, pair_id: str) -> list[dict[str, str]]:
        """Return the record of a pair, the oldest first."""
        names = ("kind", "note", "by", "key", "address", "when")
        rows = self._rows(
            "SELECT kind, note, decided_by, key_name, address, decided_at FROM decided"
            " WHERE pair_id = ? ORDER BY id",
            (pair_id,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def set_decisions(self, kinds: Mapping[str, str]) -> None:
        """Bring the cases up to date with what was decided, by pair id; the others are open."""
        rows = self._rows("SELECT DISTINCT pair_id, decision FROM cases")
        changed = [(kinds.get(p, ""), p) for p, kind in rows if kinds.get(p, "") != kind]
        if changed:
            with self._transaction() as connection:
                connection.executemany("UPDATE cases SET decision = ? WHERE pair_id = ?", changed)
                self.n_case_changes += 1

    # Keys and sessions.

    def add_key(self, name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Make a key; return it and its text, which is stored nowhere.

        Raises
        ------
        UsageError
            If a scope is unknown, or there is none.
        """
        if not scopes or set(scopes) - set(SCOPES):
            raise UsageError(f"a key has at least one of the scopes {', '.join(SCOPES)}.")
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise UsageError("a key has a name of 1 to 100 printable characters.")
        key = ApiKey(
            secrets.token_hex(4), name, tuple(s for s in SCOPES if s in scopes), time.time()
        )
        text = f"audit_{key.id}_{secrets.token_urlsafe(32)}"
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)",
                (key.id, key.name, " ".join(key.scopes), hash_secret(text), key.created),
            )
        return key, text

    def keys(self) -> list[ApiKey]:
        """Return all keys, those revoked too, the oldest first."""
        rows = self._rows(
            "SELECT id, name, scopes, created, revoked FROM keys ORDER BY created, id"
        )
        return [ApiKey(i, name, tuple(s.split()), made, gone) for i, name, s, made, gone in rows]

    def has_keys(self) -> bool:
        """Say whether there is a key that is not revoked."""
        return bool(self._rows("SELECT 1 FROM keys WHERE revoked IS NULL LIMIT 1"))

    def has_had_keys(self) -> bool:
        """Say whether there has ever been a key."""
        return bool(self._rows("SELECT 1 FROM keys LIMIT 1"))

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key, and end its sessions.

        Raises
        ------
        UnknownError
            If there is none of that id that is not revoked.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL",
                (time.time(), key_id),
            )
            if changed.rowcount != 1:
                raise UnknownError(
                    f"there is no key {show_path(key_id)[:80]} in use. Run: audit serve keys list"
                )
            connection.execute("DELETE FROM sessions WHERE key_id = ?", (key_id,))
        return next(key for key in self.keys() if key.id == key_id)

    def find_key(self, text: str) -> ApiKey | None:
        """Return the key of a text, None if it is none or is revoked."""
        key_id = text.removeprefix("audit_").partition("_")[0]
        rows = self._rows(
            "SELECT id, name, scopes, hash, created FROM keys WHERE id = ? AND revoked IS NULL",
            (key_id,),
        )
        if not rows or not secrets.compare_digest(rows[0][3], hash_secret(text)):
            return None
        return ApiKey(rows[0][0], rows[0][1], tuple(rows[0][2].split()), rows[0][4])

    def add_session(self, key: ApiKey, *, lasts_s: float) -> str:
        """Return the secret of a new session of a key."""
        secret = secrets.token_urlsafe(32)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?)",
                (hash_secret(secret), key.id, time.time() + lasts_s),
            )
        return secret

    def find_session(self, secret: str) -> ApiKey | None:
        """Return the key of a session, None if it has ended."""
        rows = self._rows(
            "SELECT keys.id, name, scopes, created FROM sessions JOIN keys ON keys.id = key_id"
            " WHERE sessions.hash = ? AND expires > ? AND revoked IS NULL",
            (hash_secret(secret), time.time()),
        )
        return (
            ApiKey(rows[0][0], rows[0][1], tuple(rows[0][2].split()), rows[0][3]) if rows else None
        )

    def end_session(self, secret: str) -> None:
        """End a session."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE hash = ?", (hash_secret(secret),))

    # Webhooks.

    def due_deliveries(self, *, limit: int) -> list[Delivery]:
        """Return webhooks that are to be sent now, the one that has waited longest first."""
        rows = self._rows(
            f"SELECT {_DELIVERY_COLUMNS} FROM deliveries WHERE state = 'pending' AND next_at <= ?"
            " ORDER BY next_at LIMIT ?",
            (time.time(), limit),
        )
        return [Delivery(*row) for row in rows]

    def deliveries(self, *, state: str = "", job: str = "", limit: int = 100) -> list[Delivery]:
        """Return webhooks, the newest first."""
        given = {name: value for name, value in (("state", state), ("job", job)) if value}
        where = f"WHERE {' AND '.join(f'{name} = ?' for name in given)}" if given else ""
        rows = self._rows(
            f"SELECT {_DELIVERY_COLUMNS} FROM deliveries {where} ORDER BY created DESC, id LIMIT ?",
            (*given.values(), limit),
        )
        return [Delivery(*row) for row in rows]

    def delivery_counts(self) -> dict[str, int]:
        """Return the number of webhooks in each state."""
        found = dict(self._rows("SELECT state, count(*) FROM deliveries GROUP BY state"))
        return {state: found.get(state, 0) for state in DELIVERY_STATES}

    def attempted(
        self, delivery_id: str, state: str, *, next_at: float, status: int | None, error: str
    ) -> None:
        """Store how an attempt to send a webhook went."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, n_attempts = n_attempts + 1, next_at = ?,"
                " last_status = ?, last_error = ? WHERE id = ?",
                (state, next_at, status, error[:500], delivery_id),
            )

    def retry(self, delivery_id: str) -> Delivery:
        """Send a webhook again, whatever has become of it.

        Raises
        ------
        UnknownError
            If there is none of that id.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = 'pending', n_attempts = 0, next_at = ? WHERE id = ?",
                (time.time(), delivery_id),
            )
            row = connection.execute(
                f"SELECT {_DELIVERY_COLUMNS} FROM deliveries WHERE id = ?", (delivery_id,)
            ).fetchone()
        if row is None:
            raise UnknownError(f"there is no webhook {show_path(delivery_id)[:80]}.")
        return Delivery(*row)


def _job_from(row: Sequence[Any]) -> Job:
    values = dict(zip(Job.__dataclass_fields__, row, strict=True))
    for name in ("adds", "has_upload", "wide"):
        values[name] = bool(values[name])
    for name in ("reasons", "clips"):
        values[name] = json.loads(values[name])
    values["problem"] = json.loads(values["problem"]) if values["problem"] else None
    return Job(**values)


def open_store(path: Path) -> Store:
    """Open the file of a service, or make it; nobody else may read it.

    Raises
    ------
    UsageError
        If it is the file of another program, or of a newer version, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{show_path(path)} cannot be written: {reason}. Give another --workspace."
        ) from None
    try:
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise UsageError(
            f"{show_path(path)} cannot be used: {error}. Restore it from a copy, or move it away."
        ) from None
    except BaseException:
        connection.close()
        raise
    return Store(connection)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (n_objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or n_objects):
        raise UsageError(
            f"{show_path(path)} is the file of another program; it was left as it is. Give another "
            "--workspace."
        )
    if version > len(MIGRATIONS):
        raise UsageError(
            f"{show_path(path)} has the schema version {version}; this audit knows up to "
            f"{len(MIGRATIONS)}. Install the newer audit."
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE;{MIGRATIONS[number]};PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {number + 1};COMMIT;"
        )
