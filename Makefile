# What a person runs is what CI runs. Each target installs what it needs once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without an NVIDIA GPU the CPU build of torch does the same; it has 0.2 GB, the one that pip takes on
# Linux several. It is asked for where its index answers. `make TORCH_INDEX=` leaves the choice to pip.
CPU_TORCH := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(shell [ "$$(uname)" = Linux ] && [ ! -e /proc/driver/nvidia ] \
	&& ! nvidia-smi >/dev/null 2>&1 && $(PYTHON) -c \
	'from urllib.request import urlopen; urlopen("$(CPU_TORCH)/torch/", timeout=5)' 2>/dev/null \
	&& echo $(CPU_TORCH))

# So that Python finds the package beside the clone too, whose folder may have its name.
EDITABLE := --config-settings editable_mode=compat

.PHONY: install demo test lint bench gpu faults search grid docs site clean

install: $(VENV)/.installed

# The last lines are to be typed; the shell of who started make wants its own activation file.
demo: $(VENV)/.installed
	@text=$$($(BIN)/charrnn corpus get tiny-shakespeare --timeout 8s --else python-docs) \
		&& $(BIN)/charrnn train "$$text" --budget 2m
	$(BIN)/charrnn sample --temp 0.8 --length 600
	@case "$$SHELL" in \
		*fish) activate='source $(BIN)/activate.fish' ;; \
		*csh) activate='source $(BIN)/activate.csh' ;; \
		*) activate='. $(BIN)/activate' ;; \
	esac; \
	printf '%s\n' '' 'To go on, type:' "    $$activate" \
		'    charrnn sample --temp 0.8' '    charrnn write'

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal \
		--cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/all.py

# What only an NVIDIA GPU can show, in under ten minutes; without one a line says so. ARGS: parts and
# options of benchmarks/gpu.py, as in make gpu ARGS="kernels loss --corpus input.txt"
gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

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

# The site in site/: `python3 -m http.server -d site` shows it. The variable silences an advertisement.
site: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(EDITABLE) -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(addprefix --extra-index-url ,$(TORCH_INDEX)) $(EDITABLE) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(EDITABLE) -e ".[dev]"
	@touch $@
