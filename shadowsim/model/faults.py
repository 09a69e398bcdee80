"""The synthetic failures that can be injected, as values."""

from __future__ import annotations

from dataclasses import dataclass

from shadowsim.model.change import Command
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Device

LINK_FAULTS = ("link_down", "link_flap", "link_loss", "link_delay", "link_rate")
DEVICE_FAULTS = (
    "device_crash",
    "cpu_hog",
    "memory_leak",
    "table_full",
    "controller_lost",
    "config_drift",
    "telemetry_gap",
)
TRAFFIC_FAULTS = ("traffic_surge", "retry_storm")
FAULT_KINDS = (*LINK_FAULTS, *DEVICE_FAULTS, *TRAFFIC_FAULTS)
WHEREVER = "any"  # the device of a fault that strikes where a command got into force
EVERYWHERE = "all"  # the device of one that then strikes every device


@dataclass(frozen=True, slots=True)
class After:
    """What brings a fault about: a command that begins so, or whose context does, in force.

    `model`: on devices of that model only; None: on those of any. `ends`: the fault ends when no
    line of that device's config begins so any more, as a defect sleeps that nothing triggers.
    """

    command: str
    model: str | None = None
    ends: bool = False

    def speaks_of(self, device: Device, command: Command) -> bool:
        """Whether this command on this device is one of those."""
        fits = self.model in (None, device.model)
        return fits and any(t.startswith(self.command) for t in (command.line, command.context))

    def stands_in(self, config: DeviceConfig) -> bool:
        """Whether a line of a config begins so."""
        return any(line.strip().startswith(self.command) for line in config.text.splitlines())


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure, from `at_s` on, for `for_s` seconds (None: it stays).

    With `after` it strikes whenever that happens, on its own `device` if it has one; WHEREVER
    stands for the device it happened on. `at_s` says nothing then.

    `amount` by kind: link_flap seconds per half cycle; link_loss fraction; link_delay seconds
    added; link_rate fraction of the rate left; cpu_hog fraction of the CPU taken; memory_leak
    fraction of the memory lost per second; table_full fraction of the table left; traffic_surge
    factor on the demands; config_drift seconds between two times the script is given (0: it is
    given once); retry_storm the factor that retries can multiply a failing demand by.
    `device` None means every device, for the kinds that allow it. `network` says which network
    is hit: production, shadow or both.
    """

    kind: str
    at_s: float
    for_s: float | None = None
    network: str = "production"
    link: tuple[str, str] | None = None
    device: str | None = None
    amount: float = 0.0
    script: str = ""
    source: str = "any"
    destination: str = "any"
    traffic_class: str | None = None
    after: After | None = None

    @property
    def name(self) -> str:
        where = "-".join(self.link) if self.link else (self.device or "")
        return f"{self.kind} {where}".strip()
