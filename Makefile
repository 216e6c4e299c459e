# The verbs of the project. `make run` and `make test` need Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOP := $(VENV)/.develop
BENCH := $(VENV)/.bench
RELEASE := $(VENV)/.release
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Versions and hashes are those of locks/.
locked = $(PIP) --require-hashes $(foreach name,$(1),--requirement locks/$(name).txt)
RUN_LOCKS := base embedded
TEST_LOCKS := $(RUN_LOCKS) otel dev

.PHONY: run test test-lowest lint bench chaos docs lock licences sbom audit clean

run: $(INSTALLED)  ## three demo backends, the checker and the balancer on http://localhost:8080; Ctrl-C ends all
	@$(BIN)/lbflask demo

# Hundreds of processes import the package: without bytecode, which some environments turn off, each would compile it.
test: $(DEVELOP)  ## the tests; ALL=1 runs every member of those that start processes for each of many; BUSY=2 adds load
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder \
		$(if $(ALL),--all) $(if $(BUSY),--busy $(BUSY)) $(OPTIONS)

LOWEST_PYTHON ?= python3.11
test-lowest:  ## the fast tests with the lowest versions that pyproject.toml allows, on Python 3.11
	$(MAKE) test PYTHON=$(LOWEST_PYTHON) VENV=.venv-lowest RUN_LOCKS=lowest TEST_LOCKS=lowest \
		OPTIONS="-m 'not e2e' $(OPTIONS)"

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

lock: $(RELEASE)  ## write locks/ anew, with the newest versions that pyproject.toml allows
	$(BIN)/python -m devtools.locks

licences: $(DEVELOP)  ## write the licences of the dependencies into docs/dependencies.md
	$(BIN)/python -m devtools.licences

sbom: $(RELEASE)  ## the parts of an installation, as CycloneDX: dist/sbom.cdx.json
	$(PYTHON) -m venv --clear --without-pip .venv-sbom
	$(BIN)/pip --python .venv-sbom/bin/python install --quiet --disable-pip-version-check --require-hashes \
		--requirement locks/base.txt --requirement locks/embedded.txt --requirement locks/otel.txt
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.cdx.json \
		.venv-sbom/bin/python

audit: $(RELEASE)  ## known vulnerabilities of what locks/ pins, where a source of advisories is reachable
	$(BIN)/python -m devtools.audit

clean:
	rm -rf $(VENV) .venv-* build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lbflask needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml setup.py $(wildcard locks/*.txt)
	$(call locked,build $(RUN_LOCKS))
	@rm -rf lbflask.egg-info  # of an earlier version, which would hide the metadata that is installed now
	$(PIP) --no-deps --no-build-isolation --editable .
	@$(call locked,fast) --no-build-isolation >$(VENV)/fast.log 2>&1 || \
		echo "gunicorn's parser in Python is used: the one in C needs a C compiler ($(VENV)/fast.log)"
	@touch $@

$(DEVELOP): $(INSTALLED)
	$(call locked,$(TEST_LOCKS))
	@touch $@

$(BENCH): $(INSTALLED)
	$(call locked,$(RUN_LOCKS) bench)
	@touch $@

$(RELEASE): $(INSTALLED)
	$(call locked,base release)
	@touch $@
