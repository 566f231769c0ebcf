# `make run` and `make test` set up all they need on a Debian machine with Python 3.11, as root or with sudo.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

PACKAGES := python3-venv gcc binutils gdb cpio lz4 xz-utils zstd gpg gpg-agent \
	bochs bochs-x bochs-sdl bochsbios vgabios xvfb xdotool xfonts-base \
	qemu-system-x86 qemu-utils seabios busybox-static grub-pc-bin grub-common \
	tesseract-ocr tesseract-ocr-eng
TEST_PACKAGES := chromium fonts-dejavu-core

.PHONY: run test units proof lint catalogue foreign bench setup test-setup clean

run: setup
	$(BIN)/difftest run --group seed --html results/seed.html

# A test that is skipped fails here: tests/conftest.py. Tests that boot have the machine to themselves, one after another.
test: units lint
	$(BIN)/pytest -m "(boots or hosted) and not proof"

# Seconds instead of minutes: everything that boots no emulator, on all cores.
units: test-setup
	$(BIN)/pytest -n logical -m "not boots and not hosted and not proof"

# What takes too long for every change: tests marked `proof`, which the other targets leave out.
proof: test-setup
	$(BIN)/pytest -m proof

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What README and docs/catalogue.md say was found, from boots of four kernels. A new divergence does not stop it.
catalogue: setup
	$(BIN)/difftest run --all -t kvm-hosted $(addprefix --kernel ,5.10 6.1 6.12 7.3) --confirm none -q || [ $$? -eq 1 ]
	$(BIN)/difftest report --catalogue docs/catalogue.md --findings README.md

# What docs/images.md says of images that nobody here made: out of Debian's packages, on hosted KVM.
foreign: setup
	$(BIN)/python -m tests.foreign docs/images.md

bench: setup
	$(BIN)/python bench/bench.py

# Compiled here too, as where Python is told to write no bytecode every command would compile all it loads.
setup: $(VENV)/ready
	@$(BIN)/python -m compileall -q difftest emulators

test-setup: setup $(VENV)/ready-for-tests

# $(call install,PACKAGES): install those that are missing.
define install
	@missing=(); for package in $(1); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q '^install ok installed' || missing+=($$package); \
	done; \
	if [ $${#missing[@]} -gt 0 ] || ! apt-cache depends linux-image-cloud-amd64 2>/dev/null | grep -q Depends; then \
	    $(SUDO) apt-get update; \
	fi; \
	if [ $${#missing[@]} -gt 0 ]; then \
	    echo "installing: $${missing[*]}"; \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$${missing[@]}"; \
	fi
endef

$(VENV)/ready: pyproject.toml Makefile
	$(call install,$(PACKAGES))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/ready-for-tests: $(VENV)/ready
	$(call install,$(TEST_PACKAGES))
	touch $@

clean:
	rm -rf $(VENV) results build *.egg-info
