"""An episode so far to text, to a picture, and to a live view in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shadowsim.env.actions import ACTIONS, END_STATES
from shadowsim.env.pool import Pool
from shadowsim.env.reward import PARTS

Pixels = npt.NDArray[np.uint8]

CURVES = ("telemetry_severity_level", "telemetry_lost_critical_level", "script_severity_end")
SHOWN = (
    *CURVES, "telemetry_starved_level", "telemetry_utilisation_worst_level",
    "script_broken_end", "script_exposed_end", "script_now_broken", "script_now_exposed",
)  # fmt: skip
INCHES, DPI = (6.4, 4.8), 100


@dataclass(frozen=True)
class Trail:
    """The looks of an episode so far, and what was done at each."""

    pool: Pool = field(repr=False)
    looks: tuple[int, ...] = ()
    actions: tuple[int, ...] = ()
    over: bool = False

    def begun(self, look: int) -> Trail:
        return replace(self, looks=(look,), actions=(), over=False)

    def after(self, action: int, look: int, over: bool) -> Trail:
        looks = self.looks if over else (*self.looks, look)
        return replace(self, looks=looks, actions=(*self.actions, action), over=over)

    @property
    def end_state(self) -> str:
        if not self.over:
            return ""
        return END_STATES[self.pool.ends[self.looks[-1], self.actions[-1]]]

    @property
    def costs(self) -> dict[str, float]:
        """What it has cost so far, by part, where it is not nothing."""
        pairs = zip(self.looks, self.actions, strict=False)
        rows = [self.pool.parts[look, action] for look, action in pairs]
        total = -np.sum(rows, axis=0) if rows else np.zeros(len(PARTS))
        return {name: float(x) for name, x in zip(PARTS, total, strict=True) if x > 0.0}

    def value(self, name: str, look: int) -> float:
        """A number of an observation, not scaled any more."""
        x = float(self.pool.observations[look, self.pool.names.index(name)])
        return float(np.sign(x) * np.expm1(abs(x)))


def written(trail: Trail) -> str:
    """The state as text."""
    if not trail.looks:
        return "no episode has begun"
    look = trail.looks[-1]
    network = trail.pool.networks[trail.pool.episode[look]]
    phase = "production" if trail.value("telemetry_production", look) > 0.5 else "shadow"
    since_s, left = trail.value("since_s", look), trail.value("left", look)
    lines = [
        f"{network}: {phase}, {since_s:.0f} s with the change, {left:.0%} left",
        *(f"  {name:<36} {trail.value(name, look):8.3f}" for name in SHOWN),
        "  done: " + (", ".join(ACTIONS[a] for a in trail.actions[-5:]) or "nothing yet"),
        "  cost: " + (", ".join(f"{n} {c:.1f}" for n, c in trail.costs.items()) or "none"),
    ]
    return "\n".join([*lines, f"  ended: {trail.end_state}"] if trail.over else lines)


def drawn(trail: Trail) -> Pixels:
    """The state as a picture, `[480, 640, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    for name in CURVES:
        above.plot([trail.value(name, look) for look in trail.looks], marker=".", label=name)
    above.axhline(1.0, color="0.6", linestyle=":")
    above.set_xlabel("look")
    above.legend(fontsize=7, loc="upper left")
    above.set_title(written(trail).splitlines()[0] if trail.looks else "", fontsize=9)
    costs = trail.costs
    below.barh(list(costs) or ["cost"], list(costs.values()) or [0.0])
    below.set_xlabel(f"cost so far, in seconds of outage   {trail.end_state}")
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


class Window:
    """A live view in the terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False)
        self._live.start()

    def show(self, trail: Trail) -> None:
        from rich.text import Text

        self._live.update(Text(written(trail)), refresh=True)

    def close(self) -> None:
        self._live.stop()
