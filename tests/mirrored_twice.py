"""How often this machine's Open vSwitch mirrors a packet that a select group sends on its way.

`python tests/mirrored_twice.py` (as root) prints a row of the table in docs/emulated.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from private_ovs import PrivateOvs

PACKETS = 200
WAYS = {  # what is done before the group, and after it
    "TTL before the group": ("dec_ttl,", ""),
    "TTL after it": ("", "dec_ttl,"),
    "register before it": ("load:9->NXM_NX_REG1[],", "dec_ttl,"),
}
# Sends packets into port 1 and counts those that come out of the mirror port; other frames of the
# kernel do not count.
COUNT = """
import select, socket, struct, sys, time
into, out = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2))
into.bind(("s0p1", 0)); out.bind(("s0p1001", 0))
found = 0
def take(wait_s):
    global found
    while select.select([out], [], [], wait_s)[0]:
        frame = out.recv(2000)
        found += frame[12:14] == b"\\x08\\x00" and frame[23] == 17
for n in range(int(sys.argv[1])):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 60, n, 0, 64, 17, 0)
    ports = struct.pack(">4H", 5000 + n, 80, 40, 0)
    ends = bytes([10, 0, 0, 2, 10, 0, 3, 2])
    into.send(bytes(12) + b"\\x08\\x00" + head + ends + ports + bytes(32))
    take(0.002)
take(0.5)
print(found)
"""


def mirrored(ovs: PrivateOvs, before: str, after: str) -> int:
    """How many packets the mirror of port 1 gives of `PACKETS` that leave by a group."""
    control = ("ovs-ofctl", "-O", "OpenFlow13")
    ovs.run(*control, "del-flows", "s0")
    ovs.run(*control, "del-groups", "s0")
    buckets = [f"bucket=actions=load:{p}->NXM_NX_REG0[],resubmit(,3)" for p in (2, 3)]
    ovs.run(*control, "add-group", "s0", f"group_id=7,type=select,{','.join(buckets)}")
    for flow in (
        "table=0,actions=goto_table:2",
        f"table=2,ip,actions={before}group:7",
        *(f"table=3,ip,reg0={p},actions={after}output:{p}" for p in (2, 3)),
    ):
        ovs.run(*control, "add-flow", "s0", flow)
    return int(ovs.run(sys.executable, "-c", COUNT, str(PACKETS)))


def one_switch(folder: Path) -> PrivateOvs:
    """A bridge whose port 1 is mirrored to port 1001."""
    ovs = PrivateOvs(folder)
    ovs.bridges([3])
    for port in (1, 2, 3, 1001):
        ovs.run("ip", "link", "set", f"s0p{port}", "up")
    ovs.run(
        *("ovs-vsctl", "--", "--id=@from", "get", "port", "s0p1"),
        *("--", "--id=@to", "get", "port", "s0p1001"),
        *("--", "--id=@m", "create", "mirror", "name=m", "select_src_port=@from"),
        *("output_port=@to", "--", "set", "bridge", "s0", "mirrors=@m"),
    )
    return ovs


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ovs = one_switch(Path(folder))
        try:
            version = ovs.run("ovs-vswitchd", "--version").splitlines()[0].split()[-1]
            print(f"| Open vSwitch | {' | '.join(WAYS)} |")
            found = [str(mirrored(ovs, *way)) for way in WAYS.values()]
            print(f"| {version} | {' | '.join(found)} |")
        finally:
            ovs.close()


if __name__ == "__main__":
    main()
