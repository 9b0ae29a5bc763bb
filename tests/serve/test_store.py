"""What the service remembers: jobs in their order, idempotency, keys, cases, webhooks."""

from __future__ import annotations

import sqlite3
import stat
import threading

import pytest

from auditor.errors import UsageError
from auditor.serve.store import (
    APPLICATION_ID,
    MIGRATIONS,
    ConflictError,
    NewJob,
    QueueFullError,
    StoredCase,
    UnknownError,
    new_id,
    open_store,
)


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "service" / "service.sqlite3")
    yield opened
    opened.close()


def new_job(content="a", **fields):
    values = {"key_name": "k", "source": "upload", "location": b"/x/a.mp3".hex(), "name": "a.mp3"}
    values |= {"size": 3, "sha256": (content * 64)[:64]}
    return NewJob(id=new_id("chk"), **(values | fields))


def accept(store, job=None, **how):
    return store.accept(job or new_job(), max_waiting=100, **how)[0]


def end(store, job, *, severity="pass", cases=(), adds=False, webhook=""):
    store.checked(
        job,
        result="{}",
        severity=severity,
        reasons=[],
        cases=cases,
        wants_media=False,
        adds=adds,
        webhook=webhook,
    )


def test_jobs_are_taken_by_priority_and_then_in_order(store):
    first, urgent, second = (accept(store, new_job(priority=p)) for p in (5, 9, 5))
    assert store.place_in_queue(store.job(second.id)) == 2
    assert [store.next_check().id for _ in range(3)] == [urgent.id, first.id, second.id]
    assert store.next_check() is None
    assert store.counts() == {"queued": 0, "running": 3, "adding": 0, "done": 0, "failed": 0}


def test_of_the_jobs_that_add_one_is_at_work_at_a_time(store):
    first, second = (accept(store, new_job(adds=True)) for _ in range(2))
    plain = accept(store)
    assert [store.next_check().id for _ in range(2)] == [first.id, plain.id]
    assert store.next_check() is None
    end(store, store.job(first.id), adds=True)
    assert store.job(first.id).state == "adding"
    assert store.next_check() is None
    assert store.next_adding().id == first.id
    store.set_stage(first.id, "waiting to be added", not_before=4e9)
    assert store.next_adding() is None
    store.added(store.job(first.id), "t1")
    store.added(store.job(first.id), "t2")  # once more, as after a kill: nothing happens
    assert store.job(first.id).track_id == "t1"
    assert store.next_check().id == second.id


def test_the_same_idempotency_key_and_content_give_the_same_job(store):
    job, is_new = store.accept(new_job(), idempotency_key="i", max_waiting=100)
    again, is_new_again = store.accept(new_job(), idempotency_key="i", max_waiting=100)
    assert (is_new, is_new_again, again.id) == (True, False, job.id)
    for other in (new_job("b"), new_job(owner="x"), new_job(adds=True), new_job(wide=True)):
        with pytest.raises(ConflictError, match="belongs to the job"):
            store.accept(other, idempotency_key="i", max_waiting=100)
    theirs, is_new = store.accept(new_job("b", key_name="z"), idempotency_key="i", max_waiting=9)
    assert is_new and theirs.id != job.id
    store.delete(job.id)
    assert store.accept(new_job("b"), idempotency_key="i", max_waiting=100)[1]


def test_the_queue_is_bounded(store):
    for _ in range(2):
        store.accept(new_job(), max_waiting=2)
    with pytest.raises(QueueFullError, match="2 jobs wait"):
        store.accept(new_job(), max_waiting=2)
    end(store, store.next_check())
    assert store.accept(new_job(), max_waiting=2)[1]


def test_what_was_running_is_queued_again_when_the_service_starts(tmp_path):
    path = tmp_path / "s.sqlite3"
    store = open_store(path)
    running, adding = accept(store), accept(store, new_job(adds=True))
    store.next_check()
    store.next_check()
    end(store, store.job(adding.id), adds=True)
    store.set_stage(adding.id, "x", not_before=4e9)
    store.close()
    store = open_store(path)
    assert store.recover() == 1
    assert store.job(running.id).state == "queued"
    assert store.next_adding().id == adding.id
    assert store.next_check().id == running.id
    assert store.job(running.id).n_starts == 2
    store.close()


