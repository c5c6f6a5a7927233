"""Builds the OpenAPI 3.1 document from routes and from msgspec's schemas of their types."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from api.http.problems import KINDS, MEDIA_TYPE, Problem
from api.http.query import is_list, is_time
from api.http.route import AnyRoute
from decahertz.wire import MEDIA_TYPES, Codec

Json: TypeAlias = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_RESPONSE_MEDIA_TYPES: Final = tuple(codec.media_type for codec in Codec)
_COMMON_PROBLEMS: Final = ("misdirected-request", "forbidden-origin", "not-acceptable", "internal-error")
_BODY_PROBLEMS: Final = (
    "malformed-body",
    "request-timeout",
    "content-too-large",
    "unsupported-media-type",
    "invalid-body",
)
_DESCRIPTION: Final = """\
The flight recorder of a trading system. Times are integer nanoseconds since the Unix epoch, UTC; parameters \
also accept RFC 3339. Request and response bodies are JSON or MessagePack, by `Content-Type` and `Accept`; \
problems are always JSON (RFC 9457). Live data is pushed over WebSocket at `/ws`, see docs/websocket.md.
"""


def openapi_document(routes: Iterable[AnyRoute], *, version: str) -> dict[str, Any]:
    """Builds the document as it is served and committed: plain JSON values in a stable order."""
    routes = tuple(routes)
    types = [Problem, *(route.response for route in routes if not route.streams)]
    types += [route.body.type for route in routes if route.body is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    references = dict(zip(map(_type_key, types), schemas, strict=True))
    # Enumerations in queries are components; a query itself is not, its fields are parameters.
    queries = {route.query.__name__: route.query for route in routes}
    _, named = msgspec.json.schema_components(list(queries.values()), ref_template=_REFERENCE)
    components |= {name: schema for name, schema in named.items() if name not in queries}
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Decahertz",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {name: _plain(schema) for name, schema in sorted(components.items())}},
    }


def _type_key(type_: Any) -> str:  # noqa: ANN401 - a generic alias is not a type
    return repr(type_)


def _operation(route: AnyRoute, references: Mapping[str, Json]) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "tags": [route.path.split("/")[3]],
        "x-scope": route.scope.value,
    }
    parameters = [*_parameters(route.query, route.path_names), *_extra_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = references[_type_key(route.body.type)]
        operation["requestBody"] = {"required": True, "content": _content(schema, MEDIA_TYPES)}
    response_content = (
        {media_type: {"schema": {"type": "string"}} for media_type in route.streams}
        if route.streams
        else _content(references[_type_key(route.response)])
    )
    responses: dict[str, Json] = {
        str(status): {"description": description, "content": response_content}
        for status, description in route.statuses.items()
    }
    for status, description in _problems(route).items():
        content = {MEDIA_TYPE: {"schema": references[_type_key(Problem)]}}
        if str(status) in responses:  # a status with a body of its own carries problems too
            content = {**responses[str(status)]["content"], **content}
            description = f"{responses[str(status)]['description']} {description}"  # noqa: PLW2901 - extended, not replaced
        responses[str(status)] = {"description": description, "content": content}
    operation["responses"] = dict(sorted(responses.items()))
    return operation


def _problems(route: AnyRoute) -> dict[int, str]:
    kinds = [
        *_COMMON_PROBLEMS,
        "invalid-parameter",
        *(_BODY_PROBLEMS if route.body is not None else ()),
        *route.problems,
    ]
    texts: dict[int, list[str]] = {}
    for name in kinds:
        texts.setdefault(KINDS[name].status, []).append(
            f"{KINDS[name].title} (`urn:decahertz:problem:{name}`)."
        )
    return {status: " ".join(parts) for status, parts in texts.items()}


def _content(schema: Json, media_types: Iterable[str] = _RESPONSE_MEDIA_TYPES) -> Json:
    return {media_type: {"schema": schema} for media_type in media_types}


def _parameters(query: type[Struct], in_path: Collection[str]) -> list[Json]:
    hints = typing.get_type_hints(query, include_extras=True)
    _, components = msgspec.json.schema_components([query], ref_template=_REFERENCE)
    properties = components[query.__name__]["properties"] if hints else {}
    parameters = []
    for field in msgspec.structs.fields(query):
        schema = _without_null(properties[field.encode_name])
        location = "path" if field.name in in_path else "query"
        parameter: Json = {"name": field.encode_name, "in": location, "required": field.required}
        description = schema.pop("description", "")
        if is_time(hints[field.name]):
            bounds = {name: schema[name] for name in ("minimum", "maximum")}
            schema = {"anyOf": [{"type": "integer", **bounds}, {"type": "string", "format": "date-time"}]}
        if is_list(hints[field.name]):
            schema.pop("default", None)
            parameter |= {"style": "form", "explode": False}
        parameters.append(
            parameter | ({"description": description} if description else {}) | {"schema": schema}
        )
    return parameters


def _extra_parameters(route: AnyRoute) -> list[Json]:
    if not route.extra_query:
        return []
    return [
        {
            "name": "key",
            "in": "query",
            "required": False,
            "description": route.extra_query,
            "style": "form",
            "explode": True,
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]


def _without_null(schema: Json) -> Json:
    """Removes null from a schema: an absent parameter is omitted, not null."""
    schema = dict(schema)
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del schema["anyOf"]
        schema.update(options[0])
    if schema.get("default", ...) is None:
        del schema["default"]
    plain: Json = _plain(schema)
    return plain


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Converts tuples and the like to plain JSON values."""
    return msgspec.json.decode(msgspec.json.encode(schema))
