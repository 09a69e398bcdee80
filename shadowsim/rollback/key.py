"""The secret of this installation, by which rollback signatures are sealed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

LENGTH = 32


def key_path() -> Path:
    """Where the key lies: SHADOWSIM_KEY, or the user's state folder (XDG base directories)."""
    given = os.environ.get("SHADOWSIM_KEY")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "shadowsim" / "key"


def installation_key(path: Path | None = None) -> bytes:
    """The key; made at the first call, readable by its owner alone. OSError if it cannot be."""
    where = path or key_path()
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return where.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(LENGTH))
    return where.read_bytes()
