"""Schemathesis asks the API in ways that a test would not think of."""

from __future__ import annotations

import functools
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
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

from api.http.query import NoQuery
from api.http.route import AnyRoute
from tests.api.checked import DOCUMENT
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


@functools.cache
def document() -> Any:  # noqa: ANN401 - theirs
    """The OpenAPI document as schemathesis reads it."""
    return schemathesis.openapi.from_dict(DOCUMENT)


def probe(route: AnyRoute, base_url: str) -> None:
    """Asks a route in many ways, by its schema and, where it has one to break, against it."""
    operation = document()[route.path][route.method]
    has_negatives = route.query is not NoQuery or route.body is not None
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + has_negatives]:
        _probe(operation, mode, base_url)


def _probe(operation: Any, mode: GenerationMode, base_url: str) -> None:  # noqa: ANN401 - theirs
    @settings(
        max_examples=100 if IS_LONG else 2,  # the simplest, and one at random
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(base_url=base_url, checks=CHECKS, timeout=10)

    ask()
