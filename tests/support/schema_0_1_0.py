"""The catalogue's schema as version 0.1.0 wrote it, in SQL alone: no code of this version."""

from __future__ import annotations

SCHEMA_0_1_0 = """
CREATE TABLE tracks (
    id TEXT PRIMARY KEY NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, duration_s REAL NOT NULL, declared_s REAL,
    truncated INTEGER NOT NULL, silent INTEGER NOT NULL,
    codec TEXT NOT NULL, container TEXT NOT NULL,
    sample_rate_hz INTEGER NOT NULL, n_channels INTEGER NOT NULL, bit_rate INTEGER,
    title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, genre TEXT NOT NULL,
    genres TEXT NOT NULL, date TEXT NOT NULL, licence TEXT NOT NULL,
    source TEXT NOT NULL, missing INTEGER NOT NULL,
    path_bytes BLOB UNIQUE, mtime_ns INTEGER NOT NULL, added_at INTEGER NOT NULL);
CREATE INDEX tracks_sha256 ON tracks (sha256);
CREATE TABLE embeddings (
    track_id TEXT NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
    weights_id TEXT NOT NULL, n_windows INTEGER NOT NULL, n_dims INTEGER NOT NULL,
    embedding BLOB NOT NULL,
    PRIMARY KEY (track_id, weights_id));
CREATE TABLE dvectors (
    track_id TEXT NOT NULL, weights_id TEXT NOT NULL,
    dvectors BLOB NOT NULL, levels BLOB NOT NULL,
    PRIMARY KEY (track_id, weights_id),
    FOREIGN KEY (track_id, weights_id)
        REFERENCES embeddings (track_id, weights_id) ON DELETE CASCADE);
CREATE TABLE skipped (
    path_bytes BLOB PRIMARY KEY NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256_a TEXT NOT NULL, sha256_b TEXT NOT NULL, kind TEXT NOT NULL,
    note TEXT NOT NULL, decided_at TEXT NOT NULL, decided_by TEXT NOT NULL,
    UNIQUE (sha256_a, sha256_b, decided_at, kind, note, decided_by));
CREATE TABLE spectra (sha256 TEXT PRIMARY KEY NOT NULL, layout TEXT NOT NULL, frames BLOB NOT NULL);
CREATE TABLE revision (token BLOB NOT NULL);
INSERT INTO revision VALUES (randomblob(16));
CREATE TRIGGER revision_0 AFTER INSERT ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_1 AFTER UPDATE ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_2 AFTER DELETE ON embeddings
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE TRIGGER revision_3 AFTER UPDATE OF id, sha256, silent, missing ON tracks
    BEGIN UPDATE revision SET token = randomblob(16); END;
CREATE INDEX tracks_artist ON tracks (artist COLLATE NOCASE);
CREATE INDEX tracks_album ON tracks (album COLLATE NOCASE);
PRAGMA application_id = 0x41554454;
PRAGMA user_version = 5;
"""
