"""The JSON of the interface, as OpenAPI tells of it."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from auditor.records import DecisionKind
from auditor.serve.store import Delivery, Job, StoredCase

State = Literal["queued", "running", "adding", "done", "failed"]
Severity = Literal["block", "warn", "pass"]
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, Field(max_length=200, pattern=_PLAIN)]


class CheckFields(BaseModel):
    """What a check is asked for with, beside the file."""

    model_config = ConfigDict(extra="forbid")

    external_id: Text = Field("", description="Your own id of the submission.")
    isrc: str = Field("", pattern=r"^([A-Z]{2}[A-Z0-9]{3}[0-9]{7})?$")
    owner: Text = Field("", description="Account that the submission belongs to.")
    callback_url: str = Field(
        "", max_length=2000, description="Where a webhook is sent when the check has ended."
    )
    priority: int = Field(5, ge=0, le=9, description="Higher ones come first.")
    add: bool = Field(
        False, description="A submission of severity pass becomes a track of the catalogue."
    )
    wide: bool = Field(
        False,
        description="Hear it at other pitches and tempos, too, as a service with --wide always "
        "does; it takes five to nine times as long.",
    )


class CheckForm(CheckFields):
    """A check of a file that is sent; the file is read as it comes, not by this model."""

    file: str = Field(
        json_schema_extra={"contentMediaType": "application/octet-stream"},
        description="The file, with its name.",
    )


class NamedCheck(CheckFields):
    """A check of a file that the service can read itself."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="An absolute path, or a URL such as s3://BUCKET/NAME, below a --root.",
    )


