# Both README commands: they make their own environment from the hashed lock, with uv if it is there, else venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
JOBS ?= 2
ESTATE ?= small

.PHONY: playground test test-unit test-real test-cluster test-matrix test-image cover soak lint format docs manifests \
	bench lock clean help

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

playground: $(VENV)/.synced  ## Try everything on this machine; ESTATE=kubernetes with a real control plane
	$(BIN)/python -m bot playground --estate $(ESTATE) $(ARGS)

test: $(VENV)/.synced-dev  ## All tests that need nothing but this machine
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

test-unit: $(VENV)/.synced-dev  ## The pure core only, under a minute
	$(BIN)/python -m pytest -n $(JOBS) tests/core tests/runbooks $(ARGS)

test-real: $(VENV)/.synced-dev  ## What needs a server or browser that others wrote; an absent one fails
	KEYTURN_REQUIRE_REAL_PARTS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "realparts or image or cluster or matrix" $(ARGS)

test-cluster: $(VENV)/.synced-dev  ## Against a real Kubernetes control plane; built from Go modules at first use
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m cluster $(ARGS)

test-matrix: $(VENV)/.synced-dev  ## kill -9 at every boundary on SQLite, at every eighth on PostgreSQL
	KEYTURN_REQUIRE_REAL_PARTS=1 KEYTURN_KILL_EVERY=$${KEYTURN_KILL_EVERY:-1} \
		$(BIN)/python -m pytest -n $(JOBS) -m kill tests/kill $(ARGS)

test-image: $(VENV)/.synced-dev  ## The steps of the Dockerfile and the wheel; needs a package registry
	KEYTURN_REQUIRE_REAL_PARTS=1 $(BIN)/python -m pytest -m image tests/image $(ARGS)

cover: $(VENV)/.synced-dev  ## All tests with branch coverage, and its report
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadgroup $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

soak: $(VENV)/.synced-dev  ## kill -9 at every boundary, on a Kubernetes control plane too, and a long year of reminders
	KEYTURN_REQUIRE_REAL_PARTS=1 KEYTURN_KILL_EVERY=1 KEYTURN_KILL_EVERY_POSTGRESQL=1 KEYTURN_SOAK=1 \
		$(BIN)/python -m pytest -n $(JOBS) -m "kill or not kill" tests/kill tests/real/kill tests/soak $(ARGS)

lint: $(VENV)/.synced-dev  ## Linters, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m bot lint runbooks/*.yaml

format: $(VENV)/.synced-dev  ## Put the source into shape
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format .

docs: $(VENV)/.synced-dev  ## Write the pages and manifests that are made from the declarations
	$(BIN)/python -m docs.pages

manifests: $(VENV)/.synced-dev  ## Write deploy/manifests from the chart (needs Helm)
	$(BIN)/python -m docs.manifests

bench: $(VENV)/.synced-dev  ## Floors and product side by side, as ratios
	$(BIN)/python -m benchmarks $(ARGS)

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		--extra postgres --extra playground pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		--extra postgres --extra playground --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		--group build -o requirements-build.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		--group image -o tests/image/requirements.lock

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .playground .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
ifdef UV
	uv venv -q --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

$(VENV)/.synced: requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keyturn needs Python 3.11 or newer; set PYTHON=")'
	$(call install,requirements.lock)
	touch $@

$(VENV)/.synced-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keyturn needs Python 3.11 or newer; set PYTHON=")'
	$(call install,requirements-dev.lock)
	touch $@ $(VENV)/.synced

ifdef UV
define install
	VIRTUAL_ENV=$(VENV) uv pip install -q --require-hashes -r $(1)
endef
else
define install
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1)
endef
endif
