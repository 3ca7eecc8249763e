# Two commands do everything on a machine with Python 3.11+, git and make:
#   make quickstart   survey tiles to a candidate catalog and a report, in run/quickstart
#   make test         the tests
# Each sets up .venv by itself.

PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= run/quickstart
WORKERS ?= 2

.PHONY: help quickstart test test-quick lint format benchmark clean

help:
	@sed -n '2,4s/^# *//p' Makefile

quickstart: $(VENV)/.cpu
	$(BIN)/lenspipe run pipelines/quickstart.toml --out $(OUT) --workers $(WORKERS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-quick: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

benchmark: $(VENV)/.test
	$(BIN)/python -m benchmarks.render

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) run .pytest_cache .ruff_cache .hypothesis build dist

# one stamp per extra; each install adds to the same environment
$(VENV)/.cpu: EXTRAS = cpu
$(VENV)/.test: EXTRAS = cpu,test
$(VENV)/.lint: EXTRAS = cpu,test,lint
$(VENV)/.cpu $(VENV)/.test $(VENV)/.lint: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "lenspipe needs Python 3.11, 3.12 or 3.13: install one, or make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
