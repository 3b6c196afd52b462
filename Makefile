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
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e bundle -e training_image -e serving_image
	@rm -f $(VENV)/.installed-*; touch $@

.PHONY: venv
venv: $(STAMP) ## the Python environment that everything here runs in

.PHONY: lint
lint: $(STAMP) ## ruff, mypy strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/lint-imports

.PHONY: clients
clients: $(STAMP) ## the inference clients that others wrote, in an environment of their own (cached)
	@$(BIN)/python hack/environments.py clients tests/unit/serving/clients/requirements.txt

.PHONY: test-unit
test-unit: lint unit ## lint, types, unit and property tests: no cluster, no root

.PHONY: unit
unit: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal -m "not oracle" tests/unit tests/properties

.PHONY: emulators
emulators: ## the emulators of GCS and Azure Blob Storage that tests start (cached)
	@$(CLUSTER_TOOL) emulators

.PHONY: test-oracles
test-oracles: clients emulators ## beside software that others wrote: tritonclient, KServe's client, shap; emulators of GCS and Azure
	$(BIN)/pytest -n 2 -m oracle tests/unit/serving tests/unit/clouds

.PHONY: test-control-plane
test-control-plane: $(STAMP) ## schemas, CEL, RBAC, conformance and the operator as a process, on a real API server
	$(BIN)/pytest -n 2 tests/control_plane

.PHONY: ready
ready: cluster images store prometheus install

.PHONY: test-cluster
test-cluster: ready side-by-side kills alone own-cluster ## the scenario and the faults on a real node with real images

.PHONY: side-by-side kills alone own-cluster
side-by-side: $(STAMP)
	$(BIN)/pytest -n 5 --durations=8 tests/cluster -m "not kills and not alone and not own_cluster"
kills: $(STAMP)
	$(BIN)/pytest -n 2 --durations=8 tests/cluster -m kills
alone: $(STAMP)
	$(BIN)/pytest --durations=8 tests/cluster -m alone
own-cluster: $(STAMP)
	$(BIN)/pytest tests/cluster -m own_cluster

# $(call beside,THIS,THAT): make THAT, and beside it THIS at a low priority, whose output is shown when both are over.
BESIDE_LOG := .cluster/beside.log
define beside
@mkdir -p $(dir $(BESIDE_LOG)); echo "==> beside it: make $(1)  (tail -f $(BESIDE_LOG))"; \
nice -n 10 $(MAKE) --no-print-directory $(1) > $(BESIDE_LOG) 2>&1 & beside=$$!; \
$(MAKE) --no-print-directory $(2); front=$$?; wait $$beside; back=$$?; cat $(BESIDE_LOG); exit $$((front + back))
endef

# A cluster waits most of the time where it is killed, cut off or watched: what needs no cluster is tested meanwhile.
.PHONY: test
test: $(STAMP) ## everything CI runs
	$(call beside,lint,ready)
	$(MAKE) --no-print-directory side-by-side
	$(call beside,unit test-oracles test-control-plane own-cluster,kills alone)

# ---- A Kubernetes and what runs in it: hack/cluster, standard library only ----
CLUSTER_TOOL := $(PYTHON) hack/cluster

.PHONY: check
check: ## say in seconds where a cluster would run here, or what is missing
	@$(CLUSTER_TOOL) check

.PHONY: cluster
cluster: check $(STAMP) ## a Kubernetes: CLUSTER=kind, node or existing (default: kind where Docker answers, else one node)
	@$(CLUSTER_TOOL) up

.PHONY: cluster-down
cluster-down: ## stop it; PURGE=1 removes its state too
	@$(CLUSTER_TOOL) down $(if $(filter 1,$(PURGE)),--purge)

.PHONY: images
images: ## the three images, built when their inputs changed, loaded into the cluster
	@$(CLUSTER_TOOL) images

.PHONY: store
store: ## the S3-compatible store for tests and the demo
	@$(CLUSTER_TOOL) store

.PHONY: prometheus
prometheus: ## the Prometheus for tests and the demo; scrapes every pod that modelcycle owns
	@$(CLUSTER_TOOL) prometheus

.PHONY: demo
demo: cluster images store prometheus install ## the whole loop on real data, told step by step
	PYTHONPATH=hack $(BIN)/python -m demo

.PHONY: lock
lock: ## compile the pyproject files to hash-pinned requirements (needs uv)
	$(PYTHON) hack/lock.py

