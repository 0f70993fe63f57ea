# Everything a person or CI runs. The first target that needs it makes .venv and installs.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.PHONY: help setup demo demo-full test test-slow torture fuzz lint docs reference bench up screenshots clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## make .venv and install

demo: setup ## the whole main job on the demo corpus: ingest, train, evaluate, report (15 minutes)
	$(BIN)/millrace demo

demo-full: setup ## the same with more pictures and training (55 minutes)
	$(BIN)/millrace demo --full

test: setup ## the tests that every change must pass (10 minutes)
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-slow: setup ## kills, servers, browsers, whole runs (half of it is waiting: JOBS=2 files at a time)
	$(BIN)/python -m pytest -m slow -n $(JOBS) --dist loadfile

torture: setup ## the full counts of kills
	MILLRACE_TORTURE=20 $(BIN)/python -m pytest -m slow -k "kill or killed"

fuzz: setup ## the tests of properties, with examples that no run had before
	MILLRACE_HYPOTHESIS=search $(BIN)/python -m pytest -m hypothesis

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup ## the documentation as pages, in build/docs; a warning is an error
	$(BIN)/python -m sphinx -q -W -n -b html docs build/docs

reference: setup ## docs/reference, told from the code
	$(BIN)/python -m flows.reference

bench: setup ## every benchmark, each against its named peer
	$(BIN)/python -m benchmarks all

up: setup ## the Prefect server with every deployment
	$(BIN)/millrace up

screenshots: setup ## the README's pictures anew, of what `make demo` made (needs Chromium)
	$(BIN)/python -m tests.dashboards.shots demo/millrace.toml docs overview corpus thresholds lineage

clean: ## remove what make made, the store of your own data excepted
	rm -rf $(VENV) .bench .prefect demo demo-full gallery build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
