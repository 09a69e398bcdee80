"""The scenario language as pydantic models: plain values to typed ones, and its JSON Schema.

Strict: a text is no number, true is no number. A key without a value counts as absent. What a
model cannot know (whether a name exists) is checked afterwards, where names are known.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from shadowsim.model.faults import FAULT_KINDS
from shadowsim.model.intents import LIMIT_METRICS, PATH_KINDS

SOURCES = ("topohub", "fat_tree", "file", "nodes")
INTENT_KINDS = (*PATH_KINDS, *LIMIT_METRICS)
# Tags of variants: names that no key has, for pydantic puts them between the keys of a path.
MAPPING, LIST, TEXT, TRUTH, NUMBER = "<mapping>", "<list>", "<text>", "<truth>", "<number>"
PRECOGS = ("threshold", "judge", "script", "hybrid")

TrafficClass = Literal["critical", "normal", "bulk"]
Protocol = Literal["tcp", "udp"]
Percent = Annotated[float, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000)]
Duration = Annotated[float, Field(gt=0, le=1_000_000)]
Factor = Annotated[float, Field(gt=0, le=1_000)]
Rate = Annotated[float, Field(gt=0, le=10_000_000)]
Delay = Annotated[float, Field(ge=0, le=10_000)]
Queue = Annotated[int, Field(ge=1, le=1_000_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]
Ends = Annotated[list[str], Field(min_length=2, max_length=2, examples=[["A", "B"]])]
FileName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$",
        json_schema_extra={
            "x-wanted": "a name of letters, digits and _ . - (80 at most, a letter or digit first)"
        },
    ),
]

RATE = "What it carries in each direction, in Mbit/s."
DELAY = "How long a bit travels over it, in milliseconds."
QUEUE = "How many packets wait for it before more are dropped."
FROM = "Who sends: a host, a device (all its hosts), a group, or any."
TO = "Who receives: a host, a device (all its hosts), a group, or any."
LINK = "The two devices that the link joins."
DEVICE = "The device that is hit."
PERCENT = "How much of it, in percent."


def shape(value: Any) -> str:
    """The tag of a value: which variant of a union its author evidently meant."""
    for kind, tag in ((dict, MAPPING), (list, LIST), (str, TEXT), (bool, TRUTH)):
        if isinstance(value, kind):
            return tag
    return MAPPING if value is None or isinstance(value, BaseModel) else NUMBER


BY_SHAPE = Discriminator(shape)


class Spec(BaseModel):
    """A mapping of the language; `flags` are the keys that mean something without a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    flags: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_value_is_absent(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        filled = data | {key: {} for key in cls.flags if data.get(key, "") is None}
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {k: value for k, value in filled.items() if value is not None or k not in known}


def one_of(kinds: tuple[str, ...]) -> ConfigDict:
    """The settings of a mapping that needs exactly one of these keys."""
    needs: list[JsonValue] = [{"required": [kind]} for kind in kinds]
    return ConfigDict(json_schema_extra={"oneOf": needs})


# ---- topology


class FatTree(Spec):
    """A k-ary fat tree."""

    k: int = Field(ge=2, le=48, multiple_of=2, examples=[4], description="Ports per switch.")


class LinkDefaults(Spec):
    """What links get that say nothing else."""

    rate_mbps: Rate = Field(default=100.0, examples=[100], description=RATE)
    delay_ms: Delay | None = Field(
        default=None,
        examples=[2],
        description=f"{DELAY} Default: from its length where known, else 2.",
    )
    queue_packets: Queue = Field(default=100, examples=[100], description=QUEUE)


class _LinkChange(Spec):
    rate_mbps: Rate | None = Field(default=None, examples=[100], description=RATE)
    delay_ms: Delay | None = Field(default=None, examples=[2], description=DELAY)
    queue_packets: Queue | None = Field(default=None, examples=[100], description=QUEUE)


class InlineLink(_LinkChange):
    """A link of the network and what is special about it."""

    endpoints: Ends = Field(description=LINK)


class Override(_LinkChange):
    """What is special about one link (all cables between two devices)."""

    link: Ends = Field(description=LINK)


class Node(Spec):
    """A switch and its hosts."""

    model: str = Field(
        default="generic", min_length=1, examples=["generic"], description="How the switch behaves."
    )
    hosts: (
        Annotated[
            Annotated[Annotated[int, Field(ge=0, le=250)], Tag(NUMBER)]
            | Annotated[list[str], Tag(LIST)],
            BY_SHAPE,
        ]
        | None
    ) = Field(
        default=None,
        examples=[2, ["web", "db"]],
        description="How many hosts, or their names. Default: one, named h-NODE.",
    )
    groups: list[str] = Field(
        default=[],
        examples=[["guest"]],
        description="Names that intents and traffic use for its hosts.",
    )


class ExtraHost(Spec):
    """A host beside those that the source of the topology gives."""

    on: str = Field(examples=["A"], description="The device it is wired to.")
    groups: list[str] = Field(
        default=[], examples=[["guest"]], description="Names that intents and traffic use for it."
    )
    rate_mbps: Rate | None = Field(
        default=None,
        examples=[1000],
        description="Rate of its link. Default: ten times the fastest link.",
    )


class TopologySpec(Spec):
    """The wiring: exactly one of topohub, fat_tree, file and nodes."""

    model_config = one_of(SOURCES)

    topohub: str | None = Field(
        default=None,
        examples=["sndlib/abilene", "topozoo/Geant2012"],
        description="A network of the topohub collection: sndlib/..., topozoo/..., backbone/...",
    )
    fat_tree: FatTree | None = Field(
        default=None, examples=[{"k": 4}], description="A fat tree with k/2 hosts per edge switch."
    )
    file: str | None = Field(
        default=None,
        examples=["site.clab.yml", "site.graphml"],
        description="A containerlab (.clab.yml) or GraphML (.graphml) file beside the scenario.",
    )
    nodes: (
        Annotated[
            Annotated[list[str], Tag(LIST)] | Annotated[dict[str, Node], Tag(MAPPING)],
            BY_SHAPE,
        ]
        | None
    ) = Field(
        default=None,
        examples=[["A", "B"], {"A": {"hosts": 2}}],
        description="The switches: a list of names, or a mapping from name to options.",
    )
    links: (
        Annotated[
            Annotated[LinkDefaults, Tag(MAPPING)]
            | Annotated[
                list[
                    Annotated[
                        Annotated[Ends, Tag(LIST)] | Annotated[InlineLink, Tag(MAPPING)],
                        BY_SHAPE,
                    ]
                ],
                Tag(LIST),
            ],
            BY_SHAPE,
        ]
        | None
    ) = Field(
        default=None,
        examples=[{"rate_mbps": 100}, [["A", "B"]]],
        description="With nodes: the list of links. Otherwise: what every link gets.",
    )
    defaults: LinkDefaults | None = Field(
        default=None,
        examples=[{"rate_mbps": 100}],
        description="With nodes: what links get that say nothing else.",
    )
    overrides: list[Override] = Field(
        default=[],
        examples=[[{"link": ["A", "B"], "rate_mbps": 10}]],
        description="What is different on single links.",
    )
    hosts: dict[str, ExtraHost] = Field(
        default={},
        examples=[{"guest1": {"on": "A", "groups": ["guest"]}}],
        description="Hosts to add, by name.",
    )


# ---- traffic


class DemandSpec(Spec):
    """Traffic from every host that `from` names to every other that `to` names."""

    source: str = Field(alias="from", examples=["any"], description=FROM)
    destination: str = Field(alias="to", examples=["db"], description=TO)
    rate_mbps: Rate = Field(examples=[5], description="What each pair wants to send, in Mbit/s.")
    traffic_class: TrafficClass = Field(
        default="normal", alias="class", examples=["normal"], description="Its traffic class."
    )
    protocol: Protocol = Field(
        default="tcp", examples=["tcp"], description="tcp yields to congestion, udp does not."
    )
    port: Port = Field(default=443, examples=[443], description="The destination's port.")
    packet_bytes: int = Field(
        default=1000, ge=64, le=9216, examples=[1000], description="Size of its packets."
    )
    flows: int = Field(
        default=1,
        ge=1,
        le=10_000,
        examples=[4],
        description="Connections it is spread over; each takes its own path.",
    )


class Diurnal(Spec):
    """A wave that begins at 1."""

    peak: Factor = Field(examples=[1.6], description="The factor half a period in.")
    period_s: Duration = Field(default=600.0, examples=[600], description="Length of the period.")


class Step(Spec):
    """A factor that holds from a time on."""

    at_s: Seconds = Field(examples=[30], description="From this second on.")
    factor: Annotated[float, Field(ge=0, le=1_000)] = Field(
        examples=[2], description="Times this, until the next step."
    )


class ProfileSpec(Spec):
    """A wave and steps; both multiply every rate."""

    diurnal: Diurnal | None = Field(
        default=None,
        examples=[{"peak": 1.6, "period_s": 600}],
        description="A daily wave, shortened.",
    )
    steps: list[Step] = Field(
        default=[], examples=[[{"at_s": 30, "factor": 2}]], description="Sudden changes."
    )


class Mix(Spec):
    """The share of each class in every pair's traffic; together 1."""

    critical: Share = Field(
        default=0.0, examples=[0.1], description="Share of critical traffic (udp 5004)."
    )
    normal: Share = Field(
        default=0.0, examples=[0.7], description="Share of normal traffic (tcp 443)."
    )
    bulk: Share = Field(default=0.0, examples=[0.2], description="Share of bulk traffic (tcp 873).")


class TrafficSpec(Spec):
    """Who sends how much to whom."""

    demands: Annotated[
        Annotated[Literal["topohub", "gravity"], Tag(TEXT)]
        | Annotated[list[DemandSpec], Tag(LIST)],
        BY_SHAPE,
    ] = Field(
        examples=["gravity", [{"from": "any", "to": "db", "rate_mbps": 5}]],
        description="topohub (the matrix measured on this network), gravity, or a list.",
    )
    scale: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None,
        examples=[0.6],
        description="topohub, gravity: the load of the busiest link at time 0 as a share of its "
        "rate (default 0.5). A list: a factor on every rate (default 1).",
    )
    mix: Mix | None = Field(
        default=None,
        examples=[{"critical": 0.1, "normal": 0.7, "bulk": 0.2}],
        description="topohub, gravity: the classes each pair's traffic is split into. "
        "Default: all normal.",
    )
    profile: ProfileSpec = Field(
        default=ProfileSpec(),
        examples=[{"diurnal": {"peak": 1.6, "period_s": 600}}],
        description="How the demands vary with time.",
    )


