# The commands of this project, for people and for CI alike. `make` alone lists them.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
# Stamps, so that nothing is installed twice; each is newer than what it was made from.
RUNTIME := $(VENV)/.installed-runtime
DEVELOP := $(VENV)/.installed-develop

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench costs quality faults faults-long kafka chart kube lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS=… passes flags on, for example: make run ARGS=--once"

setup: $(RUNTIME) ## make .venv with all that running needs (any Python from 3.11 on)
	@echo "$(VENV) is ready: make run, make test"

run: $(RUNTIME) ## poll the example feeds and show each story as it comes (Ctrl-C stops)
	@mkdir -p .run
	@exec $(BIN)/dateline run --feeds examples/feeds.opml --data .run/data $(ARGS)

test: $(DEVELOP) ## run every test; starts its own Kafka and Redis and says what did not run
	@$(BIN)/python -m pytest $(ARGS)

check: $(DEVELOP) ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

bench: $(DEVELOP) ## measure speed and latency against their limits (3 minutes)
	@$(BIN)/python -m tests.bench $(ARGS)

costs: $(DEVELOP) ## measure what docs/scaling.md reckons with: bytes and CPU of an article and of a feed
	@$(BIN)/python -m tests.bench.costs $(ARGS)

quality: $(DEVELOP) ## measure how right the tags are
	@$(BIN)/python -m tests.quality $(ARGS)

faults: $(DEVELOP) ## kill, freeze and fill things under load, and count what is lost or doubled (about 30 minutes)
	@$(BIN)/python -m pytest -m faults
	@$(BIN)/python -m tests.faults $(ARGS)

faults-long: $(DEVELOP) ## bad networks, full disks, floods, and an hour of everything (about 3 hours; some need root)
	@$(BIN)/python -m tests.faults --long $(ARGS)

kafka: ## start a Kafka node on 127.0.0.1:9092 (needs Java 17 and Maven)
	@deploy/kafka/kafka start

chart: $(RUNTIME) ## write the dashboards, the Helm chart's README, and its copies of dashboards and alert rules
	@$(BIN)/python tools/dashboards.py
	@$(BIN)/python tools/chart

kube: $(DEVELOP) ## try the chart on the cluster that KUBECONFIG names, under load and faults (ARGS=--help)
	@$(BIN)/python -m tests.kube $(ARGS)

lock: $(DEVELOP) ## resolve the newest allowed dependencies into the lock files
	@tools/lock $(BIN)

clean: ## remove the virtual environment, run data and caches
	rm -rf $(VENV) .run build dist .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@tools/make-venv $(VENV)

$(RUNTIME): requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Installing what running needs into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(DEVELOP): requirements-dev.lock $(RUNTIME)
	@echo "Installing what development needs into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
