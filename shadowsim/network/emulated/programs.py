"""Lines for `ip` and words for `ovs-vsctl` to what they did, or to what they said was wrong.

The agent runs this file on the system's own Python: standard library only.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from shadowsim.network.emulated.daemons import Failed, run


class Batches:
    """Several `ip -batch` at the same time; on leaving, all have ended. Raises Failed."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Batches:
        return self

    def start(self, lines: Sequence[str]) -> None:
        """Let one work off these lines, in the namespace in which we are now."""
        if not lines:
            return
        argv = ["ip", *self._options, "-batch", "-"]
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        batch = subprocess.Popen(argv, stdin=pipe, stdout=quiet, stderr=pipe, text=True)
        self._started.append(batch)
        if batch.stdin is not None:
            batch.stdin.write("\n".join(lines) + "\n")
            batch.stdin.close()
            batch.stdin = None

    def __exit__(self, *_: object) -> None:
        wrong = [self._words(batch) for batch in self._started]
        if any(wrong):
            raise Failed("; ".join(filter(None, wrong)))

    @staticmethod
    def _words(batch: subprocess.Popen[str]) -> str:
        try:
            words = batch.communicate(timeout=20.0)[1]
        except subprocess.TimeoutExpired:
            batch.kill()
            words = "did not end within 20 s"
        return f"ip: {words.strip()[-200:]}" if batch.returncode != 0 else ""


def vsctl(words: Sequence[str], within_s: int = 20) -> None:
    """Tell Open vSwitch in one transaction, and wait until it has done so. Raises Failed."""
    if words:
        run(["ovs-vsctl", "--retry", "-t", str(within_s), *words], within_s=within_s + 2.0)
