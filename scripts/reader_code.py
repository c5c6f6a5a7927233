"""Writes the part of the client's reader that follows from the routes: methods, and types of records."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from api.http.presentation import is_time_name

Json: TypeAlias = Mapping[str, Any]

BY_HAND: Final = frozenset({"metrics_history", "export"})
"""Operations that ``Reader`` has under a method of its own."""
PROBES: Final = frozenset({"live", "ready"})
"""Operations for orchestrators."""
_UNSEEN: Final = frozenset({"cursor", "format", "times"})
"""Parameters that the reader sets itself, or that it does not need."""
_MAX_ARGUMENTS: Final = 8
"""Limit of ruff for a function."""
_SCALARS: Final = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None"}
_HEAD: Final = '''"""{purpose}

Written by ``scripts/derive.py`` from the routes of the API.
"""

from __future__ import annotations
'''


def reader_files(document: Json, folder: Path) -> Iterator[tuple[Path, str]]:
    """Both modules with their text; ``document`` is the OpenAPI document."""
    code = _ReaderCode(document)
    routes = code.routes()
    for name, text in (("_routes.py", routes), ("records.py", code.records())):
        yield folder / name, formatted(text, folder / name)


def formatted(text: str, path: Path) -> str:
    """The text of a module as ruff formats it."""
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--select=I,F401", "--fix", "--quiet"], ["format"]):
        done = subprocess.run(
            [str(ruff), *command, f"--stdin-filename={path}", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


class _ReaderCode:
    """Turns schemas into types and operations into methods."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._schemas: Json = document["components"]["schemas"]
        self._used: dict[str, Json] = {}
        self._ignored = {"A002"}  # `id`

    def routes(self) -> str:
        """The module of the methods."""
        methods = []
        for path, item in self._document["paths"].items():
            operation = item.get("get")
            if operation and operation["operationId"] not in BY_HAND | PROBES:
                methods.append(self._method(path, operation))
        imports = "\n".join(f"    {name}," for name in sorted(self._used))
        return (
            f"# ruff: noqa: {', '.join(sorted(self._ignored))} - the parameters of the routes\n"
            + _HEAD.format(
                purpose="Methods of :class:`~decahertz_client.Reader`, one for each route that reads."
            )
            + "from typing import TYPE_CHECKING, Any\n"
            + "from decahertz_client._pages import Pages\n"
            + "from decahertz_client._rest import Session, Time, Values, quoted\n"
            + f"if TYPE_CHECKING:\n    from decahertz_client.records import (\n{imports}\n    )\n\n"
            + 'class Routes:\n    """The routes that read; a method has the name of its operation in the '
            + 'OpenAPI document."""\n\n'
            + "    def __init__(self, session: Session) -> None:\n        self._session = session\n\n"
            + "\n".join(methods)
        )

    def records(self) -> str:
        """The module of the types that :meth:`routes` used."""
        written: dict[str, str] = {}
        while missing := sorted(self._used.keys() - written.keys()):
            for name in missing:
                written[name] = self._record(name, self._used[name])
        aliases = [text for name, text in sorted(written.items()) if "enum" in self._used[name]]
        classes = [text for name, text in sorted(written.items()) if "enum" not in self._used[name]]
        return (
            _HEAD.format(purpose="Types of the records that :class:`~decahertz_client.Reader` returns.")
            + "from typing import Any, Literal, TypedDict\n\n"
            + "\n".join(aliases)
            + "\n"
            + "\n\n".join(classes)
        )

    def _record(self, name: str, schema: Json) -> str:
        if "enum" in schema:
            values = ", ".join(f'"{value}"' for value in schema["enum"])
            return f'{name} = Literal[{values}]\n"""{_sentence(schema, name)}"""'
        lines = [f"class {name}(TypedDict):", _docstring(_sentence(schema, name), 4), ""]
        for field, value in schema.get("properties", {}).items():
            kind = self._type(value)
            if is_time_name(field):
                kind = kind.replace("int | str", "int")  # the reader asks for integers
            lines.append(f"    {field}: {kind}")
            if value.get("description"):
                lines.append(_docstring(value["description"], 4))
        return "\n".join(lines)

    def _method(self, path: str, operation: Json) -> str:
        parameters = [self._resolved(parameter) for parameter in operation.get("parameters", ())]
        keys = any(_is_key(parameter) for parameter in parameters)
        parameters = [p for p in parameters if p["name"] not in _UNSEEN and not _is_key(p)]
        needed = [p for p in parameters if p["in"] == "path"]
        others = sorted((p for p in parameters if p["in"] != "path"), key=lambda p: not p["required"])
        response = next(iter(operation["responses"]["200"]["content"].values()))["schema"]
        page = self._page_item(response)
        signature = ["self", *(f"{p['name']}: str" for p in needed), *(["*"] if others else [])]
        signature += [f"{p['name']}: {self._argument(p)}" for p in others]
        signature += ["**key: Values"] if keys else []
        if len(needed) + len(others) + keys > _MAX_ARGUMENTS:
            self._ignored.add("PLR0913")
        result = f"Pages[{page}]" if page else self._type(response)
        target = re.sub(r"{(\w+)}", r"{quoted(\1)}", path)
        target = f'f"{target}"' if needed else f'"{target}"'
        sent = [p["name"] for p in others if not (page and p["name"] == "limit")]
        pairs = ", ".join([f'"{name}": {name}' for name in sent] + (["**key"] if keys else []))
        query = f"{{{pairs}}}"
        if page:
            limit = next(p["schema"]["maximum"] for p in others if p["name"] == "limit")
            body = [f'return Pages(self._session, {target}, {query}, limit, {limit}, "{page}")']
        else:
            body = [f"answer: {result} = self._session.get({target}, {query})", "return answer"]
        name = operation["operationId"]
        lines = [f"    def {name}({', '.join(signature)}) -> {result}:"]
        lines.append(_docstring(operation["description"].partition("\n\n")[0], 8))
        return "\n".join(lines + [f"        {line}" for line in body]) + "\n"

    def _argument(self, parameter: Json) -> str:
        schema = self._target(parameter["schema"])
        if any(option.get("format") == "date-time" for option in schema.get("anyOf", ())):
            kind = "Time"
        elif schema.get("type") == "array":
            kind = "Values"
        else:
            kind = self._type(parameter["schema"])
        return kind if parameter["required"] else f"{kind} | None = None"

    def _page_item(self, response: Json) -> str:
        schema = self._target(response)
        if "next_cursor" not in schema.get("properties", {}):
            return ""
        return self._type(schema["properties"]["items"]["items"])

    def _type(self, schema: Json) -> str:
        if "$ref" in schema:
            target = self._target(schema)
            if "properties" not in target and "enum" not in target:
                return self._type(target)
            name = schema["$ref"].rpartition("/")[2]
            self._used[name] = target
            return str(name)
        kinds = schema.get("type")
        if "anyOf" in schema or isinstance(kinds, list):
            options = schema.get("anyOf") or [{"type": kind} for kind in kinds]
            names = dict.fromkeys(self._type(option) for option in options)
            return " | ".join(name for name in names if not (name == "int" and "float" in names))
        return self._plain_type(schema)

    def _plain_type(self, schema: Json) -> str:
        kind = schema.get("type")
        if kind == "array":
            return f"list[{self._type(schema.get('items', {}))}]"
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self._type(values) if isinstance(values, Mapping) else 'Any'}]"
        return _SCALARS.get(str(kind), "Any")

    def _target(self, schema: Json) -> Json:
        found: Json = self._schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return found

    def _resolved(self, parameter: Json) -> Json:
        if "$ref" not in parameter:
            return parameter
        found: Json = self._document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
        return found


def _is_key(parameter: Json) -> bool:
    return bool(parameter["schema"].get("type") == "object")


def _sentence(schema: Json, name: str) -> str:
    text = str(schema.get("description") or f"Schema `{name}` of the API.")
    return " ".join(text.split())


def _docstring(text: str, indent: int) -> str:
    """A docstring; Markdown's code in single backquotes is that of reStructuredText in double ones."""
    margin = " " * indent
    plain = re.sub(r"`([^`]+)`", r"``\1``", " ".join(text.split()))
    first, _, rest = plain.partition(". ")
    wrapped = textwrap.wrap(plain, 104 - indent)
    if len(wrapped) == 1:
        return f'{margin}"""{plain}"""'
    if not rest or len(first) > 100 - indent:
        lines = [wrapped[0], *wrapped[1:]]
    else:
        lines = [f"{first}.", "", *textwrap.wrap(rest, 104 - indent)]
    body = "\n".join(f"{margin}{line}".rstrip() for line in lines[1:])
    return f'{margin}"""{lines[0]}\n{body}\n{margin}"""'
