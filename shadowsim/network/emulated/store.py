"""The configs of a network's devices to records in its own OVSDB, and back; and its mirrors."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shadowsim.errors import BadInput, Fenced
from shadowsim.model.change import Configs, parse_config
from shadowsim.model.config import DeviceConfig
from shadowsim.network.emulated.ovsdb import Database, Ids, Lost, Operation, StoreGone

__all__ = ["Changed", "ConfigStore", "StoreAltered", "StoreGone"]

OWN, REPLICA = "shadowsim", "production"
GENERATION = f"{OWN}-generation"  # of whoever may write the config beside it
MOMENT_S = 2.0
SHORTEST_SNAP, LONGEST_SNAP = 14, 65_535  # bytes, the limits of Open vSwitch


class StoreAltered(StoreGone):
    """The text stored for a device is not what its digest says, or is no config."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A device whose record changed: when it was written (0 if unknown) and when it was seen.

    Both in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    """

    device: str
    epoch: int
    written_ns: int
    seen_ns: int


def bridge_name(number: int) -> str:
    """The bridge of the device of that number, as the agent names it."""
    return f"s{number}"


def put(bridge: str, values: Mapping[str, str | None]) -> Operation:
    """The operation that sets these `external_ids` of a bridge and leaves its others alone.

    None takes one away.
    """
    keys = ["set", list(values)]
    pairs = ["map", [[key, value] for key, value in values.items() if value is not None]]
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["name", "==", bridge]],
        "mutations": [["external_ids", "delete", keys], ["external_ids", "insert", pairs]],
    }


def intact(ids: Ids, owner: str = OWN) -> bool:
    """Whether the digest stored with a text is that text's."""
    text, digest = ids.get(f"{owner}-config"), ids.get(f"{owner}-digest")
    return (text is None) == (digest is None) and (text is None or _digest(text) == digest)


