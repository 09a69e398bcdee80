"""The disk of a commit to the seconds that it took, within one folder and elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shadowsim.commit.disk import RealDisk


class TimedDisk(RealDisk):
    """The disk of this machine; `within_s` was spent in folders of this name, `others_s` not."""

    def __init__(self, name: str) -> None:
        self.within_s = self.others_s = 0.0
        self._name = name

    def create(self, path: Path, data: bytes) -> None:
        with self._timed(path):
            super().create(path, data)

    def append(self, path: Path, data: bytes) -> None:
        with self._timed(path):
            super().append(path, data)

    def sync(self, *paths: Path) -> None:
        with self._timed(*paths):
            super().sync(*paths)

    def link(self, source: Path, target: Path) -> None:
        with self._timed(source):
            super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        with self._timed(source):
            super().rename(source, target)

    def remove(self, path: Path) -> None:
        with self._timed(path):
            super().remove(path)

    def read(self, path: Path) -> bytes:
        with self._timed(path):
            return super().read(path)

    def names(self, folder: Path) -> tuple[str, ...]:
        with self._timed(folder):
            return super().names(folder)

    @contextmanager
    def _timed(self, *paths: Path) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            spent_s = time.perf_counter() - began_s
            if any(self._name in path.parts for path in paths):
                self.within_s += spent_s
            else:
                self.others_s += spent_s
