"""The features to the page that explains them, `docs/features.md`."""

from __future__ import annotations

from collections.abc import Sequence

from shadowsim.precog.features.feature import SOURCES, Feature

HEAD = """# The features of a forecast

{count} numbers say what an operator would have before them; `shadowsim.precog.features` computes
them from an `Evidence` and nothing else. This page is made from the code:

```
python -c "from shadowsim.precog.features import *; print(document(FEATURES), end='')" \\
    > docs/features.md
```

A value that is not known is nan, and is never taken for a healthy one: how much of the telemetry
arrived is a feature of its own. Names of devices, hosts and lists do not count, so a network whose
parts are renamed has the same features.
"""
ABOUT = {
    "history": (
        "Earlier changes at the same site (`Evidence.past`). A rate is the mean of a beta\n"
        "distribution: one in four fails where nothing is known, which counts for four changes;\n"
        "the rate of the site counts for two against that of a device, a model or a kind. For an\n"
        "empty script all but the first two are nan."
    ),
    "telemetry": (
        "The network that has the change: the shadow, later production. A signal is read off each\n"
        'sample; the feature is a statistic of its last 30. "Before" is the time before the\n'
        "change; what production did meanwhile is taken out in the shadow only. A signal is nan\n"
        "where there is nothing it speaks of (no limit on latency, no critical traffic), trends\n"
        "with fewer than 6 readings, and comparisons without a time before. A residual compares\n"
        "with what the what-if model says for the configs read back, the links and the traffic of\n"
        "now: devices that do not do as they are told show there. If all rates, measured, planned\n"
        "and of links, are multiplied by one factor, only residuals change, where there are\n"
        "latencies in them."
    ),
    "topology": (
        "What hangs on the devices that are changed, and on the touched cables: those of the\n"
        "ports that the script names, or all of a device of which it names none. Traffic is what\n"
        "the demands are planned with. All are nan for an empty script; shares of a traffic class\n"
        "that is not planned, and limits that are not set, too."
    ),
    "script": (
        "The script read against this very network. Every state it leads through is compiled and\n"
        "verified on the links that are up, once per change; the loads are those of the traffic\n"
        "of now (production's in the shadow phase), made anew at every look. A cut is the loss of\n"
        "one cable of a changed device. What depends on traffic is nan while none is reported;\n"
        "what depends on limits, critical demands or matches, where there are none."
    ),
}


def document(features: Sequence[Feature]) -> str:
    """The page of these features: a table for each source, in Markdown."""
    parts = [HEAD.format(count=len(features))]
    for source in SOURCES:
        mine = [feature for feature in features if feature.source == source]
        rows = "".join(f"| `{f.name}` | {f.unit} | {f.text} |\n" for f in mine)
        parts.append(
            f"## {source.capitalize()}: {len(mine)}\n\n{ABOUT[source]}\n\n"
            f"| name | unit | what it says |\n|---|---|---|\n{rows}"
        )
    return "\n".join(parts)