# ---- intents


class _Pair(Spec):
    source: str = Field(default="any", alias="from", examples=["any"], description=FROM)
    destination: str = Field(default="any", alias="to", examples=["db"], description=TO)


class Packets(_Pair):
    """Packets from here to there."""

    protocol: Literal["ip", "icmp", "tcp", "udp"] = Field(
        default="ip", examples=["tcp"], description="Their protocol; ip stands for all."
    )
    port: Port | None = Field(default=None, examples=[443], description="The destination's port.")


class Waypoint(Packets):
    """Packets that must pass a device."""

    via: str = Field(examples=["FW"], description="The device they must pass.")


class Everywhere(Spec):
    """Nothing to say: it holds for the whole network."""


class _Service(_Pair):
    traffic_class: TrafficClass | None = Field(
        default=None,
        alias="class",
        examples=["critical"],
        description="Only this class. Default: all.",
    )


class LatencyLimit(_Service):
    """A bound on latency."""

    below_ms: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        examples=[60], description="The latency it must stay below."
    )


class LossLimit(_Service):
    """A bound on loss."""

    below_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[1], description="The loss it must stay below, in percent of what is sent."
    )


class ThroughputLimit(_Service):
    """A bound on throughput."""

    above_percent: Annotated[float, Field(ge=0, lt=100)] = Field(
        examples=[90],
        description="The throughput it must stay above, in percent of what is offered.",
    )


