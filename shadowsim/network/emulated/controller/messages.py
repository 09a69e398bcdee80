"""Rules as JSON to OpenFlow 1.3 messages, and what a switch reports back to rules as JSON."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]
ADDRESSES = ("ipv4_src", "ipv4_dst")
BUCKET_TABLE = 3  # where the bucket of a group sends its packets on to
EVERYTHING = 0xFFFFFFFF  # group, port and buffer number that stands for all of them, or none


def changes(datapath: Any, difference: Json, epoch: int) -> Iterator[Any]:
    """The messages of a bundle that makes these differences, in the order they must have.

    The flow at the edge that always stands is sent every time: its cookie is the epoch of all.
    """
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    flows, groups = difference["flows"], difference["groups"]
    if difference["clear"]:
        yield _flow_mod(datapath, {"table": ofp.OFPTT_ALL}, ofp.OFPFC_DELETE, 0)
        yield parser.OFPGroupMod(datapath, ofp.OFPGC_DELETE, 0, ofp.OFPG_ALL, [])
    for group in groups["add"]:
        buckets = [_bucket(datapath, port) for port in group["slots"]]
        yield parser.OFPGroupMod(datapath, ofp.OFPGC_ADD, ofp.OFPGT_SELECT, group["id"], buckets)
    for flow in flows["delete"]:
        yield _flow_mod(datapath, flow, ofp.OFPFC_DELETE_STRICT, 0)
    for flow in flows["add"]:
        yield _flow_mod(datapath, flow, ofp.OFPFC_ADD, epoch)
    for group in groups["delete"]:
        yield parser.OFPGroupMod(datapath, ofp.OFPGC_DELETE, 0, group["id"], [])


def meter_mods(datapath: Any, meters: Iterable[Json], known: Iterable[int]) -> Iterator[Any]:
    """The messages that add these meters, or change those whose numbers are known."""
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    known = set(known)
    for meter in meters:
        command = ofp.OFPMC_MODIFY if meter["id"] in known else ofp.OFPMC_ADD
        flags = ofp.OFPMF_KBPS | ofp.OFPMF_BURST
        bands = [parser.OFPMeterBandDrop(meter["rate_kbps"], meter["burst_kbit"])]
        yield parser.OFPMeterMod(datapath, command, flags, meter["id"], bands)


def meter_deletions(datapath: Any, meters: Iterable[int]) -> Iterator[Any]:
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    for number in meters:
        yield parser.OFPMeterMod(datapath, ofp.OFPMC_DELETE, 0, number, [])


def _flow_mod(datapath: Any, flow: Json, command: int, cookie: int) -> Any:
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    return parser.OFPFlowMod(
        datapath,
        cookie=cookie,
        table_id=flow["table"],
        command=command,
        priority=flow.get("priority", 0),
        buffer_id=ofp.OFP_NO_BUFFER,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=parser.OFPMatch(**{name: _field(name, v) for name, v in flow.get("match", ())}),
        instructions=list(_instructions(datapath, flow)) if command == ofp.OFPFC_ADD else [],
    )


def _field(name: str, value: Any) -> Any:
    if isinstance(value, int):
        return _quad(value) if name in ADDRESSES else value
    return tuple(_field(name, part) for part in value)


def _quad(address: int) -> str:
    return socket.inet_ntoa(struct.pack("!I", address))


def _instructions(datapath: Any, flow: Json) -> Iterator[Any]:
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    if flow["meter"] is not None:
        yield parser.OFPInstructionMeter(flow["meter"])
    if flow["actions"]:
        actions = [_action(parser, *action) for action in flow["actions"]]
        yield parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)
    if flow["goto"] is not None:
        yield parser.OFPInstructionGotoTable(flow["goto"])


def _action(parser: Any, name: str, *values: int) -> Any:
    made = {
        "dec_ttl": parser.OFPActionDecNwTtl,
        "reg0": lambda port: parser.OFPActionSetField(reg0=port),
        "eth_dst": lambda mac: parser.OFPActionSetField(eth_dst=_mac(mac)),
        "group": parser.OFPActionGroup,
        "queue": parser.OFPActionSetQueue,
        "clear_in_port": lambda: parser.NXActionRegLoad(ofs_nbits=15, dst="in_port_nxm", value=0),
        "output": parser.OFPActionOutput,
        "trunc": parser.NXActionOutputTrunc,
    }
    return made[name](*values)


def _mac(number: int) -> str:
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


def _bucket(datapath: Any, port: int) -> Any:
    parser = datapath.ofproto_parser
    resubmit = parser.NXActionResubmitTable(table_id=BUCKET_TABLE)
    actions = [parser.OFPActionSetField(reg0=port), resubmit]
    return parser.OFPBucket(1, EVERYTHING, EVERYTHING, actions)


# ---- what a switch reports back


def read_flow(stats: Any) -> Json:
    """One flow as a switch reports it."""
    match = {name: _read_field(name, value) for name, value in stats.match.items()}
    flow: Json = {
        "table": stats.table_id,
        "priority": stats.priority,
        "match": sorted(match.items()),
    }
    flow |= {"actions": [], "goto": None, "meter": None}
    for instruction in stats.instructions:
        kind = type(instruction).__name__
        if kind == "OFPInstructionMeter":
            flow["meter"] = instruction.meter_id
        elif kind == "OFPInstructionActions":
            flow["actions"] += [_read_action(action) for action in instruction.actions]
        elif kind == "OFPInstructionGotoTable":
            flow["goto"] = instruction.table_id
        else:
            flow["actions"].append([kind])
    return flow


def _read_field(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return [_read_field(name, part) for part in value]
    return struct.unpack("!I", socket.inet_aton(value))[0] if name in ADDRESSES else value


def _read_action(action: Any) -> list[Any]:
    kind = type(action).__name__
    if kind == "OFPActionSetField":
        named = action.key in ("reg0", "eth_dst")
        value = int(action.value.replace(":", ""), 16) if action.key == "eth_dst" else action.value
        return [action.key if named else f"set {action.key}", value]
    if kind == "NXActionRegLoad":
        if (action.dst, action.ofs_nbits, action.value) == ("in_port_nxm", 15, 0):
            return ["clear_in_port"]
        return [f"load {action.dst} {action.ofs_nbits}", action.value]
    plain = {
        "OFPActionDecNwTtl": ("dec_ttl",),
        "OFPActionGroup": ("group", "group_id"),
        "OFPActionSetQueue": ("queue", "queue_id"),
        "OFPActionOutput": ("output", "port"),
        "NXActionOutputTrunc": ("trunc", "port", "max_len"),
    }
    name, *values = plain.get(kind, (kind,))
    return [name, *(getattr(action, value) for value in values)]


def read_group(stats: Any) -> Json:
    """One group as a switch reports it; a bucket that is none of ours stands as text."""
    return {"id": stats.group_id, "slots": [_read_bucket(bucket) for bucket in stats.buckets]}


def _read_bucket(bucket: Any) -> Any:
    actions = list(bucket.actions)
    if len(actions) == 2 and bucket.weight == 1:
        load, resubmit = actions
        ours = type(resubmit).__name__ == "NXActionResubmitTable"
        loads = _read_action(load)
        if ours and resubmit.table_id == BUCKET_TABLE and loads[0] == "reg0":
            return loads[1]
    return str(bucket)


def read_meter(stats: Any) -> Json:
    """One meter as a switch reports it."""
    band = stats.bands[0]
    return {"id": stats.meter_id, "rate_kbps": band.rate, "burst_kbit": band.burst_size}
