# Everything a person or a machine runs here. Needs python3 (3.11 or newer) with its venv module, and make.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
ORACLES := .oracles
# Bytecode is kept, whatever the environment says: the tests start hundreds of programs, each of which would compile all modules.
export PYTHONDONTWRITEBYTECODE :=
# Sends signals to its own process, which has crashed where OpenVINO had worked in it before.
SIGNALLED := tests/stages/test_train_interrupted.py
# One process for each of the two cores that are asked for (three are no faster). A file stays whole, for its fixtures
# are shared. Files go in the order of their names: ordered by the number of their tests, the longest would come last,
# beside an idle process.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Types and array shapes of every call: another sixth of the time, so `make test` leaves them to `.ci/run` and `make test-all`.
CHECK_TYPES := --jaxtyping-packages=mapping_stroke,run_time_types.checked

.PHONY: help setup demo test test-all slurm check format bench stats model oracles docs screenshots

help: ## List these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(STAMP) ## Install everything, at the versions in constraints.txt, into .venv

# torch and the rest go into one pip call: in two, the second may replace the pinned torch by another build.
$(STAMP): pyproject.toml constraints.txt hatch_build.py viewer/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make setup: needs Python 3.11 or newer, found '$$($(PYTHON) --version 2>&1)'; install it, or name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make setup: this Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (several minutes the first time, most of them for torch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	@touch $@

# make hands SCAN on in the environment, so that any path arrives whole.
demo: setup ## See the bundled model at work on simulated scans, and on your own: make demo SCAN="my scan.nii.gz"
	$(BIN)/mapping demo $${SCAN:+--scan "$$SCAN"}

test: setup ## Run the tests that take seconds (as .ci/run does, with types checked at run time: make test TYPES=1)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(if $(TYPES),$(CHECK_TYPES))

test-all: setup ## Run all tests, with those that take minutes
	$(BIN)/python -m pytest -m '' $(CHECK_TYPES) --ignore=$(SIGNALLED)
	$(BIN)/python -m pytest -m '' $(CHECK_TYPES) $(SIGNALLED)

slurm: setup ## Run an experiment and a cohort on a real Slurm, which it installs and starts on this machine (as root)
	tests/slurm/cluster start /tmp/mapping-slurm
	$(BIN)/python -m pytest -m slurm tests/slurm; status=$$?; tests/slurm/cluster stop; exit $$status

check: setup ## Style, types, import rules, spelling, file formats
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	git ls-files -z | xargs -0 $(BIN)/codespell
	git ls-files -z '*.toml' | xargs -0 $(BIN)/check-toml
	git ls-files -z '*.yaml' '*.yml' '*.cff' | xargs -0 $(BIN)/check-yaml
	$(BIN)/python -m pytest tests/test_project_files.py

format: setup ## Fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup oracles ## Measure each stage beside the reference way
	$(BIN)/python -m benchmarks postprocess
	$(BIN)/python -m benchmarks score
	$(BIN)/python -m benchmarks metrics --programs $(ORACLES)/bin
	$(BIN)/python -m benchmarks folds
	$(BIN)/python -m benchmarks inference --nnunet $(ORACLES)/bin
	$(BIN)/python -m benchmarks training --nnunet $(ORACLES)/bin
	$(BIN)/mapping simulate $(ORACLES)/cohort --subjects 63 --seed 11
	$(BIN)/python -m benchmarks quality $(ORACLES)/cohort --nnunet $(ORACLES)/bin

stats: setup ## Count modules, lines, functions and comments
	$(BIN)/python -m benchmarks.stats

# Healthy brains and lesion masks in MNI space, people who are there under two names, and real scans to judge by: healthy
# ones, and patients with other diseases.
BRAINS ?= $(error make model: say BRAINS=folder LESIONS=folder, and RESCANS="pairs" HEALTHY="files" HARD="files" if there are any)
LESIONS ?= $(error make model: say LESIONS=folder)
RESCANS ?=
HEALTHY ?=
HARD ?=
# For one core of a processor, for days; with a GPU: MODEL_OPTIONS="--schemes residual --device cuda --minutes ..." instead.
MODEL_OPTIONS ?= --schemes residual --cases 300 --compile
FIRST ?= --patches 150000
SECOND ?= --patches 36000
THIRD ?= --patches 18000 --uses 8 --seed 2
MODEL := src/mapping_stroke/models/default.mapping
train_model = $(BIN)/mapping models train $(1) --brains "$(BRAINS)" --lesions "$(LESIONS)" $(if $(RESCANS),--rescans $(RESCANS)) \
  $(MODEL_OPTIONS) --name "MAPPING default" --licence CC-BY-NC-4.0 --mirror always --fast-cover window \
  --description "One 3-D U-Net with voxels of 3 mm, averaged with its mirror image, trained on simulated strokes: MAPPING for scans of one's own, without a GPU." \
  --training-data "Strokes simulated in 25 scans of 20 healthy people (18 of OASIS, CC BY-NC; two others, BSD-2 and MIT) and the ICBM152 template, with 833 masks of SOOP (CC0) and LESYMAP (Apache-2.0)" \
  --citation "Huo et al. 2022, arXiv:2211.15486; Marcus et al. 2007, doi:10.1162/jocn.2007.19.9.1498"

model: setup ## Train the bundled model anew, judge it, write its card: make model BRAINS=folder LESIONS=folder
	$(call train_model,model/first) $(FIRST)
	$(call train_model,model/second) $(SECOND) --from model/first/model.mapping
	$(call train_model,model/third) $(THIRD) --from model/second/model.mapping
	cp model/third/model.mapping $(MODEL)
	$(BIN)/mapping models hold-out model/hold-out --brains "$(BRAINS)" --lesions "$(LESIONS)" $(if $(RESCANS),--rescans $(RESCANS))
	$(BIN)/mapping models evaluate $(MODEL) --cohort model/hold-out $(if $(HEALTHY),--healthy $(HEALTHY)) $(if $(HARD),--hard $(HARD)) -o model/evaluation
	$(BIN)/mapping models card $(MODEL) --evaluation model/evaluation --about docs/model-card.in.md -o docs/model-card.md --embed
	sed 's|(failures.jpg)|(../../docs/model-card-failures.jpg)|' model/evaluation/evaluation.md > benchmarks/results/default-model.md
	cp model/third/model-rules.md benchmarks/results/default-model-rules.md

# Compared with, never imported by the package. nnunet 1.7.1 and panoptica 2.1.7 ask for an old numpy that they do not need.
oracles: $(ORACLES)/.installed ## Install nnU-Net, v1 and v2, panoptica and MONAI into .oracles, to be compared with

$(ORACLES)/.installed: constraints.txt Makefile
	@test -x $(ORACLES)/bin/python || $(PYTHON) -m venv $(ORACLES)
	@$(ORACLES)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e . torch==2.13.0 nnunetv2==2.8.1 medpy monai==1.6.1 connected-components-3d plotly ruamel.yaml scikit-image
	@$(ORACLES)/bin/python -m pip install -qq --disable-pip-version-check --no-deps nnunet==1.7.1 panoptica==2.1.7
	@touch $@

# Without the notebook, which takes a minute: make docs SITE_OPTIONS="-D nb_execution_mode=off"
SITE_OPTIONS ?=
docs: $(DOCS_STAMP) ## Check links, commands and snippets of the documentation, and build it as a site in build/site
	$(BIN)/python -m pytest tests/test_docs.py
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees $(SITE_OPTIONS) . build/site
	@echo "Open build/site/index.html"

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

screenshots: setup ## Take the pictures of pages in the documentation anew, from simulated scans (needs Chromium)
	$(BIN)/python docs/screenshots.py
