"""A seed and a number to a folder of labelled changes: sites side by side, each in its order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from shadowsim.batch import Answer, Died, Local
from shadowsim.dataplane.worked import Worked
from shadowsim.errors import ShadowsimError
from shadowsim.history.cases import CHANGES_PER_SITE, Case, change_at
from shadowsim.history.folds import ALL
from shadowsim.history.looks import LOOKS, Observer
from shadowsim.history.simulate import Record, over_s, simulate
from shadowsim.history.sites import Site, site
from shadowsim.history.store import Manifest, claimed, unfinished, write
from shadowsim.history.tables import labels_of, looks_of
from shadowsim.model.intents import Intents
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network import Simulation
from shadowsim.precog import VARIANTS, Variant, WhatIf, variant
from shadowsim.precog.features import NAMES, Featurizer
from shadowsim.precog.past import Past
from shadowsim.precog.rollouts import Rollouts
from shadowsim.precog.stacked import Stacked
from shadowsim.precog.supervised import Supervised

ASKED = ("threshold", "judge", "script", "canary")  # what others are to be better than
SLOW = ("rollouts",)  # asked at the gate only, and only where variants are evaluated
FUTURES = 64  # of rollouts: many changes are asked about

Progress = Callable[[int, int], None]


def settings(changes: int, seed: int, looks: str, networks: str = ALL) -> Manifest:
    """What a history of these is made with, by this version."""
    variants = (*ASKED, *SLOW) if looks == "evaluation" else ASKED
    return Manifest(changes, seed, looks, NAMES, variants, networks)


def generate(folder: Path, made: Manifest, jobs: int, progress: Progress) -> None:
    """Make a history, or what is missing of one, in `jobs` processes.

    The same settings give the same tables, whatever the number of processes and however often it
    was interrupted. `progress` is told how many changes of how many are there.
    """
    with claimed(folder, made):
        missing = unfinished(folder, made)
        done = made.changes - sum(len(made.at(number)) for number in missing)
        progress(done, made.changes)
        with closing(finished(partial(make_site, folder, made), missing, jobs)) as numbers:
            for number in numbers:
                done += len(made.at(number))
                progress(done, made.changes)


def finished(work: Callable[[int], None], pieces: Sequence[int], jobs: int) -> Generator[int]:
    """Have every piece worked on in `jobs` processes, and say of each when it is done. Raises what
    the work raises, ShadowsimError for a process that dies.
    """
    with closing(Local(jobs).answers(work, pieces)) as answers:
        for answer in answers:
            _check(answer)
            yield answer.piece


def _check(answer: Answer[int, None]) -> None:
    try:
        answer.get()
    except Died as error:
        kept = "what is finished is kept, and the same command goes on from there"
        raise ShadowsimError(f"{error}; {kept}") from None


def make_site(folder: Path, made: Manifest, number: int) -> None:
    """Simulate the changes at a site, and keep them."""
    happened = list(_happened(site(made.seed, number, made.networks), made))
    looks = looks_of(happened, made.features, made.variants)
    write(folder, number, looks, labels_of(happened))


def _happened(where: Site, made: Manifest) -> Iterator[tuple[Case, Record]]:
    """The changes at a site one after another: each sees what came of those before it."""
    past, networks = Past(), Simulation()
    of = where.topology, where.traffic.demands, where.intents
    observer = observer_of(*of, made.variants, networks.worked(*of))
    for number in made.at(where.number):
        try:
            one = change_at(where, number % CHANGES_PER_SITE)
            scenario = one.scenario
            times_s = LOOKS[made.looks](over_s(scenario), scenario.seed)
            record = simulate(scenario, past, observer, times_s, networks)
        except Exception as error:
            error.add_note(f"while at change {number} of seed {made.seed}")
            raise
        past = past.with_outcome(scenario.topology, scenario.change, record.label.failed)
        yield one, record


def observer_of(
    topology: Topology,
    demands: Sequence[Demand],
    intents: Intents,
    names: Sequence[str],
    worked: Worked | None = None,
) -> Observer:
    """What changes of one network are looked at with; `names` are of variants."""
    network = topology, demands, intents
    whatif = WhatIf(*network, worked)
    variants: dict[str, Variant] = {
        name: Rollouts(whatif, FUTURES, least=FUTURES) if name in SLOW else VARIANTS[name](whatif)
        for name in names
    }
    return Observer(whatif, Featurizer(*network, whatif), variants, frozenset(SLOW))


def observer_beside(precog: Variant, whatif: WhatIf, names: Sequence[str]) -> Observer:
    """What the changes are looked at with that this variant forecasts: whom it asks itself is not
    asked again.
    """
    parts = precog.parts if isinstance(precog, Stacked) else {}
    variants = {name: parts.get(name) or variant(name, whatif) for name in names}
    learned = parts["supervised"].variant if "supervised" in parts else precog
    network = whatif.topology, whatif.demands, whatif.intents
    featurizer = (
        learned.featurizer if isinstance(learned, Supervised) else Featurizer(*network, whatif)
    )
    return Observer(whatif, featurizer, variants)
