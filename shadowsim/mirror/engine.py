"""Production's configs and traffic to a shadow with the same configs and a copy of the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.mirror.anonymise import anonymise
from shadowsim.model.address import format_address
from shadowsim.model.change import Command, apply, difference
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import Network
from shadowsim.scenario import Mirror


@dataclass(frozen=True)
class Mirrored:
    """What has been mirrored so far. `share` is of production's bytes, `packets` are copies sent;
    `represented` is the share of production's traffic that they stand for.

    `captured_bytes` counts what is left of them after truncation; `lag_s` is how far the
    shadow's traffic is behind production's at most; `example` are flow records as
    the shadow sees them.
    """

    packets: int
    captured_bytes: int
    share: float
    represented: float
    lag_s: float
    example: tuple[str, ...]


class MirrorEngine:
    """Keeps `shadow` in step with `production`. Only `production.configs()` and its telemetry are
    read; nothing is ever sent to it.
    """

    def __init__(
        self,
        production: Network,
        shadow: Network,
        demands: Sequence[Demand],
        plan: Mirror,
        random: np.random.Generator,
    ) -> None:
        self._production = production
        self._shadow = shadow
        self._demands = demands
        self._plan = plan
        self._random = random
        self._key = random.bytes(32)
        self._taken = np.array([d.traffic_class in plan.classes for d in demands], dtype=np.bool_)
        self._bits = np.array([8.0 * d.packet_bytes for d in demands])
        self._rates_bps = np.zeros(len(demands))
        self._packets = np.zeros(len(demands), dtype=np.int64)
        self._seen_bits = 0.0
        self._taken_bits = 0.0
        self._lag_s = 0.0
        self._read_at_s = production.now

    def drift(self, trial: Sequence[Command] = ()) -> tuple[Command, ...]:
        """The commands that would bring the shadow to production's configs and, on top, the trial.

        Devices of production that do not answer are left as they are in the shadow.
        """
        running = self._production.configs()
        wanted = apply(running, [command for command in trial if command.device in running])
        have = self._shadow.configs()
        both = sorted(set(wanted) & set(have))
        differ = [n for n in both if have[n].digest != wanted[n].digest]
        return difference({n: have[n] for n in differ}, {n: wanted[n] for n in differ})

    def sync(self, trial: Sequence[Command] = ()) -> tuple[Command, ...]:
        """Repair what `drift` finds; returns the commands sent to the shadow."""
        commands = self.drift(trial)
        if commands:
            self._shadow.apply(commands)
        return commands

    def forward(self, sample: Sample) -> None:
        """Copy one second of production's traffic into the shadow.

        A share `fraction` of the packets is copied; the shadow replays the estimate that follows
        from them, so its load is production's plus the sampling error. Where production reports
        nothing the last rate is kept.
        """
        offered = np.where(self._taken, sample.column("demand", "offered_bps"), 0.0)
        heard = np.isfinite(offered)
        sent = np.where(heard, offered, 0.0) / self._bits
        copied = self._random.binomial(np.round(sent).astype(np.int64), self._plan.fraction)
        estimate = copied * self._bits / self._plan.fraction
        self._rates_bps = np.where(heard, estimate, self._rates_bps)
        self._packets += copied
        total = sample.column("demand", "offered_bps")
        self._seen_bits += float(np.nansum(total))
        self._taken_bits += float(np.where(heard, offered, 0.0).sum())
        self._lag_s = max(self._lag_s, sample.at_s - self._read_at_s)
        self._read_at_s = sample.at_s
        self._shadow.offer(self._rates_bps)

    def report(self) -> Mirrored:
        """What has been mirrored since the start."""
        size = np.minimum(self._bits / 8.0, self._plan.truncate_bytes)
        copied_bits = float((self._packets * self._bits).sum())
        busiest = np.argsort(-self._packets, kind="stable")[:3]
        return Mirrored(
            packets=int(self._packets.sum()),
            captured_bytes=int((self._packets * size).sum()),
            share=copied_bits / self._seen_bits if self._seen_bits else 0.0,
            represented=self._taken_bits / self._seen_bits if self._seen_bits else 1.0,
            lag_s=self._lag_s,
            example=tuple(self._record(int(i)) for i in busiest if self._packets[i]),
        )

    def _record(self, number: int) -> str:
        demand = self._demands[number]
        address = self._production.topology.address
        ends = [address[demand.source], address[demand.destination]]
        if self._plan.anonymise:
            ends = [anonymise(end, self._key) for end in ends]
        source, destination = map(format_address, ends)
        what = f"{demand.protocol}/{demand.port} {demand.traffic_class}"
        return f"{source} > {destination} {what}: {int(self._packets[number])} packets"
