"""The synthetic failures that can be injected, as values."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure, from `at_s` on, for `for_s` seconds (None: it stays).

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

    @property
    def name(self) -> str:
        where = "-".join(self.link) if self.link else (self.device or "")
        return f"{self.kind} {where}".strip()
