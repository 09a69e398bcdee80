"""What people write, attacked: scripts, configs, scenarios, and topology files."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shadowsim.errors import BadInput
from shadowsim.model.change import (
    Configs,
    apply,
    difference,
    numbered,
    parse_config,
    parse_script,
    render_script,
)
from shadowsim.model.config import DeviceConfig, render
from shadowsim.record import picture_of
from shadowsim.scenario import Scenario, parse
from shadowsim.scenario.graphs import read_file
from shadowsim.scenario.yamlfile import read_yaml
from torture import seeds
from torture.mutate import (
    NAMES,
    SHELL,
    as_yaml,
    mutated_bytes,
    mutated_text,
    mutated_value,
    strange,
    varied_value,
)
from torture.watch import Broken, Target

# ---- scripts and configs

WORDS = (
    *NAMES, "device ", "device A\n", "interface to-B\n", " ip ospf cost ", "no ", "!\n", "exit\n",
    "#", "hostname A\n", "hostname ", "ip access-list extended X\n", " permit ip any any\n",
    "2147483647 permit ip any any\n", "no permit ip any any\n", "no 10\n", "shutdown", "any",
    "eq 443",
    "host 10.0.0.1", "0.0.0.255", "255.255.255.255", "10.0.0.0/33", "10.0.0.1/24", "0.0.0.0/0",
    "range 9 8", "router bgp 65000\n", "network 10.0.0.0/8\n", "description ", "ge 0", "le 32",
    "9" * 18, "9" * 19, "9" * 5000, "\v", "\f", "\x1c", "\x85", "\u2029", "\u00a0", "\t",
)  # fmt: skip


def script(folder: Path) -> Target:
    """Change scripts; what is read is rendered, read again, applied, and taken back."""
    known = {c.hostname: c for c in map(parse_config, seeds.configs()[:3])}
    base = {name: DeviceConfig(name, {}) for name in ("A", "B", "C", "core-1.lab")} | known

    def make(rng: random.Random) -> str:
        if rng.random() < 0.5:
            return _composed(rng)
        return mutated_text(rng, rng.choice(seeds.scripts()), (*WORDS, rng.choice(seeds.scripts())))

    def attack(text: str) -> None:
        commands = parse_script(text)
        if parse_script(render_script(commands)) != commands:
            raise Broken("parse_script(render_script(c)) is not c")
        _check_change(base, [c for c in commands if c.device in base])

    return Target(make, attack)


BLOCKS = {  # the lines that may stand under each line that opens something
    "interface to-B": ("description a link", "ip ospf cost 500", "mtu 9000", "shutdown",
                       "ip access-group WEB in", "ip access-group MGMT out",
                       "rate-limit output 10000000"),
    "ip access-list extended WEB": ("10 permit tcp 10.0.0.0 0.0.0.255 any eq 443",
                                    "deny udp any host 10.0.1.1 range 5000 6000",
                                    "permit ip any any", "20 deny icmp any any"),
    "router bgp 65000": ("network 10.0.1.0/24 local-preference 200", "network 10.0.0.0/8",
                         "prefix-list OUT out", "prefix-list PL in", "maximum-prefix 100"),
    "!": ("table-size 512", "qos class critical priority 0", "management ssh access-class WEB",
          "management http", "ip prefix-list OUT seq 5 permit 10.0.0.0/8 ge 16 le 24",
          "ip route 10.9.0.0/16 Null0", "ip route 10.8.0.0/16 to-B"),
}  # fmt: skip


def _composed(rng: random.Random) -> str:
    """Good lines where they belong, some with `no` before them, a few with another word."""
    lines = ["device A"]
    for _ in range(rng.choice((1, 2, 4, 8))):
        opener = rng.choice(tuple(BLOCKS))
        removed = opener != "!" and rng.random() < 0.1
        lines.append(f"no {opener}" if removed else _varied(rng, opener))
        for _ in range(0 if removed else rng.randrange(4)):
            line = _varied(rng, rng.choice(BLOCKS[opener]))
            lines.append(f"no {line}" if rng.random() < 0.25 else line)
    return "\n".join(lines)


def _varied(rng: random.Random, line: str) -> str:
    words = line.split()
    numbers = [i for i, word in enumerate(words) if word.isdigit()]
    if numbers and rng.random() < 0.4:
        words[rng.choice(numbers)] = str(rng.choice((0, 1, 7, 10, 20, 99, 65535, 2**31 - 1)))
    if rng.random() < 0.03:
        words[rng.randrange(len(words))] = rng.choice(WORDS).strip()
    return " ".join(words)


def _check_change(before: Configs, commands: Any) -> None:
    after = apply(before, commands)
    for config in after.values():
        _check_config(config)
    if apply(before, difference(before, after)) != after:
        raise Broken("apply(a, difference(a, b)) is not b")
    if apply(after, difference(after, before)) != before:
        raise Broken("the rollback does not lead back")
    fixed = numbered(before, commands)
    if apply(apply(before, fixed), fixed) != apply(before, fixed):
        raise Broken("applied twice it is something else")


def _check_config(config: DeviceConfig) -> None:
    again = parse_config(render(config))
    if again != config or again.digest != config.digest:
        raise Broken("parse_config(render(c)) is not c")


def config(folder: Path) -> Target:
    """Config texts; what is read is rendered and read again, and its parts are looked at."""

    def make(rng: random.Random) -> str:
        return mutated_text(rng, rng.choice(seeds.configs()), (*WORDS, rng.choice(seeds.configs())))

    def attack(text: str) -> None:
        found = parse_config(text)
        _check_config(found)
        for part in ("interfaces", "access_lists", "prefix_lists", "static_routes", "bgp", "qos",
                     "management", "table_size"):  # fmt: skip
            getattr(found, part)

    return Target(make, attack)


# ---- scenarios

YAML = (
    f"!!python/object/apply:os.system ['{SHELL}']", f"!!python/object/new:os.system [{SHELL}]",
    "!!python/name:os.system", "!!python/module:os", "!ruby/object:Gem::Installer", "!!binary aGk=",
    "!!set {a, b}", "!!timestamp 2001-01-01", "!!omap [a: 1]", "!!str 1", "!!int x", "!!float 1",
    "!<tag:yaml.org,2002:str> x", "! x", "&a [*a, *a]", "&a", "*a", "<<: *a", "<<: {a: 1}",
    "? [a]\n: b",
    "a: &a [x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nd: [*c,*c,*c]\n",
    "[" * 40, "{" * 40, "[" * 20_000, "{a: " * 5000, "- " * 3000, "? " * 3000, "\n- - - - - x", "|",
    ">",
    "|2\n", ">-\n", "---\n", "...\n", "%YAML 9.9\n---\n", "%TAG ! tag:x,2000:\n---\n", "\t", ": ",
    " #",
    '"\\ud800"', '"\\x00"', '"\\e[31m"', '"\\U00110000"', '"\\N"', "0x" + "f" * 50, "0o777",
    "1e999",
    ".nan", "-.inf", "1_000", "0b1", "12:30:45", "9" * 31, "9" * 5000, "~", "null", "yes", "'", '"',
    "]",
    "}", ",", "\r", "\x85", "\u2028", "\ufeff", "\ud800", "a" * 1025 + ": 1", "\n" * 1000,
)  # fmt: skip


def _yaml_case(rng: random.Random) -> bytes:
    """The text of a scenario with mistakes in its values, or in its text, or in its bytes."""
    kind = rng.random()
    if kind < 0.25:
        return _utf8(as_yaml(varied_value(rng, json.loads(rng.choice(seeds.scenario_values())))))
    if kind < 0.5:
        value = json.loads(rng.choice(seeds.scenario_values()))
        value = mutated_value(rng, value, seeds.scenario_values())
        return _utf8(as_yaml(value))
    text = rng.choice(seeds.scenario_texts())
    if kind < 0.9:
        return _utf8(mutated_text(rng, text, (*YAML, *NAMES, rng.choice(seeds.scenario_texts()))))
    return mutated_bytes(rng, text.encode())


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


LONG_KEY = re.compile(r'"(?:[^"\\]|\\.){1000,}": ')


def yaml_text(folder: Path) -> Target:
    """The YAML reader alone, on deeper and wilder texts; its values are written and read again."""

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            text = "".join(rng.choice((*YAML, "\n", "  ", "a: ", "- ", "x")) for _ in range(9))
            return _utf8(text)
        return _yaml_case(rng)

    def attack(raw: bytes) -> None:
        values = read_yaml(raw, file="x.yml").values
        written = as_yaml(values)
        if LONG_KEY.search(written):  # YAML wants such a one behind a question mark
            return
        try:
            again = read_yaml(written).values
        except Exception as error:
            raise Broken(f"written again it is refused: {error}"[:300]) from error
        if repr(again) != repr(values):  # by their text, for nan is not nan
            raise Broken("written and read again it is something else")

    return Target(make, attack)


def scenario(folder: Path) -> Target:
    """Whole scenarios; the configs and the change of what is read come back from their texts."""
    (folder / "lab.clab.yml").write_text(seeds.CLAB, encoding="utf-8")
    (folder / "net.graphml").write_text(seeds.GRAPHML, encoding="utf-8")
    (folder / "out.graphml").unlink(missing_ok=True)
    (folder / "out.graphml").symlink_to("/etc/passwd")
    files = ("lab.clab.yml", "net.graphml", "out.graphml", "../x.graphml", "/etc/passwd.graphml",
             "\x00.graphml", "a/../../x.clab.yml", f"{folder}/net.graphml", ".graphml",
             "//x.graphml",
             "x" * 300 + ".graphml", "x/" * 3000 + ".graphml")  # fmt: skip

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            value = json.loads(rng.choice(seeds.scenario_values()[:2]))
            value["topology"] = {"file": rng.choice(files)}
            return _utf8(as_yaml(mutated_value(rng, value) if rng.random() < 0.5 else value))
        return _yaml_case(rng)

    def attack(raw: bytes) -> None:
        _check_scenario(parse(raw, file=str(folder / "x.yml")))

    for text in seeds.good_texts():  # so that kernels are compiled before the watch is on
        with contextlib.suppress(BadInput):
            parse(text)
    return Target(make, attack, slow_s=10.0)


def _check_scenario(found: Scenario) -> None:
    for config in list(found.configs.values())[:5]:
        _check_config(config)
    commands = found.change.commands
    if parse_script(render_script(commands)) != commands:
        raise Broken("parse_script(render_script(c)) is not c")
    apply(found.configs, commands)
    said = [found.name, found.summary, found.change.summary, *map(str, commands)]
    json.dumps([*said, picture_of(found.topology)], ensure_ascii=False).encode()


# ---- topology files

XML = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;", '<!ENTITY x "y">',
    "<!doctype a>",
    '<!DOCTYPE a [<!ENTITY a "aaaaa"><!ENTITY b "&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
    '<!DOCTYPE a [<!ENTITY a "' + "a" * 50_000 + '">]>', "&a;" * 5000, "&#0;", "&#x41;", "&#xD800;",
    "&lt;",
    '<?xml version="1.1"?>', '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="x"?>',
    "<?php x ?>", "<!-- -->", "<!--", "<![CDATA[<!DOCTYPE a>]]>", "]]>", "<a>" * 5000, "</graph>",
    '<xi:include href="/etc/passwd" xmlns:xi="http://www.w3.org/2001/XInclude"/>', 'xmlns="x"',
    '<node id="0"/>', '<node id="9"/>', '<node/>', '<node id="h"><graph/></node>',
    '<edge source="0"/>',
    '<edge source="0" target="0"/>', '<edge source="7" target="8"/>', '<hyperedge/>',
    '<port name="x"/>',
    '<data key="d9">1</data>', '<data>1</data>', '<data key="d1"><x/></data>',
    '<data key="d2">x</data>',
    '<data key="d1">' + "P" * 5000 + "</data>", 'edgedefault="directed"', 'attr.type="boolean"',
    'attr.type="int"', 'attr.type="x"', 'attr.name="x"', 'for="all"', 'for="edge"',
    'parse.nodeids="x"',
    '<key id="d0" for="node" attr.name="label" attr.type="long"/>', "<default>x</default>", "1e400",
    "nan", "-inf", "-1", "9" * 400, '="', "'", "<", ">", "&", "/>", *NAMES,
)  # fmt: skip


def graphml(folder: Path) -> Target:
    """GraphML files: their bytes, their texts, and many nodes."""

    def make(rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.1:
            return mutated_bytes(
                rng, seeds.GRAPHML.encode(rng.choice(("utf-8", "utf-16", "utf-8-sig")))
            )
        if kind < 0.12:
            return _many_nodes(rng).encode()
        return _utf8(mutated_text(rng, seeds.GRAPHML, XML))

    return Target(make, _file_attack(folder, "x.graphml"))


def _many_nodes(rng: random.Random) -> str:
    """A large file in which much is the same."""
    count = rng.choice((100, 1000, 5000))
    label = rng.choice(("Paris", "", "any", "\u00e9", "x" * 60, "a-2"))
    nodes = "".join(f'<node id="{i}"><data key="d1">{label}</data></node>' for i in range(count))
    edges = "".join(f'<edge source="0" target="{i * 7 % count}"/>' for i in range(count))
    head, _, tail = seeds.GRAPHML.partition('<node id="0">')
    return f"{head}{nodes}{edges}{tail[tail.index('</graph>') :]}"


def containerlab(folder: Path) -> Target:
    """containerlab files: their values, and their texts."""
    import yaml

    value = json.dumps(yaml.safe_load(seeds.CLAB))

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.6:
            return _utf8(as_yaml(mutated_value(rng, json.loads(value), (value,))))
        if rng.random() < 0.1:
            return _utf8(as_yaml({"topology": {"nodes": {"a": {}}, "links": [strange(rng)] * 500}}))
        return _utf8(mutated_text(rng, seeds.CLAB, (*YAML, *NAMES)))

    return Target(make, _file_attack(folder, "x.clab.yml"))


def _file_attack(folder: Path, name: str) -> Callable[[bytes], None]:
    path = folder / name

    def attack(raw: bytes) -> None:
        path.write_bytes(raw)
        wiring = read_file(name, folder, name)
        devices = [device.name for device in wiring.devices]
        if len(set(devices)) != len(devices) and name.endswith(".graphml"):
            raise Broken("two devices have one name")
        for cable in wiring.cables:
            if cable.a not in devices or cable.b not in devices:
                raise Broken("a cable ends at no device")

    return attack
