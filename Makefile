# `make test` proves the product, `make test-all` everything. Every path is relative: the checkout's own may hold a space.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help test test-all test-rest test-unit test-integration test-e2e test-hosts test-release test-kube test-molecule lint package lock bench clean

DEV := .venv-dev
READY := $(DEV)/requirements.txt
LOCKS := $(wildcard roles/mlops/files/locks/*.in) tests/release/aws.in
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate $(if $(UPGRADE),--upgrade)

export PATH := $(CURDIR)/$(DEV)/bin:$(PATH)
# Uncompiled, each start of Ansible takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

# uv doesn't read pip's settings: this hands them on to it, and to the tests' own use of uv.
define hand_over_pip_settings
settings=$$(.venv/bin/python -I plugins/module_utils/package_sources.py); eval "$$settings"
endef

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r target what; do \
		printf '  make %-17s %s\n' "$$target" "$$what"; \
	done

test: $(READY) ## prove the product: linters, unit tests, the real stack with its example and a web page (3 to 6 minutes)
	@$(hand_over_pip_settings); python tests/run.py --jobs 3 lint unit first-hour

test-all: ## everything but Molecule (three hours); .ci/run --thorough prepares a machine for it
	@failed=0; \
	$(MAKE) --no-print-directory test || failed=1; \
	$(MAKE) --no-print-directory test-thorough || failed=1; \
	python tests/run.py --total && exit $$failed

test-rest: $(READY) ## the slower suites without their longest tests, as .ci/run calls them after `make test`
	@$(hand_over_pip_settings); python tests/run.py --jobs 2 kube integration hosts e2e release

test-thorough: $(READY) ## the slower suites with their longest tests, one after the other
	@$(hand_over_pip_settings); python tests/run.py --thorough kube integration hosts e2e release

test-unit: $(READY) ## tests that run nothing but Python (a minute)
	@$(hand_over_pip_settings); python -m pytest tests/unit

test-integration: $(READY) ## the command line, the roles and the bundle with the real Ansible, on this machine
	@$(hand_over_pip_settings); python -m pytest tests/integration

test-e2e: $(READY) ## the real stack in a temporary home: kills, faults, restarts, removal
	@$(hand_over_pip_settings); python -m pytest tests/e2e

test-hosts: $(READY) ## the roles on real hosts, and the stack in containers; needs root and a Docker engine
	@$(hand_over_pip_settings); python -m pytest tests/hosts

test-release: $(READY) ## a project's releases: its workflows under act, a registry, a git server; needs a Docker engine and Go
	@$(hand_over_pip_settings); python -m pytest tests/release

test-kube: $(READY) ## the cluster on a real Minikube; builds it where none is on the PATH (tests/kube/README.md)
	@$(hand_over_pip_settings); python -m pytest tests/kube

test-molecule: $(READY) ## the roles of a workstation, and the whole, on three hosts under Molecule; needs a Docker engine
	for suite in bookworm trixie; do \
		docker image inspect "gaiaflow-test/host:$$suite" >/dev/null 2>&1 \
			|| tests/hosts/build_image "$$suite" "gaiaflow-test/host:$$suite"; \
	done
	molecule test --all

lint: $(READY) ## ruff, mypy (strict), yamllint, ansible-lint, shellcheck, hadolint, actionlint, check-jsonschema
	ruff check .
	ruff format --check .
	mypy --strict
	yamllint --strict .
	ansible-lint
	shellcheck gaiaflow-setup .ci/run tools/actionlint/run tests/kube/build tests/kube/node/entrypoint tests/release/build tests/release/serve_engine \
		tests/hosts/{build_image,build_base_images,build_service_images,build_minio} \
		tests/hosts/{debian_mirror,unpack_docker_plugins} roles/{cluster,conda,docker}/files/*.sh \
		tests/support/miniforge.sh
	hadolint roles/mlops/files/images/*.Dockerfile roles/model_image/files/*.Dockerfile tests/hosts/images/*/Dockerfile \
		tests/kube/registry.Dockerfile tests/kube/node/Dockerfile tests/release/*.Dockerfile molecule/*/project/Dockerfile
	sed 's/{{ cookiecutter.package_name }}/package/' template/*/Dockerfile | hadolint -
	tools/actionlint/run
	check-jsonschema --builtin-schema vendor.gitlab-ci template/*/.gitlab-ci.yml

package: $(READY) ## build the source distribution and the wheel into dist, install the wheel elsewhere, and call it
	@$(hand_over_pip_settings); \
	rm -rf dist && .venv/bin/uv build --quiet --no-build-isolation --python $(DEV)/bin/python --out-dir dist .; \
	elsewhere=$$(mktemp -d); trap 'rm -rf "$$elsewhere"' EXIT; \
	.venv/bin/uv venv --quiet --no-project --python .venv/bin/python "$$elsewhere/venv"; \
	.venv/bin/uv pip install --quiet --python "$$elsewhere/venv" dist/*.whl; \
	cd "$$elsewhere" && venv/bin/gaiaflow-setup --version
	@ls dist

lock: .venv/requirements.txt ## bring the lock files up to their inputs; UPGRADE=1 takes the newest versions allowed
	@$(hand_over_pip_settings); for input in $(LOCKS); do \
		echo "$${input%.in}.txt"; \
		$(COMPILE) "$$input" --output-file "$${input%.in}.txt"; \
	done; \
	echo requirements/cli.txt; \
	$(COMPILE) pyproject.toml --output-file requirements/cli.txt; \
	echo requirements/dev.txt; \
	$(COMPILE) pyproject.toml --group dev --constraints requirements/cli.txt --output-file requirements/dev.txt

bench: $(READY) ## measure what bench/RESULTS.md holds
	@$(hand_over_pip_settings); python bench/run.py

clean: ## remove what make, the launcher and the tests have made here; a running stack and its data stay
	rm -rf .venv .venv-dev .venv.lock .cache .ansible .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/requirements.txt: requirements/cli.txt
	@./gaiaflow-setup --version >/dev/null
	@touch $@

$(READY): requirements/dev.txt | .venv/requirements.txt
	@echo "making $(DEV)..."
	@$(hand_over_pip_settings); \
	.venv/bin/uv venv --quiet --no-project --clear --python .venv/bin/python $(DEV); \
	.venv/bin/uv pip sync --quiet --no-config --require-hashes --python $(DEV)/bin/python $<
	@cp $< $@
