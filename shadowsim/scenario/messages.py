"""Pydantic's errors to mistakes in our own words: one line, with what is wanted and an example.

All that is wanted at a place is read from the JSON Schema, so that one sentence fits every type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shadowsim.errors import Mistake, choices
from shadowsim.model.faults import FAULT_KINDS
from shadowsim.scenario.spec import INTENT_KINDS, SOURCES, STARTS
from shadowsim.scenario.yamlfile import Document, Path, shorten

MAX_MISTAKES = 100
TYPE_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
SHAPES: dict[type, tuple[str, ...]] = {
    dict: ("object",),
    list: ("array",),
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
}
BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}

# What may stand beside the one key of several.
COMPANIONS = {
    SOURCES: ("links", "defaults", "overrides", "hosts"),
    INTENT_KINDS: (),
    FAULT_KINDS: (*STARTS, "for_s", "in"),
    STARTS: (*FAULT_KINDS, "for_s", "in"),
}


def place(path: Path) -> str:
    """A path as people read it: `topology.links[2].rate_mbps`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shorten(step)}"
    return text.lstrip(".")


def describe(value: Any) -> str:
    """A value that was given, in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{shorten(value)}'" if value else "an empty text"
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else f".{value}".replace(".-", "-.")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "nothing" if value is None else str(value)


def explain(error: ValidationError, document: Document, schema: Mapping[str, Any]) -> list[Mistake]:
    """One mistake per error, at its line."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    found = [_explain_one(detail, document, schema) for detail in details[:MAX_MISTAKES]]
    if len(details) > MAX_MISTAKES:
        more = f"and {len(details) - MAX_MISTAKES} more mistakes"
        found.append(Mistake(more, document.file, max(mistake.line or 0 for mistake in found)))
    return found


def choice_mistakes(document: Document) -> list[Mistake]:
    """Where exactly one of several keys is wanted: the mappings with none or more of them."""
    found = []
    for path, value, kinds in _choosers(document.values):
        given = [kind for kind in kinds if kind in value]
        strange = [key for key in value if key not in kinds and key not in COMPANIONS[kinds]]
        if len(given) > 1:
            listed = ", ".join(given)
            found.append((path, f"{place(path)} has {listed} at once; wanted exactly one of them"))
        elif not given and not strange:
            found.append((path, f"{place(path)} wants exactly one of: {', '.join(kinds)}"))
    return [document.mistake(path, message) for path, message in found[:MAX_MISTAKES]]


def _choosers(values: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any], tuple[str, ...]]]:
    topology = values.get("topology")
    if isinstance(topology, dict):
        yield ("topology",), {k: v for k, v in topology.items() if v is not None}, SOURCES
    for key, kinds in (("intents", INTENT_KINDS), ("faults", FAULT_KINDS), ("faults", STARTS)):
        items = values.get(key)
        for i, item in enumerate(items if isinstance(items, list) else ()):
            if item is None or isinstance(item, dict):
                yield (key, i), item or {}, kinds


def _explain_one(detail: ErrorDetails, document: Document, schema: Mapping[str, Any]) -> Mistake:
    kind = detail["type"]
    path, value = _follow(detail["loc"], document.values)
    if kind == "missing":
        key = str(detail["loc"][-1])
        around = path[:-1] if path and path[-1] == key else path
        return _missing(key, around, document, schema)
    if kind == "extra_forbidden":
        key, around = str(path[-1]), path[:-1]
        valid = _keys(_variants(schema, around, document.values))
        inside = f" in {place(around)}" if around else ""
        message = f"unknown key '{shorten(key)}'{inside}; {choices(key[:200], valid)}"
        return document.mistake(path, message)
    return document.mistake(path, _wrong(path, value, _variants(schema, path, document.values)))


def _missing(key: str, around: Path, document: Document, schema: Mapping[str, Any]) -> Mistake:
    wanted = _wanted(_variants(schema, (*around, key), document.values))
    if (*around, key) in document.lines:
        path = (*around, key)
        return document.mistake(path, f"{place(path)} has no value; wanted {wanted}")
    inside = f" in {place(around)}" if around else ""
    return document.mistake(around, f"missing key '{key}'{inside}; wanted {wanted}")


