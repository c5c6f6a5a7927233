# Aliases of scripts/; arguments: make test ARGS="-k sampler"
.PHONY: up test check bench soak
up test check bench soak:
	@scripts/$@ $(ARGS)
