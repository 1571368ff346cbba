# Every target sets up what it needs: a virtual environment in .venv with the tested versions of constraints.txt.
# make PYTHON=python3.12 TORCH="torch==2.14.0 --index-url ..." chooses another interpreter or build of PyTorch.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name) 2>/dev/null)) python3)
TORCH ?= torch==2.13.0
VENV ?= .venv
EXTRAS ?= .venv-extras
MINUTES ?= 10
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --no-input -q

.PHONY: demo docs test test-extras test-slow test-machines test-wheel lint bench faults fuzz clean

demo: $(VENV)/installed
	$(VENV)/bin/unmask demo

# One thread a test process: tests are small, and two processes are faster than two threads.  In
# the files' own order: few tests are not a short file.
test: $(VENV)/developing
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# What an extra adds, beside the packages that say the same, in an environment of its own; a test
# that is skipped there is a failure.
test-extras: $(EXTRAS)/developing
	OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest -q tests/extras

# The site, from docs/, the flags and the docstrings; a link inside it that leads nowhere is an error,
# and others are not followed.  In the environment of the extras: one more would hold a second PyTorch.
docs: $(EXTRAS)/developing
	$(EXTRAS)/bin/python -m sphinx -W --keep-going -q docs build/docs
	@echo "open build/docs/index.html"

test-slow: $(VENV)/developing
	$(VENV)/bin/python -m pytest -q -m slow

test-machines: $(VENV)/developing
	VENV=$(VENV) PYTHON=$(PYTHON) TORCH="$(TORCH)" .ci/machines

test-wheel: $(VENV)/developing
	VENV=$(VENV) PYTHON=$(PYTHON) TORCH="$(TORCH)" .ci/wheel

lint: $(VENV)/developing
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyrefly check

bench: $(VENV)/installed
	$(VENV)/bin/unmask bench --json bench.json

faults: $(VENV)/developing
	$(VENV)/bin/python runs/faults.py --out docs/reliability.md

# Damaged files for every reader of tests/test_fuzz.py, or for READER=name, as long as MINUTES each.
fuzz: $(VENV)/developing
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/test_fuzz.py hunt $(MINUTES) "$(READER)"

clean:
	rm -rf $(VENV) $(EXTRAS)

# PyTorch first and by exact version: left to itself, pip may choose another build, gigabytes larger.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unmask needs Python 3.11 or later: make PYTHON=...")'
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install $(TORCH)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

$(EXTRAS)/developing: pyproject.toml constraints-extras.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unmask needs Python 3.11 or later: make PYTHON=...")'
	$(EXTRAS)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(EXTRAS)
	$(EXTRAS)/bin/python -m pip --disable-pip-version-check --no-input -q install $(TORCH)
	$(EXTRAS)/bin/python -m pip --disable-pip-version-check --no-input -q install \
		-c constraints-extras.txt \
		-e '.[quality,mauve,frames,compress,huggingface,hub,orbax,harness,export,ui-test,docs,parquet,tensorboard,wandb]' \
		datasets ipykernel nbclient peft polars pytest sdmetrics
	touch $@
