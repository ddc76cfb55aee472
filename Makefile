# The development environment and the checks. Whatever takes more than three lines is in tools/.

PYTHON ?=
ARGS ?=
SEEDS ?= 1000
FIRST ?= 1

VENV := .venv
BOOTSTRAP := $(VENV)/.bootstrap-installed
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
NODE_PACKAGES := tests/node/node_modules/.installed

# The environment in $(VENV) is the one meant, whatever else the calling shell has activated.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help install run check format test test-fast test-long bench bench-quick instructions clients simulate lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV) ## prepare the development environment in .venv; starts nothing

run: $(RUNTIME) ## install what the gateway needs and start it (options in ARGS="…")
	@exec $(VENV)/bin/signalbox serve --demo=auto $(ARGS)

check: $(DEV) ## format check, lint and types: the fast half
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(DEV) ## format the code and apply the linter's safe fixes
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

test: $(DEV) $(NODE_PACKAGES) ## the whole suite; installs what it needs from PyPI, npm and Debian
	tools/system-packages.sh
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(DEV) ## the exhaustive variants that `make test` leaves out
	$(VENV)/bin/pytest -m long -n 2 --dist loadfile $(ARGS)

bench: $(DEV) ## the gateway beside others, all cases: about 25 minutes on a quiet machine (ARGS=--help)
	$(VENV)/bin/python -m benchmarks $(ARGS)

bench-quick: $(DEV) ## a few cases, one round: ARGS="--servers signalbox --cases json-32,sse-32"
	$(VENV)/bin/python -m benchmarks --quick $(ARGS)

instructions: $(DEV) ## instructions for a request and a piece of a stream, against the baseline (ARGS=--renew)
	tools/system-packages.sh valgrind
	$(VENV)/bin/python -m benchmarks.instructions $(ARGS)

clients: $(DEV) ## other clients that people use, each in an environment of its own, against the gateway
	tools/clients.sh $(ARGS)

test-fast: $(DEV) ## the tests that need PyPI alone
	$(VENV)/bin/pytest -m "not npm and not system and not long" $(ARGS)

simulate: $(DEV) ## many seeds of the whole gateway in virtual time (SEEDS=10000, FIRST=1)
	$(VENV)/bin/python -m tests.simulate --seeds $(SEEDS) --first $(FIRST)

lock: $(DEV) ## pin the dependencies again (ARGS=--upgrade takes newer versions)
	tools/lock.sh $(ARGS)
	tools/lock-node.sh
	tools/lock-clients.sh $(ARGS)

clean: ## remove everything that was installed or generated here
	rm -rf $(VENV) $(VENV)-clients $(VENV)-bench-* tests/node/node_modules tests/clients/node/node_modules benchmarks/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find signalbox tests benchmarks -type d -name __pycache__ -exec rm -rf {} +

$(BOOTSTRAP): requirements/bootstrap.txt tools/venv.sh
	PYTHON="$(PYTHON)" tools/venv.sh $(VENV) $<
	@touch $@

$(RUNTIME): $(BOOTSTRAP) requirements/runtime.txt pyproject.toml
	tools/uv.sh pip install --require-hashes -r requirements/runtime.txt
	tools/uv.sh pip install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	tools/uv.sh pip install --require-hashes -r requirements/dev.txt
	@touch $@

$(NODE_PACKAGES): tests/node/package-lock.json $(DEV)
	tools/npm.sh --prefix tests/node ci
	@touch $@