class UtilisationLimit(Spec):
    """A bound on the load of every link."""

    below_percent: Annotated[float, Field(gt=0, le=1_000)] = Field(
        examples=[90], description="The load every link must stay below, in percent of its rate."
    )


ANY_PAIR = [{"from": "any", "to": "db"}]


class IntentSpec(Spec):
    """One thing that must stay true: exactly one of the keys."""

    flags = INTENT_KINDS
    model_config = one_of(INTENT_KINDS)

    reachable: Packets | None = Field(
        default=None, examples=ANY_PAIR, description="Packets arrive, on every path they may take."
    )
    isolated: Packets | None = Field(
        default=None, examples=ANY_PAIR, description="No packet arrives."
    )
    waypoint: Waypoint | None = Field(
        default=None,
        examples=[{"from": "any", "to": "db", "via": "FW"}],
        description="No packet arrives on a path that misses a device.",
    )
    no_loop: Everywhere | None = Field(
        default=None, examples=[{}], description="No packet comes back to a device it has left."
    )
    no_black_hole: Everywhere | None = Field(
        default=None,
        examples=[{}],
        description="No packet reaches a device without a route for it.",
    )
    latency: LatencyLimit | None = Field(
        default=None,
        examples=[{"class": "critical", "below_ms": 60}],
        description="A bound on latency.",
    )
    loss: LossLimit | None = Field(
        default=None,
        examples=[{"class": "critical", "below_percent": 1}],
        description="A bound on loss.",
    )
    throughput: ThroughputLimit | None = Field(
        default=None,
        examples=[{"class": "normal", "above_percent": 90}],
        description="A bound on throughput.",
    )
    utilisation: UtilisationLimit | None = Field(
        default=None, examples=[{"below_percent": 90}], description="A bound on the load of links."
    )


