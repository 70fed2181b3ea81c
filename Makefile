# Thin targets: each line can be run by hand. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
DEVELOPMENT_MARK := \#\# development
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
EXTRAS := --extra dev --extra jax --extra sweeps --extra export
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test test-slow lint ui sweep lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/runtime.stamp: $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + "; name one with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	sed '/^$(DEVELOPMENT_MARK)/,$$d' $(LOCK) > $(VENV)/runtime.txt
	$(PIP_INSTALL) --require-hashes -r $(VENV)/runtime.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/development.stamp: $(VENV)/runtime.stamp
	$(PIP_INSTALL) --require-hashes -r $(LOCK)
	touch $@

install: $(VENV)/runtime.stamp ## make .venv from the lock file: what running needs
install-dev: $(VENV)/development.stamp ## the same with tests, linters, JAX, sweeps and export

run: install ## train, test and log Mask R-CNN on the embedded data (ARGS="key=value …")
	$(BIN)/python -m maskrcnn.run $(ARGS)

test: install-dev ## the whole test suite but what is marked slow
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

# They wait for processes and servers half of the time: two at once. The README's commands, the longest, come early.
test-slow: install-dev ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install-dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: install ## browse the runs at http://127.0.0.1:5000 (PORT=…)
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --workers 1 --port $(or $(PORT),5000)

sweep: install-dev ## an example sweep of four short runs, compared at its end (ARGS="key=value …")
	$(BIN)/python -m maskrcnn.run -m head=box,mask seed=0,1 schedule=tiny $(ARGS)

lock: install-dev ## resolve pyproject.toml anew into the lock file
	$(COMPILE) $(EXTRAS) --output-file $(VENV)/full.txt
	$(COMPILE) --constraint $(VENV)/full.txt --output-file $(VENV)/runtime.txt
	@{ cat $(VENV)/runtime.txt; printf '$(DEVELOPMENT_MARK): everything below is installed by `make install-dev` alone\n'; \
	  awk 'NR == FNR { if (/^[^ ]/) runtime[$$0]; next } /^[^ ]/ { keep = !($$0 in runtime) } keep' $(VENV)/runtime.txt $(VENV)/full.txt; } > $(LOCK)

clean: ## remove caches and build outputs, never mlruns/
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
