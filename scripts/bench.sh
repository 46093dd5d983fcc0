#!/usr/bin/env bash
# The benchmarks, with the profile `bench`, which is the same as `release`.

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/setup.sh"
cd -- "$ROOT"
target=$(target_folder) || die "cargo can't read this project (see above)."
announce_wait "$target"
# Only the benchmarks: test binaries would run as empty ones beside them.
cargo bench -p spanloom --bench '*' "${CARGO_OPTIONS[@]}" || die "The benchmarks failed, see above."
say "Criterion's reports: $target/criterion"
