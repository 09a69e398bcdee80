"""Config digests of production and of the shadow, as they are seen, to how far one is behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shadowsim.model.change import Configs


class ConfigLag:
    """From a write of production's config to the shadow having it, per device."""

    def __init__(self, configs: Configs) -> None:
        self._digest = {name: config.digest for name, config in configs.items()}
        self._first = dict(self._digest)
        self._since_s: dict[str, float] = {}
        self._worst_s: float | None = None

    @property
    def changed(self) -> frozenset[str]:
        """The devices whose config is not what it was at the start."""
        return frozenset(n for n, digest in self._digest.items() if digest != self._first.get(n))

    @property
    def waiting(self) -> frozenset[str]:
        """The devices whose change is not in the shadow yet."""
        return frozenset(self._since_s)

    def saw(self, running: Configs, at_s: float, ages_s: Mapping[str, float]) -> None:
        """Production's configs as they were read at this time, and how old they were by then.

        One of unknown age counts from now.
        """
        for name, config in running.items():
            if config.digest != self._digest.get(name):
                self._digest[name] = config.digest
                self._since_s.setdefault(name, at_s - ages_s.get(name, 0.0))

    def arrived(self, devices: Collection[str], at_s: float, ages_s: Mapping[str, float]) -> None:
        """The shadow has, on these devices, what production has and the trial.

        Of real networks the age says more: their clock may be behind the wall clock.
        """
        for name in self.waiting & frozenset(devices):
            lag_s = max(at_s - self._since_s.pop(name), ages_s.get(name, 0.0))
            self._worst_s = max(lag_s, self._worst_s or 0.0)

    def worst_s(self, at_s: float) -> float | None:
        """The longest of all changes, one that has not arrived counted until now; None if none."""
        waiting = [at_s - since_s for since_s in self._since_s.values()]
        return max([*waiting, *([] if self._worst_s is None else [self._worst_s])], default=None)
