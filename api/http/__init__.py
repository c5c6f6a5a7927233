"""A small HTTP framework on aiohttp: declared routes, validation, problems, OpenAPI. It knows no routes."""
