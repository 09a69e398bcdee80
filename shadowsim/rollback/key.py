"""The secret of this installation, by which rollback signatures are sealed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from shadowsim.errors import BadInput, Mistake

LENGTH = 32


def key_path() -> Path:
    """Where the key lies: SHADOWSIM_KEY, or the user's state folder (XDG base directories)."""
    given = os.environ.get("SHADOWSIM_KEY")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "shadowsim" / "key"


def installation_key(path: Path | None = None) -> bytes:
    """The key; made at the first call, readable by its owner alone.

    Raises BadInput if what lies there is no key, OSError if none can be made. Of several
    processes that make one at the same time, one wins and all get its key.
    """
    where = path or key_path()
    if not where.exists():
        _make(where)
    key = where.read_bytes()
    if len(key) != LENGTH:
        message = f"not a key ({len(key)} bytes instead of {LENGTH}); remove it to get a new one"
        raise BadInput([Mistake(message, str(where))])
    return key


def _make(where: Path) -> None:
    """Put a whole key in place at once, unless there is one by now."""
    import tempfile  # of use once in the life of an installation, and slow to load

    where.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=where.parent)  # 0600 by its promise
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, where)
    finally:
        Path(name).unlink()
