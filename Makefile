# Aliases of scripts/; arguments: make test ARGS="-k sampler"
.PHONY: up test check bench soak dashboards-preview page-preview
up test check bench soak dashboards-preview page-preview:
	@scripts/$@ $(ARGS)
