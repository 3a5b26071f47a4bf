# make setup   install into .venv, exactly what constraints.txt pins
# make demo    the main job on real photographs, from indicators to verdicts
# make test    the tests          make check   lint, types, imports, wire
# make bench   figures, ours beside the rivals'; ARGS="--quick", "--full", "--only lookup" ...
# make bench-formats   the table of docs/formats.md: every format, ours and the rivals'
# make effectiveness   what is found, missed and confused, with docs/effectiveness.md; ARGS="--quick"
# make soak    ten minutes of uploads: nothing lost, memory flat; ARGS="--rate 50" ...
# make bench-page   docs/benchmarks.md and its plots, from the figures of the last make bench

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RIVALS := $(VENV)/.rivals-installed
FUZZER := $(VENV)/.fuzzer-installed

.PHONY: setup demo test check mutate fuzz bench bench-page bench-formats effectiveness soak format proto constraints clean fresh-kernels

setup: $(INSTALLED)

$(INSTALLED): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Sluis needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/python deploy/demo/demo.py

test: setup fresh-kernels
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -m kernels tests/matchers
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	$(BIN)/python proto/generate.py --check

# numba's cache looks at a kernel's own file only, not at those it imports.
fresh-kernels:
	@for kernel in matchers/*/_kernels/*.py matchers/*/_*.py; do \
		find matchers -name '*.nb[ic]' ! -newer $$kernel -delete; done

mutate: setup fresh-kernels
	$(BIN)/python -m tests.fuzz.mutate $(ARGS)

fuzz: $(FUZZER) fresh-kernels
	$(BIN)/python -m tests.fuzz $(ARGS)

$(FUZZER): $(INSTALLED) tests/fuzz/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/fuzz/constraints.txt
	@touch $@

bench: $(RIVALS) fresh-kernels
	$(BIN)/python -m benchmarks run $(ARGS)

bench-page: setup
	$(BIN)/python -m benchmarks page $(ARGS)

bench-formats: $(RIVALS) fresh-kernels
	$(BIN)/python -m benchmarks formats

effectiveness: $(RIVALS) fresh-kernels
	$(BIN)/python -m benchmarks.effectiveness $(ARGS)

soak: setup fresh-kernels
	$(BIN)/sluis loadtest --seconds 600 --rate 20 --flat-memory --report loadtest-output/soak $(ARGS)

$(RIVALS): $(INSTALLED) benchmarks/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/constraints.txt
	@touch $@

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: setup
	$(BIN)/python proto/generate.py

constraints:  # pin anew, after a change of pyproject.toml
	$(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-uv/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml
	for extra in bench:benchmarks fuzz:tests/fuzz; do \
		$(PYTHON) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")' $${extra%%:*} \
			| $(VENV)-uv/bin/uv pip compile --quiet --universal --python-version 3.11 --constraints constraints.txt --upgrade \
			--generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make constraints" --output-file $${extra#*:}/constraints.txt - || exit 1; \
	done
	rm -rf $(VENV)-uv

clean:
	rm -rf $(VENV) benchmarks/.cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz demo-output loadtest-output
