"""Mutations of stored data: JSON and CSV by their structure, SQLite by its cells."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

from fault_audio import mutate

VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", "../../etc/passwd", "\u202e\x00\ud800", "=1+1", "1" * 5000, "nan"),
    *(0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -1e-308, float("nan"), float("inf")),
    *([], {}, [[]], {"a": {"a": {"a": 1}}}, [0] * 10_000),
)


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    """Return JSON with one to three values replaced, removed, doubled or moved; or broken bytes."""
    if chance.random() < 0.35:
        return mutate(data, chance)
    tree = json.loads(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = [(node, key) for node in _nodes(tree) for key in _keys(node)]
        if not places:
            break
        node, key = chance.choice(places)
        what = chance.randrange(5)
        if what == 0:
            del node[key]
        elif what == 1 and isinstance(node, list):
            node.extend([node[key]] * chance.choice((1, 100)))
        elif what == 2:
            other, place = chance.choice(places)
            if place in _keys(other):
                node[key] = json.loads(json.dumps(other[place]))
        elif what == 3 and isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        else:
            node[key] = chance.choice(VALUES)
    return json.dumps(tree).encode()


def _nodes(tree: Any) -> list[Any]:
    found = [tree] if isinstance(tree, dict | list) else []
    for node in found:  # grows on the way
        values = node.values() if isinstance(node, dict) else node
        found += [value for value in values if isinstance(value, dict | list)]
    return found


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


def mutate_csv(data: bytes, chance: random.Random) -> bytes:
    """Return CSV with some cells replaced, added or removed; or broken bytes."""
    if chance.random() < 0.4:
        return mutate(data, chance)
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    for _ in range(chance.choice((1, 1, 2, 5))):
        row = chance.choice(rows)
        what = chance.randrange(5)
        if what == 0 and row:
            del row[chance.randrange(len(row))]
        elif what == 1:
            rows.insert(chance.randrange(len(rows) + 1), list(row))
        elif what == 2:
            row.append("x")
        elif row:
            value = chance.choice(VALUES)
            cell = value if isinstance(value, str) else str(value)[:5000]
            row[chance.randrange(len(row))] = cell.encode("utf-8", "replace").decode()
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()


def mutate_cell(path: Path, chance: random.Random) -> str:
    """Change one stored value of a catalogue as bit rot would; return which one."""
    connection = sqlite3.connect(path)
    try:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
                " AND name != 'revision' ORDER BY name"
            )
        ]
        filled = [n for n in names if connection.execute(f"SELECT 1 FROM {n}").fetchone()]
        table = chance.choice(filled)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = chance.choice(columns)
        row_ids = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
        row_id = chance.choice(row_ids)
        query = f"SELECT {column} FROM {table} WHERE rowid = ?"
        value = connection.execute(query, (row_id,)).fetchone()[0]
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")  # rot pulls none
        update = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?"
        connection.execute(update, (_rotten(value, chance), row_id))
        connection.commit()
    except sqlite3.IntegrityError:
        return f"{table}.{column} as it was"
    finally:
        connection.close()
    return f"{table}.{column}, row {row_id}"


def _rotten(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bytes) and value:
        data = bytearray(value)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)
    if isinstance(value, str) and value:
        at = chance.randrange(len(value))
        return value[:at] + chr(ord(value[at]) ^ 1 << chance.randrange(5)) + value[at + 1 :]
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(62)
    if isinstance(value, float):
        return value * chance.choice((2.0, -1.0, 1.0 + 2.0**-20, 1e300))
    return chance.choice((0, 1, "x", b"\0"))
