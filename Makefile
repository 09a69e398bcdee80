# Few targets; `make help` explains them. Everything is set up on first use in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Python compiles what is imported, once: to compile all that comes along takes as long as to unpack it.
# Where it is told not to keep what it compiled, as in many containers, every process does it again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
SCENARIOS ?= scenarios/*.yml scenarios/outages/*.yml scenarios/outages/well/*.yml
EMULATED := $(VENV)/.emulated
HISTORY ?= history
MODELS ?= models
CHANGES ?= 20000
EMULATED_SCENARIOS ?= scenarios/square-acl-voice.yml scenarios/service-follows.yml
OUTAGES ?= scenarios/outages
ATTACKS ?= all
# Tests on real packets wait more than they work, so that several of them go side by side.
AT_ONCE ?= 3
# What whole runs come to hangs on the packets of two networks each: fewer of them side by side.
WHOLE := $(addprefix tests/test_emulated_,outages.py page.py runs.py transfer.py)
# Runs of which one process is killed wait most: as many side by side as the attack `emulated` has.
KILLED := tests/test_emulated_guardian.py
PACKETS := $(filter-out $(WHOLE) $(KILLED),$(wildcard tests/test_emulated_*.py)) tests/test_agent.py tests/test_controller.py
# Those of exact rates and delays hold for networks that have the machine to themselves: what fails in
# company (exit code 1 and no other) is run with nothing beside it, and counts then.
EXACT := tests/test_emulated.py tests/test_network_contract.py
IN_COMPANY := $(EXACT) --cov --cov-append --cov-report= -o cache_dir=.pytest_cache/exact
# Tests of other real processes and of exact rates keep real time: nothing beside them.
ALONE := $(addprefix tests/test_,browser.py guardian.py notebooks.py plant.py)
# A learner has one thread, so as many learn side by side as there are cores.
POLICIES := $(foreach seed,0 1 2 3 4,$(foreach name,rl hybrid-rl,runs/rl/$(name)-$(seed).policy))
# What production's safety hangs on, and the tests that go through every branch of it.
TRUSTED := journal commit rollback
TRUSTED_TESTS := $(foreach name,commit guardian hold switches journal rollback rollback_command orders \
    reverts smallest,tests/test_$(name).py)
EACH_BRANCH := $(TRUSTED:%=--cov=shadowsim.%) --cov-branch
# The tracer doubles the time of these, and they go through hardly a line that no other test does: so
# they are run without it, and what `make test` says of coverage is a little less than there is.
UNMEASURED := $(foreach name,change env experiments features forwarding history history_folder judge model_file readme \
    report rollouts scenarios simulated subset sweep trees verdicts verify walk,tests/test_$(name).py)
APT := mininet openvswitch-switch iproute2 iputils-ping util-linux redis-server
BROWSER := $(VENV)/.browser
CLUSTER := $(VENV)/.cluster
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help setup setup-emulated setup-browser setup-cluster screenshots demo emulated scenarios history train evaluate train-rl experiments outages mlflow notebooks test lint bench torture schemas clean ALWAYS

help: ## say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY) ## make .venv with everything pinned

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("shadowsim needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -c constraints.txt -e '.[api,bench,learn,notebooks,rl,dev]'
	$(BIN)/shadowsim doctor
	touch $@

setup-emulated: $(EMULATED) ## the emulated network too: Mininet, Open vSwitch, Ryu, os-ken (root or sudo)

$(EMULATED): $(READY) build-constraints.txt
	@missing=$$(for p in $(APT); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    $(AS_ROOT) apt-get update -qq && \
	    $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	$(INSTALL) 'pip>=25.3'
	$(INSTALL) -c constraints.txt \
	    --build-constraint build-constraints.txt ryu==4.34
	$(INSTALL) -c constraints.txt -e '.[emulated]'
	$(BIN)/shadowsim doctor
	touch $@

setup-browser: $(BROWSER) ## what the tests of the page need: Chromium and playwright (root or sudo)

$(BROWSER): $(READY)
	@missing=$$(for p in chromium fonts-inter; do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    $(AS_ROOT) apt-get update -qq && \
	    $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	$(INSTALL) -c constraints.txt -e '.[browser]'
	touch $@

setup-cluster: $(CLUSTER) ## what sweeps over several machines need: Ray

$(CLUSTER): $(READY)
	$(INSTALL) -c constraints.txt -e '.[ray]'
	touch $@

screenshots: $(BROWSER) ## the page's pictures in docs/images, from a run in headless Chromium
	$(BIN)/python tests/screenshots.py docs/images

emulated: $(EMULATED) ## one change refused and one confirmed, with real packets through real switches
	$(BIN)/shadowsim run --network emulated $(EMULATED_SCENARIOS)

demo: $(READY) ## the main job: a change refused in the shadow, one confirmed, one taken back
	$(BIN)/shadowsim run scenarios/drain-overload.yml scenarios/drain-fits.yml scenarios/drain-then-peak.yml
	$(BIN)/shadowsim report runs/drain-then-peak
	$(BIN)/shadowsim analytics

scenarios: $(READY) ## run every scenario (or SCENARIOS=...) and compare with what it expects
	$(BIN)/shadowsim run $(SCENARIOS)

history: $(READY) ## labelled past changes on networks to learn from, to set by, and to test on (HISTORY, CHANGES)
	$(BIN)/shadowsim history --changes $(CHANGES) --seed 101 --networks known --out $(HISTORY)/known
	$(BIN)/shadowsim history --changes $$(($(CHANGES) / 8)) --seed 102 --networks validation --looks evaluation --out $(HISTORY)/validation
	$(BIN)/shadowsim history --changes $$(($(CHANGES) / 4)) --seed 103 --networks unseen --looks evaluation --out $(HISTORY)/unseen

train: history ## PreCog's models from that history, for five seeds (MODELS)
	for seed in 0 1 2 3 4; do \
	    $(BIN)/shadowsim train --seed $$seed --out $(MODELS)/$$seed.model \
	        --history $(HISTORY)/known --history $(HISTORY)/validation --history $(HISTORY)/unseen || exit; \
	done

evaluate: $(READY) ## all PreCog variants on the same changes, on networks never seen
	$(BIN)/shadowsim evaluate --history $(HISTORY)/validation --history $(HISTORY)/unseen \
	    $(foreach seed,0 1 2 3 4,--model $(MODELS)/$(seed).model) --out docs/precog

train-rl: $(READY) ## learn when to go and when to take back, five seeds, beside the rule by hand
	$(BIN)/shadowsim tapes --networks known --changes 800 --per-site 4
	$(BIN)/shadowsim tapes --networks validation --changes 240 --per-site 4
	$(BIN)/shadowsim tapes --networks unseen --changes 1200 --per-site 4
	$(MAKE) -j$$(nproc) -Otarget $(POLICIES)
	$(BIN)/python experiments/rl_on_unseen.py

runs/rl/%.policy: ALWAYS | $(READY)
	$(BIN)/shadowsim train-rl $(if $(findstring hybrid,$*),--supervised) --jobs 1 --resume \
	    --seed $(lastword $(subst -, ,$*)) --out runs/rl/$* --policy $@

outages: $(READY) ## outages that happened under every variant, to docs/outages.md and docs/outages.html
	$(BIN)/shadowsim outages $(OUTAGES)

experiments: $(READY) ## the questions of docs/experiments.md answered anew, with tables and figures
	set -e; for file in which_costs_least how_early what_rl_adds how_much_shadow fine_tuning; do \
	    $(BIN)/python experiments/$$file.py; \
	done

mlflow: $(READY) ## MLflow's pages of all trainings and evaluations, on http://127.0.0.1:5000
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///runs/mlflow.db

notebooks: $(READY) ## the notebooks in JupyterLab (also any editor that opens .ipynb, with the kernel of .venv)
	$(INSTALL) -c constraints.txt jupyterlab
	$(BIN)/jupyter lab notebooks

test: $(READY) ## lint, types, and the tests with their coverage
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	COVERAGE_FILE=.coverage.trusted $(BIN)/python -m pytest -n auto --dist worksteal \
	    $(filter-out $(ALONE),$(TRUSTED_TESTS)) $(EACH_BRANCH) --cov-report=
	COVERAGE_FILE=.coverage.trusted $(BIN)/python -m pytest $(filter $(ALONE),$(TRUSTED_TESTS)) $(EACH_BRANCH) \
	    --cov-append --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(BIN)/python -m pytest -n auto --dist loadfile $(addprefix --ignore=,$(PACKETS) $(KILLED) $(WHOLE) $(EXACT) $(ALONE) $(TRUSTED_TESTS) $(UNMEASURED)) --cov --cov-report=
	$(BIN)/python -m pytest -n auto --dist loadfile $(UNMEASURED)
	$(BIN)/python -m pytest -n $(AT_ONCE) --dist worksteal $(PACKETS) --cov --cov-append --cov-report=
	$(BIN)/python -m pytest -n 4 --dist worksteal $(KILLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(WHOLE) --cov --cov-append --cov-report=
	rm -rf .pytest_cache/exact
	$(BIN)/python -m pytest -n $(AT_ONCE) --dist worksteal $(IN_COMPANY) || { [ $$? = 1 ] && \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(IN_COMPANY); }
	$(BIN)/python -m pytest $(filter-out $(TRUSTED_TESTS),$(ALONE)) \
	    --cov --cov-append --cov-report=term:skip-covered --cov-fail-under=90

lint: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## measure the speeds that matter, beside other tools
	$(BIN)/shadowsim bench

torture: $(READY) ## attack what is promised (docs/reliability.md); QUICK=1: the numbers of CI; RESUME=1: go on
	set -e; for attack in $(ATTACKS); do \
	    $(BIN)/python tests/torture $$attack $(if $(QUICK),--quick) $(if $(RESUME),--resume); done

schemas: $(READY) ## write the JSON Schemas in docs/ anew
	$(BIN)/shadowsim schema scenario > docs/scenario.schema.json
	$(BIN)/shadowsim schema signature > docs/rollback-signature.schema.json

clean: ## remove what was made here, .venv too
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
