"""The documents of finished runs to one SQLite file, and back to rows for tables."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from shadowsim.errors import BadInput, Mistake, ShadowsimError
from shadowsim.model.truth import MODES

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53484457  # "SHDW": how a file of ours is told from any other database
TIMEOUT_S = 10.0
PLAIN = (
    "scenario", "change", "network", "precog", "autonomy", "seed", "decision", "end_state",
    "failure_mode", "observed_in", "root_cause", "time_to_rollback_s", "breach_s", "duration_s",
    "out",
)  # fmt: skip
NUMBERS = ("seed", "time_to_rollback_s", "breach_s", "duration_s")
LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
NO_DATABASE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})

_COLUMNS = "".join(f",\n  {name} AS (json_extract(document, '$.{name}')) VIRTUAL" for name in PLAIN)
_CREATE = f"""
CREATE TABLE outcome (
  id INTEGER PRIMARY KEY,
  recorded_at TEXT NOT NULL,
  document TEXT NOT NULL CHECK (json_valid(document)){_COLUMNS}
)"""

Row = dict[str, Any]


class OutcomeStore:
    """The outcomes of all runs, in one file that several processes may add to at once.

    Entering opens the file, and makes it (and its folder) where there is none. A file that
    cannot be used raises BadInput; one that stays locked for `timeout_s` a ShadowsimError.
    """

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> OutcomeStore:
        with _told(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=self._timeout_s, isolation_level=None
            )
            try:
                self._prepare(self._connection)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, document: Mapping[str, Any], recorded_at: str) -> None:
        """Add the document of one run. `recorded_at` is an ISO 8601 time."""
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        with _told(self._path):
            self._open().execute(
                "INSERT INTO outcome (recorded_at, document) VALUES (?, ?)", (recorded_at, text)
            )

    def read(self) -> list[Row]:
        """Every outcome as a flat row, the oldest first; `document` is the whole, as JSON."""
        query = "SELECT id, recorded_at, document FROM outcome ORDER BY id"
        with _told(self._path):
            found = self._open().execute(query).fetchall()
        return [self._row(*values) for values in found]

    def _row(self, number: int, recorded_at: str, text: str) -> Row:
        try:
            return row_of(number, recorded_at, text)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise BadInput([Mistake(f"outcome {number} is damaged", str(self._path))]) from None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("an OutcomeStore is used inside its with block")
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if _pragma(connection, "application_id") == 0:
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        self._check(connection)
        _use_wal(connection, time.monotonic() + self._timeout_s)

    def _check(self, connection: sqlite3.Connection) -> None:
        if _pragma(connection, "application_id") != APPLICATION_ID:
            raise BadInput([Mistake("a database of something else", str(self._path))])
        version = _pragma(connection, "user_version")
        if version != SCHEMA_VERSION:
            raise BadInput([
                Mistake(
                    f"outcomes of format {version}; this shadowsim knows format {SCHEMA_VERSION}",
                    str(self._path),
                )
            ])  # fmt: skip


def row_of(number: int, recorded_at: str, text: str) -> Row:
    """One stored outcome as a flat row: numbers, texts and lists of texts."""
    document = json.loads(text)
    forecast = document.get("forecast") or {}
    return {
        "id": number,
        "recorded_at": recorded_at,
        **{name: _text(document.get(name)) for name in PLAIN if name not in NUMBERS},
        **{name: _number(document.get(name)) for name in NUMBERS},
        **{f"forecast_{mode}": _number(forecast.get(mode)) for mode in MODES},
        "failure_modes": _texts(document.get("failure_modes")),
        "blamed": _texts(document.get("blamed")),
        "expectations_met": (document.get("expectations") or {}).get("met"),
        "document": text,
    }


def _text(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError("a text stands there, or nothing")
    if value is not None:
        value.encode()  # half a character cannot be written down again
    return value


def _texts(value: Any) -> list[str]:
    return [found for one in list(value or []) if (found := _text(one)) is not None]


def _number(value: Any) -> int | float | None:
    if value is not None and (isinstance(value, bool) or not math.isfinite(value)):
        raise ValueError("a number stands there, or nothing")
    return value if value is None or abs(value) < 2**63 else float(value)


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to a write-ahead log. SQLite does not wait for a lock when it does that: we do."""
    while _pragma(connection, "journal_mode") != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in LOCKED or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into what a person can act on."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in LOCKED:
            raise ShadowsimError(f"{path}: in use by another program; try again later") from None
        reason = "not an SQLite database, or damaged" if code in NO_DATABASE else str(error)
        raise BadInput([Mistake(f"outcomes cannot be kept here: {reason}", str(path))]) from None
    except UnicodeDecodeError:  # in the very message of SQLite
        raise BadInput([Mistake("outcomes cannot be kept here: damaged", str(path))]) from None
    except OSError as error:
        raise BadInput([Mistake(f"cannot be used: {error.strerror}", str(path))]) from None
