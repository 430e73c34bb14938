# Two commands for a fresh machine with Python 3.11 or newer, venv and make.
#   make reproduce   sets up an environment of its own and computes the HATCN table
#   make test        the same with the test extra, and runs the tests
# And `make docs`: the documentation as pages, site/index.html
PYTHON ?= python3
VENV ?= .venv
SOURCES := pyproject.toml $(shell find core structures analysis workflows launchpad -name '*.py' -o -name '*.yaml' -o -name '*.json' -o -name '*.zip' -o -name '*.js' -o -name '*.css')

.PHONY: reproduce test lint docs clean

reproduce: $(VENV)/.installed
	$(VENV)/bin/alkaflow reproduce hatcn

test: $(VENV)/.installed-test
	$(VENV)/bin/pytest

lint: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p alkaflow

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo site/index.html

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

$(VENV)/.installed-docs: $(VENV)/bin/python $(SOURCES)
	rm -rf build
	$(VENV)/bin/python -m pip install --quiet ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info
