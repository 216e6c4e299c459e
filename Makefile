# The verbs of the project. `make run` and `make test` need Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOP := $(VENV)/.develop
BENCH := $(VENV)/.bench
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --editable

.PHONY: run test lint bench chaos docs clean

run: $(INSTALLED)  ## three demo backends, the checker and the balancer on http://localhost:8080; Ctrl-C ends all
	@$(BIN)/lbflask demo

# Hundreds of processes import the package: without bytecode, which some environments turn off, each would compile it.
test: $(DEVELOP)  ## the tests; ALL=1 runs every member of those that start processes for each of many; BUSY=2 adds load
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder \
		$(if $(ALL),--all) $(if $(BUSY),--busy $(BUSY)) $(OPTIONS)

lint: $(DEVELOP)  ## style, types, layers, and the coverage of core/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/python -m devtools.individual_coverage

bench: $(BENCH)  ## throughput, latency, memory and losses, as ratios within one run; QUICK=1 only shows that it works
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

chaos: $(DEVELOP)  ## kill and freeze backends, workers, checkers and the store under load, against targets; QUICK=1 in short
	$(BIN)/python -m chaos $(if $(QUICK),--quick)

docs: $(DEVELOP)  ## write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) .venv-* build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lbflask needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml
	$(INSTALL) '.[embedded]'
	@$(INSTALL) '.[fast]' >$(VENV)/fast.log 2>&1 || echo "gunicorn's parser in Python is used: the one in C needs a C compiler ($(VENV)/fast.log)"
	@touch $@

$(DEVELOP): $(INSTALLED) pyproject.toml
	$(INSTALL) '.[embedded,dev]'
	@touch $@

$(BENCH): $(INSTALLED) pyproject.toml
	$(INSTALL) '.[embedded,bench]'
	@touch $@
