# Every target sets up .venv by itself; all it needs is Python 3.11 or newer with pip.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := .venv/.run-installed
DEV := .venv/.dev-installed

SOAK ?= 1

DEMO_REQUEST := Hello, I was charged twice for my invoice this month. My e-mail is ada.lindqvist@example.com. Can you give me the second payment back?

.PHONY: demo test check lint types serve bench soak secrets conformance interop snapshots format clean

demo: $(RUN)
	@rm -rf .demo && mkdir .demo
	@SWITCHBOARD_STORE=sqlite:///.demo/ SWITCHBOARD_DEMO=1 \
		$(BIN)/switchboard ask --model offline "$(DEMO_REQUEST)"

# One more than there are cores: much of a test's time is waiting for a process or a lease.
test: $(DEV)
	$(BIN)/python -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadfile --ignore tests/soak --ignore tests/conformance --ignore tests/interop

check: lint types test

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

serve: $(RUN)
	$(BIN)/switchboard serve

bench: $(DEV)
	$(BIN)/python -m benchmarks

# make soak SOAK=0.02 runs a fiftieth of each figure: docs/soak.md
soak: $(DEV)
	SOAK=$(SOAK) $(BIN)/python -m pytest tests/soak

# The suite of `make test` with secrets planted, and the search of what it left: docs/security.md
secrets: $(DEV)
	PYTHONPATH=tests/security/site $(BIN)/python -m planting -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))

# The official protocol suite; it is installed from npm, and skipped where that cannot be done.
conformance: $(DEV)
	$(BIN)/python -m pytest tests/conformance

# Other SDKs and agent frameworks as clients, each in an environment of its own under .interop.
interop: $(DEV)
	$(BIN)/python -m pytest tests/interop --timeout 900

# After a change of tool definitions that was meant: look at the difference it makes in tests/servers/snapshots.
snapshots: $(DEV)
	$(BIN)/python -m tests.servers.tool_snapshots

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .node .interop .demo .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(RUN): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[orchestrator]'
	@touch $@

$(DEV): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $@ $(RUN)