.PHONY: bench
bench: cluster images store install ## what the operator costs and how fast it reacts (figures, no verdict)
	PYTHONPATH=hack:tests $(BIN)/python tests/benchmarks/operator_latency.py
	PYTHONPATH=hack:tests $(BIN)/python tests/benchmarks/rollback_latency.py
	PYTHONPATH=hack:tests $(BIN)/python tests/benchmarks/traffic_latency.py
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/decision_cost.py
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/drift_judgement.py
	$(MAKE) bench-serving

.PHONY: bench-serving
bench-serving: $(STAMP) ## the model server beside FastAPI and MLServer, into docs/serving.md (QUICK=1: 5 minutes, nothing written; PROFILE=bc,1,16)
	PYTHONPATH=hack:tests $(BIN)/python -m benchmarks.serving $(if $(PROFILE),--profile $(PROFILE),$(if $(filter 1,$(QUICK)),--quick,--write))

.PHONY: soak
soak: $(STAMP) ## the model server at half load with rolling restarts: nothing lost, nothing miscounted, no memory grown (MINUTES=10)
	PYTHONPATH=hack:tests $(BIN)/python -m benchmarks.serving.soak --minutes $(or $(MINUTES),10)

# Not taken from the environment, so that nothing lands in a cluster by accident; `make install KUBECONFIG=...` names another.
KUBECONFIG := .cluster/kubeconfig
KUBECTL = KUBECONFIG=$(KUBECONFIG) $(BIN)/kubectl
OUR_KINDS := experiments modeldeployments driftmonitors

.PHONY: install
install: $(STAMP) ## the operator into the cluster of KUBECONFIG (default .cluster/kubeconfig), with the images of make images
	@test -s manifests/overlays/dev/images.env || { echo "manifests/overlays/dev/images.env is missing: run 'make images' first" >&2; exit 1; }
	@echo "==> Operator, kinds and roles into $$($(KUBECTL) config view --minify -o 'jsonpath={.clusters[0].cluster.server}')"
	$(KUBECTL) apply --server-side --force-conflicts --field-manager=modelcycle-install -k manifests/overlays/dev
	$(KUBECTL) wait --for=condition=Established --timeout=60s $(OUR_KINDS:%=crd/%.modelcycle.dev)
	$(KUBECTL) -n modelcycle-system rollout status deployment/modelcycle-operator --timeout=180s

.PHONY: uninstall
uninstall: $(STAMP) ## removes operator, kinds and roles; refuses while objects of the kinds exist unless FORCE=1 (which deletes them too)
	@for kind in $(OUR_KINDS); do \
		$(KUBECTL) get crd $$kind.modelcycle.dev -o name --ignore-not-found | grep -q . || continue; \
		objects=$$($(KUBECTL) get $$kind.modelcycle.dev -A --no-headers -o custom-columns=:metadata.namespace,:metadata.name) || exit 1; \
		test -n "$$objects" || continue; \
		if [ "$(FORCE)" != 1 ]; then \
			echo "$$kind exist: delete them first, or 'make uninstall FORCE=1' deletes them with all they own:" >&2; echo "$$objects" >&2; exit 1; \
		fi; \
		echo "==> Deleting all $$kind and what they own"; \
		$(KUBECTL) delete $$kind.modelcycle.dev --all -A --cascade=foreground --timeout=180s || exit 1; \
	done
	@echo "==> Removing the operator, its namespace, roles and kinds"
	$(KUBECTL) delete -k manifests/base --ignore-not-found --timeout=180s
	$(KUBECTL) delete -k crds --ignore-not-found --timeout=180s

FUZZERS := $(addprefix tests/unit/serving/,test_http_fuzz.py test_http_against_h11.py test_body_fuzz.py)

.PHONY: campaign
campaign: $(STAMP) ## the evidence at 2,000 rollouts a cell, then property tests and fuzzers with 20 times the examples (TIMES=)
	PYTHONPATH=tests $(BIN)/python tests/campaigns/calibration.py
	MODELCYCLE_CAMPAIGN=$(or $(TIMES),20) $(BIN)/pytest -n 2 --timeout 3600 --durations=0 tests/properties $(FUZZERS)

.PHONY: campaign-cluster
campaign-cluster: cluster images store prometheus install ## rollouts of equal models on the real cluster: how many are taken back (ROLLOUTS=20), and Prometheus away for five minutes
	PYTHONPATH=hack:tests $(BIN)/python tests/campaigns/cluster_campaign.py --rollouts $(or $(ROLLOUTS),20)
