# The commands of this project. Each does all it needs and can be repeated.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test bench setup

# Taken literally, so that `$` and spaces may stand in them.
override REPO := $(value REPO)
override QUERY := $(value QUERY)
export REPO QUERY

help:
	@echo 'make demo [REPO=path] [QUERY="words"]  index a repository (this one), ask it over MCP, show the trace'
	@echo 'make test                              format, lints, documentation, all tests'
	@echo 'make bench                             plugins and their boundary against native code, what telemetry and BM25 cost'
	@echo 'make setup                             install what building needs; the others do it by themselves'

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

bench:
	@scripts/bench.sh

setup:
	@scripts/setup.sh
