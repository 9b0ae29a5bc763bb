"""One family of errors, and paths that can be shown anywhere."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor import errors
from auditor.errors import AuditError, clean_text, show_path


def test_every_error_is_an_audit_error():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) >= 9
    assert all(issubclass(c, AuditError) for c in classes if c is not errors.Stopped)
    assert issubclass(errors.Stopped, BaseException)  # no "except Exception" may hold it up
    assert not issubclass(AuditError, (ValueError, OSError))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a b.mp3", "a b.mp3"),
        ("Ærø – 夜.flac", "Ærø – 夜.flac"),
        ("a\nb\t\x1b[31m.mp3", r"a\nb\t\x1b[31m.mp3"),
        (b"caf\xe9.mp3", r"caf\xe9.mp3"),
        ("\u202egpj.mp3", r"\xe2\x80\xaegpj.mp3"),
        ("\ud800.mp3", r"\xed\xa0\x80.mp3"),
    ],
)
def test_show_path(path, shown):
    assert show_path(path) == shown


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_a_shown_path_is_one_printable_line_of_unicode(path):
    shown = show_path(path)
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\n\tb", "a b"),
        ("\x00\x07a\x9f", "a"),
        ("\u2066a\u2069\u202e", "a"),
        ("a\u00a0b\u2028c", "a b c"),
        ("\ud800x", "\ufffdx"),
        ("👩\u200d🎤", "👩\u200d🎤"),
        ("   ", ""),
    ],
)
def test_clean_text(text, clean):
    assert clean_text(text) == clean


@given(st.text(st.characters()), st.integers(1, 50))
def test_clean_text_is_one_short_line_and_stays(text, limit):
    clean = clean_text(text, limit=limit)
    assert len(clean) <= limit
    assert len(clean.splitlines()) <= 1
    assert clean == clean.strip()
    clean.encode("utf-8")
    assert clean_text(clean, limit=limit) == clean
