"use strict";

// Shows the OpenAPI document of this server. Nothing is asked of any other: no validator, no fonts.
SwaggerUIBundle({
  url: "api/v1/openapi.json",
  dom_id: "#reference",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  filter: true,
  validatorUrl: null,
});
