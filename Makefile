# Everything runs from a virtual environment that the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check lint format bench optimum clean
help:           ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/'

$(READY): pyproject.toml constraints.txt hatch_build.py $(wildcard src/mixtura/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY)  ## the tutorial and a real cytometry table, fitted and plotted into demo/
	$(BIN)/mixtura demo --output demo

test: $(READY)  ## the fast test suite
	$(BIN)/pytest -q -m "not slow" -n 2

check: $(READY) ## the whole suite with its slow tests
	$(BIN)/pytest -q -n 2

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code into its layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## speed and memory beside scikit-learn
	$(BIN)/python benchmarks/run.py

optimum: $(READY) ## likelihoods and times of whole fits beside scikit-learn: up to an hour
	$(BIN)/python benchmarks/optimum.py

clean:          ## remove the environment and everything built
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache
