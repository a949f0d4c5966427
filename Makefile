# kalshi-streams. Needs python3 (3.11 or newer, with venv) and make; everything else comes from the locked packages.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench bench-sinks bench-fills conformance soak chaos campaign lock schemas clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## create .venv and install the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "expected Python >= 3.11, was $$($(PYTHON) -V)"; exit 2; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python ops/install_progress.py requirements.lock --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP) ## start everything with a simulated feed: books move, Ctrl-C stops
	@$(BIN)/kalshi-streams up $(ARGS)

test: $(STAMP) ## all tests but the slow ones, real engines included (8 minutes on two idle cores)
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(STAMP) ## format, lint, types, layers, unit tests, a run scanned for secrets (90 s)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/codespell && $(BIN)/mypy && $(BIN)/python -m pytest -q -m "not engines and not long and not slow" tests && $(BIN)/python -m pytest -q tests/e2e/test_canaries.py

bench: $(STAMP) ## the book job side by side with the peers, latency, restore, growth, market producer
	@$(BIN)/python -m bench

bench-sinks: $(STAMP) ## rows/s of each sink beside the bare ceiling of its store
	@$(BIN)/python -m bench sinks

bench-fills: $(STAMP) ## the table of seen fills with 10 million ids (BENCH_FILLS_IDS): speed, disk, memory, restart
	@$(BIN)/python -m bench fills

conformance: $(STAMP) ## the venue's SDKs, unchanged, against the simulator through CONFORMANCE_S (300) seconds of faults
	@$(BIN)/python -m conformance $(ARGS)

chaos: $(STAMP) ## the long kill tests (BOUND: CHAOS_KILLS, default 200)
	@$(BIN)/python -m pytest -m slow tests/chaos $(ARGS)

campaign: $(STAMP) ## queries against the read-only ClickHouse port that try to get out (CAMPAIGN_QUERIES, default 100000)
	@$(BIN)/python -m pytest -s -m slow tests/sinks/test_clickhouse_allowlist.py $(ARGS)

soak: $(STAMP) ## run everything for SOAK_S seconds (default 1800) and watch memory, lag and commits
	@$(BIN)/python -m bench soak

schemas: $(STAMP) ## write docs/schemas/*.json from the record classes
	@$(BIN)/python -m ops.schemas

lock: $(STAMP) ## resolve requirements-dev.in and requirements-conformance.in into their locks, with hashes
	@$(BIN)/python -m ops.lock

clean: ## remove the environment; data stays
	@rm -rf $(VENV)
