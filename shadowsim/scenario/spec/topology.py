"""The `topology` of a scenario as models: where the wiring comes from, and its exceptions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from shadowsim.scenario.spec.base import BY_SHAPE, LIST, MAPPING, NUMBER, Rate, Spec, one_of

SOURCES = ("topohub", "fat_tree", "file", "nodes")

Delay = Annotated[float, Field(ge=0, le=10_000)]
Queue = Annotated[int, Field(ge=1, le=1_000_000)]
Ends = Annotated[list[str], Field(min_length=2, max_length=2, examples=[["A", "B"]])]

RATE = "What it carries in each direction, in Mbit/s."
DELAY = "How long a bit travels over it, in milliseconds."
QUEUE = "How many packets wait for it before more are dropped."
LINK = "The two devices that the link joins."


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
