"""The OpenAPI document, and the API held against it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.http.access import Scope
from api.http.presentation import is_time_name
from api.http.query import NoQuery
from api.http.route import AnyRoute
from api.routes.table import ROUTES
from collectors.market.collector import MarketCollector, MarketOptions
from tests.api.checked import DOCUMENT, Caller
from tests.api.helpers import Stack, quote
from tests.pipeline.running import IS_LONG


def rejected(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Returns whether the API rejected data outside the schema; a body that is too large (413) counts."""
    return None if response.status_code == 413 else negative_data_rejection(context, response, case)


# Not among them: that every input which fits the schema is accepted. A cursor is a string that we handed out,
# a key is one of the collector's; a schema cannot say so.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    rejected,
    unsupported_method,
]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_every_operation_and_parameter_is_explained() -> None:
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["description"]


def test_the_document_is_the_same_in_every_process() -> None:
    code = "import json; from tests.api.checked import DOCUMENT; print(json.dumps(DOCUMENT))"
    texts = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert json.loads(texts[0]) == DOCUMENT


def test_every_nanosecond_of_a_response_may_be_a_string() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    given = set(re.findall(r"schemas/(\w+)", json.dumps(list(bodies(DOCUMENT)))))
    while (
        more := {name for one in given for name in re.findall(r"schemas/(\w+)", json.dumps(schemas[one]))}
        - given
    ):
        given |= more
    found = 0
    for name in schemas.keys() - given:
        for field, schema in schemas[name].get("properties", {}).items():
            if is_time_name(field) and "integer" in (kinds := types_of(schema)):
                assert "string" in kinds, (name, field, schema)
                found += 1
    assert found > 50


def bodies(document: dict[str, Any]) -> Iterator[Any]:
    """The schemas of request bodies."""
    for item in document["paths"].values():
        for operation in item.values():
            yield operation.get("requestBody")


def types_of(schema: dict[str, Any]) -> set[str]:
    """The types that a value may have, or its items if it is a list."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        found |= types_of(inner)
    return found


async def test_the_document_is_served(caller: Caller) -> None:
    answer = await caller.get("openapi.json")
    assert answer.body == {
        **DOCUMENT,
        "info": {**DOCUMENT["info"], "version": "0.0.test"},
    }


def check_operation(operation: Any, mode: GenerationMode, base_url: str) -> None:  # noqa: ANN401 - theirs
    """Let schemathesis ask one operation in many ways, by its schema or against it."""

    @settings(
        max_examples=100 if IS_LONG else 3,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(base_url=base_url, checks=CHECKS, timeout=10)

    ask()


@pytest.mark.timeout(600 if IS_LONG else 60)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_schemathesis_finds_no_answer_that_the_document_does_not_announce(
    stored: Stack, route: AnyRoute
) -> None:
    stored.market = MarketCollector(stored.clock, MarketOptions())
    stored.publish_cycle(1)
    await stored.emit(quote())
    await stored.key(Scope.TRADE)  # without one, orders are off
    await stored.keys.refresh()
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = schema[route.path][route.method]
    has_negatives = route.query is not NoQuery or route.body is not None
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + has_negatives]:
        await asyncio.to_thread(check_operation, operation, mode, stored.api.url)
