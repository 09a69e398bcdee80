"""A run to its figures: load on the network, production beside shadow, forecasts over time."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

import polars as pl
from matplotlib.figure import Figure

from shadowsim.model.truth import MODES
from shadowsim.plots import (
    Drawing,
    Snapshot,
    forecast_figure,
    networks_figure,
    svg,
    topology_figure,
)
from shadowsim.plots.topology import LABELLED_UP_TO
from shadowsim.report.pieces import percent, section, table, words
from shadowsim.report.recorded import Picture, Recorded
from shadowsim.report.timeline import ENDINGS, marks_of, periods_of


def _picture(figure: Figure, alt: str, caption: str) -> str:
    data = base64.b64encode(svg(figure)).decode("ascii")
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


# -- load on the network -----------------------------------------------------------------------


def topology(run: Recorded) -> str:
    """The topology before the change, at its worst moment with it, and at the end."""
    shots = snapshots_of(run)
    known = {device.name for device in run.picture.devices}
    touched = known & set(run.result.digests.before)
    blamed = known & {command.partition(": ")[0] for command in run.result.blamed}
    if not shots:
        return section("topology", "Load on the network", "<p>No telemetry of links.</p>")
    alt = "Network with links coloured by load; " + "; ".join(
        f"{shot.title}: busiest link at {percent(max(shot.utilisation.values(), default=0.0))}"
        for shot in shots
    )
    small = len(known) <= LABELLED_UP_TO
    names = "Names are left out where they would cover others" if small else "Too many to name"
    caption = f"{escape(run.picture.name)}, {len(known)} devices. {names}."
    figure = topology_figure(drawing_of(run.picture), shots, touched, blamed)
    return section("topology", "Load on the network", _picture(figure, alt, caption))


def drawing_of(picture: Picture) -> Drawing:
    return Drawing(
        positions={device.name: device.position for device in picture.devices},
        links=[(link.a, link.b, link.names) for link in picture.links],
        edge=frozenset(host.device for host in picture.hosts)
        & {device.name for device in picture.devices},
    )


def snapshots_of(run: Recorded) -> list[Snapshot]:
    """Before, at the worst moment, and at the end: of production if it got the change, else of
    the shadow, and at the end of production, which was not touched.
    """
    where = "production" if run.result.deployed else "shadow"
    began = run.first("deploy", network=where)
    since_s = began.at_s if began else 0.0
    ending = run.last(*ENDINGS)
    end_s = ending.at_s if ending and run.result.deployed else run.events[-1].at_s
    links = fabric(run)
    changed = links.filter(pl.col("network") == where)
    before = changed.filter(pl.col("at_s") <= since_s)
    during = changed.filter(pl.col("at_s") > since_s, pl.col("at_s") <= end_s)
    after = links.filter(network="production")
    if before.is_empty() or during.is_empty() or after.is_empty():
        return []
    name = "production" if run.result.deployed else "shadow"
    return [
        snapshot(before, _latest(before), f"{name}, before the change"),
        snapshot(during, _worst(during), f"{name}, worst moment with the change"),
        snapshot(after, _latest(after), f"production, at the end ({words_of_end(run)})"),
    ]


def words_of_end(run: Recorded) -> str:
    return run.result.end_state.replace("_", " ") if run.result.deployed else "not touched"


def fabric(run: Recorded) -> pl.DataFrame:
    """The readings of the links between devices."""
    names = [name for link in run.picture.links for name in link.names]
    return run.readings.links.filter(pl.col("name").is_in(names))


def _latest(links: pl.DataFrame) -> float:
    read = links.filter(pl.col("utilisation").is_not_null())
    return float((read if len(read) else links)["at_s"].max())  # type: ignore[arg-type]


def _worst(links: pl.DataFrame) -> float:
    """When the busiest link was busiest; the total load decides between equals."""
    load = pl.col("utilisation")
    moments = links.group_by("at_s").agg(top=load.max().round(3), all=load.sum())
    ranked = moments.sort("top", "all", "at_s", descending=[True, True, False], nulls_last=True)
    return float(ranked["at_s"][0])


def snapshot(links: pl.DataFrame, at_s: float, title: str) -> Snapshot:
    rows = links.filter(at_s=at_s)
    loads = rows.drop_nulls("utilisation")
    return Snapshot(
        f"{title}, {at_s:.0f} s",
        dict(zip(loads["name"], loads["utilisation"], strict=True)),
        frozenset(rows.filter(up=0.0)["name"]),
    )


# -- over time ---------------------------------------------------------------------------------


def networks(run: Recorded) -> str:
    """The two networks over time."""
    worst = run.readings.worst
    title = "Production beside shadow"
    alt = "Busiest link, worst latency and worst loss over time. " + " ".join(_peaks(worst))
    caption = (
        "The shadow gets the change first; from the go on, production gets it too. "
        "Bands are the phases. A line with a gap: nothing was reported."
    )
    figure = networks_figure(worst, periods_of(run), marks_of(run))
    return section("networks", title, _picture(figure, alt, caption))


def _peaks(worst: pl.DataFrame) -> Iterable[str]:
    highest = worst.filter(scope="all").group_by("network", "measure").agg(pl.col("value").max())
    for network, measure, value in highest.sort("network", "measure").drop_nulls().rows():
        told = f"{1000 * value:.1f} ms" if measure == "latency_s" else percent(value)
        yield f"Highest {measure.removesuffix('_s')} in {network}: {told}."


def forecast(run: Recorded) -> str:
    """What PreCog said, when, and why."""
    rows = [
        (event.at_s, event.network, mode, event.probabilities.get(mode))
        for event in run.events
        if event.event == "forecast"
        for mode in MODES
    ]
    columns = {
        "at_s": pl.Float64,
        "network": pl.String,
        "mode": pl.String,
        "probability": pl.Float64,
    }
    told = pl.DataFrame(rows, schema=columns, orient="row")
    highest = [
        f"{words(mode)} at most {percent(value)}"
        for mode in MODES
        if isinstance(value := told.filter(mode=mode)["probability"].max(), float)
    ]
    alt = f"Forecast of each failure mode over time: {', '.join(highest) or 'there is none'}"
    caption = "The probability that the failure comes within the horizon, as PreCog saw it then."
    figure = _picture(forecast_figure(told, periods_of(run), marks_of(run)), alt, caption)
    return section("forecast", "Forecast over time", figure + _reasons(run))


def _reasons(run: Recorded) -> str:
    """The strongest reasons of the forecast that the decision was made on."""
    rows = [
        (
            percent(reason.probability),
            words(reason.mode),
            escape(reason.variant),
            escape(reason.text),
        )
        for reason in run.result.reasons
    ]
    title = "Why, at the decision"
    if not rows:
        return f"<h3>{title}</h3><p>PreCog gave no reason for concern.</p>"
    columns = ("probability", "failure mode", "said by", "reason")
    return f"<h3>{title}</h3>{table(title, columns, rows, numbers=(0,))}"
