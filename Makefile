# A newcomer needs two commands: `make demo` and `make test`. Python 3.11+, make and a package index are enough.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

.PHONY: demo test lint format docs install lock clean bench-planted bench-speed bench-memory bench-architectures bench-peers \
	bench-peers-lock

# A real pair, offline, to a report: see README.md.
demo: install
	$(BIN)/fi-store demo

# All checks. REQUIRE_ALL=1: a test that lacks a system package (a browser) fails instead of being skipped.
test: lint
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The folders in README.md, docs/files.md and docs/commands.md, from the files' and the commands' own words.
docs: install
	$(BIN)/python docs/generate.py

install: $(VENV)/.installed

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fi-store needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	$(UV) pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Pins every dependency with its hashes, for all platforms. The only way that requirements.lock is made.
lock: | $(UV)
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --extra demo --extra rg --group dev \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml -o requirements.lock

# What is found where the truth is known. OUT=file.json, PART=name for one part, QUICK=1 for a short form,
# ORGANISMS="dir ..." for other folders with cards than the shipped ones.
bench-planted: install
	$(BIN)/python -m bench.planted.run --out $(OUT) $(if $(PART),--part $(PART)) $(if $(QUICK),--quick) \
		$(if $(ORGANISMS),--organisms $(ORGANISMS))

# The speed of our trainer, of reading and of answering beside others. OUT=file.json, PART=name, QUICK=1 for a short form.
bench-speed: install
	$(BIN)/python -m bench.speed.run --out $(OUT) $(if $(PART),--part $(PART)) $(if $(QUICK),--quick)

# The peak memory of tiny runs: from 200 prompts to 2,000, and from one analyzed layer to all. OUT=file.json, QUICK=1 for a
# short form, TOKENS=n for the length of a prompt (default 1,000).
bench-memory: install
	$(BIN)/python -m bench.memory --out $(OUT) $(if $(QUICK),--quick) $(if $(TOKENS),--tokens $(TOKENS))

# What becomes of tiny random pairs of many architectures. OUT=file.json, PART="llama bloom" for some of them.
bench-architectures: install
	$(BIN)/python -m bench.architectures --out $(OUT) $(PART)

# What we are compared with, in a folder of its own: see bench/speed/README.md.
PEERS := .bench/peers-dictionary
bench-peers: install
	$(UV) pip install --python $(BIN)/python --target $(PEERS) --no-deps --require-hashes -r bench/peers-dictionary.lock

bench-peers-lock: | $(UV)
	printf 'dictionary-learning==0.1.0\neinops>=0.8\n' | $(UV) pip compile --no-deps --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make bench-peers-lock" \
		- -o bench/peers-dictionary.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
