"""A run as it goes to what a person sees: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from shadowsim.journal import Event
from shadowsim.model.truth import MODES
from shadowsim.precog.forecast import Forecast
from shadowsim.scenario import Scenario
from shadowsim.tracking import EXPERIMENT, OFF, Mlflow, Tracking, Untracked

PHASES = {
    "shadow_deployment": "1 shadow deployment",
    "traffic_and_monitoring": "2 mirrored traffic",
    "risk_assessment": "3 risk assessment",
    "production_deployment": "4 production deployment",
    "realtime_monitoring": "5 real-time monitoring",
}
COLOURS = {"confirmed": "green", "rolled_back": "yellow", "refused": "cyan", "halted": "red"}
Approve = Callable[[str, Forecast], bool | None]


def say(event: Event) -> str | None:
    """One line for a person about an event, None where it is not worth one."""
    data = event.data
    told: dict[str, Callable[[], str]] = {
        "shadow_created": lambda: f"shadow of {_size(data)} devices is up" + _covering(data),
        "shadow_scaled": lambda: (
            f"shadow scaled from {data['before']} to {data['after']} devices: {data['why']}"
            + _covering(data)
        ),
        "mirror_budget": lambda: (
            f"mirrored from now on: {data['fraction']:.0%} of {', '.join(data['classes'])}, "
            f"for a budget of {data['budget_bps'] / 1e6:g} Mbit/s"
        ),
        "not_covered": lambda: f"not judged in the shadow: {'; '.join(data['limits'])}",
        "deploy": lambda: f"{data['network']}: {data['device']} <- {'; '.join(data['commands'])}",
        "misprogrammed": lambda: (
            f"{data['network']}: rules of {data['device']} are not those of its config: "
            f"{data['why']}"
        ),
        "unreachable": lambda: f"{data['network']}: {data['detail']}",
        "shadow_lost": lambda: f"the shadow was lost: {data['detail']}",
        "drift_repaired": lambda: f"drift repaired: {'; '.join(data['commands'])}",
        "mirrored": lambda: (
            f"mirrored {data['packets']:,} packets, {data['share']:.0%} of production" + _lags(data)
        ),
        "rehearsed": lambda: (
            f"rollback ({data['scope']}) rehearsed in {data['took_s']:.1f} s: {data['detail']}"
        ),
        "decision": lambda: f"decision: {data['decision']}" + _because(data["why"]),
        "armed": lambda: f"rollback armed: {data['signature']}",
        "not_the_change": lambda: f"signs of failure, not the change's: {data['why']}",
        "frozen": lambda: (
            f"production fails, so {data['device']} is left alone for now" + _because(data["signs"])
        ),
        "thawed": lambda: f"production is well again: on to {data['device']}",
        "doubted": lambda: f"a failure is forecast, but {data['why']}: watching on",
        "trigger": lambda: (
            f"rollback triggered ({data['mode']}): {data['why']}" + _because(data["signs"])
        ),
        "rollback": lambda: (
            f"rolling back, {data['scope']}, in {data['steps']} step{'s' * (data['steps'] != 1)}, "
            + ("as rehearsed" if data["rehearsed"] else "not rehearsed in this form")
        ),
        "set_again": lambda: (
            "others set again what was taken back"
            + (": it is taken back once more" if data["revert"] else "")
            + _because(data["commands"])
        ),
        "step": lambda: f"step {data['step']}: {data['outcome']}",
        "asked": lambda: f"asked to {data['question']}: {_answer(data['answer'])}",
        "observe_only": lambda: "production is only observed: nothing is deployed",
        "not_deployed": lambda: "no answer: nothing was deployed",
        "confirmed": lambda: "confirmed: the change stays",
        "rolled_back": lambda: _rolled_back(data),
        "halted": lambda: (
            "halted: a person is needed" + _because(data.get("failed") or data.get("unmet"))
        ),
        "overtaken": lambda: data["why"],
        "left": lambda: f"cut short, and ended by others: {data['end_state']}",
        "interrupted": lambda: "interrupted: the armed rollback fires",
    }
    return told[event.kind]() if event.kind in told else None


def _size(data: Mapping[str, Any]) -> str:
    of = data.get("of", data["devices"])
    return f"{data['devices']}" if of == data["devices"] else f"{data['devices']} of {of}"


def _covering(data: Mapping[str, Any]) -> str:
    shares = data.get("coverage", {})
    if all(share == 1.0 for share in shares.values()):
        return ""
    told = ", ".join(f"{share:.0%} of the {name}" for name, share in shares.items())
    return f"\n{'':11}- it covers {told}"


def _lags(data: Mapping[str, Any]) -> str:
    """How far the shadow's configs and replicas are behind, where that was measured."""
    lags = {"configs": data["config_lag_s"], "their replica": data["replica_lag_s"]}
    lags |= {f"{s['kind']} on {s['host']}": s["lag_s"] for s in data["services"]}
    told = [f"{of} {1e3 * lag_s:.0f} ms" for of, lag_s in lags.items() if lag_s == lag_s and lag_s]
    return f"; behind: {', '.join(told)}" if told else ""


