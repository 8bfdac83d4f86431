# What a person runs is what CI runs. Each target installs what it needs once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench faults search grid docs clean

demo: $(VENV)/.installed
	$(BIN)/charrnn train python-docs --budget 60s
	$(BIN)/charrnn sample --temp 0.8 --length 600 --prompt "The "
	@echo 'To use charrnn in this shell: . $(BIN)/activate'

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal \
		--cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/all.py

# Tests that take hours: kills, signals, damage, full disks. ARGS: for pytest, as in make faults
# ARGS="-k kills"
faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/faults --whole $(ARGS)

# Measurements that take hours; after a stop the same command continues. CORPORA: files, or names of
# `charrnn corpus list`; ARGS: further options, as in make search ARGS="--budget 5m --runs 8"
CORPORA ?= tiny-shakespeare red-chamber names
search grid: $(VENV)/.installed
	$(BIN)/python benchmarks/$@.py $(CORPORA) $(ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/make_cli_page.py
	$(BIN)/python docs/make_api_page.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
