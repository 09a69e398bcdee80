"""Dynamic network shadowing and predictive rollback: a research testbed."""

from __future__ import annotations

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__version__ = "0.1.0"


def _tell_gymnasium() -> None:
    """Have `gymnasium.make("shadowsim:shadowsim/ChangeRollback-v0")` find the environment."""
    from gymnasium.envs.registration import register

    register(
        id="shadowsim/ChangeRollback-v0",
        entry_point="shadowsim.env.env:ChangeRollback",
        vector_entry_point="shadowsim.env.vector:ChangeRollbackVector",
    )


class _OnceGymnasiumIsThere:
    """Tells gymnasium when it is imported, since it asks nobody, and must not be imported here."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        from importlib.util import find_spec  # slow to load, and most programs need none of it

        _sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_tell(module: ModuleType) -> None:
                load(module)
                _tell_gymnasium()

            spec.loader.exec_module = load_and_tell  # type: ignore[method-assign]
        return spec


if "gymnasium" in _sys.modules:
    _tell_gymnasium()
else:
    _sys.meta_path.insert(0, _OnceGymnasiumIsThere())
