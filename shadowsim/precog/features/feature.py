"""What one number of a feature vector is called, where it comes from, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = ("history", "telemetry", "topology", "script")

Values = dict[str, float]


@dataclass(frozen=True)
class Feature:
    """One column: its name begins with its source; `text` is one sentence without a full stop."""

    name: str
    unit: str
    text: str

    @property
    def source(self) -> str:
        return self.name.partition("_")[0]
