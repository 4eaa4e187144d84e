# Everything runs from a virtual environment that the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := hatch_build.py $(wildcard src/mixtura/native/*.[ch])

.PHONY: help demo test test-all check lint format bench optimum best-known clean
help:           ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*##/\t/'

# The peers live apart: torchgmm wants an older pandas than the suite, and its pins are none of a user's business.
# Each is installed by itself, so that one that cannot be is left out and named. torch comes first, from wherever pip
# is told to find it: a CPU build is enough.
PEERS := .venv-bench
PEERS_READY := $(PEERS)/.ready
PEERS_PIP := $(PEERS)/bin/pip install --quiet --disable-pip-version-check -c benchmarks/constraints-peers.txt

$(PEERS_READY): pyproject.toml benchmarks/constraints-peers.txt $(NATIVE)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) torch scikit-learn
	$(PEERS_PIP) -e . matplotlib psutil threadpoolctl
	@for peer in tgmm torchgmm pomegranate; do \
	  $(PEERS_PIP) $$peer || echo "$$peer: SKIPPED, pip could not install it"; \
	done
	touch $@

$(READY): pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY)  ## the tutorial and a real cytometry table, fitted and plotted into demo/
	$(BIN)/mixtura demo --output demo

test: $(READY)  ## the fast test suite
	$(BIN)/pytest -q -m "not slow" -n 2

# The suite's own environment has the anndata that goes with its Python; these have the next one.
OTHERS := python3.12 python3.13

test-all: test  ## the fast suite, and the tests of AnnData with other interpreters and anndata 0.13
	tests/others.sh $(OTHERS)

check: $(READY) ## the whole suite with its slow tests
	$(BIN)/pytest -q -n 2

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code into its layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(PEERS_READY) ## speed, likelihood and memory beside every peer: about an hour; BENCH="passes --quick" for less
	$(PEERS)/bin/python benchmarks/run.py $(BENCH)
	$(PEERS)/bin/python benchmarks/plots.py

optimum: $(READY) ## likelihoods and times of whole fits beside scikit-learn: up to an hour
	$(BIN)/python benchmarks/optimum.py

best-known: $(READY) ## the best fit of every real table by brute force: hours, and it goes on where it was stopped
	$(BIN)/python benchmarks/best_known.py

clean:          ## remove the environment and everything built
	rm -rf $(VENV) $(PEERS) $(OTHERS:%=.venv-%) .constraints-others.txt build dist demo .pytest_cache .mypy_cache .ruff_cache
