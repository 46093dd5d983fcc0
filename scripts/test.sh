#!/usr/bin/env bash
# All that must hold before a change goes in: format, lints, documentation, tests.
# Stops at the first that does not; ends with the closing lines of the test runners.

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
    "$ROOT/scripts/setup.sh"
    cd -- "$ROOT"
    local target
    target=$(target_folder) || die "cargo can't read this project (see above)."
    announce_wait "$target"
    if [[ ! -d $target/doc/spanloom ]]; then
        say "Lints and documentation read every dependency once: some minutes more, the first time only."
    fi
    step "Format" cargo fmt --all --check
    step "Lints" cargo clippy --release --workspace --all-targets "${CARGO_OPTIONS[@]}" -- -D warnings
    # Written for those who work on the inside: links to private items may stand.
    step "Documentation" env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" \
        cargo doc --release --no-deps --workspace --document-private-items "${CARGO_OPTIONS[@]}"
    step "Building the tests" cargo test --release --workspace "${CARGO_OPTIONS[@]}" --no-run

    LOG=$(mktemp)
    trap 'rm -f "$LOG"' EXIT
    step "Tests" run_tests
    say "All tests passed:"
    closing_lines
}

step() {
    local name=$1
    shift
    say "$name"
    "$@" || die "$name: this step failed, see above. Alone again: $(command_line "$@")"
}

command_line() {
    [[ $1 != run_tests ]] || set -- cargo test --release --workspace
    printf '%q ' "$@"
}

run_tests() {
    cargo test --release --workspace --no-fail-fast "${CARGO_OPTIONS[@]}" 2>&1 | tee "$LOG"
}

# Of each runner: what it ran, and its result.
closing_lines() {
    grep -E '^ +(Running|Doc-tests) |^test result: ' "$LOG"
}

main "$@"
