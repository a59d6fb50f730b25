# Everything runs in a virtual environment that make builds here: .venv, with the packages of the locks and nothing else.

# The distribution's own Python first: it is an optimised build (a quarter to a half faster), and what a package would run on.
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
RUNTIME := $(VENV)/.runtime
TESTS := $(VENV)/.tests
# Here the wheel is installed, all of it compiled; what it needs, and what tests need, is found in $(VENV) behind it.
COMPILED := .venv-compiled
WHEEL := $(COMPILED)/.wheel
KERNEL := $(wildcard proxy/*/*.pyx rules/*.pyx)
PACKED := $(shell find proxy rules -type f ! -name "*.so" ! -name "*.c" ! -path "*/__pycache__/*")
# Tested twice: with the compiled kernel and without it.
TWICE := tests/rules/test_kernel.py tests/proxy/sip tests/proxy/transport/test_udp.py $(patsubst %,tests/proxy/test_%.py,core flows hostile torture validate)
# And against the wheel, with compiled kernel and core.
THRICE := tests/proxy tests/rules
ARGS ?=

export PATH := $(PATH):/usr/sbin:/sbin

.DELETE_ON_ERROR:
.PHONY: help venv demo test sanitize check format bench pause profile capacity history soak crash lock clean

help:
	@echo "make demo    real calls through a proxy on loopback, each with its verdict (ARGS=--no-wait ends it after the table)"
	@echo "make test    all tests, with sipsak, SIPp, pyVoIP and Kamailio as peers (ARGS='-k name' for some of them)"
	@echo "make sanitize  the kernel's tests and a long fuzz run, under the address and undefined-behaviour sanitizers"
	@echo "make check   ruff, mypy --strict, import-linter"
	@echo "make format  let ruff put the source in order"
	@echo "make bench   one table: CPU for each call, Kamailio and others beside us; latency, memory (ARGS=--quick, ARGS='--only udp,tcp')"
	@echo "make pause   the longest pause of a worker under half load, with reloads, and its memory (ARGS='--minutes 60')"
	@echo "make profile  instructions by function of a call, and flame graphs, into build/profile"
	@echo "make capacity  21 million rows: look-ups, memory, pauses while they load (ARGS='--segments 10000 --entries 100000 --refusals 100000')"
	@echo "make history   a day of 10 million records: octets of each, how long a traceback takes (ARGS='--records 1000000')"
	@echo "make soak    300 calls a second for a minute through a node, with SIPp (ARGS='--rate 500 --seconds 600')"
	@echo "make crash   a hundred kills under 200 calls a second: no record is lost or doubled (ARGS='--kills 20 --rate 300')"
	@echo "make venv    only build $(VENV)"
	@echo "make lock    pin the newest releases in the three locks"
	@echo "make clean   remove what make built"

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; on Debian 12: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || deploy/debian-packages "make venv" =python3-venv
	$(PYTHON) -m venv --clear $(VENV)

# Without a compiler the installation has no kernel, and all the rest: slower, and otherwise the same.
$(RUNTIME): deploy/requirements.lock deploy/compile.py pyproject.toml $(KERNEL) | $(BIN)/pip
	@echo "Installing what sipwarden needs into $(VENV)"
	@deploy/debian-packages "make venv" gcc=gcc =libc6-dev =python3-dev || echo "make venv: going on without the compiled kernel" >&2
	@$(PIP) install --require-hashes -r deploy/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(TESTS): deploy/build.lock tests/requirements.lock $(RUNTIME)
	@echo "Installing what its tests need into $(VENV)"
	@$(PIP) install --require-hashes -r deploy/build.lock -r tests/requirements.lock
	@touch $@

venv: $(TESTS)

# PYTHONSAFEPATH, when it is used: without it Python would find the checkout's own modules first.
$(WHEEL): $(TESTS) deploy/compile.py $(PACKED)
	@echo "Compiling sipwarden into $(COMPILED): one to two minutes"
	@rm -rf $(COMPILED) build/wheel
	@SIPWARDEN_BUILD=all $(PIP) wheel --no-deps --no-build-isolation --no-index --wheel-dir build/wheel .
	@$(PYTHON) -m venv --without-pip $(COMPILED)
	@$(PIP) --python $(COMPILED)/bin/python install --no-deps --no-index build/wheel/sipwarden-*.whl
	@printf '%s\n' $(CURDIR)/$(VENV)/lib/python*/site-packages $(CURDIR) > $$(echo $(COMPILED)/lib/python*/site-packages)/beside.pth
	@touch $@

demo: $(RUNTIME)
	@$(BIN)/sipwarden demo $(ARGS)

test: $(TESTS) $(if $(ARGS),,$(WHEEL))
	@deploy/debian-packages "make test" sipsak=sipsak sipp=sip-tester kamailio=kamailio tshark=tshark tcpdump=tcpdump sngrep=sngrep \
		chromium=chromium || \
		echo "make test: the tests that talk to these peers will be skipped" >&2
	@status=0; \
	$(if $(ARGS),,SIPWARDEN_PURE=1 $(BIN)/python -m pytest -q -r fE $(TWICE) || status=1;) \
	$(if $(ARGS),,PYTHONSAFEPATH=1 $(COMPILED)/bin/python -m pytest -q -r fE -o pythonpath= $(THRICE) || status=1;) \
	$(BIN)/python -m pytest $(ARGS) || status=1; \
	exit $$status

sanitize: $(TESTS)
	tests/sanitize $(BIN)/python $(TWICE)

check: $(TESTS)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo

format: $(TESTS)
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

bench: $(WHEEL)
	@deploy/debian-packages "make bench" gcc=gcc =libc6-dev kamailio=kamailio =kamailio-extra-modules
	$(BIN)/python benchmarks/run.py $(ARGS)

pause: $(WHEEL)
	@deploy/debian-packages "make pause" gcc=gcc =libc6-dev
	$(BIN)/python benchmarks/pause.py $(ARGS)

profile: $(WHEEL)
	@deploy/debian-packages "make profile" gcc=gcc =libc6-dev valgrind=valgrind
	$(BIN)/python benchmarks/profiles.py $(ARGS)

history: $(TESTS)
	$(BIN)/python benchmarks/history.py $(ARGS)

capacity: $(WHEEL)
	PYTHONSAFEPATH=1 $(COMPILED)/bin/python benchmarks/capacity.py $(ARGS)

soak: $(TESTS)
	@deploy/debian-packages "make soak" sipp=sip-tester
	$(BIN)/python -m tests.interop.soak $(ARGS)

crash: $(TESTS)
	@deploy/debian-packages "make crash" sipp=sip-tester
	$(BIN)/python -m tests.interop.crash $(ARGS)

# uv resolves for every Python and platform at once; it is used for nothing else, so it is in no lock.
UV_COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

lock: $(BIN)/pip
	$(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --quiet --disable-pip-version-check install uv
	$(UV_COMPILE) deploy/requirements.in -o deploy/requirements.lock
	$(UV_COMPILE) deploy/build.in -o deploy/build.lock
	$(UV_COMPILE) tests/requirements.in -o tests/requirements.lock

clean:
	rm -rf $(VENV) $(COMPILED) $(KERNEL:.pyx=.c) $(KERNEL:.pyx=.*.so) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find benchmarks deploy proxy rules tests -name __pycache__ -type d -prune -exec rm -rf {} +
