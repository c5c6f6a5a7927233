"""An HTTP client that holds every answer against the OpenAPI document."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from aiohttp import ClientResponse, ClientSession, ClientTimeout
from openapi_schema_validator import OAS31Validator

from api.routes.table import api_document
from decahertz import __version__

DOCUMENT = api_document(__version__)
PROBLEM = "application/problem+json"
MSGPACK = "application/vnd.msgpack"


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: Any
    raw: bytes

    def problem(self, kind: str) -> dict[str, Any]:
        """The problem document, which has to be of this kind."""
        assert isinstance(self.body, dict)
        assert self.body["type"] == f"urn:decahertz:problem:{kind}", self.body
        return self.body


class Caller:
    """Asks, and checks what comes back."""

    def __init__(self, url: str) -> None:
        self._session = ClientSession(url, timeout=ClientTimeout(total=20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str, **options: Any) -> Reply:  # noqa: ANN401 - the options of aiohttp
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Reply:  # noqa: ANN401 - the options of aiohttp
        return await self.ask("POST", path, **options)

    async def ask(self, method: str, path: str, **options: Any) -> Reply:  # noqa: ANN401 - the same
        """``path`` is below ``/api/v1/``."""
        async with self._session.request(method, f"/api/v1/{path}", **options) as response:
            raw = await response.read()
        template = f"/api/v1/{path.partition('?')[0]}"
        body = check(method, template, response, raw)
        return Reply(response.status, response.headers, body, raw)

    async def pages(self, path: str) -> list[list[dict[str, Any]]]:
        """The items of every page of a list; ``path`` has a query."""
        pages, cursor = [], ""
        while cursor is not None:
            page = (await self.get(f"{path}&cursor={cursor}" if cursor else path)).body
            pages.append(page["items"])
            cursor = page["next_cursor"]
        return pages

    async def send(self, batch: object, codec: str = "application/json", path: str = "events") -> Reply:
        """Posts a batch of events, or another body, in a codec."""
        encode = msgspec.msgpack.encode if codec == MSGPACK else msgspec.json.encode
        return await self.post(path, data=io.BytesIO(encode(batch)), headers={"Content-Type": codec})


def check(method: str, path: str, response: ClientResponse, raw: bytes) -> object:
    """Decodes an answer after it was found to be one that the document announces."""
    assert response.headers["X-Request-ID"]
    assert response.headers["Server-Timing"].startswith("total;dur=")
    media_type = response.headers.get("Content-Type", "")
    if method == "HEAD" or response.status == 304:
        assert raw == b""
        return None
    body = decoded(media_type, raw)
    operation = described(path).get(method.lower())
    if operation is None or path.endswith("openapi.json"):
        if media_type == PROBLEM:
            validate({"$ref": "#/components/schemas/Problem"}, body)
        return body
    announced = operation["responses"].get(str(response.status))
    assert announced is not None, f"{response.status} is not announced for {method} {path}"
    if "$ref" in announced:
        announced = DOCUMENT["components"]["responses"][announced["$ref"].rpartition("/")[2]]
    assert media_type in announced["content"]
    validate(announced["content"][media_type]["schema"], body)
    if media_type == PROBLEM:
        assert isinstance(body, dict)
        assert body["status"] == response.status
        assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def decoded(media_type: str, raw: bytes) -> object:
    """The body as the schemas describe it; of a file its bytes as text."""
    if media_type == MSGPACK:
        return msgspec.msgpack.decode(raw)
    return msgspec.json.decode(raw) if media_type.endswith("json") else raw.decode(errors="replace")


def described(path: str) -> Mapping[str, Any]:
    """The operations of a path in the document."""
    paths: Mapping[str, Any] = DOCUMENT["paths"]
    found = [template for template in paths if re.fullmatch(re.sub(r"{\w+}", ".+", template), path)]
    # A field in braces may contain slashes: the longest path is the one that is meant, unless one is literal.
    return paths[max(found, key=lambda template: (template == path, len(template)))] if found else {}


def validate(schema: Mapping[str, Any], value: object) -> None:
    """Against a schema that may refer to the document's components."""
    OAS31Validator({**schema, "components": DOCUMENT["components"]}).validate(value)
