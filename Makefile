# One entry point for everything a developer does. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
JOBS ?= 2

.PHONY: help demo test check format browser clean

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/run: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Python's venv module is needed (on Debian: apt-get install python3-venv)"; exit 2; }
	@echo "Setting up .venv (once; about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: .venv/run
	@echo "Setting up the developers' tools in .venv (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/run  ## set up and run the main job (ARGS=--once ends it by itself)
	@$(BIN)/python demo.py $(ARGS)

test: .venv/dev  ## set up and pass the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term $(ARGS)

check: .venv/dev  ## every check a developer runs: style, types, layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: .venv/dev  ## put the code in its format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

browser:  ## install Debian's Chromium for the browser tests (needs root; elsewhere they are skipped)
	@command -v chromedriver >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver; }

clean:  ## remove what was made here, the demo's data included
	rm -rf .venv demo-data build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
