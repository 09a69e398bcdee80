"""What comes in at the edge to the copies that mirror ports there would give."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import Copies

Array = np.ndarray


@dataclass(frozen=True)
class Order:
    """Which demands are copied, and what share of their packets."""

    taken: Array
    fraction: float
    random: Generator


class Copying:
    """The mirror ports of a network. Counts exactly what comes in, draws what of it is copied."""

    def __init__(self, demands: Sequence[Demand], homes: Sequence[str]) -> None:
        """`homes[demands]`: the device that each demand comes in at."""
        self._classes = [d.traffic_class for d in demands]
        self._homes = homes
        self._bits = np.array([8.0 * d.packet_bytes for d in demands])
        self._kept_bytes = self._bits / 8.0
        self._order: Order | None = None
        self._waiting = np.zeros(len(demands))  # bits that came in since the last draw
        self._packets = np.zeros(len(demands), dtype=np.int64)
        self._heard = np.zeros(len(demands), dtype=np.bool_)
        self._seen = 0.0
        self._captured = 0.0
        self._over_s = 0.0

    def copy(
        self, classes: Sequence[str], fraction: float, truncate_bytes: int, random: Generator
    ) -> None:
        """Change what is copied from now on; no classes, nothing."""
        self._draw()
        self._waiting[:] = 0.0
        taken = np.array([name in classes for name in self._classes], dtype=np.bool_)
        self._order = Order(taken, fraction, random) if taken.any() else None
        self._kept_bytes = np.minimum(self._bits / 8.0, truncate_bytes)

    def count(self, offered_bps: Array, dark: Collection[str], span_s: Sequence[float]) -> None:
        """Count states that held for `span_s[S]` seconds, in which the demands sent
        `offered_bps[S, F]`; dark devices tell nothing.
        """
        lit: Array | bool = True
        if dark:
            lit = np.array([home not in dark for home in self._homes], dtype=np.bool_)
        came = np.where(lit, offered_bps, 0.0) * np.array(span_s)[:, None]
        for bits, span in zip(came.sum(axis=1).tolist(), span_s, strict=True):
            self._seen += bits
            self._over_s += span
        if self._order is not None:
            for bits in np.where(self._order.taken, came, 0.0):
                self._waiting += bits
            self._heard |= self._order.taken & lit

    def copies(self) -> Copies:
        """What was copied since this was last called."""
        self._draw()
        found = Copies(
            packets=self._packets.copy(),
            bits=self._packets * self._bits,
            heard=self._heard.copy(),
            seen_bits=self._seen,
            captured_bytes=round(self._captured),
            strangers=0,
            over_s=self._over_s,
        )
        self._packets[:] = 0
        self._heard[:] = False
        self._seen = self._captured = self._over_s = 0.0
        return found

    def _draw(self) -> None:
        """Copy each whole packet that came in with the same chance, apart from all others."""
        if self._order is None:
            return
        came = np.floor(self._waiting / self._bits + 1e-9).astype(np.int64)
        self._waiting = np.maximum(self._waiting - came * self._bits, 0.0)
        copied = self._order.random.binomial(came, self._order.fraction)
        self._packets += copied
        self._captured += float((copied * self._kept_bytes).sum())
