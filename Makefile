# Every target sets itself up: all it needs is git, make and Python 3.11 or newer.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check unit soak docs clean
.NOTPARALLEL:  # two installers in one environment would spoil it
.DEFAULT_GOAL := test

demo: $(VENV)/.demo  ## go the whole way on images and weights that packages ship
	$(BIN)/fusion demo

test: check unit  ## everything that must hold before a landing

check: $(VENV)/.dev  ## format, lint, types, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/make_commands.py --check

unit: $(VENV)/.dev  ## all tests and doctests, warnings as errors
	$(BIN)/python -m pytest -n auto --dist worksteal

soak: $(VENV)/.soak  ## every fault of tests/faults/README.md at every moment, in half an hour; prints how many were survived
	$(BIN)/python -m pytest -n auto --dist worksteal -m "soak or not soak" tests/faults tests/store tests/extract tests/train/gates

docs: $(VENV)/.dev  ## write docs/commands.md anew from --help, and docs/pictures from the data of the demo
	$(BIN)/python docs/make_commands.py
	$(BIN)/python docs/make_pictures.py

$(VENV)/bin/uv:
	@set -e; for candidate in "$$PYTHON" python3 python3.13 python3.12 python3.11; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$candidate" -m venv $(VENV); $(BIN)/python -m pip install --quiet uv; exit 0; fi; done; \
	echo "Python 3.11 or newer is needed: none of python3, python3.13, python3.12, python3.11 is. Set PYTHON=..." >&2; exit 1

# uv installs the 5 GB of torch in a minute or two; pip, which takes longer, knows proxies and mirrors that uv does not.
$(VENV)/.demo: $(VENV)/bin/uv pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[demo]' || $(BIN)/python -m pip install --quiet -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/uv pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[demo,dev]' || $(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	@touch $@

$(VENV)/.soak: $(VENV)/.dev pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[demo,dev,soak]' || $(BIN)/python -m pip install --quiet -e '.[demo,dev,soak]'
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache fusion-demo
