"""The routes, one module per subject. :data:`api.routes.table.ROUTES` has them all."""