# ---- change and faults


class ChangeSpec(Spec):
    """A change: what it is for, and its commands."""

    summary: str = Field(
        default="", examples=["drain A-B for maintenance"], description="What it is for."
    )
    script: str = Field(
        examples=["device A\ninterface to-B\n ip ospf cost 5000\n"],
        description="The commands, device by device; an empty text for no change.",
    )


class OnLink(Spec):
    """A link."""

    link: Ends = Field(description=LINK)


class LinkFlap(OnLink):
    """A link that goes down and up."""

    half_period_s: Duration = Field(examples=[1], description="Seconds down, and seconds up.")


class LinkLoss(OnLink):
    """A link that loses packets."""

    percent: Percent = Field(examples=[2], description="Packets lost, in percent.")


class LinkDelay(OnLink):
    """A link that became longer."""

    add_ms: Annotated[float, Field(gt=0, le=10_000)] = Field(
        examples=[50], description="Milliseconds added."
    )


class LinkRate(OnLink):
    """A link that became slower."""

    percent: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[10], description="Rate that is left, in percent."
    )


class OnDevice(Spec):
    """A device."""

    device: str = Field(examples=["A"], description=DEVICE)


class OnDevices(Spec):
    """A device, or all of them."""

    device: str | None = Field(
        default=None, examples=["A"], description=f"{DEVICE} Default: every device."
    )


class CpuHog(OnDevice):
    """A device whose CPU is taken."""

    percent: Percent = Field(examples=[90], description="CPU taken, in percent.")


class MemoryLeak(OnDevice):
    """A device that loses memory."""

    percent_per_s: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[1], description="Memory lost, in percent per second."
    )


class TableFull(OnDevice):
    """A device whose table shrinks."""

    percent: Percent = Field(examples=[10], description="Table that is left, in percent.")


class ConfigDrift(OnDevice):
    """A device that someone configures behind our back."""

    script: str = Field(
        examples=["interface to-B\n ip ospf cost 1\n"],
        description="The commands, of this device only.",
    )


class TrafficFault(_Service):
    """Traffic that grows."""

    factor: Factor = Field(examples=[3], description="How many times the traffic.")


ON_LINK = {"link": ["A", "B"]}


