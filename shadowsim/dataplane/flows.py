"""Turns plain arrays into checked links, flows and paths for `fluid`, and holds its loads.

The leading axis B of most arrays numbers *futures*, networks solved side by side. An array that
all futures share has B = 1 there and is not copied.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.maxmin import Floats, Ints, Marks, Numbers, compiled

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Links:
    """The directed links.  Arrays of the right type and layout are taken without a copy.

    A 1-dimensional array where [B, L] is due holds for all futures.
    """

    rate_bps: Floats  # [B, L]; 0 is a link that is down
    delay_s: Floats  # [B, L] propagation
    queue_packets: Floats  # [L] how many packets a full queue holds
    loss: Floats  # [B, L] fraction lost at random after the queue, by a fault
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        n_links = np.shape(self.rate_bps)[-1]
        for name in ("rate_bps", "delay_s", "loss"):
            _settle(self, name, np.float64, (None, n_links))
        _settle(self, "queue_packets", np.float64, (n_links,))
        self._check()

    def _check(self) -> None:
        if (self.loss > 1).any():
            raise ValueError("loss is a fraction: it must not exceed 1")
        object.__setattr__(self, "batch", _common(self.rate_bps, self.delay_s, self.loss))

    def losing(self, loss: Floats) -> "Links":
        """The same links, which lose this much at random, `[L]` or `[B, L]`."""
        found = object.__new__(Links)
        for name in ("rate_bps", "delay_s", "queue_packets"):
            object.__setattr__(found, name, getattr(self, name))
        object.__setattr__(found, "loss", loss)
        _settle(found, "loss", np.float64, (None, self.rate_bps.shape[1]))
        found._check()
        return found


@dataclass(frozen=True, slots=True)
class Flows:
    """The flows.  Arrays of the right type and layout are taken without a copy."""

    rate_bps: Floats  # [B, F] offered
    elastic: Marks  # [F] 1: TCP, 0: UDP
    packet_bytes: Floats  # [F]
    level: Marks  # [F] priority, 0 is served first
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        n_flows = np.shape(self.rate_bps)[-1]
        _settle(self, "rate_bps", np.float64, (None, n_flows))
        _settle(self, "packet_bytes", np.float64, (n_flows,))
        for name in ("elastic", "level"):
            _settle(self, name, np.uint8, (n_flows,))
        if not (self.packet_bytes > 0).all():
            raise ValueError("packet_bytes must be positive")
        object.__setattr__(self, "batch", self.rate_bps.shape[0])

    def offering(self, rate_bps: Floats) -> "Flows":
        """The same flows, which want to send this much, `[F]` or `[B, F]`."""
        found = object.__new__(Flows)
        for name in ("elastic", "packet_bytes", "level"):
            object.__setattr__(found, name, getattr(self, name))
        object.__setattr__(found, "rate_bps", rate_bps)
        _settle(found, "rate_bps", np.float64, (None, self.rate_bps.shape[1]))
        object.__setattr__(found, "batch", found.rate_bps.shape[0])
        return found


@dataclass(frozen=True, slots=True)
class Paths:
    """The way of each flow: the links in order, none twice, and -1 after the last.

    `hops` says how many links count; -1 marks a flow that is delivered nowhere.
    """

    links: Ints  # [B, F, H]
    hops: Ints  # [B, F]
    batch: int = field(init=False)
    highest: int = field(init=False)  # the largest link number on any path, -1 without any
    numbers: Numbers = field(init=False, repr=False)  # `links`, unsigned as `maxmin` wants them

    def __post_init__(self) -> None:
        n_flows, width = np.shape(self.links)[-2:]
        _settle(self, "links", np.int32, (None, n_flows, width))
        _settle(self, "hops", np.int32, (None, n_flows), least=-1)
        object.__setattr__(self, "numbers", self.links.view(np.uint32))
        object.__setattr__(self, "batch", _common(self.links, self.hops))
        if self.hops.size and self.hops.max() > width:
            raise ValueError(f"hops exceeds the {width} links that a path has room for")
        least, highest = _extremes(self.links, self.hops)
        if least < 0:
            raise ValueError("a path has a -1 before its last hop")
        object.__setattr__(self, "highest", highest)


@dataclass(frozen=True, slots=True)
class Loads:
    """What `solve` found, for each future.

    offered = load + drop holds for each link, to rounding.  `latency_s` is what a packet sent
    now would take, and nan just where `loss` is 1.
    """

    link_load_bps: Floats  # [B, L] what the link carries
    link_offered_bps: Floats  # [B, L] what arrives at its queue
    link_drop_bps: Floats  # [B, L] what its queue drops
    throughput_bps: Floats  # [B, F] what arrives at the destination
    latency_s: Floats  # [B, F]
    loss: Floats  # [B, F] fraction of what the flow sends
    queue_delay_s: Floats  # [B, L] waiting of the lowest level there is in the network

    @classmethod
    def empty(cls, batch: int, n_links: int, n_flows: int) -> "Loads":
        """Make room for a result, to be given to `solve` as `out`."""
        links, flows = (batch, n_links), (batch, n_flows)
        shapes = (links, links, links, flows, flows, flows, links)
        return cls(*(np.empty(shape) for shape in shapes))


def _settle(
    owner: object,
    name: str,
    dtype: type[np.generic],
    shape: tuple[int | None, ...],
    least: float = 0.0,
) -> None:
    """Bring an array attribute to its type, layout and shape, where None is any batch size."""
    given = np.asarray(getattr(owner, name))
    if shape[0] is None and given.ndim == len(shape) - 1:
        given = given[None]
    fits = given.dtype == dtype and given.flags.carray
    array: npt.NDArray[np.generic] = given if fits else np.require(given, dtype, ("C", "W"))
    sizes = array.shape
    if sizes[1:] != shape[1:] or len(sizes) != len(shape) or shape[0] not in (None, sizes[0]):
        wanted = ", ".join("B" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {given.shape}, wanted [{wanted}]")
    # Before the conversion, which may make a number of what is none.
    values = array if fits else given.astype(np.float64)
    if name != "links" and not _is_between(values.reshape(-1), least, LARGEST):
        raise ValueError(f"{name} must be finite and at least {least:g}")
    object.__setattr__(owner, name, array)


@compiled
def _is_between(values: npt.NDArray[np.generic], least: float, most: float) -> bool:
    """Whether all are; nan is not."""
    for value in values:  # noqa: SIM110 - numba has no all() of a generator
        if not least <= value <= most:
            return False
    return True


def _common(*arrays: npt.NDArray[np.generic]) -> int:
    """Return the batch size of arrays that each have it or 1."""
    sizes = {array.shape[0] for array in arrays}
    batch = max(sizes)
    if not sizes <= {1, batch}:
        raise ValueError(f"batch sizes differ: {sorted(sizes)}")
    return int(batch)


@compiled
def _extremes(links: Ints, hops: Ints) -> tuple[int, int]:
    """Return the least and the largest link number among the hops that count."""
    least = 0
    highest = -1
    for b in range(max(links.shape[0], hops.shape[0])):
        path = links[b % links.shape[0]]
        length = hops[b % hops.shape[0]]
        for flow in range(path.shape[0]):
            for hop in range(length[flow]):
                least = min(least, path[flow, hop])
                highest = max(highest, path[flow, hop])
    return least, highest
