# make image PROMPT="paradise cosmic beach"    from a fresh clone to a picture
# make test                                    set up and run the tests; make proofs: the long ones
PYTHON ?= python3
VENV ?= .venv
PROMPT ?= paradise cosmic beach
TESTS ?=
PARITY ?=
BENCH ?=

# The prompt is anybody's text: taken literally by make ($(value)), handed on in the environment, never put into a command.
override PROMPT := $(value PROMPT)
export PROMPT PYTHON VENV

run := $(VENV)/bin/python -m

.PHONY: help image core dev test proofs parity-full bench lint format clean distclean FORCE

image: $(VENV)/.core
	@"$(VENV)/bin/tintype" text2img -- "$$PROMPT"

help:
	@echo 'make image PROMPT="paradise cosmic beach"   draw a picture'
	@echo 'make test [TESTS=tests/unit]                 run the tests (make proofs: the long ones)'
	@echo 'make parity-full                             SD 1.5, SD 2.1 and SDXL at full width against the references'
	@echo 'make bench [BENCH="--rounds 1"]              beside the programs that could be installed instead, timed'
	@echo 'make lint | format                           check, or set right, the form of the code'
	@echo 'make core | dev                              only set up, for use or for development'
	@echo 'make clean | distclean                       remove what was built; the environment too'

core: $(VENV)/.core
	@:
dev: $(VENV)/.dev
	@:

test: $(VENV)/.dev
	$(run) pytest -n auto --dist worksteal $(TESTS)

proofs: $(VENV)/.dev
	$(run) pytest -m proof --timeout=7200 $(TESTS)

# One network in memory at a time. The largest, SDXL's UNet, is 10.3 GB in fp32, in memory and in the temporary folder.
parity-full: $(VENV)/.dev
	$(run) tests.parity.full_width $(PARITY)

# The peers come from PyPI into build/peers. 15 minutes on two cores without bf16, once they are there.
bench: $(VENV)/.core
	$(run) benchmarks.peers $(BENCH)

lint: $(VENV)/.dev
	$(run) ruff check
	$(run) ruff format --check
	$(run) pyright --pythonpath "$(VENV)/bin/python"
	"$(VENV)/bin/lint-imports"

format: $(VENV)/.dev
	$(run) ruff check --fix
	$(run) ruff format

# Stamps: what was installed stays until its list changes, and then nothing but a look at two dates stands before the work.
$(VENV)/.core: pyproject.toml constraints.txt hatch_build.py $(wildcard tintype/speed/*.[ch])
	@scripts/setup core

$(VENV)/.dev: $(VENV)/.core
	@scripts/setup dev

# The stamp holds the folder that it was made for: a checkout that was moved is set up again.
ifneq ($(shell cat "$(VENV)/.core" 2>/dev/null),$(CURDIR))
$(VENV)/.core: FORCE
endif

clean:
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find tintype tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@[ ! -e "$(VENV)/pyvenv.cfg" ] || rm -rf "$(VENV)"
