# `make demo` and `make test` set up everything that they need; see `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup broker chromium lint test test-web test-backends faults soak demo bench wheel lock format clean

PY := .venv/bin/python
BROKERS ?=
PYTEST ?=
WORKERS ?= 4
ROWS ?=
SEED ?=
MINUTES ?= 60
WIRES ?=
# Branch coverage of the rooms that decide a job's fate.
COVERAGE := --cov=rabbitjobs.policy --cov=rabbitjobs.ending --cov-branch --cov-fail-under=100
# With its bytecode kept, as for every user, a worker starts in half the time.
UNSET := env -u RABBITJOBS_URL -u RABBITJOBS_URL_FILE -u PYTHONDONTWRITEBYTECODE

help: ## what can be made here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: .venv/ready ## .venv with the locked requirements and this package
broker: setup ## and a RabbitMQ to run (BROKERS="3.10 4.0 4.3" for others than the best one)
	@$(PY) -m rabbitjobs.broker $(BROKERS)

chromium: ## the browser that tests/browser sit at
	@bash scripts/get-chromium

.venv/ready: requirements/dev.txt pyproject.toml scripts/make-venv
	@bash scripts/make-venv

lint: setup ## ruff, mypy --strict, pyright and the import contract
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pyright --pythonpath $(PY)
	.venv/bin/lint-imports

format: setup ## put the code into ruff's form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

test: broker ## all tests but the two below; BROKERS="3.10 4.0 4.3" repeats those on a broker for each
	@$(UNSET) PY=$(PY) WORKERS="$(WORKERS)" BROKERS="$(BROKERS)" PYTEST="$(PYTEST)" \
	  COVERAGE="$(COVERAGE)" bash scripts/run-tests

test-web: broker chromium ## the review desk's pages: their handlers, and a browser before them
	@$(UNSET) PY=$(PY) WORKERS="$(WORKERS)" PYTEST="$(PYTEST)" bash scripts/test-web

test-backends: setup ## the store's tests on a real PostgreSQL on loopback
	@$(UNSET) PY=$(PY) PYTEST="$(PYTEST)" bash scripts/test-backends

faults: setup ## the fault matrix: ROWS="worker-kill ..." SEED=7 BROKERS="4.3" WIRES="pika aio-pika"
	@$(UNSET) PY=$(PY) ROWS="$(ROWS)" SEED="$(SEED)" BROKERS="$(BROKERS)" WIRES="$(WIRES)" \
	  bash scripts/run-faults

soak: setup ## constant load, random faults, and meters that must stay flat: MINUTES=60 SEED=7
	@$(UNSET) PY=$(PY) MINUTES="$(MINUTES)" SEED="$(SEED)" BROKERS="$(BROKERS)" WIRES="$(WIRES)" \
	  bash scripts/run-soak

demo: broker ## the main job, end to end, with real input (WEB=1: then the desk's page stays open)
	@$(UNSET) $(PY) -m examples.shop.demo $(if $(WEB),--web)

bench: broker ## ours, the peers, raw clients and C in one contest (QUICK=1: one round, 4 minutes; ONLY=drain; ROUNDS=3)
	@PY=$(PY) bash scripts/bench-setup
	@$(UNSET) $(PY) -m benchmarks $(if $(QUICK),--quick) --rounds $(or $(ROUNDS),$(if $(QUICK),1,3)) --only "$(ONLY)"

wheel: setup ## build the wheel and try it in a venv of its own
	@PY=$(PY) bash scripts/test-wheel

lock: setup ## renew requirements/*.txt from pyproject.toml
	@PY=$(PY) bash scripts/lock

clean: ## remove what was made here (not the shared RabbitMQ)
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage*
