"""The small HTTP framework under the routes: declared routes, validation, negotiation, problem documents, OpenAPI."""
