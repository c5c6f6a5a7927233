"""The examples of docs/reference.md, asked again: a running recorder answers as the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from api.routes.table import ROUTES
from tests.api.checked import DOCUMENT, validate
from tests.docs.route_examples import RECORDED, ask_all, create_key, decoded
from tests.pipeline.running import RunningDecahertz, environment, running

pytestmark = pytest.mark.timeout(180)
EXAMPLES: dict[str, dict[str, Any]] = msgspec.json.decode(RECORDED.read_bytes())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """The demo, on ports of its own."""
    folder = tmp_path_factory.mktemp("reference")
    env = environment(folder)
    with running("--demo", env=env, log=folder / "log") as decahertz:
        create_key(env)
        yield decahertz


def test_every_route_has_an_example_and_no_other_is_shown() -> None:
    assert EXAMPLES.keys() == {route.name for route in ROUTES}


def schema_of(method: str, path: str, media_type: str, status: int) -> Mapping[str, Any]:
    """The schema of an answer in the OpenAPI document."""
    content = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]["content"]
    found: Mapping[str, Any] = content[media_type]["schema"]
    return found


def objects(value: Any, schema: Mapping[str, Any], path: str = "$") -> Iterator[tuple[str, frozenset[str]]]:  # noqa: ANN401 - JSON
    """The fields of every object of declared fields in the value, with the path to it."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for option in schema.get("anyOf", ()):
        if value is not None and option != {"type": "null"}:
            yield from objects(value, option, path)
    if isinstance(value, dict) and "properties" in schema:
        yield path, frozenset(value)
        for name, item in value.items():
            yield from objects(item, schema["properties"].get(name, {}), f"{path}.{name}")
    elif isinstance(value, dict):
        values = schema.get("additionalProperties")
        for item in value.values():
            yield from objects(item, values if isinstance(values, Mapping) else {}, f"{path}.*")
    elif isinstance(value, list):
        for item in value:
            yield from objects(item, schema.get("items", {}), f"{path}[]")


def test_a_running_recorder_answers_every_example_in_the_shape_that_the_page_shows(
    demo: RunningDecahertz,
) -> None:
    compared = 0
    for route, request, (status, media_type, body) in ask_all(demo):
        example = EXAMPLES[route.name]
        assert status in route.statuses, (route.name, body)
        assert media_type == example["media_type"], route.name
        assert (request.method, request.body) == (example["method"], example["body"]), route.name
        assert request.target.partition("?")[2] == example["target"].partition("?")[2], route.name
        answer = decoded(media_type, body)
        if not media_type.endswith("json"):
            first, shown_first = (
                re.sub(r"<title>.*?</title>", "", a[0]) for a in (answer, example["answer"])
            )
            assert first == shown_first, route.name  # the title has a strategy: whichever trades first
            continue
        schema = schema_of(route.method, route.path, media_type, status)
        validate(schema, example["answer"])
        validate(schema, answer)
        shown, found = set(objects(example["answer"], schema)), set(objects(answer, schema))
        places = {path for path, _ in shown} & {path for path, _ in found}
        assert {each for each in shown if each[0] in places} == {e for e in found if e[0] in places}, (
            route.name
        )
        compared += len(places)
    assert compared > len(EXAMPLES)