def test_a_job_that_costs_many_workers_is_given_up(store):
    job = accept(store)
    for n in range(1, 4):
        assert store.next_check().id == job.id
        spent = store.crashed(job.id, max_crashes=3)
        assert (spent is None) == (n < 3)
    store.failed(spent, {"code": "crashed", "detail": "d"})
    assert store.job(job.id).problem == {"code": "crashed", "detail": "d"}
    assert store.crashed(job.id, max_crashes=3) is None  # it has ended
    assert store.crashed("chk_0", max_crashes=3) is None


def test_a_verdict_that_comes_after_a_deletion_is_dropped(store):
    job = accept(store)
    running = store.next_check()
    assert store.delete(job.id).state == "running"
    end(store, running, cases=[case("p1", job.id)], webhook="{}")
    with pytest.raises(UnknownError):
        store.job(job.id)
    assert store.cases() == ([], 0)
    assert store.deliveries() == []


def test_a_job_that_is_being_added_cannot_be_deleted(store):
    job = accept(store, new_job(adds=True))
    end(store, store.next_check(), adds=True)
    with pytest.raises(ConflictError, match="being added"):
        store.delete(job.id)


def test_a_webhook_is_stored_with_the_end_of_its_job_and_once(store):
    job = accept(store, new_job(callback_url="https://h/"))
    running = store.next_check()
    end(store, running, webhook="{}")
    end(store, running, webhook="{}")
    (delivery,) = store.due_deliveries(limit=9)
    assert (delivery.job, delivery.url, delivery.state) == (job.id, "https://h/", "pending")
    store.attempted(delivery.id, "dead", next_at=0.0, status=500, error="answered 500")
    assert store.due_deliveries(limit=9) == []
    assert store.retry(delivery.id).id == delivery.id
    assert store.due_deliveries(limit=9)[0].last_error == "answered 500"
    assert store.delivery_counts() == {"pending": 1, "delivered": 0, "dead": 0}
    with pytest.raises(UnknownError):
        store.retry("dlv_0")


def test_old_uploads_and_results_are_found(store):
    job = accept(store)
    waiting = accept(store, new_job())
    end(store, store.next_check())
    uploads, results = store.disposable(uploads_before=4e9, results_before=0.0)
    assert ([j.id for j in uploads], results) == ([job.id], [])
    store.upload_removed(job.id)
    uploads, results = store.disposable(uploads_before=4e9, results_before=4e9)
    assert (uploads, [j.id for j in results]) == ([], [job.id])
    assert store.known_jobs([job.id, waiting.id, "chk_0"]) == {job.id, waiting.id}


def case(pair_id, job, **fields):
    values = {"place": 1, "kind": "recording", "sha256_a": "b" * 64, "sha256_b": "a" * 64}
    values |= {"verdict": "same recording", "score": 0.9, "severity": "block", "label_a": "One"}
    values |= {"label_b": "Two", "decision": "", "created": 1.0}
    return StoredCase(pair_id, job, **(values | fields))


