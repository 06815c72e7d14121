# Everything a user or developer does from a clone; `make` alone lists it.
# A lock file says exactly what is installed, with hashes; where from is pip's own configuration.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install up test test-fast docs reference check bench bench-quick faults kubernetes deploy-tools lock image test-image wheel clean preflight

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  Another Python:   make up PYTHON=python3.12'
	@echo '  More flags:       make up ARGS="--no-demo", make test ARGS="-k kubectl"'

up: $(VENV)/run.stamp ## install what is needed, start everything, and say how to try it
	@$(BIN)/certferry up $(ARGS)

install: $(VENV)/dev.stamp ## make .venv with all that the tests and linters need

test: $(VENV)/dev.stamp ## the whole test suite on all cores, with real Envoy and real kubectl
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-fast: $(VENV)/dev.stamp ## the tests that start no process (under a minute)
	$(BIN)/python -m pytest --fast -n 4 --dist loadfile $(ARGS)

docs: $(VENV)/dev.stamp ## build the documentation as a site, in site/; warnings and broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

reference: $(VENV)/dev.stamp ## write the reference pages of docs/ from the code
	$(BIN)/python -m tools.reference

check: $(VENV)/dev.stamp ## formatting, lint, complexity, types, layers (seconds)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@echo '$(BIN)/radon cc --min D src    (no function above complexity 20)'
	@! $(BIN)/radon cc --min D --show-complexity src | grep .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/dev.stamp ## measure how fast a new certificate is served
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/dev.stamp ## compare the CPU time of fixed work with that of an earlier commit
	$(BIN)/python -m bench.quick $(ARGS)

faults: $(VENV)/dev.stamp ## make an ELB and an API server misbehave, and write what it cost to docs/faults.md
	$(BIN)/python -m tests.e2e.faults

kubernetes: $(VENV)/dev.stamp ## a real kube-apiserver and etcd on loopback (needs go; builds them once), in .kubernetes
	$(BIN)/python -m tools.kubernetes.cluster .kubernetes

deploy-tools: $(VENV)/dev.stamp ## helm and actionlint, for the tests of deploy/ (needs go; builds them once, 2 minutes)
	$(BIN)/python -m tools.deploy.programs

lock: ## compile requirements/*.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra up --group build -o requirements/run.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra up --group dev -c requirements/run.lock -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra elb --extra console -c requirements/run.lock -o requirements/image.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml -c requirements/run.lock -o requirements/controller.lock

image: wheel ## both container images, with Docker or buildah (BASE=IMAGE: on another base)
	$(BIN)/python -m tools.image $(ARGS)

test-image: wheel ## build both images with buildah, and rotate a certificate with them (needs root)
	CERTFERRY_TEST_IMAGES=1 $(BIN)/python -m pytest tests/e2e/image $(ARGS)

wheel: $(VENV)/dev.stamp ## build dist/*.whl
	rm -f dist/certferry-*.whl
	$(BIN)/python -m build --wheel --outdir dist .

clean: ## remove .venv, caches and built files (state directories stay)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

preflight:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one, as in 'make up PYTHON=python3.12'."; exit 1; }
	@$(PYTHON) -I src/certferry/preflight.py

# The stamps are newer than the lock that they were installed from. Whoever has the developers'
# set has the runtime's too.
$(VENV)/bin/python: | preflight
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@echo 'Installing from requirements/run.lock (about a minute, once) ...'
	@$(PIP) install --quiet --require-hashes -r requirements/run.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@echo 'Installing from requirements/dev.lock (a minute or two, once) ...'
	@$(PIP) install --quiet --require-hashes -r requirements/dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp
