"""The README's tour prints what it shows. `python tests/test_readme.py` writes it anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<shown>.*?)```", re.S)


def run_tour(folder: Path) -> list[tuple[str, str, str]]:
    """(command, what the README shows, what it prints) of every command, in one folder."""
    for name in ("scenarios", "tests"):
        (folder / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COLUMNS": "100", "SHADOWSIM_KEY": str(folder / "key")}
    found = []
    for match in BLOCK.finditer(README.read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-c", match["command"]],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
        found.append((match["command"], match["shown"], printed))
    return found


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    return run_tour(tmp_path_factory.mktemp("tour"))


def test_every_command_prints_what_the_readme_shows(tour: list[tuple[str, str, str]]) -> None:
    assert len(tour) >= 8
    for command, shown, printed in tour:
        assert printed == shown, command


def test_the_scenario_in_the_readme_is_valid() -> None:
    from shadowsim.scenario import parse

    text = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert text is not None
    scenario = parse(text[1], file=str(README))
    assert scenario.name == "my-drain"


def _write() -> None:
    import tempfile

    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for command, shown, printed in run_tour(Path(folder)):
            block = f"```console\n$ {command}\n"
            text = text.replace(f"{block}{shown}```", f"{block}{printed}```")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write()
