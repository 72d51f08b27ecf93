# Each target sets up what it needs in .venv; nothing has to be installed by hand but Python (3.11 or newer) and make.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS ?= 2

.PHONY: demo test check format bench clean

demo: .venv/.run
	$(BIN)/windrow demo annuaire

test: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The directory as the origin scraped it, the quotes as theirs did, the pool, and the rivals (in .venv-bench), at their
# cost for a page and, for half an hour, at sites that limit.
bench: .venv/.run
	$(BIN)/python -m benchmarks.directory $(ARGS)
	$(BIN)/python -m benchmarks.quotes
	$(BIN)/python -m benchmarks.mapping
	$(BIN)/python -m benchmarks.rivals
	$(BIN)/python -m benchmarks.politeness

clean:
	rm -rf .venv .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@test -n "$(PYTHON)" || { echo "windrow needs Python 3.11 or newer; none was found on the PATH"; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version) (once; a minute or two)"
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.run: .venv/.made pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) --editable '.[dev]'
	@touch $@
