"""`shadowsim rollback`: a run's folder to how its change to production ended, or to an end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.errors import BadInput, Mistake, PersonNeeded

if TYPE_CHECKING:
    from shadowsim.commit.generations import Place
    from shadowsim.commit.settle import Standing

POLL_S = 0.1


class StillHeld(PersonNeeded):
    """A guardian that is alive has it."""


def rollback(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of its commit.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Take back what is neither confirmed nor taken back.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds for a guardian that is alive to do it.", min=0.0)
    ] = 10.0,
    force: Annotated[
        bool, typer.Option("--force", help="Take it over from a guardian that is alive, too.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Not used here.", min=0, max=2**32 - 1)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Say how a run's change to production stands; with --resume, bring one left open to an end.

    Whoever died, and wherever: production is then in its old config, read back, or the words say
    what is missing (exit code 4). What has ended is left alone: a second call writes nothing.
    """
    found = _Found.at(run)
    now = found.standing()
    if resume and not now.settled:
        now = found.resume(wait, force)
    by_hand = found.by_hand(now)
    if as_json:
        document = _document(found.place.folder, now) | {"by_hand": by_hand.splitlines()}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(_words(now, by_hand))
    if not now.settled:
        raise typer.Exit(PersonNeeded.exit_code)


@dataclass(frozen=True)
class _Found:
    place: Place

    @classmethod
    def at(cls, run: Path) -> _Found:
        """The commit that belongs to a run. Raises BadInput if there is none."""
        from shadowsim.commit.disk import RealDisk
        from shadowsim.commit.generations import Place
        from shadowsim.commit.hold import STOWED, beside, commit_in
        from shadowsim.rollback.key import installation_key

        for folder in (beside(run), run / STOWED, run):
            found = commit_in(folder)
            if found is not None:
                return cls(Place(RealDisk(), found.absolute(), installation_key()))
        if run.is_dir():
            message = "no change to production was begun here; there is nothing to take back"
        else:
            message = "no folder of a run"
        raise BadInput([Mistake(message, str(run))])

    def standing(self) -> Standing:
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import standing

        return standing(self.place, reach_in(self.place.folder))

    def by_hand(self, now: Standing) -> str:
        """The script by which a person takes back what the run has left to one; "" if none is.

        The commit has ended: no guardian and no `--resume` may touch production any more, since a
        person may be at work there already.
        """
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import left
        from shadowsim.model.change import render_script

        if now.terms is None or now.state != "halted" or now.position in ("old", "gone"):
            return ""
        return render_script(left(now.terms, reach_in(self.place.folder)(now.terms).read()))

    def resume(self, wait_s: float, force: bool) -> Standing:
        """Settle it, after whoever else is about to has had time to."""
        from shadowsim.commit.guardian import patience
        from shadowsim.commit.holder import holding
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import settle

        until_s = time.monotonic() + (0.0 if force else wait_s)
        while True:
            with holding(self.place.folder) as free:
                if free or force:
                    reach = reach_in(self.place.folder)
                    return settle(self.place, reach, "resumed by hand", patience(time.monotonic))
            now = self.standing()
            if now.settled:
                return now
            if time.monotonic() > until_s:
                raise StillHeld(
                    f"{self.place.folder}: its guardian is alive and takes the change back when"
                    " its deadline passes; --force takes it over now"
                )
            time.sleep(POLL_S)


def told(run: Path) -> tuple[bool, str]:
    """Whether the change of a run has been settled, and how it stands in words."""
    try:
        found = _Found.at(run)
    except BadInput:
        return True, "nothing was sent to production"
    now = found.standing()
    return now.settled, _words(now, found.by_hand(now))


def _words(now: Standing, by_hand: str) -> str:
    config = {
        "old": "production has its old config",
        "new": "production has its new config",
        "mixed": "production has neither its old nor its new config",
        "gone": "production is gone with its network",
        "": "nothing was sent to production",
    }[now.position]
    if now.state == "rolled_back" and now.position == "mixed":
        config = "production has the new config without the part that was blamed"
    why = f" ({now.why})" if now.why else ""
    what_next = "" if now.settled else "; 'shadowsim rollback --resume' takes the change back"
    if by_hand:
        what_next = (
            "; the run left it to a person, so --resume leaves it too. This script takes back what"
            f" is left of the change:\n{by_hand.rstrip()}"
        )
    return f"{now.state}{why}: {config}{what_next}"


def _document(folder: Path, now: Standing) -> dict[str, Any]:
    return {
        "commit": str(folder),
        "state": now.state,
        "why": now.why,
        "production": now.position or "untouched",
        "generation": now.generation,
        "change": "" if now.terms is None else now.terms.change.summary,
        "torn": now.log.torn,
        "log": [{"kind": r.kind, **r.data} for r in now.log.records if r.kind != "open"],
    }
