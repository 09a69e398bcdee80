"""The secret of this installation, by which rollback signatures are sealed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
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

    Raises BadInput if what lies there is no key, or not only this user's; OSError if none can be
    made. Of several processes that make one at the same time, one wins and all get its key.
    """
    where = path or key_path()
    if not where.exists():
        _make(where)
    return _read(where)


def known_key() -> bytes | None:
    """The key if one was ever made; none is made. Raises BadInput, OSError."""
    where = key_path()
    return _read(where) if where.exists() else None


def _read(where: Path) -> bytes:
    fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # else a pipe is waited for
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(file.fileno())
        if wrong := _not_private(found, where):
            raise BadInput([Mistake(wrong, str(where))])
        key = file.read(LENGTH + 1)
    if len(key) != LENGTH:
        message = (
            f"not a key ({found.st_size} bytes instead of {LENGTH}); remove it to get a new one"
        )
        raise BadInput([Mistake(message, str(where))])
    return key


def _not_private(found: os.stat_result, where: Path) -> str:
    """Why a key may be known to others, who could then seal as this user; "" if it is not."""
    if not stat.S_ISREG(found.st_mode):
        return "not a key: no regular file; remove it to get a new one"
    if found.st_uid != os.geteuid():
        return (
            f"the key of another user ({found.st_uid}; you are {os.geteuid()}), whose seals are not"
            " yours; name a file of your own in SHADOWSIM_KEY"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return (
            f"other users may open this key (mode {mode:04o}), and seal with it as you do;"
            f" 'chmod 600 {where}', or remove it to get a new one if somebody may have"
        )
    return ""


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
