"""Pure functions from configs to rules, loads and verdicts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def _kernel_cache() -> Path:
    """A folder for compiled kernels that belongs to exactly these sources.

    numba notices a change only in the file of the kernel itself, and would go on using a kernel
    that has an older one of another file compiled into it.
    """
    found = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "shadowsim" / f"kernels-{found.hexdigest()[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_kernel_cache()))


def kernels_are_cached() -> bool:
    """Whether kernels of these sources were compiled on this machine before."""
    return Path(os.environ["NUMBA_CACHE_DIR"]).exists()
