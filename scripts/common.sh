# shellcheck shell=bash
# What the scripts share: where things are, how they speak, how cargo is called.
# Sourced, not run. Leaves the current folder at the root of the project.

set -euo pipefail

# shellcheck disable=SC2034 # the scripts use it
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# Progress and messages go to standard error, results to standard output.
say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf '\n==> %s\n' "$*" >&2
    exit 1
}

# Options of an outer `make` are not meant for the ones that build FAISS.
unset MAKEFLAGS MFLAGS MAKELEVEL

CARGO_OPTIONS=()
if [[ ${CI:-} == true ]]; then
    # Fresh clones share what is compiled, and nothing may change Cargo.lock.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/spanloom/target}
    CARGO_OPTIONS+=(--locked)
fi

# Where cargo builds, whatever variable or configuration says so.
target_folder() {
    local metadata
    metadata=$(cargo metadata --no-deps --format-version 1 "${CARGO_OPTIONS[@]}") || return 1
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' <<<"$metadata"
}

# Says what the wait is for when the slow dependencies aren't compiled yet.
announce_wait() {
    if ! compgen -G "$1/release/.fingerprint/faiss-sys-*" >/dev/null; then
        say "Compiling FAISS and 550 packages: about 18 minutes on two cores, the first time only."
    fi
}