class FaultSpec(Spec):
    """A failure that is injected: when, where, and exactly one kind."""

    flags = FAULT_KINDS
    model_config = one_of(FAULT_KINDS)

    at_s: Seconds = Field(examples=[40], description="When it begins.")
    for_s: Duration | None = Field(
        default=None, examples=[20], description="How long it lasts. Default: it stays."
    )
    network: Literal["production", "shadow", "both"] = Field(
        default="production",
        alias="in",
        examples=["production"],
        description="Which network is hit.",
    )
    link_down: OnLink | None = Field(
        default=None, examples=[ON_LINK], description="A link goes down."
    )
    link_flap: LinkFlap | None = Field(
        default=None,
        examples=[{**ON_LINK, "half_period_s": 1}],
        description="A link goes down and up.",
    )
    link_loss: LinkLoss | None = Field(
        default=None, examples=[{**ON_LINK, "percent": 2}], description="A link loses packets."
    )
    link_delay: LinkDelay | None = Field(
        default=None, examples=[{**ON_LINK, "add_ms": 50}], description="A link takes longer."
    )
    link_rate: LinkRate | None = Field(
        default=None,
        examples=[{**ON_LINK, "percent": 10}],
        description="A link keeps a part of its rate.",
    )
    device_crash: OnDevice | None = Field(
        default=None, examples=[{"device": "A"}], description="A device stops."
    )
    cpu_hog: CpuHog | None = Field(
        default=None,
        examples=[{"device": "A", "percent": 90}],
        description="Something takes its CPU.",
    )
    memory_leak: MemoryLeak | None = Field(
        default=None, examples=[{"device": "A", "percent_per_s": 1}], description="It loses memory."
    )
    table_full: TableFull | None = Field(
        default=None, examples=[{"device": "A", "percent": 10}], description="Its table shrinks."
    )
    controller_lost: OnDevices | None = Field(
        default=None, examples=[{"device": "A"}], description="The controller is out of reach."
    )
    config_drift: ConfigDrift | None = Field(
        default=None,
        examples=[{"device": "A", "script": "interface to-B\n shutdown\n"}],
        description="Someone changes its config.",
    )
    telemetry_gap: OnDevices | None = Field(
        default=None, examples=[{"device": "A"}], description="No telemetry comes from it."
    )
    traffic_surge: TrafficFault | None = Field(
        default=None, examples=[{"to": "db", "factor": 3}], description="Demands grow."
    )
    retry_storm: TrafficFault | None = Field(
        default=None,
        examples=[{"to": "db", "factor": 3}],
        description="Failing demands are retried.",
    )


# ---- shadow, workflow, expectations


class MirrorSpec(Spec):
    """What of production's traffic the shadow sees."""

    classes: list[TrafficClass] = Field(
        default=["critical", "normal", "bulk"],
        min_length=1,
        examples=[["critical", "normal"]],
        description="The classes that are mirrored.",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, examples=[0.5], description="The share of their flows that is mirrored."
    )
    truncate_bytes: int = Field(
        default=96, ge=64, le=9216, examples=[96], description="How much of each packet is kept."
    )
    anonymise: bool = Field(
        default=True, examples=[True], description="Replace addresses by pseudonyms."
    )


class ShadowSpec(Spec):
    """What the shadow network is."""

    scope: Literal["full"] = Field(
        default="full", examples=["full"], description="Which part of production is shadowed."
    )
    mirror: MirrorSpec = Field(
        default=MirrorSpec(), examples=[{"fraction": 0.5}], description="What traffic it sees."
    )