def _rolled_back(data: Mapping[str, Any]) -> str:
    rest = (*data.get("not_known", ()), *data.get("by_others", ()))
    verified, but = ("its configs verified", ", but") if rest else ("verified", "")
    return f"rolled back and {verified} in {data['took_s']:.1f} s{but}" + _because(rest)


def _because(reasons: Sequence[str] | None) -> str:
    return "".join(f"\n{'':11}- {reason}" for reason in (reasons or ())[:4])


def _answer(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "nobody answered"}[answer]


class View:
    """Shows one run. On a terminal the phase and the forecast move; everywhere events are lines."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        quiet: bool,
        console: Console | None = None,
    ) -> None:
        self._scenario = scenario
        self._quiet = quiet
        # Without a terminal nobody's line length is known, so lines are left as they are.
        self._console = console or Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._at_s = 0.0
        self._phase = ""
        self._forecast: dict[str, dict[str, float]] = {}
        self._live: Live | None = None

    def __enter__(self) -> View:
        if self._quiet:
            return self
        scenario = self._scenario
        self._console.print(f"[bold]{escape(scenario.name)}[/] {escape(scenario.summary)}")
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(self, console=self._console, refresh_per_second=12, transient=True)
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def event(self, event: Event) -> None:
        """Take in the next event of the run."""
        self._at_s = event.at_s
        if event.kind == "forecast":
            self._forecast[event.data["network"]] = dict(event.data["probabilities"])
        if self._quiet:
            return
        if event.kind == "phase":
            self._phase = PHASES[event.phase]
            self._console.print(Text(f"{event.at_s:7.1f} s  {self._phase}", style="bold"))
        elif (text := say(event)) is not None:
            self._console.print(Text(f"{event.at_s:7.1f} s    {text}"))

    def paused(self, approve: Approve) -> Approve:
        """The same question, asked while the moving part stands still."""

        def ask(question: str, forecast: Forecast) -> bool | None:
            self._stop()
            answer = approve(question, forecast)
            self._start()
            return answer

        return ask

    def result(self, found: dict[str, Any]) -> None:
        """Show how it ended, and whether that was expected."""
        if self._quiet:
            return
        self._stop()
        colour = COLOURS[found["end_state"]]
        mode = "" if found["failure_mode"] == "none" else f", {found['failure_mode']}"
        took = found["time_to_rollback_s"]
        back = "" if took is None else f", back in {took:.1f} s"
        self._console.print(
            f"  [{colour}]{found['decision']}, {found['end_state']}{mode}{back}[/], "
            f"production broken for {found['breach_s']:.1f} s"
        )
        for detail in found["expectations"]["details"]:
            if not detail["met"]:
                text = f"  expected {detail['what']} {detail['expected']}, got {detail['got']}"
                self._console.print(Text(text, style="red"))
        self._console.print(Text(f"  {found['out']}\n", style="dim"))

    def __rich__(self) -> Group:
        bars = [
            Text(f"  {where:<11}{mode:<26}{_bar(p)}")
            for where, forecast in sorted(self._forecast.items())
            for mode, p in ((m, forecast[m]) for m in MODES)
        ]
        return Group(Text(f"{self._at_s:7.1f} s  {self._phase}", style="bold cyan"), *bars)


def _bar(share: float, width: int = 20) -> str:
    if not math.isfinite(share):
        return "·" * width + "    ?"
    filled = round(share * width)
    return "█" * filled + "·" * (width - filled) + f" {share:4.0%}"


def warn_of_first_run() -> None:
    """Tell why the first run on a machine takes longer than it will ever again."""
    import shadowsim.dataplane

    if not shadowsim.dataplane.kernels_are_cached():
        Console(stderr=True).print("[dim]compiling the engine, once on this machine ...[/]")


@contextmanager
def progress_of(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Something to tell how many of how many are done; it is shown on a terminal only."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table for people; numbers stand right."""
    table = Table(title=escape(title), title_justify="left", header_style="bold", expand=False)
    listed = [list(row) for row in rows]
    for place, name in enumerate(columns):
        numeric = bool(listed) and all(isinstance(r[place], int | float) for r in listed)
        heading = escape(name.replace("_", " "))
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(_cell(value)) for value in row))
    Console(highlight=False).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("_", " ")


def tracking_of(uri: str, now: Callable[[], float]) -> Tracking:
    """Where a person wants runs tracked; what cannot be is told on stderr, and kept beside runs."""
    if uri == OFF:
        return Untracked()
    return Mlflow(
        uri, EXPERIMENT, Path("runs") / "untracked", lambda text: print(text, file=sys.stderr),
        now,
    )  # fmt: skip
