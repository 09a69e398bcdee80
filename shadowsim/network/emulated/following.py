"""Production's database and services to their replicas in the shadow, as one thing to ask."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from shadowsim.errors import Unreachable
from shadowsim.model.change import Configs
from shadowsim.network.emulated.primary import Primary
from shadowsim.network.emulated.replica import Replica
from shadowsim.network.emulated.rig import Rig
from shadowsim.network.emulated.service import ReplicatedService
from shadowsim.network.protocol import Followed, Network

CATCH_UP_S = 15.0  # a fraction of a second, unless the machine has much else to do


class RigPlace:
    """A host of a rig, whichever agent holds it at the moment."""

    def __init__(self, rig: Rig, host: int) -> None:
        self._rig = rig
        self._host = host

    def start(self, port: int, source_port: int | None) -> None:
        self._rig.agent.service(self._host, port, source_port=source_port)

    def dial(self, port: int) -> socket.socket:
        return socket.socket(fileno=self._rig.agent.dial(self._host, port))

    def hear(self, port: int) -> socket.socket:
        return socket.socket(fileno=self._rig.agent.hear(self._host, port))


class Following:
    """The replicas in `own` of what `rig` holds, and of `primaries`, whose hosts are in both.

    `network` says which devices of production answer.
    """

    def __init__(
        self, own: Rig, network: Network, rig: Rig, primaries: Mapping[str, Primary]
    ) -> None:
        self._own = own
        self._network = network
        devices = list(own.topology.device_index)
        self._replica = Replica(rig.rundir / "db.sock", own.rundir / "db.sock", devices)
        self._primaries = dict(primaries)
        self._services: dict[str, ReplicatedService] = {}
        self._made_at = own.restarts["agent"]
        self._held: Configs = {}
        self._ended = False
        try:
            if not self._replica.caught_up(0, CATCH_UP_S):
                raise Unreachable("the shadow's database did not catch up with production's")
            self.keep()
        except BaseException:
            self.close()
            raise

    def keep(self) -> None:
        """Have a replica of each service whose host is there, anew where the agent took it along.

        To be called when the shadow may have changed. Raises ShadowsimError where that fails.
        """
        made_at = self._own.restarts["agent"]
        if made_at != self._made_at:
            self._close_services(list(self._services))
            self._made_at = made_at
        there = [host for host in self._primaries if self._own.holds(host)]
        self._close_services([host for host in self._services if host not in there])
        for host in there:
            if host not in self._services:
                place = RigPlace(self._own, self._own.topology.host_index[host])
                self._services[host] = ReplicatedService(self._primaries[host], place)

    def _close_services(self, hosts: Sequence[str]) -> None:
        for host in hosts:
            self._services.pop(host).close()

    def followed(self) -> Followed:
        """What the replicas hold, or held at the end; of devices that are not in the shadow, what
        they answer.
        """
        answering = self._network.configs()
        if not self._ended:
            self._held = self._own.store.replicated()
        held = self._held
        configs: Configs = {
            name: held[name] if name in self._own.there and name in held else config
            for name, config in answering.items()
        }
        statuses = tuple(s.status() for s in self._services.values())
        return Followed(configs, self._replica.ages_s(), self._replica.lags_s(), statuses)

    def close(self) -> None:
        """End the replication; a second call does nothing."""
        self._ended = True
        self._close_services(list(self._services))
        self._replica.close()