def test_the_inbox_has_each_pair_once_and_can_be_filtered(store):
    for created, cases in (
        (1.0, ["p1", "p2"]),
        (2.0, ["p1"]),
    ):
        job = accept(store, new_job(str(created)))
        end(
            store,
            store.next_check(),
            cases=[
                case(p, job.id, created=created, severity="warn" if p == "p2" else "block")
                for p in cases
            ],
        )
    found, n = store.cases()
    assert ([(c.pair_id, c.created) for c in found], n) == ([("p1", 2.0), ("p2", 1.0)], 2)
    assert [c.pair_id for c in store.cases(severity="warn")[0]] == ["p2"]
    assert [c.pair_id for c in store.cases(text="tWo one p1")[0]] == ["p1"]
    assert store.cases(text="three") == ([], 0)
    assert ([c.pair_id for c in store.cases(offset=1, limit=1)[0]], n) == (["p2"], 2)
    store.assign("p2", "Ana")
    assert [c.pair_id for c in store.cases(assigned_to="Ana")[0]] == ["p2"]
    store.set_decisions({"p1": "licensed"})
    assert [c.pair_id for c in store.cases()[0]] == ["p2"]
    assert [c.decision for c in store.cases(status="decided")[0]] == ["licensed"]
    store.set_decisions({})
    assert store.cases()[1] == 2
    assert store.hashes_of("p1") == {("a" * 64, "b" * 64)}
    with pytest.raises(UnknownError):
        store.assign("p9", "Ana")


def test_the_record_of_decisions_only_grows(store):
    how = {"kind": "cover", "note": "n", "by": "Ana", "key_name": "k", "address": "::1"}
    store.note_decision("p1", when="2026-01-01T00:00:00.000000Z", **how)
    assert store.decided("p1")[0]["by"] == "Ana"
    for statement in ("UPDATE decided SET note = ''", "DELETE FROM decided"):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            store._connection.execute(statement)


def test_of_a_key_only_its_hash_is_stored(store, tmp_path):
    key, text = store.add_key("ana", ["decide", "check"])
    assert key.scopes == ("check", "decide") and key.may("check") and not key.may("admin")
    assert store.find_key(text) == key
    assert store.find_key(text[:-1]) is None
    assert store.find_key("audit_") is None
    assert store.find_key("") is None
    secret = store.add_session(key, lasts_s=60.0)
    assert store.find_session(secret) == key
    assert store.find_session("x") is None
    stored = "\n".join(store._connection.iterdump())
    assert text not in stored and text[15:] not in stored and secret not in stored
    assert store.revoke_key(key.id).revoked is not None
    assert store.find_key(text) is None and store.find_session(secret) is None
    assert not store.has_keys() and store.has_had_keys()
    with pytest.raises(UnknownError, match="keys list"):
        store.revoke_key(key.id)
    mode = (tmp_path / "service" / "service.sqlite3").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_session_ends_by_itself(store):
    key, _ = store.add_key("ana", ["decide"])
    assert store.find_session(store.add_session(key, lasts_s=-1.0)) is None


@pytest.mark.parametrize(
    ("name", "scopes"), [("a", []), ("a", ["root"]), ("", ["check"]), ("\n", ["check"])]
)
def test_a_key_needs_a_name_and_known_scopes(store, name, scopes):
    with pytest.raises(UsageError, match="a key has"):
        store.add_key(name, scopes)


def test_files_of_others_and_of_newer_versions_are_refused(tmp_path):
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(UsageError, match="of another program"):
        open_store(other)
    (tmp_path / "text").write_text("not a database, but long enough to look like one " * 20)
    with pytest.raises(UsageError, match="cannot be used"):
        open_store(tmp_path / "text")
    newer = tmp_path / "newer.sqlite3"
    open_store(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="Install the newer audit"):
        open_store(newer)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        open_store(tmp_path / "file" / "s.sqlite3")


def test_jobs_of_the_first_version_are_kept(tmp_path):
    path = tmp_path / "s.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            f"{MIGRATIONS[0]};PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = 1;"
            "INSERT INTO jobs (id, key_name, external_id, isrc, owner, callback_url, priority,"
            " adds, source, location, name, size, sha256, state, created)"
            " VALUES ('j', 'k', '', '', '', '', 5, 1, 'path', '', 'a', 3, '', 'queued', 0.0);"
        )
    opened = open_store(path)
    old, new = opened.job("j"), accept(opened, new_job(wide=True))
    assert (old.adds, old.wide, new.wide) == (True, False, True)
    opened.close()


def test_threads_take_each_job_once(store):
    ids = [accept(store, new_job()).id for _ in range(40)]
    taken = []

    def take():
        while (job := store.next_check()) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)