class ProblemBody(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    errors: list[str] | None = None


class JobProblem(BaseModel):
    """Why a check has failed."""

    code: str
    title: str
    detail: str
    retryable: bool


class CheckProgress(BaseModel):
    """How far a check has come."""

    stage: str
    ahead: int | None = Field(None, description="Jobs that are taken before this one.")


class Reason(BaseModel):
    """A finding, and how severe the policy takes it."""

    pair_id: str
    kind: Literal["recording", "composition"]
    verdict: str
    score: float
    severity: Severity
    track_id: str
    track_path: str
    decision: str
    allowed_by: str = Field("", description="The rule of the policy that allows it.")


class FileFacts(BaseModel):
    """The file of a check."""

    name: str
    size: int
    sha256: str


class ClipLink(BaseModel):
    """A clip to hear: of side a, the submission, or b, the track."""

    pair_id: str
    range: int
    side: Literal["a", "b"]
    start_s: float
    end_s: float
    media_type: str
    href: str


class Links(BaseModel):
    """Where else to look."""

    self: str
    report: str | None = None
    media: str | None = None
    clips: list[ClipLink] = []


class CheckSummary(BaseModel):
    """A check without its result."""

    id: str
    state: State
    progress: CheckProgress
    external_id: str
    isrc: str
    owner: str
    priority: int
    add: bool
    wide: bool = Field(description="It asked to be heard at other pitches and tempos, too.")
    file: FileFacts
    created: datetime.datetime
    started: datetime.datetime | None
    ended: datetime.datetime | None
    severity: Severity | None
    reasons: list[Reason]
    track_id: str | None = Field(description="Of the catalogue, once the submission is a track.")
    problem: JobProblem | None
    media_pending: bool = Field(description="Clips and pictures of the report are still made.")
    links: Links


class CheckView(CheckSummary):
    """A check with its result, as ``audit check --format json`` prints it."""

    result: dict[str, Any] | None = Field(
        None,
        json_schema_extra={
            "anyOf": [{"$ref": "#/components/schemas/CheckResult"}, {"type": "null"}]
        },
    )


class CheckList(BaseModel):
    """A page of checks, the newest first."""

    items: list[CheckSummary]
    next: str | None = Field(description="Cursor of the next page.")


class NewDecision(BaseModel):
    """A decision to make."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["confirmed", "false-alarm", "licensed", "same-owner", "cover", "undo"]
    note: str = Field("", max_length=2000, description="Why.")
    by: str = Field("", max_length=200, description="As whom.")


class DecisionView(BaseModel):
    """A decision that was made."""

    kind: str
    note: str
    by: str
    when: str
    key: str = Field(description="Name of the key; empty where it was made elsewhere.")


class DecisionHistory(BaseModel):
    """What was decided of a pair, the oldest first; nothing is ever changed or removed."""

    pair_id: str
    standing: str | None
    history: list[DecisionView]


class OpenCase(BaseModel):
    """A pair that a check has flagged."""

    pair_id: str
    check: str
    kind: Literal["recording", "composition"]
    verdict: str
    score: float
    severity: Severity
    submission: str
    track: str
    decision: str
    assigned_to: str
    created: datetime.datetime
    page: str


class CaseList(BaseModel):
    """A page of cases, the newest first."""

    items: list[OpenCase]
    total: int
    next: str | None


class Assignment(BaseModel):
    """Who is to decide a pair."""

    model_config = ConfigDict(extra="forbid")

    assigned_to: Text


class WebhookView(BaseModel):
    """A webhook."""

    id: str
    check: str
    url: str
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    created: datetime.datetime
    next_attempt: datetime.datetime | None
    last_status: int | None
    last_error: str


class WebhookList(BaseModel):
    """Webhooks, the newest first."""

    items: list[WebhookView]


class TrackList(BaseModel):
    """Tracks of the catalogue."""

    items: list[
        Annotated[dict[str, Any], Field(json_schema_extra={"$ref": "#/components/schemas/Track"})]
    ]


class Health(BaseModel):
    """Whether the service lives, or is ready."""

    status: Literal["ok", "not ready"]
    reasons: list[str] = []


assert set(NewDecision.model_fields["kind"].annotation.__args__) == {*DecisionKind, "undo"}  # type: ignore[union-attr]


def moment(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    if seconds is None:
        return None
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def links_of(job: Job, base: str = "") -> dict[str, Any]:
    """Return where else to look for a job."""
    here = f"{base}/v1/checks/{job.id}"
    done = bool(job.severity)
    clips = [
        {name: value for name, value in clip.items() if name != "name"}
        | {"href": f"{here}/clips/{clip['name']}"}
        for clip in job.clips
    ]
    return {
        "self": here,
        "report": f"{here}/report" if done else None,
        "media": f"{here}/media" if job.media == "ready" else None,
        "clips": clips,
    }


def check_summary(job: Job, *, ahead: int | None, titles: dict[str, str]) -> dict[str, Any]:
    """Return a check without its result."""
    found = job.problem
    return {
        "id": job.id,
        "state": job.state,
        "progress": {"stage": job.stage or job.state, "ahead": ahead},
        "external_id": job.external_id,
        "isrc": job.isrc,
        "owner": job.owner,
        "priority": job.priority,
        "add": job.adds,
        "wide": job.wide,
        "file": {"name": job.name, "size": job.size, "sha256": job.sha256},
        "created": moment(job.created),
        "started": moment(job.started),
        "ended": moment(job.ended),
        "severity": job.severity or None,
        "reasons": job.reasons,
        "track_id": job.track_id or None,
        "problem": None
        if found is None
        else {
            "code": found["code"],
            "title": titles.get(found["code"], ""),
            "detail": found["detail"],
            "retryable": bool(found.get("retryable", False)),
        },
        "media_pending": job.media == "wanted" and job.state != "failed",
        "links": links_of(job),
    }


def case_view(case: StoredCase) -> dict[str, Any]:
    """Return a case."""
    return {
        "pair_id": case.pair_id,
        "check": case.job,
        "kind": case.kind,
        "verdict": case.verdict,
        "score": case.score,
        "severity": case.severity,
        "submission": case.label_a,
        "track": case.label_b,
        "decision": case.decision,
        "assigned_to": case.assigned_to,
        "created": moment(case.created),
        "page": page_of(case),
    }


def page_of(case: StoredCase) -> str:
    """Return the page that shows a case."""
    anchor = f"#case-{case.place}" if case.place else "#compositions"
    return f"/cases/{case.job}{anchor}"


def webhook_view(delivery: Delivery) -> dict[str, Any]:
    """Return a webhook."""
    return {
        "id": delivery.id,
        "check": delivery.job,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.n_attempts,
        "created": moment(delivery.created),
        "next_attempt": moment(delivery.next_at) if delivery.state == "pending" else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
    }
