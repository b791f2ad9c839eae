# Two commands matter: `make run` and `make test`. Both install or start what they need, or say what is missing.

GO ?= go
TOOL = $(GO) tool -modfile=tools/go.mod

.PHONY: run test check gen bench census chaos properties build deps mutants promises clean help

## run: build otto, and let it build and test itself from its own Ottofile
run: deps build
	@bin/otto run

## test: run all tests, on real Postgres, real processes and real HTTP
test:
	@scripts/deps test
	$(GO) test -timeout 15m ./...

## check: linters, and that generated files are up to date
check: deps build
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(TOOL) golangci-lint run
	bin/otto with-pg -- $(TOOL) sqlc diff
	@echo "check: all is well"

## gen: write generated files anew: sqlc, JSON Schema, OpenAPI, pages of errors, the state machine's matrix and diagram
gen: deps build
	bin/otto with-pg -- $(TOOL) sqlc generate
	$(GO) test ./pipeline ./transitions ./api -run "Schema|OpenAPI|Matrix|ErrorPages" -update
	$(GO) test ./transitions -run Diagram -update

## bench: measure Otto beside what this machine can do, within ten minutes; BENCH=--quick takes about one
bench: deps build
	@bin/otto bench $(BENCH)

## census: 500 tasks that try to outlive their agent, at every level of isolation; needs root and bubblewrap
census: deps
	@OTTO_CENSUS=500 $(GO) test ./agent -run TestKillCensus -count=1 -timeout 30m -v

## chaos: break a whole Otto on purpose, and say whether its promises hold; CHAOS_TIME=3m, CHAOS_SEED=, CHAOS=-json
chaos: deps build
	@$(GO) run ./chaos -otto bin/otto -time $(or $(CHAOS_TIME),3m) $(if $(CHAOS_SEED),-seed $(CHAOS_SEED)) $(CHAOS)

## build: build bin/otto
build:
	@$(GO) build -o bin/otto ./cmd/otto

# What Go does not bring: Postgres. Takes no time when it is there.
deps:
	@scripts/deps

## mutants: take one guard at a time out of the state machine; a test must notice each (a quarter of an hour); MUTANTS="-only 40 -json"
mutants: deps
	@$(GO) run ./transitions/mutants $(MUTANTS)

## properties: make 2,000 pipelines at random; their plans must say what they mean, and their runs do what the plans say; PROPERTIES=20000
properties: deps
	@scripts/deps test
	OTTO_PROPERTIES=$(or $(PROPERTIES),2000) $(GO) test ./properties -count=1 -v -timeout 2h -rapid.checks=$(or $(PROPERTIES),2000)

## promises: run the tests that docs/reliability.md names, and write there what came of them
promises: deps
	@scripts/deps test
	@$(GO) run ./chaos/promises

## clean: remove what was built
clean:
	rm -rf bin node_modules

## help: this list
help:
	@sed -n 's/^## //p' Makefile
