# Everything here needs python3 >= 3.11, make and a package index. `make` alone says what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV ?= uv

# Test workers: two a core, since tests of engines mostly wait. Each may run a PostgreSQL of its own, so not as many as a large
# machine has cores. Who runs what is said in tests/schedule.py, and where engines' data lies in tests/memory.py.
JOBS ?= $(shell echo $$((2 * $$(nproc))))
MAX_JOBS ?= 4

# The stamps: an install is repeated when what it was made from is newer.
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test retest check docs bench lock clean
.DELETE_ON_ERROR:

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ARGS='...' is passed on by demo, test and bench; PYTHON=python3.12 picks the interpreter"

demo: $(RUNTIME)  ## a fleet on this machine, a failure, and its recovery
	@$(BIN)/herder demo $(ARGS)

test: $(DEV)  ## every test: whole herders on two workers, the small ones beside them
	$(BIN)/python -m pytest tests -n $(JOBS) --maxprocesses=$(MAX_JOBS) $(ARGS)

retest: $(DEV)  ## what failed in the last `make test`, one by one
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none -n 0 $(ARGS) || [ $$? -eq 5 ]

check: $(DEV)  ## the whole gate without the tests, in under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/house -q

docs: $(RUNTIME)  ## draw docs/machines from the tables
	$(BIN)/python -m herder.machines.render docs/machines

bench: $(RUNTIME)  ## measure this machine
	@$(BIN)/herder bench $(ARGS)

# Hashes of every published wheel, and no address of an index: the reader's own is used.
COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' $(UV) pip compile --quiet --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links

lock:  ## compile requirements/*.in again (needs uv)
	$(COMPILE) requirements/build.in --output-file requirements/build.txt
	$(COMPILE) requirements/runtime.in --output-file requirements/runtime.txt
	$(COMPILE) requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) requirements/bench.in --output-file requirements/bench.txt

clean:  ## remove what make and the tools made
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "herder needs Python 3.11 or later, and there is no '$(PYTHON)' here." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "herder needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# The build backend comes first and hashed, so that installing herder itself fetches nothing.
$(RUNTIME): requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/build.txt
	$(PIP) install --quiet --require-hashes -r requirements/runtime.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt $(RUNTIME)
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