class ConfigStore:
    """Unprivileged client of the ovsdb-server of one network. Not to be shared between threads.

    Bridge `s{i}` is of `devices[i]`. The connection comes back by itself after the server was
    killed and started again; calls wait for it for `timeout_s` at most and then raise StoreGone.
    """

    def __init__(self, path: Path, devices: Sequence[str], timeout_s: float = 5.0) -> None:
        self._database = Database(path)
        self._bridge = {device: bridge_name(i) for i, device in enumerate(devices)}
        self._device = {bridge: device for device, bridge in self._bridge.items()}
        self._timeout_s = timeout_s
        self._parsed: dict[tuple[str, str], DeviceConfig] = {}
        self._generation: int | None = None  # that may write, if this has been settled

    @property
    def ready(self) -> bool:
        """Whether it is connected, as of the last call."""
        return self._database.ready

    def fileno(self) -> int:
        """What to wait on for `poll`; -1 while there is no connection."""
        return self._database.fileno()

    def write(self, configs: Mapping[str, DeviceConfig], epoch: int) -> None:
        """Store these configs, all or none of them; returns when they are committed.

        Raises StoreGone if a device has no bridge, or the database does not answer in time, and
        Fenced if somebody has fenced off the generation that this was claimed for.
        """
        if not configs:
            return
        self._require_bridges(configs)
        operations = [
            _must_exist(self._bridge[device])
            if self._generation is None
            else _must_be_of(self._bridge[device], self._generation)
            for device in configs
        ]
        for device, config in configs.items():
            self._parsed[device, config.digest] = config
            operations.append(put(self._bridge[device], _record(device, config, epoch)))
        try:
            self._commit(operations)
        except StoreGone:
            if self._generation is not None:
                self._check(configs, self._generation)
            raise

    def claim(self, generation: int) -> None:
        """Write only as this generation from now on, and only while no other one has fenced it off.

        A database that was made anew, and knows of no generation, is marked with it. Raises Fenced,
        StoreGone.
        """
        self._generation = generation
        self._database.await_ready(time.monotonic() + self._timeout_s)
        for bridge in self._device:
            ids = self._database.bridges.get(bridge)
            if ids is not None and GENERATION not in ids:
                # Only if it is still as it was read: who fences it meanwhile is not undone.
                self._commit([_must_be(bridge, ids), put(bridge, {GENERATION: str(generation)})])
        self._check(self._bridge, generation)

    def fence(self, generation: int) -> None:
        """Have no write of an earlier generation succeed, and write as this one.

        One transaction, so that there is no instant at which some devices have two masters. Raises
        StoreGone, and Fenced where a later generation has been here.
        """
        until_s = time.monotonic() + self._timeout_s
        self._database.await_ready(until_s)
        while True:
            bridges = self._database.bridges
            there = {bridge: bridges[bridge] for bridge in self._device if bridge in bridges}
            if any(number_in(ids, GENERATION) > generation for ids in there.values()):
                raise Fenced("production was taken over from this process")
            mark = {GENERATION: str(generation)}
            try:
                # Only if they are of whom they were when this looked.
                still = [_must_be_as_of(bridge, ids) for bridge, ids in there.items()]
                self._commit([*still, *(put(bridge, mark) for bridge in there)])
                break
            except StoreGone:
                if time.monotonic() > until_s:
                    raise
        self._generation = generation

    def restore(self, configs: Mapping[str, DeviceConfig], epoch: int) -> None:
        """Store these where a database that was made anew has none, whoever may write to it now.

        Raises StoreGone.
        """
        self._require_bridges(configs)
        until_s = time.monotonic() + self._timeout_s
        for device, config in configs.items():
            while f"{OWN}-config" not in (ids := self._ids(device)):
                record = put(self._bridge[device], _record(device, config, epoch))
                try:
                    # Only if it is still as it was read: what somebody writes meanwhile stays.
                    self._commit([_must_be(self._bridge[device], ids), record])
                except StoreGone:
                    if time.monotonic() > until_s:
                        raise

    def _check(self, devices: Iterable[str], generation: int) -> None:
        """Raise Fenced if one of these belongs to another generation."""
        for device in devices:
            ids = self._ids(device)
            if GENERATION in ids and ids[GENERATION] != str(generation):
                raise Fenced(f"production was taken over from this process ({device})")

    def read(self) -> Configs:
        """The stored config of every device that has one, as the server has them now.

        What anybody had committed before this call is in it: the server says what changed before
        it answers. Raises StoreAltered, naming the device, for a text that is not what its digest
        says, and StoreGone if the database does not answer.
        """
        self._commit([])
        return self.seen()

    def seen(self) -> Configs:
        """The same as of the last call, which another's last write may not have reached.

        Raises as `read` does, the latter only while there is no connection.
        """
        return self._read(OWN)

    def replicated(self) -> Configs:
        """Production's configs as the replication left them in this, the shadow's, database."""
        return self._read(REPLICA)

    def epochs(self) -> dict[str, int]:
        """Device to the epoch stored with its config, as of the last call."""
        found = ((device, self._ids(device)) for device in self._bridge)
        return {d: number_in(ids, f"{OWN}-epoch") for d, ids in found if f"{OWN}-config" in ids}

    def drifted(self) -> tuple[str, ...]:
        """Devices whose text somebody else altered, as of the last call."""
        return tuple(device for device in self._bridge if not intact(self._ids(device)))

    def poll(self) -> tuple[Changed, ...]:
        """What changed since the last time, own writes included; never waits, never raises."""
        self._database.poll()
        seen = self._database.changed()
        return tuple(
            Changed(
                device, number_in(ids, f"{OWN}-epoch"), number_in(ids, f"{OWN}-written-ns"), at_ns
            )
            for bridge, at_ns in seen.items()
            if (device := self._device.get(bridge)) is not None
            for ids in [self._ids(device)]
        )

    def mirror(
        self, bridge: str, select_src_ports: Iterable[str], output_port: str, snaplen: int
    ) -> None:
        """Copy what enters `bridge` by these ports to `output_port`, cut to `snaplen` bytes.

        Replaces what mirrored this bridge before. Raises StoreGone if a port is not there.
        """
        snap = min(max(snaplen, SHORTEST_SNAP), LONGEST_SNAP)
        selected = [["uuid", self._port(name)] for name in select_src_ports]
        row = {
            "name": f"{bridge}-mirror",
            "select_src_port": ["set", selected],
            "output_port": ["uuid", self._port(output_port)],
            "snaplen": snap,
        }
        insert = {"op": "insert", "table": "Mirror", "row": row, "uuid-name": "fresh"}
        mirrors = _set_mirrors(bridge, ["named-uuid", "fresh"])
        self._commit([_must_exist(bridge), insert, mirrors])

    def unmirror(self, bridge: str) -> None:
        """Mirror nothing of this bridge any more; without a mirror nothing happens."""
        self._commit([_set_mirrors(bridge, ["set", []])])

    def await_switches(self) -> None:
        """Wait until Open vSwitch has done what was written, but not for longer than a moment."""
        asked = {"op": "mutate", "table": "Open_vSwitch", "where": []}
        self._commit([{**asked, "mutations": [["next_cfg", "+=", 1]]}])
        wanted, until_s = self._configuration("next_cfg"), time.monotonic() + MOMENT_S
        while self._configuration("cur_cfg") < wanted and time.monotonic() < until_s:
            time.sleep(0.01)

    def _configuration(self, which: str) -> int:
        """The number of the configuration that was asked for (`next_cfg`), or is there."""
        select = {"op": "select", "table": "Open_vSwitch", "where": [], "columns": [which]}
        return max((int(row[which]) for row in self._commit([select])[0]["rows"]), default=0)

    def came_in(self, port: str) -> int:
        """Packets that entered a bridge by this port, 0 if there is none.

        Open vSwitch writes its counters down every 5 s, unless it was told another interval.
        """
        where = [["name", "==", port]]
        columns = ["statistics"]
        select = {"op": "select", "table": "Interface", "where": where, "columns": columns}
        rows = self._commit([select])[0]["rows"]
        return int(dict(rows[0]["statistics"][1]).get("rx_packets", 0)) if rows else 0

    def close(self) -> None:
        """Let go of the database; a second call does nothing."""
        self._database.close()

    def _require_bridges(self, devices: Iterable[str]) -> None:
        self._database.await_ready(time.monotonic() + self._timeout_s)
        for device in devices:
            if self._bridge[device] not in self._database.bridges:
                raise StoreGone(f"there is no bridge {self._bridge[device]} for '{device}'")

    def _read(self, owner: str) -> Configs:
        self._database.await_ready(time.monotonic() + self._timeout_s)
        return {
            device: self._parse(device, ids, owner)
            for device in self._bridge
            for ids in [self._ids(device)]
            if f"{owner}-config" in ids
        }

    def _parse(self, device: str, ids: Ids, owner: str) -> DeviceConfig:
        text, digest = ids[f"{owner}-config"], ids.get(f"{owner}-digest", "")
        if _digest(text) != digest:
            raise StoreAltered(f"the config stored for '{device}' is not what its digest says")
        found = self._parsed.get((device, digest))
        if found is None:
            try:
                found = parse_config(text, file=f"stored config of {device}")
            except BadInput as error:
                raise StoreAltered(f"what is stored for '{device}' is no config: {error}") from None
            self._parsed[device, digest] = found
        return found

    def _ids(self, device: str) -> Ids:
        return self._database.bridges.get(self._bridge[device], {})

    def _port(self, name: str) -> str:
        """The id of a port; the database has no two of one name."""
        where = [["name", "==", name]]
        select = {"op": "select", "table": "Port", "where": where, "columns": ["_uuid"]}
        rows = self._commit([select])[0]["rows"]
        if not rows:
            raise StoreGone(f"there is no port '{name}' to mirror")
        return str(rows[0]["_uuid"][1])

    def _commit(self, operations: Sequence[Operation]) -> list[Any]:
        """All that is committed here may be committed twice, so what was lost is said again."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._database.transact(operations, deadline_s)
            except Lost:
                if time.monotonic() >= deadline_s:
                    raise


def _record(device: str, config: DeviceConfig, epoch: int) -> Ids:
    return {
        f"{OWN}-device": device,
        f"{OWN}-config": config.text,
        f"{OWN}-digest": config.digest,
        f"{OWN}-epoch": str(epoch),
        f"{OWN}-written-ns": str(time.monotonic_ns()),
    }


def _must_exist(bridge: str) -> Operation:
    """An operation that fails, and all others with it, where there is no such bridge."""
    return {
        "op": "wait",
        "table": "Bridge",
        "where": [["name", "==", bridge]],
        "columns": ["name"],
        "until": "==",
        "rows": [{"name": bridge}],
        "timeout": 0,
    }


def _must_be_of(bridge: str, generation: int | str) -> Operation:
    """An operation that fails, and all others with it, unless the bridge is of this generation."""
    mark = ["map", [[GENERATION, str(generation)]]]
    of_it = _must_exist(bridge)
    return {**of_it, "where": [*of_it["where"], ["external_ids", "includes", mark]]}


def _must_be_as_of(bridge: str, ids: Ids) -> Operation:
    """An operation that fails, and all others with it, if the bridge's generation is another."""
    if GENERATION in ids:
        return _must_be_of(bridge, ids[GENERATION])
    return _must_be(bridge, ids)


def _must_be(bridge: str, ids: Ids) -> Operation:
    """An operation that fails, and all others with it, unless these are all ids of the bridge."""
    there = ["map", [list(pair) for pair in ids.items()]]
    same = _must_exist(bridge)
    return {**same, "columns": ["external_ids"], "rows": [{"external_ids": there}]}


def _set_mirrors(bridge: str, mirrors: list[Any]) -> Operation:
    where = [["name", "==", bridge]]
    return {"op": "update", "table": "Bridge", "where": where, "row": {"mirrors": mirrors}}


def number_in(ids: Ids, key: str) -> int:
    """A number that somebody else may have overwritten with anything: 0 then."""
    text = ids.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
