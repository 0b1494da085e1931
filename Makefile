# Everything runs in a virtual environment of its own: `make demo` needs Python 3.11 or newer, and nothing else.

PYTHON ?= python3
VENV ?= .venv
# A pip constraint that chooses another Django than the newest one, for example DJANGO='Django==5.2.*'.
DJANGO ?=
NAME ?= drain
ARGS ?=

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DEV_INSTALLED := $(VENV)/.installed-dev

# A stamp holds what it was installed for, and is written last: a killed or outdated installation starts over.
WANTED := $(strip $(PYTHON) $(DJANGO))
OUTDATED := $(if $(subst x$(WANTED),,x$(shell cat '$(INSTALLED)' 2>/dev/null)),outdated)

.DEFAULT_GOAL := help
.PHONY: help demo demo-site test check bench clean outdated

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) DJANGO='$(DJANGO)' ARGS='$(ARGS)' NAME=$(NAME)"

demo: $(INSTALLED) ## index Python's standard library, a workflow with one task per file (ARGS="--limit 200")
	@$(PY) manage.py demo $(ARGS)

demo-site: $(INSTALLED) ## run a worker and the admin until Ctrl-C
	@$(PY) manage.py demo_site $(ARGS)

test: $(INSTALLED) ## run the tests (ARGS="-n 0 -k claim" for some of them, in one process)
	$(PY) -m pytest -n 4 --dist loadfile $(ARGS)

check: $(DEV_INSTALLED) ## lint, format, types, migrations and system checks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@# The types plugin imports the settings, and connects to nothing.
	DATABASE_URL=postgres:///unused $(PY) -m mypy
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py check --fail-level WARNING

bench: $(INSTALLED) ## run a benchmark (NAME=drain)
	$(PY) -m benchmarks $(NAME) --json

clean: ## remove the virtual environment, builds and caches
	rm -rf '$(VENV)' build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt pyproject.toml $(OUTDATED)
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "djqueue needs Python 3.11 or newer, but $(PYTHON) is: $$('$(PYTHON)' --version 2>/dev/null || echo 'not there')." >&2; \
	  echo "Name another one, for example: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test ! -e '$(VENV)' -o -e '$(VENV)/pyvenv.cfg' || { \
	  echo "VENV=$(VENV) exists and is not a virtual environment. Remove it, or name another one." >&2; exit 1; }
	@echo "Installing into $(VENV) ..." >&2
	@# Renamed first, because a deletion that is interrupted leaves something that looks like an environment.
	@rm -rf '$(VENV).old' && if test -e '$(VENV)'; then mv '$(VENV)' '$(VENV).old' && rm -rf '$(VENV).old'; fi
	@'$(PYTHON)' -m venv '$(VENV)'
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt $(if $(DJANGO),'$(DJANGO)')
	@# For the axe.min.js in it; without what it needs, a browser driver of 45 MB (docs/decisions/0001-dependencies.md).
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps 'axe-playwright-python==0.1.8'
	@echo '$(WANTED)' > '$@'

$(DEV_INSTALLED): $(INSTALLED)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]' $(if $(DJANGO),'$(DJANGO)')
	@touch '$@'
