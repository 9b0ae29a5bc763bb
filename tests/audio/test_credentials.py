"""C2PA manifests: files signed here with certificates made here, read in the decoder process."""

from __future__ import annotations

import datetime
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tunes import tune

import auditor.audio.isolated
from auditor.audio.encode import encode
from auditor.audio.isolated import read_tags

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SUFFIXES = {"wav": "wav", "mp3": "mp3", "flac": "flac", "aac": "m4a"}
"""Codecs of ``encode``, and the suffixes of their files."""


def _certificate(subject, key, issuer, issuer_key, *, is_root):
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    usages = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usages += ("encipher_only", "decipher_only")
    usage = x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        **dict.fromkeys(usages, False),
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(usage, critical=True)
    )
    if not is_root:
        purposes = [x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]
        made = made.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(common, organisation):
    names = ((x509.NameOID.COMMON_NAME, common), (x509.NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in names])


@pytest.fixture(scope="module")
def signer():
    """Return a signer with a certificate of a root that nobody knows."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root, leaf = _name("Test Root", "Root Ltd"), _name("Test Signer", "Music Machine Ltd")
    chain = _certificate(leaf, key, root, root_key, is_root=False)
    chain += _certificate(root, root_key, root, root_key, is_root=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, secret, None))


def sign(signer, codec, *, source="trainedAlgorithmicMedia", url="", generator="machine"):
    """Return a tune with a manifest; one of another place if a URL is given."""
    action = {"action": "c2pa.created", "digitalSourceType": f"{IPTC}{source}"}
    manifest = {
        "claim_generator_info": [{"name": generator, "version": "3"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    builder = c2pa.Builder(json.dumps(manifest))
    if url:
        builder.set_no_embed()
        builder.set_remote_url(url)
    target = io.BytesIO()
    mime = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "aac": "audio/mp4"}
    source_file = io.BytesIO(encode(tune(1, duration_s=1.0), codec=codec))
    builder.sign(signer, mime[codec], source_file, target)
    return target.getvalue()


MARKS = (
    *("state:valid", "signer:Music Machine Ltd", "signer:Test Signer", "generator:machine 3"),
    "source:trainedAlgorithmicMedia",
)


@pytest.mark.parametrize("codec", SUFFIXES)
def test_a_manifest_says_who_signed_and_that_a_model_made_it(tmp_path, signer, codec):
    path = tmp_path / f"song.{SUFFIXES[codec]}"
    path.write_bytes(encode(tune(1, duration_s=1.0), codec=codec))
    assert read_tags(path).c2pa == ()
    content = sign(signer, codec)
    path.write_bytes(content)
    assert read_tags(path).c2pa == MARKS
    changed = bytearray(content)
    changed[5_000 if codec == "wav" else -500] ^= 1  # of the sound, which is first in a WAV
    path.write_bytes(changed)
    assert read_tags(path).c2pa == ("state:invalid", *MARKS[1:])


def test_what_no_model_made_is_said_to_be_nothing_of_the_kind(tmp_path, signer):
    path = tmp_path / "song.wav"
    path.write_bytes(sign(signer, "wav", source="digitalCapture", generator="a\x1b[2J\nb" * 99))
    marks = read_tags(path).c2pa
    assert not [mark for mark in marks if mark.startswith("source:")]
    (generator,) = [mark for mark in marks if mark.startswith("generator:")]
    assert generator.isprintable()
    assert len(generator) < 120


def test_a_broken_manifest_is_invalid_and_leaves_the_tags(tmp_path, signer):
    path = tmp_path / "song.wav"
    content = bytearray(sign(signer, "wav"))
    content[content.find(b"c2pa.claim") + 40] ^= 0xFF
    path.write_bytes(content)
    assert read_tags(path).c2pa == ("state:invalid",)
    path.write_bytes(b"no audio" * 99)
    assert read_tags(path).c2pa == ()


def test_nothing_is_asked_over_the_network(tmp_path, signer):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        path = tmp_path / "song.mp3"
        path.write_bytes(sign(signer, "mp3", url=f"http://127.0.0.1:{server.server_port}/m"))
        asked.clear()  # whoever signs may look
        assert read_tags(path).c2pa == ("state:elsewhere",)
        assert asked == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_without_the_library_nothing_is_read(tmp_path, signer, monkeypatch):
    path = tmp_path / "song.wav"
    path.write_bytes(sign(signer, "wav"))
    monkeypatch.setattr(auditor.audio.isolated, "can_be_read", lambda: False)
    assert read_tags(path).c2pa == ()
