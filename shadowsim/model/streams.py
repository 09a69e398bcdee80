"""One scenario seed to independent named streams of randomness."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The generator of that name; the same seed and names always give the same numbers."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