class WorkflowSpec(Spec):
    """The phases of the workflow and the bars it sets."""

    precog: Literal["threshold", "judge", "script", "hybrid"] = Field(
        default="hybrid", examples=["hybrid"], description="Who predicts failures."
    )
    autonomy: Literal["observe", "ask", "automatic"] = Field(
        default="automatic", examples=["automatic"], description="Whether a person decides."
    )
    baseline_s: Duration = Field(
        default=10.0, examples=[10], description="Seconds watched before the change."
    )
    shadow_s: Duration = Field(
        default=30.0, examples=[30], description="Seconds watched in the shadow."
    )
    monitor_s: Duration = Field(
        default=60.0, examples=[60], description="Seconds watched in production."
    )
    soak_s: Seconds = Field(
        default=3.0, examples=[3], description="Seconds between one device and the next."
    )
    horizon_s: Duration = Field(
        default=15.0, examples=[15], description="How far ahead failures are predicted."
    )
    no_go_above: Share = Field(
        default=0.5, examples=[0.5], description="Probability of failure above which it is a no-go."
    )
    inconclusive_above: Share = Field(
        default=0.35, examples=[0.35], description="Probability above which it is inconclusive."
    )
    minimum_coverage: Share = Field(
        default=0.8,
        examples=[0.8],
        description="Share of telemetry without which nothing is concluded.",
    )


class ExpectSpec(Spec):
    """What should come of it; what is left out may be anything."""

    decision: Literal["go", "no-go", "inconclusive"] | None = Field(
        default=None, examples=["no-go"], description="What the gate decides."
    )
    end_state: Literal["confirmed", "rolled_back", "refused", "halted"] | None = Field(
        default=None, examples=["refused"], description="How it ends."
    )
    failure_mode: (
        Literal["performance_degradation", "service_outage", "security_vulnerability", "none"]
        | None
    ) = Field(
        default=None, examples=["performance_degradation"], description="How the change fails."
    )
    blamed: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        examples=[["ip ospf cost 5000"]],
        description="Parts of the commands to blame.",
    )
    time_to_rollback_below_s: Duration | None = Field(
        default=None, examples=[5], description="Seconds in which it is taken back."
    )
    breach_below_s: Duration | None = Field(
        default=None, examples=[3], description="Seconds for which an intent may be broken."
    )


class ScenarioSpec(Spec):
    """A network, its traffic, what must stay true, a change and what goes wrong."""

    name: FileName = Field(examples=["drain-overload"], description="A short name.")
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, examples=[7], description="Same seed, same run."
    )
    topology: TopologySpec = Field(
        examples=[{"topohub": "sndlib/abilene"}], description="Switches, hosts and links."
    )
    configs: dict[str, str] = Field(
        default={},
        examples=[{"A": "interface to-B\n ip ospf cost 20\n"}],
        description="Per device (or all): lines on top of the default config; a text that begins "
        "with hostname replaces it.",
    )
    traffic: TrafficSpec | None = Field(
        default=None,
        examples=[{"demands": "gravity", "scale": 0.6}],
        description="Default: no traffic.",
    )
    intents: (
        list[
            Annotated[
                Annotated[IntentSpec, Tag(MAPPING)]
                | Annotated[Literal["no_loop", "no_black_hole"], Tag(TEXT)],
                BY_SHAPE,
            ]
        ]
        | None
    ) = Field(
        default=None,
        examples=[[{"reachable": {"from": "any", "to": "any"}}, "no_loop"]],
        description="What must stay true. Default: any reaches any, no_loop, no_black_hole.",
    )
    change: ChangeSpec = Field(
        examples=[{"script": "device A\ninterface to-B\n ip ospf cost 50\n"}],
        description="The change that is tried.",
    )
    faults: list[FaultSpec] = Field(
        default=[],
        examples=[[{"at_s": 40, "link_loss": {"link": ["A", "B"], "percent": 2}, "for_s": 20}]],
        description="Failures that are injected.",
    )
    shadow: ShadowSpec = Field(
        default=ShadowSpec(),
        examples=[{"mirror": {"fraction": 0.5}}],
        description="The shadow network.",
    )
    workflow: WorkflowSpec = Field(
        default=WorkflowSpec(),
        examples=[{"precog": "hybrid", "shadow_s": 30}],
        description="How the change is tried, judged and watched.",
    )
    expect: ExpectSpec | None = Field(
        default=None,
        examples=[{"decision": "no-go", "end_state": "refused"}],
        description="What should come of it; makes the scenario a test.",
    )


@cache
def _schema() -> dict[str, Any]:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shadowsim scenario",
    }
    return ScenarioSpec.model_json_schema() | head


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file, for editors and for people."""
    return dict(_schema())
