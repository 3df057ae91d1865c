# Two commands do all the set-up: `make demo` and `make test`. Each makes its own environment from the lock.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c 'import sys; sys.version_info[:2] in ((3,11),(3,12),(3,13)) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: demo test test-fast test-all test-faults branches mutants fuzz check docs lock clean

demo: $(READY)  ## the main job on this machine: train, freeze, prove, ship, prove again, measure
	@$(BIN)/python -m edgefreeze.demo

test: $(READY)  ## everything that CI runs
	@$(MAKE) --no-print-directory check branches
	$(BIN)/python -m pytest -m "alone and not slow"
	@# The others mostly wait for processes of their own: two files at a time share nothing but the cores.
	$(BIN)/python -m pytest -m "not alone and not slow" -n 2 --dist loadfile

test-fast: $(READY)  ## seconds: the rules, which need no TensorFlow, no board and no process
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not (process or tf or sshd or lab or pi or models or browser or slow)"

test-all: $(READY)  ## everything, the slow ones too
	@$(MAKE) --no-print-directory check branches
	$(BIN)/python -m pytest

test-faults: $(READY)  ## every fault there is (an hour or two); FAULTS="--shard 1/4 --results faults.jsonl" and the like
	$(BIN)/python -m tests.faults $(FAULTS)
	$(BIN)/python -m tests.faults.mutations

branches: $(READY)  ## the pure modules (tests/pure/modules.py): each has 95 % of its branches run by its tests
	$(BIN)/python -m tests.pure.branches

mutants: $(READY)  ## small changes of them must be noticed (half an hour); MUTANTS="parity --limit 0" and the like
	$(BIN)/python -m tests.pure.mutants $(MUTANTS)

fuzz: $(READY)  ## each parser of what others wrote, for two minutes each; FUZZ="manifest --seconds 600" and the like
	$(BIN)/python -m tests.fuzzing $(FUZZ)

check: $(READY)  ## types and style
	$(BIN)/python -m mypy
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

docs: $(READY)  ## the documentation as pages, in build/site; its generated parts are made anew before
	$(BIN)/python docs/generate.py
	$(BIN)/python -m mkdocs build --strict

lock: $(READY)  ## resolve requirements.lock anew; it names no hosts
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --no-header \
	  --no-annotate pyproject.toml --extra demo --group dev -o requirements.lock

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "edgefreeze needs Python 3.11, 3.12 or 3.13 (with venv) on the PATH, or PYTHON=…"; exit 1; }
	@echo "making $(VENV) from requirements.lock with $(PYTHON) (about 650 MB are downloaded the first time)"
	@$(PYTHON) -m venv --clear $(VENV)
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/$(PIP) --require-hashes --no-deps -r $(VENV)/uv.lock
	@# uv takes a quarter of pip's time; pip knows mirrors and certificates that are configured for pip alone.
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements.lock 2> $(VENV)/uv.log \
	  || $(BIN)/$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(BIN)/$(PIP) --no-deps --no-build-isolation --no-index -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist
