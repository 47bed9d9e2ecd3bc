# Every target does its own set-up. `make help` lists them.

SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Python compiles a module when it is first imported; pip would compile all 18,000, for half of an installation's
# processor time.
# Where Python may not write what it compiled, pip has to.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

# The demo: your own dataset directory, the model, the service's port, the seed of catalogue and training.
DATA ?=
MODEL ?= magnet
PORT ?= 8000
SEED ?= 0
DEMO_DATA = $(or $(DATA),demo/catalogue-$(SEED))

# The first of these that is Python 3.11 or newer (a pyenv shim may exist and not run, so each is asked).
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	"$$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)

.PHONY: help install demo test test-full check check-docker test-needs pictures docs bench clean secrets audit reliability soak
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with everything for training, serving and developing

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer with the venv module found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@echo "installing into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install --quiet $(COMPILE) --editable '.[train,serve,dev]'
	@touch $@

demo: $(INSTALLED) ## train on the demo catalogue and serve it; DATA=dir MODEL=magnet PORT=8000 SEED=0
	@! (: < /dev/tcp/127.0.0.1/$(PORT)) 2>/dev/null || { echo "port $(PORT) is in use; name a free one: make demo PORT=8001" >&2; exit 1; }
ifeq ($(DATA),)
	$(BIN)/magnet-train demo-data --out $(DEMO_DATA) --seed $(SEED)
endif
	$(BIN)/magnet-train run --data "$(DEMO_DATA)" --model $(MODEL) --store demo/store --out demo/runs/$$(date +%Y%m%d-%H%M%S) --seed $(SEED)
	exec $(BIN)/magnet-serve --store demo/store --port $(PORT) --announce

check: $(INSTALLED) ## lint, format, types and import contracts, without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

secrets: $(INSTALLED) ## look for keys and passwords in what is committed
	$(BIN)/python -m tests.support.secrets_scan

audit: $(INSTALLED) ## ask for known weaknesses of what is installed; says so where there is no network to ask
	@tests/support/audit $(BIN)/pip-audit

test: check secrets audit test-needs ## everything CI checks: `make check` and all tests but the slow ones
	$(BIN)/pytest -m "not slow"

test-full: check secrets audit test-needs ## `make test` with the slow tests
	$(BIN)/pytest

reliability: $(INSTALLED) test-needs ## every fault, hostile input and promise, written to tests/RELIABILITY.md
	$(BIN)/python -m tests.reliability.report

soak: $(INSTALLED) ## MINUTES=10 at 70 % of what the service can do, watched for leaks
	$(BIN)/python -m tests.reliability.soak --minutes $(or $(MINUTES),10)
	$(BIN)/python -m tests.reliability.report --no-tests

check-docker: ## build the images and take the composed system through its life (needs Docker with Compose)
	"$(PYTHON)" tests/e2e/compose.py

test-needs:
	@tests/support/install-test-needs

pictures: $(INSTALLED) ## take the README's pictures again, from the store that `make demo` left (needs Chromium)
	$(BIN)/python -m tests.e2e.console.pictures

bench: $(INSTALLED) test-needs ## measure speed: all of it, or BENCH=serve|retrieval|store|train; tests/BENCHMARKS.md shows the tables after `make docs`
	$(BIN)/python -m tests.benchmarks $(BENCH)

docs: $(INSTALLED) ## rewrite the parts of pages that follow from the code and from measured figures
	$(BIN)/python -m tests.support.docs

clean: ## remove what make has made: .venv, caches, build output, demo/ (runs and the store stay)
	rm -rf $(VENV) build dist *.egg-info demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find model_store training service tests -name __pycache__ -type d -prune -exec rm -rf {} +
