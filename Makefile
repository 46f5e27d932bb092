# make demo   install what is missing, build, train the digits on 7 MPI ranks
# make test   all tests, also behind one that fails
# make deps   install what is missing: an MPI library and libclang
# make snapshots  take what users see now for right (tests/snapshots), and show what that changes
# make mutants  break every defence in turn, and see a test notice (docs/MUTANTS.md; hours). MUTANTS="--file src/mix/slot.rs": a part
# make mutants-run  the same for src/run, which takes days
# make soak   200 random kills over one training, resumed each time: the same weights (tests/stopping.rs). SOAK=50: fewer
# make bench  the whole comparison on this machine, peers included (docs/BENCHMARKS.md). BENCH="--only process": a part

SHELL := /bin/bash
export OMPI_ALLOW_RUN_AS_ROOT = 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1
# More ranks than cores is what a laptop has: let Open MPI start them.
export OMPI_MCA_rmaps_base_oversubscribe = 1
export PRTE_MCA_rmaps_default_mapping_policy = :oversubscribe

RANKS ?= 7
MPIRUN ?= mpirun
MIXNN = $(or $(CARGO_TARGET_DIR),target)/release/mixnn

.PHONY: demo test deps build bench snapshots soak mutants mutants-run clean

demo: build
	@# mpirun hides the terminal from its processes: tell them that there is one.
	@if [ -t 2 ]; then export MIXNN_PROGRESS=1; fi; \
	timeout -k 10 300 $(MPIRUN) -n $(RANKS) $(MIXNN) run jobs/digits.toml

build: deps
	cargo build --release --locked

test: deps
	tests/run --locked

snapshots: deps
	INSTA_UPDATE=always cargo test --locked --test snapshots
	git --no-pager diff --stat --patch tests/snapshots

SOAK ?= 200
soak: deps
	MIXNN_SOAK=$(SOAK) cargo test --locked --test stopping random_kills -- --nocapture

mutants:
	@command -v cargo-mutants > /dev/null || cargo install --locked cargo-mutants
	tests/mutants/run $(MUTANTS)

mutants-run: deps
	@command -v cargo-mutants > /dev/null || cargo install --locked cargo-mutants
	cargo mutants --output target $(MUTANTS)

bench:
	bench/run $(BENCH)

deps:
	@bash .ci/deps

clean:
	cargo clean
