# make demo: the main job on text that every Python carries. make test: everything CI runs.
# Both are complete from a fresh clone with only python3 (>= 3.11) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
CORE := src/ostinato/kernels/libostinato_core.so
NATIVE := $(shell find native CMakeLists.txt -type f)

.PHONY: demo test lint unit native sanitize core bench docs clean

demo: $(INSTALLED) $(CORE)
	$(BIN)/ostinato demo --force

test: lint native unit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(INSTALLED) $(CORE)
	$(BIN)/pytest tests/test_tiny.py -q
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not slow and not gpu"

# The core's own tests; under a sanitizer with `make sanitize`, which takes minutes.
native: $(CORE)
	build/core/test_core

sanitize: $(INSTALLED)
	for kind in address undefined thread; do \
		$(BIN)/cmake -S . -B build/$$kind -G Ninja -DOSTINATO_TESTS=ON -DOSTINATO_SANITIZER=$$kind \
		&& $(BIN)/cmake --build build/$$kind && build/$$kind/test_core || exit 1; \
	done

core: $(CORE)

$(CORE): $(INSTALLED) $(NATIVE)
	$(BIN)/cmake -S . -B build/core -G Ninja -DOSTINATO_TESTS=ON \
		-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/src/ostinato/kernels
	$(BIN)/cmake --build build/core
	touch $@

bench: $(INSTALLED) $(CORE)
	$(BIN)/python benchmarks/gate.py

docs: $(INSTALLED)
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(CORE) build dist

$(INSTALLED): pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt -e ".[dev]"
	touch $@
