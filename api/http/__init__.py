"""The small HTTP framework under the routes: routes declared once, validation, problems, OpenAPI."""
