# Each target does its own set-up: a virtual environment in .venv and the dependencies.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

DEMO ?= demo
DEMO_IMAGES ?= 160
DEMO_EPOCHS ?= 25

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help demo serve test check unit test-browser backends clean

help:
	@echo "make demo      train, score and picture a small model on synthetic data; no download"
	@echo "make serve     the web page and the REST API on http://127.0.0.1:8000 (MODEL=path for a model of your own)"
	@echo "make test      all checks and tests"
	@echo "make check     formatting, lint, import order, types"
	@echo "make test-browser  the web page in a real browser (Chromium)"
	@echo "make backends  add JAX and PyTorch, so that 'make test' compares the three backends"

# PySODMetrics, a peer in the tests, comes without its dependencies: its upper bounds would keep the tests from the OpenCV
# and NumPy that users get.
$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "polypseg needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps "pysodmetrics>=1.5"
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python -c 'import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)' $(DEMO)
	$(BIN)/polypseg data synth $(DEMO)/data --num-images $(DEMO_IMAGES)
	$(BIN)/polypseg train --data $(DEMO)/data --runs $(DEMO)/runs --name demo --config configs/demo.toml --epochs $(DEMO_EPOCHS)
	@echo "Look at the pictures in $(DEMO)/runs/demo/figures"

serve: $(INSTALLED)
	$(BIN)/polypseg serve $(MODEL)

test: check unit

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

unit: $(INSTALLED)
	$(BIN)/python -m pytest

# Chromium comes from the distribution: as root it is installed, anyone else is told what to install.
POLYPSEG_CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || echo /usr/bin/chromium)
test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[dev,browser]"
	test -x $(POLYPSEG_CHROMIUM) || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium; } || \
	  { echo "no Chromium: install it (Debian: apt install chromium) or set POLYPSEG_CHROMIUM=/path/to/chromium"; exit 1; }
	POLYPSEG_CHROMIUM=$(POLYPSEG_CHROMIUM) POLYPSEG_BROWSER_TESTS=required $(BIN)/python -m pytest tests/browser

backends: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[dev,backends]"

clean:
	rm -rf $(DEMO) build dist
