"""An order of steps to waves of them: what stands in one wave may go side by side.

The steps of a wave are on different devices and need nothing of each other, and every state that
any interleaving of them can pass through is safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, product
from typing import NamedTuple

from shadowsim.rollback.order import SAFE, States

WIDEST = 4  # steps side by side
MOST_STATES = 64  # looked at for all waves together


class Block(NamedTuple):
    """A step: the places of its commands, in order, on one device."""

    device: str
    places: tuple[int, ...]


def waves(
    states: States, blocks: Sequence[Block], needs: Sequence[frozenset[int]]
) -> tuple[tuple[int, ...], ...]:
    """The numbers of the blocks, wave by wave; the blocks in this order are safe."""
    found: list[tuple[int, ...]] = []
    done = 0
    wave: tuple[int, ...] = ()
    most = states.looked_at + MOST_STATES
    for number, block in enumerate(blocks):
        together = (*(blocks[n] for n in wave), block)
        if wave and not _may_join(states, done, together, needs, most):
            found.append(wave)
            done |= sum(1 << place for n in wave for place in blocks[n].places)
            wave = ()
        wave = (*wave, number)
    return (*found, wave) if wave else tuple(found)


def _may_join(
    states: States, done: int, wave: Sequence[Block], needs: Sequence[frozenset[int]], most: int
) -> bool:
    """Whether the last block may go beside the others of its wave."""
    *others, last = wave
    taken = {place for block in others for place in block.places}
    needed = frozenset().union(*(needs[place] for place in last.places))
    if len(wave) > WIDEST or needed & taken or last.device in {b.device for b in others}:
        return False
    for prefixes in product(*(_prefixes(block) for block in wave)):
        state = done | sum(prefixes)
        if not states.knows(state) and states.looked_at >= most:
            return False
        if states.cost(state) > SAFE:
            return False
    return True


def _prefixes(block: Block) -> list[int]:
    """The states of a block alone: nothing done, its first command, its first two, ..."""
    return list(accumulate((1 << place for place in block.places), initial=0))
