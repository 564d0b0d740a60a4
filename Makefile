.PHONY: setup demo test lint

setup:
	@bash setup/install.sh

demo: setup
	@rm -rf demo/shards demo/verdicts demo/memory
	@.venv/bin/python demo/generate.py demo/shards
	@.venv/bin/triage run demo/job.toml
	@.venv/bin/triage show demo/verdicts --limit 12

test: setup lint
	@.venv/bin/python -m pytest

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/mypy
