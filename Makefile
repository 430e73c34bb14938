# Two commands for a fresh machine with Python 3.11 or newer, venv and make.
#   make reproduce   sets up an environment of its own and computes the HATCN table
#   make test        the same with the test extra, and runs the tests
PYTHON ?= python3
VENV ?= .venv
SOURCES := pyproject.toml $(shell find core structures analysis workflows launchpad -name '*.py' -o -name '*.yaml' -o -name '*.json' -o -name '*.zip' -o -name '*.js' -o -name '*.css')

.PHONY: reproduce test lint clean

reproduce: $(VENV)/.installed
	$(VENV)/bin/alkaflow reproduce hatcn

test: $(VENV)/.installed-test
	$(VENV)/bin/pytest

lint: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p alkaflow

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	rm -rf build
	$(VENV)/bin/python -m pip install --quiet ".[local]"
	touch $@

$(VENV)/.installed-test: $(VENV)/bin/python $(SOURCES)
	rm -rf build
	$(VENV)/bin/python -m pip install --quiet ".[local,test]"
	touch $@

$(VENV)/.installed-lint: $(VENV)/bin/python $(SOURCES)
	rm -rf build
	$(VENV)/bin/python -m pip install --quiet ".[local,test,lint]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
