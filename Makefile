# Each target does its own set-up: a virtual environment in .venv and the dependencies.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_INSTALLED := $(VENV)/.demo-installed
DOCS_INSTALLED := $(VENV)/.docs-installed

DEMO ?= demo
DEMO_IMAGES ?= 160
DEMO_EPOCHS ?= 25

# Tests run in so many processes, whole files at a time: most of a small training is Python, on one core. The order is
# that of conftest.py: files with slow tests first.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

export TF_CPP_MIN_LOG_LEVEL ?= 2

# Hundreds of tests start a process: each would compile all the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve test test-fast check unit test-browser backends docs package lowest clean

help:
	@echo "make demo      train, evaluate and picture a small model on synthetic data; about 3 minutes, plus the download"
	@echo "make serve     the web page and the REST API on http://127.0.0.1:8000 (MODEL=path for a model of your own)"
	@echo "make test      all checks and tests; about 19 minutes on two cores"
	@echo "make test-fast checks and the tests without the slow ones; under 3 minutes on two cores"
	@echo "make check     formatting, lint, import order, types"
	@echo "make docs      the documentation as a site, in docs/_build"
	@echo "make package   wheel and sdist, checked and installed in fresh environments"
	@echo "make lowest    the tests of prediction with the lowest versions of the dependencies"
	@echo "make test-browser  the web page in a real browser (Chromium)"
	@echo "make backends  add JAX and PyTorch, so that 'make test' compares the three backends"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "polypseg needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	@echo "Making a virtual environment in $(VENV) (half a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip

# PySODMetrics, a peer in the tests, comes without its dependencies: its upper bounds would keep the tests from the OpenCV
# and NumPy that users get.
$(INSTALLED): pyproject.toml | $(BIN)/python
	@echo "Installing the development tools into $(VENV): about 3 GB, 3 to 5 minutes"
	@$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@$(BIN)/python -m pip install --quiet --no-deps "pysodmetrics>=1.5"
	@touch $(INSTALLED) $(DEMO_INSTALLED)

$(DEMO_INSTALLED): pyproject.toml | $(BIN)/python
	@echo "Step 1 of 3: installing polypseg and TensorFlow into $(VENV) (about 2 GB, 1 to 3 minutes)"
	@$(BIN)/python -m pip install --editable ".[train]" | grep --line-buffered -E "^(Collecting|Installing|Successfully)" | cut -c 1-100
	@touch $(DEMO_INSTALLED)

demo: $(DEMO_INSTALLED)
	@$(BIN)/python -c 'import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)' $(DEMO)
	@echo "Step 2 of 3: drawing $(DEMO_IMAGES) synthetic frames, then training $(DEMO_EPOCHS) epochs (1 to 3 minutes on two cores)"
	@$(BIN)/polypseg data synth $(DEMO)/data --num-images $(DEMO_IMAGES)
	@$(BIN)/polypseg train --data $(DEMO)/data --runs $(DEMO)/runs --name demo --config configs/demo.toml --epochs $(DEMO_EPOCHS) --no-evaluate
	@echo "Step 3 of 3: evaluating the test frames"
	@$(BIN)/polypseg evaluate $(DEMO)/runs/demo > $(DEMO)/evaluation.txt
	@$(BIN)/python scripts/demo_figures.py $(DEMO)

serve: $(INSTALLED)
	@$(BIN)/polypseg serve $(MODEL)

test: check unit

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The browser's tests have a target of their own: the driver's event loop would be in the way of the server's tests.
unit: $(INSTALLED)
	$(PYTEST) --ignore=tests/browser

# These wait more often, for processes and servers: a third process fills the cores.
test-fast: WORKERS := 3
test-fast: check
	$(PYTEST) --ignore=tests/browser -m "not slow and not keras and not data"

# Chromium comes from the distribution: as root it is installed, anyone else is told what to install.
POLYPSEG_CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || echo /usr/bin/chromium)
test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[dev,browser]"
	test -x $(POLYPSEG_CHROMIUM) || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium; } || \
	  { echo "no Chromium: install it (Debian: apt install chromium) or set POLYPSEG_CHROMIUM=/path/to/chromium"; exit 1; }
	POLYPSEG_CHROMIUM=$(POLYPSEG_CHROMIUM) POLYPSEG_BROWSER_TESTS=required $(BIN)/python -m pytest tests/browser

backends: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[dev,backends]"

$(DOCS_INSTALLED): pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable ".[docs]"
	@touch $(DOCS_INSTALLED)

# Warnings are errors: a link to a page that is not there, a docstring that cannot be read.
docs: $(DOCS_INSTALLED)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build
	@echo "The site is in docs/_build/index.html"

package: | $(BIN)/python
	$(BIN)/python -m pip install --quiet "build>=1.2" "twine>=5.1"
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python scripts/try_package.py dist

lowest:
	$(PYTHON) scripts/try_lowest.py

clean:
	rm -rf $(DEMO) build dist docs/_build docs/reference/generated
