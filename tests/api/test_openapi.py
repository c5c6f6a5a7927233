"""The OpenAPI document, and the API held against it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from openapi_spec_validator import validate

from api.http.access import Scope
from api.http.presentation import is_time_name
from api.http.route import AnyRoute
from api.routes.table import ROUTES
from api.settings import ApiSettings
from collectors.market.collector import MarketCollector, MarketOptions
from tests.api.checked import DOCUMENT, Caller
from tests.api.helpers import Stack, quote, storing
from tests.pipeline.running import IS_LONG
from tests.postgres_server import PostgresServer


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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def probed(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """An API with a database, which all routes share: whatever its state, it may answer only as announced."""
    folder = tmp_path_factory.mktemp("openapi")
    async with storing(postgres_server, folder, settings=ApiSettings(port=0)) as stack:
        stack.market = MarketCollector(stack.clock, MarketOptions())
        stack.publish_cycle(1)
        await stack.emit(quote())
        await stack.key(Scope.TRADE)  # without one, orders are off
        await stack.keys.refresh()
        yield stack


@pytest.mark.timeout(600 if IS_LONG else 60)
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_schemathesis_finds_no_answer_that_the_document_does_not_announce(
    probed: Stack, route: AnyRoute
) -> None:
    from tests.api.probing import probe  # noqa: PLC0415 - schemathesis takes a second to import

    await asyncio.to_thread(probe, route, probed.api.url)
