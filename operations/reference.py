"""The reference page of stack files, written from their JSON schema, which the models publish."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from components import config
from components.base import PROJECT
from components.parts import PARTS

_HEAD = """\
<!-- Written by `cygnet schema --markdown`; edit the models in components/, not this page. -->

# What a stack file says

A stack is one service. Its file is `stacks/Pulumi.<stack>.yaml`, with one key per part under `config`. Every key may be
left out; it then has the default told here. A key that is not listed is an error, and so is a value that does not fit:
`pulumi preview` lists all findings at once, before anything is changed.

```yaml
config:
  cygnet:auth:
    accounts: [ada, grace]
    seats: 20
  cygnet:gateway:
    hostname: analysis.example.org
```

`cygnet schema` prints this as a JSON schema, for editors that complete and check YAML. A value marked *secret* is
written by `pulumi config set --stack STACK --secret --path 'cygnet:PART.KEY'`, which encrypts it.
"""

_FORMATS = {"ipv4network": "IPv4 network", "ipv4": "IPv4 address"}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


class Row(NamedTuple):
    """One key, as the page shows it."""

    key: str
    value: str
    default: str
    meaning: str


def page() -> str:
    """The whole page."""
    schema = config.schema()
    sections = [_HEAD]
    for key, reference in schema["properties"]["config"]["properties"].items():
        lines = [
            f"\n## `{key}`\n\n{PARTS[key.removeprefix(f'{PROJECT}:')].what}.\n",
            "| Key | Value | Default | What it is |\n| --- | --- | --- | --- |",
            *(f"| `{row.key}` | {row.value} | {row.default} | {row.meaning} |" for row in rows(reference, schema)),
        ]
        sections.append("\n".join(lines) + "\n")
    return "".join(sections)


def rows(node: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[Row]:
    """The keys of a model, and of the models in it with their path, such as `groups.worker.count`."""
    model = _resolved(node, schema)
    for name, field in model["properties"].items():
        inner, key = _resolved(field, schema), f"{path}{name}"
        element, named = _resolved(inner.get("items", {}), schema), _resolved(_of_each_name(inner), schema)
        if "properties" in inner and "secure" not in inner["properties"]:
            yield from rows(inner, schema, f"{key}.")
            if further := inner.get("additionalProperties"):
                yield from rows(further, schema, f"{key}.NAME.")
            continue
        default = "must be given" if name in model.get("required", ()) else _default(field)
        yield Row(key, _value(inner), default, _cell(field.get("description", "")))
        if "properties" in element:
            yield from rows(element, schema, f"{key}[].")
        if "properties" in named:
            yield from rows(named, schema, f"{key}.NAME.")


def _of_each_name(node: dict[str, Any]) -> dict[str, Any]:
    """What stands under each key of a mapping whose keys are names that a site chooses; empty for other nodes."""
    return next(iter(node.get("patternProperties", {}).values()), {})


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The node itself, or what it refers to; of "this or nothing", this."""
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return found
    given = [one for one in node.get("anyOf", []) if one.get("type") != "null"]
    return _resolved(given[0], schema) if len(given) == 1 else node


def _value(node: dict[str, Any]) -> str:
    """What may stand there.

    >>> _value({"type": "integer", "minimum": 1, "maximum": 65535})
    'whole number, 1 to 65535'
    >>> _value({"type": "array", "items": {"type": "string", "format": "ipv4network"}})
    'list of: IPv4 network'
    """
    if "secure" in node.get("properties", {}):
        return "text, *secret*"
    if "enum" in node or "const" in node:
        return " or ".join(f"`{one}`" for one in node.get("enum", [node.get("const")]))
    if "anyOf" in node:
        return " or ".join(_value(one) for one in node["anyOf"] if one.get("type") != "null")
    if node["type"] == "object":
        each = _of_each_name(node)
        article = "" if each.get("type") == "object" else "a "
        is_value = each.keys() & {"type", "anyOf"}
        return f"names, each with {article}{_value(each)}" if is_value else "names, each with the keys below"
    if node["type"] == "array":
        return f"list of: {_value(node['items'])}" if "type" in node["items"] else "list"
    kind = _FORMATS.get(node.get("format", "")) or _TYPES[node["type"]]
    return f"{kind}{_limits(node)}"


def _limits(node: dict[str, Any]) -> str:
    low, above, high = node.get("minimum"), node.get("exclusiveMinimum"), node.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    said = [
        f"{words} {limit}"
        for words, limit in (("at least", low), ("more than", above), ("at most", high))
        if limit is not None
    ]
    return f", {', '.join(said)}" if said else ""


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default in (None, [], {}):
        return "none"
    if isinstance(default, list):
        return _cell(f"`[{', '.join(map(str, default))}]`")
    return _cell(f"`{default if isinstance(default, str) else json.dumps(default)}`")


def _cell(text: str) -> str:
    """Text that does not end its cell of the table."""
    return text.replace("|", "\\|")
