# Everything needs Python 3.11+ and make; the rest installs itself into .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto
SEEDS ?= 1,2,3
JOBS ?= 300
SCENARIO ?= everything
SEED := $(or $(SEED),$(shell od -An -N3 -tu4 /dev/urandom | tr -d ' '))
# Keep compiled modules, whatever the environment says: a test run starts hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo up test test-fast check format fuzz bench chaos dashboards lock clean delete-data

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Rushes needs Python 3.11 or later with the venv module; $(PYTHON) is $$($(PYTHON) -V 2>&1)"; \
		  echo "hint: name another one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12"; exit 1; }
	@echo "installing the locked dependencies into $(VENV) (once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "error: $(PYTHON) cannot make a virtual environment"; \
		  echo "hint: on Debian and Ubuntu: apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## render examples/prompts.jsonl end to end against the simulator
	@$(BIN)/rushes demo

up: $(STAMP) ## run the whole stack until Ctrl-C
	@$(BIN)/rushes up

test: $(STAMP) ## run every test
	@$(BIN)/python -m pytest -n $(WORKERS)

test-fast: $(STAMP) ## run the unit tests and the rules of the house (a minute)
	@$(BIN)/python -m pytest -q -n $(WORKERS) tests/unit tests/architecture

check: $(STAMP) ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

# The router names only some methods in `Allow`, and lists ignore empty filters: neither is a fault worth a stop.
FUZZ := --phases=examples,coverage,fuzzing,stateful --max-examples=100 --max-time=240 --continue-on-failure
FUZZ += --exclude-checks=positive_data_acceptance,negative_data_rejection,allow_header_conformance

fuzz: $(STAMP) ## send generated requests to the API (10 minutes); `SEED=1` repeats a run
	@echo "seed $(SEED)"
	@FUZZ_OPTIONS="$(FUZZ) --seed=$(SEED)" $(BIN)/python -m pytest -q -n 2 tests/integration/api/test_fuzz.py

bench: $(STAMP) ## measure against what others do, and print the figures (15 minutes)
	@$(BIN)/python -m bench

chaos: $(STAMP) ## inject seeded faults into a farm, three times, audit it, compare it (10 minutes)
	@$(BIN)/python -m bench.chaos --seeds $(SEEDS) --jobs $(JOBS) --scenario $(SCENARIO)

dashboards: $(STAMP) ## write the alert rules, their tests and the Grafana dashboard into deploy/
	@$(BIN)/python deploy/generate.py

LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --only-binary :all: --quiet

lock: $(STAMP) ## refresh the lock files from pyproject.toml
	$(LOCK) --extra embedded --group dev --upgrade -o requirements.lock
	$(LOCK) --constraint requirements.lock -o requirements-server.lock

clean: ## remove .venv and caches; videos and the ledger stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

DATA := $(wildcard .rushes renders)

delete-data: ## delete the videos, the ledger and the embedded servers' data of this checkout, after asking
	@test -n "$(DATA)" || { echo "there is no data in this folder"; exit 1; }
	@echo "this deletes every stored video and the record of every purchase in:"; du -sh $(DATA)
	@echo "$$(find $(DATA) -name '*.mp4' | wc -l | tr -d ' ') videos are among them; nothing of this can be restored"
	@printf 'type "delete" to go on: '; read answer; test "$$answer" = delete || { echo "nothing was deleted"; exit 1; }
	rm -rf $(DATA)
