"""A scenario file to a frozen Scenario, or to all the mistakes in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from pydantic import ValidationError

from shadowsim.errors import BadInput, Mistake
from shadowsim.model.change import Change, Command, Configs, numbered
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents
from shadowsim.model.services import Service
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Traffic
from shadowsim.scenario import faults, intents, outage, services, topologies, traffic
from shadowsim.scenario.defaults import default_configs
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.messages import choice_mistakes, explain
from shadowsim.scenario.outage import Outage
from shadowsim.scenario.scripts import Scripts, configure, written
from shadowsim.scenario.spec import ExpectSpec, ScenarioSpec, ShadowSpec, WorkflowSpec, json_schema
from shadowsim.scenario.yamlfile import MAX_BYTES, Document, read_yaml


@dataclass(frozen=True, slots=True)
class Mirror:
    """What of production's traffic the shadow sees."""

    classes: tuple[str, ...] = ("critical", "normal", "bulk")
    fraction: float = 1.0
    truncate_bytes: int = 96
    anonymise: bool = True
    budget_bps: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """What the shadow network is. `scope` is "full" or "subset"; the rest is of a subset.

    `scale` are (from this second on, hops), in order of time.
    """

    scope: str = "full"
    mirror: Mirror = Mirror()
    hops: int = 1
    scale: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """How the change is tried, judged and watched."""

    precog: str = "hybrid"
    autonomy: str = "automatic"
    baseline_s: float = 10.0
    shadow_s: float = 30.0
    monitor_s: float = 60.0
    soak_s: float = 3.0
    horizon_s: float = 15.0
    confirm_within_s: float = 30.0
    no_go_above: float = 0.5
    inconclusive_above: float = 0.35
    minimum_coverage: float = 0.8


@dataclass(frozen=True, slots=True)
class Expect:
    """What should come of a scenario; None where anything may.

    `failure_mode` is one of the three modes, or "none". `blamed` holds parts of commands.
    """

    decision: str | None = None
    end_state: str | None = None
    failure_mode: str | None = None
    blamed: tuple[str, ...] | None = None
    time_to_rollback_below_s: float | None = None
    breach_below_s: float | None = None


@dataclass(frozen=True)
class Scenario:
    """A network, its traffic, what must stay true, a change, and what goes wrong."""

    name: str
    summary: str
    seed: int
    topology: Topology
    configs: Configs
    traffic: Traffic
    intents: Intents
    change: Change
    faults: tuple[Fault, ...]
    shadow: ShadowPlan
    workflow: WorkflowPlan
    expect: Expect | None
    file: str
    services: tuple[Service, ...] = ()
    outage: Outage | None = None


def load(path: str | FilePath) -> Scenario:
    """Read a scenario file. Raises BadInput with every mistake in it."""
    file = str(path)
    try:
        with FilePath(path).open("rb") as stream:
            source = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput([Mistake(f"the scenario cannot be read: {reason}", file)]) from None
    return parse(source, file=file)


def parse(text: str | bytes, *, file: str = "") -> Scenario:
    """Read the text of a scenario; files it names are looked for beside `file`."""
    document = read_yaml(text, file=file)
    return _build(_validate(document), document)


def _validate(document: Document) -> ScenarioSpec:
    mistakes = choice_mistakes(document)
    try:
        spec = ScenarioSpec.model_validate(document.values)
    except ValidationError as error:
        findings = Findings(document)
        written(document.values, findings)
        mistakes += [*explain(error, document, json_schema()), *findings.mistakes]
        raise BadInput(mistakes) from None
    if mistakes:
        raise BadInput(mistakes)
    return spec


def _build(spec: ScenarioSpec, document: Document) -> Scenario:
    findings = Findings(document)
    network = topologies.build(spec.topology, spec.name, FilePath(document.file).parent, findings)
    topology = network.topology if network else None
    scripts = Scripts(findings, topology, whole=not findings)
    defaults = default_configs(topology) if topology else {}
    configs = configure(defaults, spec.configs.items(), scripts)
    change = Change(spec.change.summary, scripts.change(("change", "script"), spec.change.script))
    wanted = intents.build(spec.intents, topology, findings)
    injected = faults.build(spec.faults, topology, scripts, findings)
    databases = services.build(spec.services, topology, findings)
    shadow = _shadow(spec.shadow, findings)
    workflow = _workflow(spec.workflow, findings)
    expect = _expect(spec.expect, change.commands, findings)
    happened = outage.build(spec.outage, findings)
    before = len(findings.mistakes)
    demands = traffic.build(spec.traffic, network, configs, findings, spec.seed)
    if topology is not None and len(findings.mistakes) == before:
        intents.check_limits(spec.intents, demands.demands, topology, findings)
    findings.settle()
    change = replace(change, commands=numbered(configs, change.commands))
    if topology is None:  # settled above: without a topology something was found
        raise BadInput("the scenario has no topology")
    return Scenario(
        spec.name,
        document.comment,
        spec.seed,
        topology,
        configs,
        demands,
        wanted,
        change,
        injected,
        shadow,
        workflow,
        expect,
        document.file,
        databases,
        happened,
    )


def _shadow(spec: ShadowSpec, findings: Findings) -> ShadowPlan:
    if spec.scope == "full":
        for key in ("hops", "scale"):
            if getattr(spec, key) not in (None, []):
                findings.add(("shadow", key), f"'{key}' is of a subset; add 'scope: subset'")
    mirror = spec.mirror
    budget = None if mirror.budget_mbps is None else mirror.budget_mbps * 1e6
    return ShadowPlan(
        spec.scope,
        Mirror(
            tuple(mirror.classes),
            mirror.fraction,
            mirror.truncate_bytes,
            mirror.anonymise,
            budget,
        ),
        1 if spec.hops is None else spec.hops,
        tuple(sorted((step.at_s, step.hops) for step in spec.scale)),
    )


def _workflow(spec: WorkflowSpec, findings: Findings) -> WorkflowPlan:
    if spec.inconclusive_above > spec.no_go_above:
        message = (
            f"inconclusive_above ({spec.inconclusive_above:g}) "
            f"must be at most no_go_above ({spec.no_go_above:g})"
        )
        findings.add(("workflow", "inconclusive_above"), message)
    return WorkflowPlan(**spec.model_dump())


def _expect(
    spec: ExpectSpec | None, commands: tuple[Command, ...], findings: Findings
) -> Expect | None:
    if spec is None:
        return None
    texts = [str(command) for command in commands]
    for i, part in enumerate(spec.blamed or ()):
        if texts and not any(part in text for text in texts):
            findings.add(("expect", "blamed", i), f"no command of the change holds '{part}'")
    blamed = None if spec.blamed is None else tuple(spec.blamed)
    return Expect(**(spec.model_dump() | {"blamed": blamed}))
