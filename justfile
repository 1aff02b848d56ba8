# The short names of what a change must pass; `.ci/run` is all of it.

check:
    cargo check --all-targets

test:
    cargo test

lint:
    cargo clippy --all-targets -- -D warnings

fmt:
    cargo fmt

ci:
    bash .ci/run
