# make demo: the main job on text that every Python carries. make test: everything CI runs.
# Both are complete from a fresh clone with only python3 (>= 3.11) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
CORE := src/ostinato/kernels/libostinato_core.so
NATIVE := $(shell find native CMakeLists.txt -type f)

.PHONY: demo test tools lint unit native sanitize neon core bench docs clean

demo: $(INSTALLED) $(CORE)
	$(BIN)/ostinato demo --force

test: lint native unit

# Debian's programs that some tests compare with, which are skipped without them, and that recipes use. Wants root.
tools:
	apt-get -q update
	DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends libfst-tools abcmidi abcm2ps fluidsynth timgm6mb-soundfont

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(INSTALLED) $(CORE)
	$(BIN)/pytest tests/test_tiny.py -q
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadscope -m "not slow and not gpu"

# The core's own tests; under a sanitizer with `make sanitize`, which takes minutes.
native: $(CORE)
	build/core/test_core

sanitize: $(INSTALLED)
	for kind in address undefined thread; do \
		$(BIN)/cmake -S . -B build/$$kind -G Ninja -DOSTINATO_TESTS=ON -DOSTINATO_SANITIZER=$$kind \
		&& $(BIN)/cmake --build build/$$kind && build/$$kind/test_core || exit 1; \
	done

# The core for 64-bit ARM: cross-compiled, run by an emulator, and held to the bits of this machine.
neon: $(CORE)
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64; do command -v $$tool > /dev/null || \
		{ echo "make neon needs $$tool: apt-get install g++-aarch64-linux-gnu qemu-user"; exit 1; }; done
	$(BIN)/cmake -S . -B build/neon -G Ninja --no-warn-unused-cli -DOSTINATO_TESTS=ON -DCMAKE_TOOLCHAIN_FILE=native/cmake/aarch64.cmake
	$(BIN)/cmake --build build/neon
	build/core/test_core build/core/numbers
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/neon/test_core build/neon/numbers
	cmp build/core/numbers build/neon/numbers

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
