"""Writes docs/reference.md: every route with its parameters and a recorded example."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from reader_code import BY_HAND, PROBES

Json: TypeAlias = Mapping[str, Any]

_HEAD: Final = """\
# Reference

Every route with an example: a request, and the answer of a demo recorder, with lists cut to two items.
Written by `scripts/derive.py` from the routes and from `examples.json`; a test sends each request to a
running recorder and compares the answers. [api.md](api.md) explains conventions,
[openapi.json](openapi.json) has the types of all fields, and `http://127.0.0.1:8000/docs` sends requests from
the browser. Every route but `export` also takes `format` (`json`, `msgpack`) and `times` (`string`:
nanoseconds as strings).
"""
_OF_ALL: Final = ("#/components/parameters/format", "#/components/parameters/times")


def reference_page(document: Json, examples: Json) -> str:
    """The page; ``document`` is the OpenAPI document, ``examples`` are recorded answers by operation."""
    parts = [_HEAD]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parts.append(_section(path, method.upper(), operation, document, examples))
    return "\n".join(parts)


def _section(path: str, method: str, operation: Json, document: Json, examples: Json) -> str:
    name = operation["operationId"]
    lines = [f"## {method} {path}", "", operation["description"], ""]
    if method == "GET" and name not in BY_HAND | PROBES:
        lines += [f"In Python: `Reader.{name}`.", ""]
    parameters = [
        _resolved(parameter, document)
        for parameter in operation.get("parameters", ())
        if parameter.get("$ref") not in _OF_ALL
    ]
    if parameters:
        lines += ["| parameter | type | meaning |", "| --- | --- | --- |"]
        lines += [_row(parameter, document) for parameter in parameters]
        lines.append("")
    example = examples.get(name)
    if example is not None:
        lines += ["```console", f"$ {_command(example)}", "```", "", *_answer(example), ""]
    return "\n".join(lines)


def _row(parameter: Json, document: Json) -> str:
    schema = _target(parameter["schema"], document)
    meaning = str(parameter.get("description") or schema.get("description") or "")
    if "enum" in schema:
        meaning += f" One of {', '.join(f'`{value}`' for value in schema['enum'])}."
    if "default" in schema:
        meaning += f" Default: `{schema['default']}`."
    needed = " Required." if parameter["required"] else ""
    text = f"{meaning.strip()}{needed}".strip().replace("|", "\\|")
    return f"| `{parameter['name']}` | {_type(schema)} | {text} |"


def _type(schema: Json) -> str:
    if "anyOf" in schema:
        return "time" if any(o.get("format") == "date-time" for o in schema["anyOf"]) else "text"
    if "enum" in schema:
        return "name"
    kinds = {"array": "list", "string": "text", "object": "field=value", "integer": "integer"}
    return kinds.get(str(schema.get("type")), str(schema.get("type")))


def _command(example: Json) -> str:
    url = shlex.quote(f"http://127.0.0.1:8000{example['target']}")
    if example["body"] is None:
        return f"curl -s {url}" if example["method"] == "GET" else f"curl -s -X {example['method']} {url}"
    body = shlex.quote(json.dumps(example["body"]))
    method = "-X PUT -H 'If-Match: *' " if example["method"] == "PUT" else ""
    return f"curl -s {method}{url} -H 'Content-Type: application/json' -d {body}"


def _answer(example: Json) -> list[str]:
    if not example["media_type"].endswith("json"):
        return ["```text", *example["answer"], "```"]
    return ["```json", *json.dumps(example["answer"], indent=1, ensure_ascii=False).splitlines(), "```"]


def _target(schema: Json, document: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _resolved(parameter: Json, document: Json) -> Json:
    if "$ref" not in parameter:
        return parameter
    found: Json = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return found
