"""A key to a folder in which it is the installation's, and which is gone in the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratched(key: bytes) -> Iterator[Path]:
    """In memory, where there is such a place."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torture-", dir=place) as name:
        path = Path(name) / "key"
        path.touch(0o600)
        path.write_bytes(key)
        os.environ["SHADOWSIM_KEY"] = str(path)
        yield Path(name)