def _wrong(path: Path, value: Any, variants: list[dict[str, Any]]) -> str:
    valid = [name for variant in variants for name in _enum(variant)]
    if isinstance(value, str) and valid and len(variants) == 1:
        return f"{place(path)}: '{shorten(value)}' is unknown; {choices(value[:200], valid)}"
    message = f"{place(path)}: wanted {_wanted(variants)}, got {describe(value)}"
    text = {node.get("type") for node in variants} == {"string"}
    return f"{message}; quote it: '{_flow(value)}'" if text and _is_scalar(value) else message


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float)


def _follow(loc: Iterable[int | str], values: Any) -> tuple[Path, Any]:
    """The path in the file, and the value there; steps of pydantic's own are left out."""
    path: Path = ()
    for step in loc:
        if isinstance(values, dict) and step in values:
            values = values[str(step)]
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            values = values[step]
        else:
            continue
        path = (*path, step)
    return path, values


def _variants(schema: Mapping[str, Any], path: Path, values: Any) -> list[dict[str, Any]]:
    """What the schema allows at a path, of the variants that the values above it chose."""
    nodes = _resolve(schema, schema)
    for step in path:
        nodes = [
            found
            for node in _meant(nodes, values)
            for child in _children(node, step)
            for found in _resolve(child, schema)
        ]
        values = _child(values, step)
    return _meant(nodes, values)


def _meant(nodes: list[dict[str, Any]], value: Any) -> list[dict[str, Any]]:
    """The variant of the value's own shape, all of them if there is none."""
    return _of_shape(nodes, value) or nodes


def _of_shape(nodes: list[dict[str, Any]], value: Any) -> list[dict[str, Any]]:
    return [node for node in nodes if node.get("type") in SHAPES.get(type(value), ())]


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variants of a node without references; what stands beside a reference is kept."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return [found | _beside(node) for found in _resolve(target, schema)]
    union = None if "properties" in node else node.get("anyOf") or node.get("oneOf")
    if union:
        return [
            found | _beside(node)
            for variant in union
            if variant.get("type") != "null"
            for found in _resolve(variant, schema)
        ]
    return [dict(node)]


def _beside(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: node[key] for key in ("description", "examples") if key in node}


def _children(node: Mapping[str, Any], step: str | int) -> Iterator[Mapping[str, Any]]:
    if isinstance(step, int):
        if isinstance(node.get("items"), dict):
            yield node["items"]
    elif step in node.get("properties", {}):
        yield node["properties"][step]
    elif isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]


def _child(values: Any, step: str | int) -> Any:
    try:
        return values[step]
    except (KeyError, IndexError, TypeError):
        return None


def _keys(nodes: list[dict[str, Any]]) -> list[str]:
    return [key for node in nodes for key in node.get("properties", {})]


def _wanted(nodes: list[dict[str, Any]]) -> str:
    """What would be right, with an example: `a number above 0 (such as 100)`."""
    phrases = list(dict.fromkeys(map(_phrase, nodes)))
    example = next((e for n in nodes for e in n.get("examples", ()) if _of_shape(nodes, e)), None)
    such_as = "" if example is None else f" (such as {_flow(example)})"
    return " or ".join(phrases) + such_as


def _phrase(node: Mapping[str, Any]) -> str:
    if names := _enum(node):
        return "one of: " + ", ".join(names)
    if "x-wanted" in node:
        return str(node["x-wanted"])
    words = TYPE_WORDS.get(node.get("type", ""), "something else")
    if node.get("multipleOf") == 2:
        words = words.replace("whole", "whole even")
    if node.get("minItems") and node.get("minItems") == node.get("maxItems"):
        words += f" of {node['minItems']}"
    elif node.get("minItems") or node.get("minLength"):
        words += " that is not empty"
    return f"{words} {_range(node)}".strip()


def _enum(node: Mapping[str, Any]) -> list[str]:
    return list(node.get("enum", [node["const"]] if "const" in node else []))


def _range(node: Mapping[str, Any]) -> str:
    if "minimum" in node and "maximum" in node:
        return f"from {node['minimum']:,} to {node['maximum']:,}"
    return " and ".join(f"{word} {node[key]:,}" for key, word in BOUNDS.items() if key in node)


def _flow(value: Any) -> str:
    """A value as one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return '"' + text.replace("\n", "\\n") + '"' if "\n" in text else text
