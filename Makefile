# Every target makes .venv and installs what it needs by itself; nothing is installed twice, so a
# second run starts at once. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tools whose logs are read, apart from what runstore itself is tested with.
PEERS := .venv-peers
# Workers for the tests that can share the machine.
JOBS ?= 2
ARGS ?=
# How much of the matrix of failing system calls is tried, from 0 to 1, and which part.
SAMPLE ?= 1
SEED ?=
# Of the lab: how often each fault is tried, and a part of the names of those that are (ONLY=nfs).
TRIALS ?= 3
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format integration peers faults faults-lab docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/demo.stamp ## train a small network and watch it (ARGS="--epochs 3")
	@$(BIN)/runstore demo $(ARGS)

test: check ## all checks, then the tests that need no servers (ARGS="-k tail")
	@$(BIN)/python -m pytest -n $(JOBS) -m "not (integration or faults)" $(ARGS)

check: $(VENV)/dev.stamp ## format, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet . || { \
	  echo "make check: some files are not formatted; 'make format' does it"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp ## format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# One at a time: these tests measure latencies and kill processes. Those of other tools count values
# and bytes, and mostly wait for what the tools import. With ARGS one of both may have none (5).
integration: $(VENV)/dev.stamp $(PEERS)/stamp ## the heavier tests: real servers, many kills, the built wheel
	@$(BIN)/python -m pytest -m "integration and not peers" --durations=15 $(ARGS) $(if $(ARGS),|| [ $$? = 5 ])
	@$(BIN)/python -m pytest -n $(JOBS) -m peers $(ARGS) $(if $(ARGS),|| [ $$? = 5 ])

peers: $(PEERS)/stamp ## install the tools whose logs are read (part of integration)

# The seed of a sample is the commit's, so that each commit tries another part; it is printed.
faults: $(VENV)/dev.stamp ## every system call fails in turn, and more (SAMPLE=0.1 SEED=abc)
	@FAULTS_SAMPLE=$(SAMPLE) FAULTS_SEED=$(SEED) \
	  $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m faults tests/faults $(ARGS)

faults-lab: $(VENV)/dev.stamp ## as root: power loss, full disks, NFS in virtual machines (ONLY=nfs)
	@$(BIN)/python -m tests.faults.lab --trials $(TRIALS) $(ARGS) $(ONLY)

docs: $(VENV)/dev.stamp ## write the generated parts of README.md and docs/
	@$(BIN)/python -m docs.generate

bench: $(VENV)/dev.stamp ## run every benchmark
	@set -e; for script in benchmarks/[a-z]*.py; do \
	  echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

clean: ## remove .venv, .venv-peers and all caches
	rm -rf $(VENV) $(PEERS) .lab .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# -- the environment --------------------------------------------------------------------------

# Quiet where nobody watches; on a terminal pip shows its progress. The constraints make pip take
# exactly the tested versions: a torch that is already there and satisfies them is left alone.
define install
	@echo "make: installing runstore[$(1)] into $(VENV) (takes minutes the first time)"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	  $(BIN)/python -m pip install $$quiet --no-input --disable-pip-version-check \
	    -c constraints.txt -e '.[$(1)]'
endef

# A stamp is as new as the last install that satisfied it. `dev` includes `demo`, so it satisfies
# both; `demo` on top of `dev` changes nothing that `dev` needs.
$(VENV)/demo.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(call install,demo)
	@touch $@

$(VENV)/dev.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(call install,dev)
	@touch $@ $(VENV)/demo.stamp

# Gigabytes of modules, of which the tests import a part: those are compiled when they are imported.
$(PEERS)/stamp: $(PEERS)/bin/python requirements-peers.txt
	@echo "make: installing other tools into $(PEERS) (takes minutes the first time)"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	  $(PEERS)/bin/python -m pip install $$quiet --no-input --disable-pip-version-check \
	    --no-compile -r requirements-peers.txt
	@touch $@

# --clear: also when the interpreter that an earlier .venv points to is gone, stamps and all.
$(BIN)/python $(PEERS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: runstore needs Python 3.11 or newer, and '$(PYTHON)' is not;" \
	    "name one with make PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -m venv --clear $(@D:/bin=) || { rm -rf $(@D:/bin=); \
	  echo "make: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; \
	  exit 1; } >&2
