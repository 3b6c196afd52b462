# The front door. `make help` lists what there is; each target installs what it needs and can be repeated.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements-dev.txt pyproject.toml */pyproject.toml 2>/dev/null | sha256sum | cut -c1-12)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

$(STAMP): requirements-dev.txt pyproject.toml
	@echo "==> Python environment in $(VENV) (hash-pinned)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e bundle -e training_image -e serving_image
	@rm -f $(VENV)/.installed-*; touch $@

.PHONY: venv
venv: $(STAMP) ## the Python environment that everything here runs in

.PHONY: lint
lint: $(STAMP) ## ruff, mypy strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test-unit
test-unit: lint ## lint, types, unit and property tests: seconds, no cluster, no root
	$(BIN)/pytest -n 2 tests/unit tests/properties

.PHONY: test-control-plane
test-control-plane: $(STAMP) ## schemas, CEL, RBAC, conformance and the operator as a process, on a real API server
	$(BIN)/pytest -n 2 tests/control_plane

.PHONY: test-cluster
test-cluster: cluster images store install ## the scenario and the faults on a real node with real images
	$(BIN)/pytest -n 3 --dist loadfile tests/cluster -m "not alone"
	$(BIN)/pytest tests/cluster -m alone

.PHONY: test
test: test-unit test-control-plane test-cluster ## everything CI runs

.PHONY: demo
demo: cluster images store install ## the whole loop on real data, told step by step
	PYTHONPATH=hack $(BIN)/python -m demo

.PHONY: lock
lock: ## compile the pyproject files to hash-pinned requirements (needs uv)
	$(PYTHON) hack/lock.py

.PHONY: bench
bench: cluster images store install ## what the operator costs and how fast it reacts (figures, no verdict)
	PYTHONPATH=hack:tests $(BIN)/python tests/benchmarks/operator_latency.py
