# One environment in .venv, made from requirements.lock once per change of the lock, and the commands that use it.
#
#   make demo PYTHON=/path/to/python    chooses the interpreter; otherwise the first of PYTHONS that can make one

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHONS := python3.13 python3.12 python3.11 python3
PYTHON ?=
VENV := .venv
# Half of the suite is Python on one core: two workers take 12.5 minutes on two cores, one process about 19.
WORKERS ?= 2
LOCK_EXTRAS := test,foreign,plot,lint
NOTEBOOKS = $(sort $(wildcard notebooks/*.ipynb))
CAN_MAKE_VENV := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# The stamp is written last and removed first: an environment without it is half made and is made again from nothing.
STAMP := $(VENV)/.made

.PHONY: help setup demo test lint clean distclean lock

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make the environment in .venv (done by the others when needed)

demo: $(STAMP)  ## plan a model, show the plan, rehearse it on emulated devices
	$(VENV)/bin/swplan demo

test: $(STAMP)  ## run every test and every notebook
	$(VENV)/bin/python -m pytest -n $(WORKERS) $(if $(NOTEBOOKS),tests --nbmake $(NOTEBOOKS))

lint: $(STAMP)  ## check the style, and list what is near the limits of size
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python tests/test_house.py

clean:  ## remove caches and builds
	rm -rf build dist out *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## remove the environment too
	rm -rf $(VENV)

$(STAMP): requirements.lock pyproject.toml
	@if [ ! -e $@ ]; then
	  for python in $(or $(PYTHON),$(PYTHONS)); do
	    if "$$python" -c '$(CAN_MAKE_VENV)' 2>/dev/null && "$$python" -m venv --clear $(VENV) \
	      && $(VENV)/bin/python -m pip --version >/dev/null; then made=1; break; fi
	  done
	  if [ -z "$${made:-}" ]; then
	    echo "swplan needs Python 3.11 or newer with the modules venv and ensurepip;" \
	      "tried: $(or $(PYTHON),$(PYTHONS))." >&2
	    echo "Install one (on Debian or Ubuntu: apt install python3-venv), or name one: make PYTHON=/path/to/python" >&2
	    exit 1
	  fi
	  echo "$(VENV): $$($(VENV)/bin/python --version); installing requirements.lock takes a minute or two"
	fi
	rm -f $@
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(VENV)/bin/python -m swplan.solver.large.warm
	touch $@

lock:  ## resolve the newest dependencies anew (needs python3.11 and python3.13)
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT
	for version in 3.11 3.13; do
	  python$$version -m venv "$$work/$$version"
	  "$$work/$$version/bin/pip" install --quiet 'setuptools>=77' '.[$(LOCK_EXTRAS)]'
	  "$$work/$$version/bin/pip" freeze --all --exclude pip --exclude swplan | LC_ALL=C sort > "$$work/$$version.txt"
	done
	{ sed -n '/^#/p' requirements.lock
	  LC_ALL=C comm -12 "$$work/3.11.txt" "$$work/3.13.txt"
	  LC_ALL=C comm -23 "$$work/3.11.txt" "$$work/3.13.txt" | sed 's/$$/ ; python_version < "3.12"/'
	  LC_ALL=C comm -13 "$$work/3.11.txt" "$$work/3.13.txt" | sed 's/$$/ ; python_version >= "3.12"/'
	} > "$$work/lock"
	cp "$$work/lock" requirements.lock
