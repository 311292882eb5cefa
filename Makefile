# Every target sets up what it needs; nothing happens twice when nothing changed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export PYTHONUNBUFFERED := 1

.PHONY: setup demo repro study test test-browser test-all browser-setup lint audit ui down bench clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

# CPU=1 leaves out the CUDA libraries: see "CPU-only install" in README.md.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}; name another: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 2**30; sys.exit(f"{free:.1f} GB free on the disk of $(CURDIR); the installed packages alone take 7 GB: make room, or see \"CPU-only install\" in README.md" if free < $(if $(CPU),0,7) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) ..."
	@grep -vE '$(if $(CPU),^(nvidia-|cuda-|triton),^$$)' requirements.lock > $(VENV)/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@qunlearn up
	@dvc repro
	@qunlearn table
	@echo "report    $(CURDIR)/report/index.html"
	@qunlearn status

repro: setup
	dvc repro

# make study NAME=fashion-mnist-validation: dvc repro for each of its arms, its page in docs/results; params.yaml comes back.
study: setup
	@$(BIN)/python -m studies check $(NAME)
	@qunlearn up
	@$(BIN)/python -m studies run $(NAME)

# A process for each core, and in each of them one thread: the networks of the tests are too small for more.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not servers and not browser and not slow"

# Installs Chromium and fonts with apt-get where there is no browser.
browser-setup:
	.ci/browser-setup

# Pictures of the pages are left in test-artifacts/browser.
test-browser: setup
	$(BIN)/python -m pytest -m browser

# Two processes: while a browser is open no other test can run an event loop.
test-all: setup
	$(BIN)/python -m pytest -m "not browser"
	$(BIN)/python -m pytest -m browser

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# Security: our code, and the locked packages where a list of known vulnerabilities can be reached.
audit: setup
	.ci/audit

ui: setup
	@qunlearn up
	@qunlearn status

down: setup
	@qunlearn down

bench: setup
	$(BIN)/python -m benchmarks.qat_step
	$(BIN)/python -m benchmarks.evaluation_cost
	$(BIN)/python -m benchmarks.unlearning_step

clean:
	@if [ -x $(BIN)/qunlearn ]; then $(BIN)/qunlearn down; fi
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -exec rm -rf {} +
