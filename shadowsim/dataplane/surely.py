"""A data plane to the destinations that are reached on every path, all of them looked at at once.

What `propagate.py` settles for one destination and each header atom, a *proof* settles for 64
destinations to a machine word and all packets together: a link with an access list counts as one
that lets nothing pass. What it proves is true of every packet; what it does not, may be. Networks
that are well, as most are that are looked at, so cost a few sweeps over their links.
"""

from __future__ import annotations

import numpy as np

from shadowsim.dataplane.headerspace import Bools
from shadowsim.dataplane.maxmin import Marks, compiled
from shadowsim.dataplane.plane import FORWARD, LOCAL, Bits, Ints
from shadowsim.dataplane.propagate import NONE, ONE, Wires

OPEN, WITHIN, WHOLLY = range(3)  # nothing proved; from device to device; from host to host
NOBODY, SEVERAL = -1, -2


@compiled
def surely(
    wires: Wires, all_pass: Bits, atom: Ints, owner: Ints, device: Ints, up: Bits, down: Bits,
    start: Ints,
) -> Marks:  # fmt: skip
    """Per target, `[T]`, what is proved of it.

    WITHIN: from every device with hosts, every path ends at the target's owner, which delivers.
    WHOLLY: the links of the hosts let everything pass, too. `all_pass[W]`: all header atoms;
    `atom[T]`, `owner[T]`; `device[C]`, `up[C, W]`, `down[C, W]` of the classes of hosts, those of
    target t being `start[t]` to `start[t + 1]`.
    """
    owners = np.full(wires.decision.shape[1], NOBODY, np.int32)
    for t in range(len(atom)):
        mine = owners[atom[t]] == NOBODY or owners[atom[t]] == owner[t]
        owners[atom[t]] = owner[t] if mine else SEVERAL
    proved = _arrives(wires, _open(wires.mask, all_pass), owners)
    entering, leaving = _open(up, all_pass).all(), _open(down, all_pass)
    found = np.empty(len(atom), np.uint8)
    for t in range(len(atom)):
        word, shift = atom[t] >> 6, np.uint64(atom[t] & 63)
        within = True
        for c in range(len(device)):
            within &= (proved[device[c], word] >> shift) & ONE != NONE
        wholly = within and entering and leaving[start[t] : start[t + 1]].all()
        found[t] = WHOLLY if wholly else WITHIN if within else OPEN
    return found


@compiled
def _open(masks: Bits, all_pass: Bits) -> Bools:
    """Which of `masks[N, W]` let everything pass."""
    found = np.ones(len(masks), np.bool_)
    for n in range(len(masks)):
        for word in range(len(all_pass)):
            found[n] &= masks[n, word] == all_pass[word]
    return found


@compiled
def _arrives(wires: Wires, free: Bools, owners: Ints) -> Bits:
    """`[D, W]`: the atoms whose packets end, on every path from the device, at their owner."""
    devices, atoms = wires.decision.shape
    words = (atoms + 63) // 64
    found = np.zeros((devices, words), np.uint64)
    onward = np.zeros((devices, words), np.uint64)
    for u in range(devices):
        for a in range(atoms):
            bit = ONE << np.uint64(a & 63)
            decision = wires.decision[u, a]
            if decision == LOCAL and owners[a] == u:
                found[u, a >> 6] |= bit
            elif decision == FORWARD:
                onward[u, a >> 6] |= bit
    moving = True
    while moving:
        moving = False
        for u in range(devices):
            for w in range(words):
                missing = onward[u, w] & ~found[u, w]
                if missing == NONE:
                    continue
                lost, hops = NONE, NONE
                for place in range(wires.out_start[u], wires.out_start[u + 1]):
                    e = wires.out[place]
                    over = wires.next_hops[e, w]
                    hops |= over
                    lost |= over & ~found[wires.head[e], w] if free[e] else over
                fresh = missing & hops & ~lost
                if fresh != NONE:
                    found[u, w] |= fresh
                    moving = True
    return found
