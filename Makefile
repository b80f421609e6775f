# Needs nothing but make and Python 3.11 or newer; the rest goes into .venv.
# `make PYTHON=/path/to/python3.12 test` names the interpreter.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
# Threads of the tests: see tests/conftest.py.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-report lint format schema interop peers wheel smoke-aarch64
.PHONY: hooks clean

help: ## This list.
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

install: $(INSTALLED) ## .venv with all that the demo and the tests need.

# torch comes first and by its exact name: a range may bring a build with several GB of CUDA
# packages. Dependency groups need pip 25.1, which is newer than the one Python 3.11 brings.
$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "latedge needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt 'pip>=25.1'
	$(PIP) install --quiet --constraint constraints.txt $$(grep '^torch==' constraints.txt)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

demo: $(INSTALLED) ## A small trained model, exported, compiled and drawn by both engines.
	$(BIN)/python scripts/demo.py

test: lint ## Linters, types and tests, as CI runs them.
	$(BIN)/python -m pytest -n $(WORKERS)

test-report: $(INSTALLED) ## The report's page in a headless chromium, which must be installed.
	$(BIN)/python -m pytest -n 0 -m browser tests/benchmarks/report

lint: $(INSTALLED) ## Linters and types alone.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(INSTALLED) ## Rewrites the source in the project's form.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: $(INSTALLED) ## Writes schema/latedge.schema.json anew from the manifest's types.
	$(BIN)/python scripts/make_schema.py

# The peers get environments of their own in build/interop, 3.5 GB; about 10 minutes with them.
interop: $(INSTALLED) ## Folders of latedge and of its peers, opened by each other.
	$(BIN)/python -m benchmarks.interop

# Environments in build/peers, 7 GB, models and exports of 15 GB; the better part of an hour.
peers: $(INSTALLED) ## latedge beside diffusers, Optimum, OpenVINO GenAI and stable-diffusion.cpp.
	$(BIN)/python -m benchmarks.peers

wheel: $(INSTALLED) ## dist/*.whl, which must run on every system.
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/latedge-*-py3-none-any.whl

smoke-aarch64: $(INSTALLED) ## The demo's picture on an emulated ARM processor (Debian alone).
	$(BIN)/python scripts/smoke_aarch64.py

hooks: $(INSTALLED) ## Runs the linters before every commit.
	$(BIN)/pre-commit install

clean: ## Removes what make made; build/, where trainings keep their checkpoints, stays.
	rm -rf $(VENV) dist demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
