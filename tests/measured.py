"""Programs of ours that run in processes of their own, with what coverage sees of them.

An agent runs on the system's Python, where there is no coverage, and a controller forgets the
environment that it was started with. While coverage is measured, some of them run on the Python
of the tests instead. Nothing else is changed: namespaces, Mininet, Open vSwitch are the real ones.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coverage import Coverage

MININET = "/usr/lib/python3/dist-packages"  # where Debian has it
ROOT = Path(__file__).parents[1]
PROGRAM = """#!{python} -I
import os, runpy, sys
import coverage
sys.path += {packages!r}
os.chdir({root!r})
measured = coverage.Coverage(config_file={config!r}, data_suffix=True)
measured.start()
module = "-m" in sys.argv
sys.argv = [word for word in sys.argv[1:] if not word.startswith("-")]
sys.path.insert(0, {root!r} if module else os.path.dirname(sys.argv[0]))
run = runpy.run_module if module else runpy.run_path
run(sys.argv[0], run_name="__main__")
"""
CONFIG = """[run]
data_file = {root}/.coverage
include = {root}/shadowsim/network/emulated/*
concurrency = {concurrency}
patch = _exit
"""


def wanted() -> bool:
    """Whether it is measured now. What root has measured nobody else could read."""
    return Coverage.current() is not None and os.geteuid() == 0


def python(folder: Path, concurrency: str, *packages: str) -> str:
    """A program in `folder`, to be started in place of a Python with a script or module of ours.

    `packages` are folders where modules are looked for last.
    """
    config, program = folder / "measured.ini", folder / "measured-python"
    config.write_text(CONFIG.format(root=ROOT, concurrency=concurrency))
    words = {"python": sys.executable, "root": str(ROOT), "config": str(config)}
    program.write_text(PROGRAM.format(packages=packages, **words))
    program.chmod(0o755)
    return str(program)
