"""Builds the OpenAPI 3.1 document from routes and from msgspec's schemas of their types."""

from __future__ import annotations

import inspect
import typing
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from api.http.access import Scope
from api.http.csv_format import CSV_MEDIA_TYPE
from api.http.presentation import is_time_name
from api.http.problems import KINDS, MEDIA_TYPE, Problem
from api.http.query import is_list, is_time
from api.http.route import AnyRoute
from decahertz.duration import RELATIVE_TIME_PATTERN
from decahertz.wire import MEDIA_TYPES, Codec

Json: TypeAlias = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_RESPONSE_MEDIA_TYPES: Final = tuple(codec.media_type for codec in Codec)
_KEY_PROBLEMS: Final = ("unauthorized", "insufficient-scope")
_COMMON_PROBLEMS: Final = (
    "misdirected-request",
    "forbidden-origin",
    "not-acceptable",
    "rate-limited",
    "internal-error",
)
_BODY_PROBLEMS: Final = (
    "malformed-body",
    "request-timeout",
    "content-too-large",
    "unsupported-media-type",
    "invalid-body",
)
_INTEGER: Final = {"type": "integer"}
_KEY: Final = "A key of `decahertz keys create` with the scope in `x-scope`, or with the scope `admin`."
_DESCRIPTION: Final = """\
The flight recorder of a trading system. Times are integer nanoseconds since the Unix epoch, UTC; parameters \
also accept RFC 3339 or a duration before now (`-10m`), and `times=string` makes responses write nanoseconds \
as strings. Request and response bodies are JSON or MessagePack, by `Content-Type` and `Accept`; \
problems are always JSON (RFC 9457). Live data is pushed over WebSocket at `/ws`, see docs/websocket.md.
"""


def openapi_document(
    routes: Iterable[AnyRoute], *, version: str, named_types: Mapping[str, Any]
) -> dict[str, Any]:
    """Builds the document as it is served and committed: plain JSON values in a stable order.

    Components hold every repeated part once: ``named_types`` by their names, responses that are problems by
    the kinds of the problems, parameters that several routes share by their names.
    """
    routes = tuple(routes)
    types = [Problem, *(route.response for route in routes if not route.streams)]
    bodies = [route.body.type for route in routes if route.body is not None]
    types += bodies
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    references = dict(zip(map(_type_key, types), schemas, strict=True))
    # Enumerations in queries are components; a query itself is not, its fields are parameters.
    queries: dict[str, type[Struct]] = {route.query.__name__: route.query for route in routes}
    queries |= {type_.__name__: type_ for route in routes if (type_ := route.presentation) is not None}
    _, named = msgspec.json.schema_components(list(queries.values()), ref_template=_REFERENCE)
    components |= {name: schema for name, schema in named.items() if name not in queries}
    _, requested = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
    for name, schema in components.items():
        if schema.get("title") == name:
            del schema["title"]
        if name not in requested:
            _allow_text_times(schema)
    responses: dict[str, Json] = {}
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _operation(route, references, responses)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Decahertz",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "parameters": _shared_parameters(paths),
            "responses": dict(sorted(responses.items())),
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": _KEY}},
        },
    }
    return _with_named_types(_plain(document), named_types)


def _allow_text_times(schema: Json) -> None:
    """Lets the nanoseconds of a response be strings too, as with ``times=string``."""
    properties = schema.get("properties", {})
    for name, value in properties.items():
        if is_time_name(name):
            properties[name] = _or_text(value)


def _or_text(schema: Json) -> Json:
    if schema.get("type") == "integer":
        return {**schema, "type": ["integer", "string"]}
    if "items" in schema:
        return {**schema, "items": _or_text(schema["items"])}
    if "anyOf" in schema:
        options: list[Json] = []
        for option in schema["anyOf"]:
            options += (_INTEGER, {"type": "string"}) if option == _INTEGER else (_or_text(option),)
        return {**schema, "anyOf": options}
    return schema


