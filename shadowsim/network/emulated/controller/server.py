"""Requests on a Unix socket, a JSON line each, to calls of verbs, and back."""

from __future__ import annotations

import json
import logging
import os
import socket as plain
from collections.abc import Callable, Mapping
from typing import Any

import delta  # type: ignore[import-not-found, unused-ignore]
import eventlet  # type: ignore
from eventlet.green import socket  # type: ignore

LONGEST = 64 << 20  # bytes of a request
Verbs = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]
LOG = logging.getLogger("shadowsim")


class Refused(Exception):
    """A request that will not be done, and why."""


def serve(path: str, verbs: Verbs) -> None:
    """Serve these verbs, for this user only, until the process ends."""
    listener = socket.socket(plain.AF_UNIX, plain.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(8)
    while True:
        client, _ = listener.accept()
        eventlet.spawn(_serve_client, client, verbs)


def _serve_client(client: Any, verbs: Verbs) -> None:
    with client, client.makefile("rb") as lines:
        while line := lines.readline(LONGEST):
            if not line.endswith(b"\n"):
                return
            client.sendall(json.dumps(_answer(line, verbs)).encode() + b"\n")


def _answer(line: bytes, verbs: Verbs) -> dict[str, Any]:
    try:
        request = _read(line, verbs)
        return {"ok": verbs[request["verb"]](request)}
    except Refused as error:
        return {"error": str(error)}
    except Exception as error:
        LOG.exception("a request failed")
        return {"error": f"{type(error).__name__}: {error}"}


def _read(line: bytes, verbs: Verbs) -> dict[str, Any]:
    """A request with a known verb whose arguments have the types they must have."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Refused("not a line of JSON") from None
    if not isinstance(request, dict) or request.get("verb") not in [*verbs]:
        raise Refused(f"verb must be one of {', '.join(verbs)}")
    epoch, switches = request.get("epoch", 1), request.get("switches", {})
    dpids = request.get("dpids", [])
    if type(epoch) is not int or not 0 < epoch < 1 << 63:
        raise Refused("epoch must be a positive number")
    if not isinstance(switches, dict) or not isinstance(dpids, list):
        raise Refused("switches must be an object, dpids a list")
    if not all(str(dpid).isdigit() and len(str(dpid)) < 18 for dpid in (*switches, *dpids)):
        raise Refused("a dpid must be a number")
    if request["verb"] == "install" and not {"epoch", "switches"} <= request.keys():
        raise Refused("install needs epoch and switches")
    if not all(map(delta.well_formed, switches.values())):
        raise Refused("what a switch shall hold must be rules")
    return request
