# Aliases of scripts/; arguments: make test ARGS="-k sampler"
.PHONY: up test check bench soak dashboards-preview
up test check bench soak dashboards-preview:
	@scripts/$@ $(ARGS)
