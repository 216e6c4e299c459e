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
RUN_LOCKS := base embedded re2 compression
TEST_LOCKS := $(RUN_LOCKS) acme auth otel dev docs

.PHONY: run build wheels compiled test test-compiled test-lowest lint coverage mutation fuzz bench chaos gameday soak docs lock licences sbom audit clean

run: $(INSTALLED)  ## three demo backends, the checker and the balancer on http://localhost:8080; Ctrl-C ends all
	@$(BIN)/lbflask demo

# Hundreds of processes import the package: without bytecode, which some environments turn off, each would compile it.
# What depends on the version of Python: CI repeats it with others.
VARYING := $(addprefix tests/,config cli proxy server upstream wiring test_docs.py)
EXTENT = $(if $(ALL),--all,$(if $(LONG),--long))
test: $(DEVELOP)  ## the tests, in five to ten minutes; LONG=1 adds those that take long, ALL=1 all; BUSY=2 adds load
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder \
		$(EXTENT) $(if $(BUSY),--busy $(BUSY)) $(if $(FAST),-m 'not e2e' $(VARYING)) $(OPTIONS)

build: $(DEVELOP)  ## the source distribution and, made of it, the wheel; compiled where a C compiler exists, unless LBFLASK_COMPILE=0
	@rm -rf dist/lbflask-*
	$(BIN)/python -m build --quiet --no-isolation --outdir dist .

wheels: $(RELEASE)  ## the compiled wheels of a release, by containers of manylinux; LIST=1 only names them
	$(BIN)/cibuildwheel --platform linux $(if $(LIST),--print-build-identifiers,--output-dir dist)

# The package is that of the wheel, in an environment of its own. What changes meanwhile is newer than the wheel.
WHEEL := .venv-compiled
$(WHEEL)/.wheel: setup.py pyproject.toml $(wildcard locks/*.txt) $(shell find lbflask -type f -not -name '*.pyc')
	@mkdir -p $(WHEEL) && touch $(WHEEL)/.began
	$(MAKE) build LBFLASK_COMPILE=1
	$(MAKE) VENV=$(WHEEL) $(WHEEL)/.develop
	$(WHEEL)/bin/pip install --quiet --no-deps --force-reinstall dist/lbflask-*.whl
	@mv $(WHEEL)/.began $@

# All but the package is copied to it, so that the package in the checkout does not hide that of the wheel.
compiled: $(WHEEL)/.wheel  ## the compiled wheel in .venv-compiled, for measurements and tests of both builds
	$(WHEEL)/bin/python -m devtools.compiled_checkout $(WHEEL)/checkout

test-compiled: compiled  ## the tests against the compiled wheel; LONG=1, ALL=1 and OPTIONS as of `make test`
	cd $(WHEEL)/checkout && PYTHONDONTWRITEBYTECODE= ../bin/python -m pytest --numprocesses 4 \
		--dist loadfile --no-loadscope-reorder $(EXTENT) $(OPTIONS)

# With COMPILED=1, `fuzz` and `chaos` run against the compiled wheel.
CHOSEN = $(if $(COMPILED),compiled,$(DEVELOP))
python = $(if $(COMPILED),cd $(WHEEL)/checkout && ../bin/python,$(BIN)/python)

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

coverage: $(DEVELOP)  ## lines and branches outside core/ that the whole suite runs, with all its processes: 90 % at least
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m devtools.coverage $(OPTIONS)

SECONDS ?= 10
fuzz: $(CHOSEN)  ## every parser with inputs that a fuzzer makes, SECONDS=10 for each; INPUTS=2000 for the same ones each time
	@if $(subst $(BIN)/,$(if $(COMPILED),$(WHEEL)/bin,$(BIN))/,$(call locked,fuzz)) --only-binary :all: >$(VENV)/fuzz.log 2>&1; then \
		$(python) -m fuzz $(if $(INPUTS),--inputs $(INPUTS),--seconds $(SECONDS)); \
	else \
		echo "nothing is fuzzed: atheris cannot be installed for this version of Python ($(VENV)/fuzz.log)"; \
	fi

mutation: $(DEVELOP)  ## faults in core/ that the tests of their module do not find; MODULE=lbflask/core/slots.py for one
	$(BIN)/python -m devtools.mutation $(MODULE)

bench: $(BENCH)  ## throughput, latency, memory and losses, as ratios within one run; QUICK=1 only shows that it works
	@$(MAKE) compiled || echo "the compiled build cannot be made here, and is not measured"
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

chaos: $(CHOSEN)  ## kill and freeze backends, workers, checkers and the store under load, against targets; QUICK=1 in short
	$(python) -m chaos $(if $(QUICK),--quick)

gameday: $(DEVELOP)  ## incidents in a real fleet: which surface names each, how soon, and whether its remedy ends it
	$(BIN)/python -m chaos gameday

soak: $(DEVELOP)  ## ten minutes of mixed traffic with all failures in turn: nothing fails, nothing grows; QUICK=1 in short
	$(BIN)/python -m chaos.soak $(if $(QUICK),--quick)

docs: $(DEVELOP)  ## write the generated pages of docs/ anew, and build the site from all pages in build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -c docs -d build/doctrees . build/site

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
