"""Keeps switches at the rules they are told: one application for both Ryu 4.34 and os-ken 4.2.

It decides nothing. What a switch shall hold comes over a Unix socket as plain JSON (`rules`), and
goes to the switch in one atomic bundle; a switch that connects anew gets all of it again.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from typing import Any

import delta  # type: ignore[import-not-found, unused-ignore]
import messages  # type: ignore[import-not-found, unused-ignore]
from eventlet.semaphore import Semaphore  # type: ignore
from server import Refused, serve  # type: ignore[import-not-found, unused-ignore]

LIBRARY = "os_ken" if "os_ken" in sys.modules else "ryu"


def _part(name: str) -> Any:
    return importlib.import_module(f"{LIBRARY}.{name}")


app_manager = _part("base.app_manager")
ofp_event = _part("controller.ofp_event")
handler = _part("controller.handler")
ofproto = _part("ofproto.ofproto_v1_3")
hub = _part("lib.hub")

Base: Any = app_manager.RyuApp if LIBRARY == "ryu" else app_manager.OSKenApp
ANSWER_S = 5.0  # how long a switch may take to answer
RETRY_S = 1.0  # how long to wait before a switch that failed as it connected is told again
FRESH_S = 1.0  # how long counts that were asked for may be told again
REPLIES = [
    ofp_event.EventOFPBarrierReply,
    ofp_event.EventONFBundleCtrlMsg,
    ofp_event.EventOFPErrorMsg,
    ofp_event.EventOFPFlowStatsReply,
    ofp_event.EventOFPAggregateStatsReply,
    ofp_event.EventOFPGroupDescStatsReply,
    ofp_event.EventOFPGroupStatsReply,
    ofp_event.EventOFPMeterConfigStatsReply,
]


class SwitchFailed(Exception):
    """A switch refused a message, or did not answer."""


class SwitchRefused(SwitchFailed):
    """A switch reported an error."""


class Switch:
    """One switch: its session, what it shall hold, and what it is known to hold (None: nothing).

    `refused` is the error by which it refused what it was told last in this session, if it did.
    """

    def __init__(self, dpid: int) -> None:
        self.dpid = dpid
        self.lock = Semaphore()
        self.datapath: Any = None
        self.wanted: dict[str, Any] | None = None
        self.held: dict[str, Any] | None = None
        self.wanted_epoch = self.epoch = 0
        self.refused = ""
        self.counts: dict[str, int] = {}
        self.counted_at_s = -FRESH_S


class Application(Base):  # type: ignore[misc]
    """Serves `install`, `state` and `readback`; see `controllers.py` for what they promise."""

    OFP_VERSIONS = (ofproto.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.switches: dict[int, Switch] = {}
        self.epoch = 0
        self._waiting: dict[tuple[int, int], Any] = {}
        self._bundle = 0

    def start(self) -> Any:
        verbs = {"install": self.install, "state": self.state, "readback": self.readback}
        self.threads.append(hub.spawn(serve, "ctl.sock", verbs))
        return super().start()

    # ---- what is asked

    def install(self, request: dict[str, Any]) -> dict[str, Any]:
        """Bring these switches to these rules, all at a time; the outcome of each."""
        epoch, wanted = request["epoch"], request["switches"]
        if epoch <= self.epoch:
            raise Refused(f"epoch {epoch} is not above {self.epoch}")
        self.epoch = epoch
        switches = [self._switch(int(dpid)) for dpid in wanted]
        for switch in switches:
            switch.wanted, switch.wanted_epoch = wanted[str(switch.dpid)], epoch
        outcomes = _together(self._outcome, switches)
        return {str(s.dpid): outcome for s, outcome in zip(switches, outcomes, strict=True)}

    def state(self, _request: dict[str, Any]) -> dict[str, Any]:
        """What is known of each switch, and what this process has used."""
        switches = list(self.switches.values())
        _together(self._count, switches)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "switches": {
                str(s.dpid): {
                    "connected": s.datapath is not None,
                    "epoch": s.epoch,
                    "refused": s.refused,
                    **s.counts,
                }
                for s in switches
            },
            "epoch": self.epoch,
            "cpu_s": used.ru_utime + used.ru_stime,
            "rss_bytes": _rss_bytes(),
        }

    def readback(self, request: dict[str, Any]) -> dict[str, Any]:
        """The rules that these switches hold, as they say themselves; None of one not connected."""
        switches = [self._switch(int(dpid)) for dpid in request["dpids"]]
        found = _together(self._read, switches)
        return {str(s.dpid): rules for s, rules in zip(switches, found, strict=True)}

    # ---- one switch

    def _switch(self, dpid: int) -> Switch:
        return self.switches.setdefault(dpid, Switch(dpid))

    def _outcome(self, switch: Switch) -> dict[str, str]:
        if switch.datapath is None:
            return {"outcome": "absent"}
        try:
            self._reconcile(switch)
        except SwitchFailed as error:
            if isinstance(error, SwitchRefused):
                switch.refused = str(error)
            return {"outcome": "failed", "error": str(error)}
        return {"outcome": "installed"}

    def _reconcile(self, switch: Switch) -> None:
        """Bring a switch to what it shall hold."""
        with switch.lock:
            datapath, wanted, epoch = switch.datapath, switch.wanted, switch.wanted_epoch
            if (
                datapath is None
                or wanted is None
                or (switch.held == wanted and switch.epoch == epoch)
            ):
                return
            held, switch.held = switch.held, None  # until the switch says otherwise
            try:
                self._change(datapath, held, wanted, epoch)
            except SwitchRefused:
                if held is None:
                    raise
                self._change(datapath, None, wanted, epoch)  # it may hold something else by now
            if switch.datapath is datapath:
                switch.held, switch.epoch, switch.refused = wanted, epoch, ""
                switch.counted_at_s = -FRESH_S

    def _change(self, datapath: Any, held: Any, wanted: dict[str, Any], epoch: int) -> None:
        """Meters that are new come before the bundle, those that are no more wanted after it."""
        found = delta.difference(held, wanted)
        if held is None:
            known = {meter["id"] for meter in self._meters(datapath)}
        else:
            known = {meter["id"] for meter in held["meters"]}
        mark = [flow for flow in wanted["flows"] if flow["table"] == 0 and not flow["match"]]
        flows = found["flows"]
        flows["add"] = [flow for flow in flows["add"] if flow not in mark] + mark
        before = messages.meter_mods(datapath, found["meters"]["add"], known)
        bundle = self._bundled(datapath, list(messages.changes(datapath, found, epoch)))
        self._ask(datapath, [*before, *bundle])
        gone = known - {meter["id"] for meter in wanted["meters"]}
        if gone:
            barrier = datapath.ofproto_parser.OFPBarrierRequest(datapath)
            self._ask(datapath, [*messages.meter_deletions(datapath, gone), barrier])

    def _bundled(self, datapath: Any, inner: list[Any]) -> list[Any]:
        """These messages as one atomic, ordered bundle."""
        ofp, parser = datapath.ofproto, datapath.ofproto_parser
        self._bundle += 1
        flags = ofp.ONF_BF_ATOMIC | ofp.ONF_BF_ORDERED

        def control(kind: int) -> Any:
            return parser.ONFBundleCtrlMsg(datapath, self._bundle, kind, flags, [])

        added = [parser.ONFBundleAddMsg(datapath, self._bundle, flags, m, []) for m in inner]
        return [control(ofp.ONF_BCT_OPEN_REQUEST), *added, control(ofp.ONF_BCT_COMMIT_REQUEST)]

    def _count(self, switch: Switch) -> None:
        """Ask a switch how much it holds, unless that was just done."""
        now_s = time.monotonic()
        datapath = switch.datapath
        if datapath is None or now_s - switch.counted_at_s < FRESH_S:
            return
        ofp, parser = datapath.ofproto, datapath.ofproto_parser
        try:
            flows = self._ask(datapath, [_flows_request(datapath, aggregate=True)])
            request = parser.OFPGroupStatsRequest(datapath, 0, ofp.OFPG_ALL)
            groups, meters = self._ask(datapath, [request]), self._meters(datapath)
        except SwitchFailed:
            return
        counts = {"flows": flows[0].flow_count, "groups": len(groups), "meters": len(meters)}
        switch.counts, switch.counted_at_s = counts, now_s

    def _read(self, switch: Switch) -> dict[str, Any] | None:
        datapath = switch.datapath
        if datapath is None:
            return None
        request = datapath.ofproto_parser.OFPGroupDescStatsRequest(datapath, 0)
        try:
            flows = self._ask(datapath, [_flows_request(datapath)])
            groups, meters = self._ask(datapath, [request]), self._meters(datapath)
        except SwitchFailed:
            return None
        return {
            "dpid": switch.dpid,
            "flows": [messages.read_flow(flow) for flow in flows],
            "groups": [messages.read_group(group) for group in groups],
            "meters": meters,
        }

    def _meters(self, datapath: Any) -> list[dict[str, Any]]:
        ofp, parser = datapath.ofproto, datapath.ofproto_parser
        found = self._ask(datapath, [parser.OFPMeterConfigStatsRequest(datapath, 0, ofp.OFPM_ALL)])
        return [messages.read_meter(meter) for meter in found]

    # ---- messages and their answers

    def _ask(self, datapath: Any, asked: list[Any]) -> list[Any]:
        """Send these messages at once, wait for the answer to the last one; its body, if any.

        Raises SwitchFailed at an error that any of them meets, or if no answer comes.
        """
        answers = hub.Queue()
        keys = []
        for message in asked:
            datapath.set_xid(message)
            message.serialize()
            keys.append((datapath.id, message.xid))
            self._waiting[keys[-1]] = answers
        try:
            datapath.send(b"".join(bytes(message.buf) for message in asked))
            return self._answer(answers, asked)
        finally:
            for key in keys:
                self._waiting.pop(key, None)

    def _answer(self, answers: Any, asked: list[Any]) -> list[Any]:
        body: list[Any] = []
        until_s = time.monotonic() + ANSWER_S
        while True:
            try:
                reply = answers.get(timeout=max(until_s - time.monotonic(), 0.001))
            except hub.QueueEmpty:
                raise SwitchFailed(f"it did not answer within {ANSWER_S:.0f} s") from None
            if reply is None:
                raise SwitchFailed("it went away")
            if type(reply).__name__.startswith("OFPError"):
                raise SwitchRefused(_error(reply))
            if reply.xid == asked[-1].xid:
                part = getattr(reply, "body", [])
                body += part if isinstance(part, list) else [part]
                multipart = hasattr(reply, "body")
                if not (multipart and reply.flags & ofproto.OFPMPF_REPLY_MORE):
                    return body

    @handler.set_ev_cls(REPLIES, handler.MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_reply(self, event: Any) -> None:
        answers = self._waiting.get((event.msg.datapath.id, event.msg.xid))
        if answers is not None:
            answers.put(event.msg)

    @handler.set_ev_cls(  # type: ignore[untyped-decorator]
        ofp_event.EventOFPStateChange, [handler.MAIN_DISPATCHER, handler.DEAD_DISPATCHER]
    )
    def on_session(self, event: Any) -> None:
        datapath = event.datapath
        if datapath.id is None:
            return
        switch = self._switch(datapath.id)
        if event.state == handler.MAIN_DISPATCHER:
            self._renew(switch, datapath)
            hub.spawn(self._welcome, switch, datapath)
        elif switch.datapath is datapath:
            self._renew(switch, None)

    def _renew(self, switch: Switch, datapath: Any) -> None:
        """A session began or ended (None): forget what was known, and who waits waits in vain."""
        switch.datapath, switch.held, switch.epoch = datapath, None, 0
        switch.counts, switch.counted_at_s, switch.refused = {}, -FRESH_S, ""
        for (dpid, _), answers in list(self._waiting.items()):
            if dpid == switch.dpid:
                answers.put(None)

    def _welcome(self, switch: Switch, datapath: Any) -> None:
        """Bring a switch that has just connected to what it shall hold, however often it takes."""
        while switch.datapath is datapath:
            outcome = self._outcome(switch)
            if "error" not in outcome:
                return
            self.logger.warning("switch %d: %s", switch.dpid, outcome["error"])
            hub.sleep(RETRY_S)


def _together(work: Any, items: list[Any]) -> list[Any]:
    """Do this with every item, all at a time; what came of each."""
    found = [None] * len(items)

    def one(place: int) -> None:
        found[place] = work(items[place])

    hub.joinall([hub.spawn(one, place) for place in range(len(items))])
    return found


def _flows_request(datapath: Any, aggregate: bool = False) -> Any:
    ofp, parser = datapath.ofproto, datapath.ofproto_parser
    kind = parser.OFPAggregateStatsRequest if aggregate else parser.OFPFlowStatsRequest
    every = (ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, 0, 0, parser.OFPMatch())
    return kind(datapath, 0, *every)


def _error(reply: Any) -> str:
    """An error of a switch in words."""
    if hasattr(reply, "exp_type"):
        return f"it reported experimenter error {reply.exp_type}"
    return (
        f"it reported {ofproto.ofp_error_type_to_str(reply.type)} "
        f"{ofproto.ofp_error_code_to_str(reply.type, reply.code)}"
    )


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