def _shared_parameters(paths: Mapping[str, Json]) -> Json:
    """Replaces parameters that several operations share by references; returns them by name."""
    lists = [operation.get("parameters", []) for item in paths.values() for operation in item.values()]
    uses = Counter(msgspec.json.encode(parameter) for parameters in lists for parameter in parameters)
    shared: Json = {}
    for parameters in lists:
        for position, parameter in enumerate(parameters):
            name = parameter["name"]
            if uses[msgspec.json.encode(parameter)] > 1 and shared.setdefault(name, parameter) == parameter:
                parameters[position] = {"$ref": f"#/components/parameters/{name}"}
    return dict(sorted(shared.items()))


def _with_named_types(document: Json, named_types: Mapping[str, Any]) -> Json:
    """Replaces the schemas of named types by references, and unions of plain types by lists of types."""
    named = {name: _plain(msgspec.json.schema(type_)) for name, type_ in named_types.items()}

    def refined(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [refined(item) for item in node]
        if not isinstance(node, dict):
            return node
        for name, schema in named.items():
            if schema.items() <= node.items():
                rest = {key: value for key, value in node.items() if key not in schema}
                return {"$ref": _REFERENCE.format(name=name), **rest}
        options = node.get("anyOf", ())
        if options and all(option.keys() == {"type"} for option in options):
            rest = {key: value for key, value in node.items() if key != "anyOf"}
            return {"type": [option["type"] for option in options], **rest}
        return {key: refined(value) for key, value in node.items()}

    document = refined(document)
    document["components"]["schemas"] |= named
    return document


def _type_key(type_: Any) -> str:  # noqa: ANN401 - a generic alias is not a type
    return repr(type_)


def _operation(route: AnyRoute, references: Mapping[str, Json], shared_responses: Json) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "tags": [route.path.split("/")[3]],
        "x-scope": route.scope.value,
        # A key, or nothing where the settings require no key.
        "security": [] if route.scope is Scope.PUBLIC else [{"key": []}, {}],
    }
    parameters = _parameters(route.query, route.path_names)
    if route.presentation is not None:
        parameters += _parameters(route.presentation, ())
    parameters += _extra_parameters(route)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = references[_type_key(route.body.type)]
        operation["requestBody"] = {"required": True, "content": _content(schema, MEDIA_TYPES)}
    text_types = route.streams or ((CSV_MEDIA_TYPE,) if route.columns else ())
    response_content = {media_type: {"schema": {"type": "string"}} for media_type in text_types}
    if not route.streams:
        response_content = _content(references[_type_key(route.response)]) | response_content
    responses: dict[str, Json] = {
        str(status): {"description": description, "content": response_content}
        for status, description in route.statuses.items()
    }
    if route.has_tag:
        responses["304"] = {"description": "`If-None-Match` has the `ETag` that the response would have."}
    content = {MEDIA_TYPE: {"schema": references[_type_key(Problem)]}}
    for status, kinds in _problem_kinds(route).items():
        description = " ".join(f"{KINDS[kind].title} (`urn:decahertz:problem:{kind}`)." for kind in kinds)
        own = responses.get(str(status))
        if own is None:
            name = "Or".join(kind.title().replace("-", "") for kind in kinds)
            shared_responses[name] = {"description": description, "content": content}
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
        else:  # a status with a body of its own carries problems too
            own["description"] += f" {description}"
            own["content"] = {**own["content"], **content}
    operation["responses"] = dict(sorted(responses.items()))
    return operation


def _problem_kinds(route: AnyRoute) -> dict[int, list[str]]:
    body_problems = _BODY_PROBLEMS if route.body is not None else ()
    kinds: dict[int, list[str]] = {}
    key_problems = () if route.scope is Scope.PUBLIC else _KEY_PROBLEMS
    slow = ("query-timeout",) if "database-unavailable" in route.problems else ()
    for kind in (
        *key_problems,
        *_COMMON_PROBLEMS,
        "invalid-parameter",
        *body_problems,
        *route.problems,
        *slow,
    ):
        kinds.setdefault(KINDS[kind].status, []).append(kind)
    return kinds


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
            schema = {
                "anyOf": [
                    {"type": "integer", **bounds},
                    {"type": "string", "format": "date-time"},
                    {"type": "string", "pattern": RELATIVE_TIME_PATTERN},
                ]
            }
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
    return schema


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Converts tuples and the like to plain JSON values."""
    return msgspec.json.decode(msgspec.json.encode(schema))
