# `make demo` and `make test` need Python 3.11+ and make: they build .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

export MPLBACKEND ?= Agg

.DEFAULT_GOAL := help
.PHONY: help install demo test format table clean

help: ## List what make can do.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: $(INSTALLED) ## Build .venv with exact versions.

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python 3.11 or later is needed, got {v.major}.{v.minor}; run make PYTHON=/path/to/python3.11")'
	@echo "installing into $(VENV) (a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,notebooks,cluster]'
	@touch $@

demo: $(INSTALLED) ## Run the main job: train, run on Aer, print one table.
	$(BIN)/qrnn train jobs/digits_feedforward.toml

test: $(INSTALLED) ## Format, lint, types, tests, doctests, notebooks.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --doctest-modules qrnn_qiskit tests

format: $(INSTALLED) ## Format and fix what can be fixed.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

table: $(INSTALLED) ## Reproduce README's accuracy table (ten minutes on two idle cores).
	$(BIN)/python benchmarks/accuracy.py

clean: ## Remove the environment and caches; runs/ stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
