#!/usr/bin/env bash
# Installs what building needs and is missing: system packages, the WebAssembly
# target, the prebuilt DuckDB library. Safe to repeat; quick when all is there.

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# Debian's name, and the command that makes the package dispensable (`-`: none).
PACKAGES=(
    cmake:cmake g++:c++ make:make pkg-config:pkg-config curl:curl ca-certificates:-
    unzip:unzip libopenblas-dev:- liblapack-dev:-
)
WASM_TARGET=wasm32-wasip2

DUCKDB_VERSION=1.5.6
DUCKDB_NPM_VERSION=1.5.6-r.1
DUCKDB_LIBRARY=.deps/duckdb/libduckdb.so
DUCKDB_KEPT=$HOME/.cache/spanloom/duckdb-$DUCKDB_VERSION/libduckdb.so
CONNECT_SECONDS_MAX=5
DOWNLOAD_SECONDS_MAX=600

main() {
    cd -- "$ROOT"
    [[ $(uname -s) == Linux ]] || die "Spanloom is built on Linux; this is $(uname -s). A Linux container or machine is needed."
    check_rust
    install_packages
    add_rust_parts
    place_duckdb
    check_processor
    say "Setup: everything is there."
}

check_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    local remedy="With rustup (https://www.rust-lang.org/tools/install): rustup update stable && rustup default stable"
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        die "Rust $needed or later is needed, and there is no cargo or rustc on the PATH. $remedy"
    fi
    found=$(rustc --version) || die "Rust $needed or later is needed, and rustc does not start (see above). $remedy"
    found=${found#rustc }
    found=${found%% *}
    printf '%s\n' "$needed" "$found" | sort -V -C || die "Rust $needed or later is needed; this is $found. $remedy"
}

install_packages() {
    local entry name missing=()
    local present
    present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${PACKAGES[@]%%:*}" 2>/dev/null) || true
    for entry in "${PACKAGES[@]}"; do
        name=${entry%%:*}
        grep -qxF "installed $name" <<<"$present" || command -v "${entry#*:}" >/dev/null || missing+=("$name")
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        install_elsewhere "${missing[@]}"
        return
    fi
    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "These packages are missing, and installing them needs root or sudo; as root: apt-get install ${missing[*]}"
        as_root=(sudo)
        # Where nobody can type a password, don't wait for one.
        [[ -t 0 ]] || as_root=(sudo -n)
    fi
    say "Installing system packages: ${missing[*]}"
    if ! { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "${missing[@]}"; } >&2; then
        die "The packages could not be installed (see above). As root: apt-get update && apt-get install ${missing[*]}"
    fi
}

# Without apt: what can be tried is tried, and the rest is a sentence.
install_elsewhere() {
    local name unresolved=()
    for name in "$@"; do
        case $name in
            ca-certificates) ;;
            libopenblas-dev) links_with openblas || unresolved+=("the development files of OpenBLAS") ;;
            liblapack-dev) links_with lapack || unresolved+=("the development files of LAPACK") ;;
            *) unresolved+=("$name") ;;
        esac
    done
    if ((${#unresolved[@]} > 0)); then
        local list
        list=$(printf '%s, ' "${unresolved[@]}")
        die "There is no apt-get here. Please install these with your system's package manager and try again: ${list%, }"
    fi
}

links_with() {
    c++ -x c++ -o /dev/null - "-l$1" <<<'int main() {}' 2>/dev/null
}

add_rust_parts() {
    local sysroot component
    sysroot=$(rustc --print sysroot)
    if [[ ! -d $sysroot/lib/rustlib/$WASM_TARGET/lib ]]; then
        need_rustup "the target $WASM_TARGET"
        say "Adding the Rust target $WASM_TARGET"
        rustup target add "$WASM_TARGET" || die "The target could not be added (see above). Once the network is there: rustup target add $WASM_TARGET"
    fi
    for component in rustfmt clippy; do
        if [[ ! -x $sysroot/bin/cargo-${component/rustfmt/fmt} ]]; then
            # Only `make test` wants these two.
            if ! command -v rustup >/dev/null || ! rustup component add "$component"; then
                say "Note: $component is missing, and \`make test\` needs it: rustup component add $component"
            fi
        fi
    done
}

need_rustup() {
    command -v rustup >/dev/null ||
        die "This Rust lacks $1, and there is no rustup to add it. Install Rust with rustup (https://www.rust-lang.org/tools/install), or your distribution's package of that target."
}

place_duckdb() {
    local sum
    sum=$(duckdb_sum)
    if has_sum "$sum" "$DUCKDB_LIBRARY"; then
        keep_duckdb
        return
    fi
    if [[ -e $DUCKDB_LIBRARY ]]; then
        say "$DUCKDB_LIBRARY is not the pinned DuckDB $DUCKDB_VERSION and is replaced."
    fi
    mkdir -p "$(dirname "$DUCKDB_LIBRARY")"
    SCRATCH=$(mktemp -d .deps/partial.XXXXXX)
    trap 'rm -rf "$SCRATCH"' EXIT
    local source got=$SCRATCH/libduckdb.so
    for source in kept_copy release_archive npm_package; do
        rm -f "$got"
        "from_$source" || continue
        if has_sum "$sum" "$got"; then
            chmod 644 "$got"
            # Archives carry old dates, by which cargo would miss the change.
            touch "$got"
            # A rename, so that nobody ever finds half a library.
            mv -f "$got" "$DUCKDB_LIBRARY"
            say "DuckDB $DUCKDB_VERSION is in $DUCKDB_LIBRARY, its SHA-256 verified."
            keep_duckdb
            return
        fi
        say "Discarded: its SHA-256 is $(sum_of "$got"), not the pinned $sum."
        [[ $source != kept_copy ]] || rm -f "$DUCKDB_KEPT"
    done
    die "The DuckDB library could not be had from any source. Either put libduckdb.so of DuckDB $DUCKDB_VERSION into $(dirname "$DUCKDB_LIBRARY") yourself and repeat this, or compile DuckDB too, which takes more than 35 minutes on two cores: cargo build --release -p spanloom --features bundled"
}

# The SHA-256 of libduckdb.so for this machine.
duckdb_sum() {
    if [[ -n ${DUCKDB_SHA256:-} ]]; then
        echo "$DUCKDB_SHA256"
        return
    fi
    case $(uname -m) in
        x86_64) echo 3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633 ;;
        aarch64) die "No checksum of the DuckDB library is pinned for aarch64 yet. Either name the SHA-256 of the libduckdb.so you trust (DUCKDB_SHA256=… make setup), or compile DuckDB too, which takes more than 35 minutes on two cores: cargo build --release -p spanloom --features bundled" ;;
        *) die "DuckDB publishes no library for $(uname -m). Compile it too, which takes more than 35 minutes on two cores: cargo build --release -p spanloom --features bundled" ;;
    esac
}

sum_of() {
    local sum
    sum=$(sha256sum -- "$1") && echo "${sum%% *}"
}

has_sum() {
    [[ -f $2 && $(sum_of "$2") == "$1" ]]
}

# Each source fills $SCRATCH/libduckdb.so or says why not and fails.

from_kept_copy() {
    [[ -f $DUCKDB_KEPT ]] || return 1
    say "Taking DuckDB $DUCKDB_VERSION from the copy kept by an earlier setup"
    cp -- "$DUCKDB_KEPT" "$SCRATCH/libduckdb.so"
}

from_release_archive() {
    local machine=amd64
    [[ $(uname -m) != aarch64 ]] || machine=arm64
    local url=https://github.com/duckdb/duckdb/releases/download/v$DUCKDB_VERSION/libduckdb-linux-$machine.zip
    say "Downloading DuckDB $DUCKDB_VERSION: $url"
    if ! curl -fsSL --connect-timeout "$CONNECT_SECONDS_MAX" --max-time "$DOWNLOAD_SECONDS_MAX" \
        --speed-limit 1000 --speed-time 30 -o "$SCRATCH/release.zip" "$url"; then
        say "The release archive could not be downloaded."
        return 1
    fi
    unzip -oq "$SCRATCH/release.zip" libduckdb.so -d "$SCRATCH" || {
        say "The release archive could not be unpacked."
        return 1
    }
}

from_npm_package() {
    local machine=x64
    [[ $(uname -m) != aarch64 ]] || machine=arm64
    local package=@duckdb/node-bindings-linux-$machine@$DUCKDB_NPM_VERSION archives
    if ! command -v npm >/dev/null; then
        say "npm is not installed, so DuckDB's npm package $package can't be asked for."
        return 1
    fi
    say "Downloading DuckDB $DUCKDB_VERSION out of its npm package: $package"
    if ! (cd "$SCRATCH" && timeout "$DOWNLOAD_SECONDS_MAX" npm pack --ignore-scripts --fetch-retries=1 "$package") >"$SCRATCH/npm.log" 2>&1; then
        sed -n '/npm error/p' "$SCRATCH/npm.log" | head -n 3 >&2
        say "The npm package could not be downloaded."
        return 1
    fi
    archives=("$SCRATCH"/*.tgz)
    tar -xzf "${archives[0]}" -C "$SCRATCH" --strip-components=1 package/libduckdb.so || {
        say "The npm package could not be unpacked."
        return 1
    }
}

# A copy for other clones and for days without network. Not having it is no error.
keep_duckdb() {
    [[ ! -f $DUCKDB_KEPT ]] || return 0
    local partial
    mkdir -p "$(dirname "$DUCKDB_KEPT")" 2>/dev/null || return 0
    partial=$(mktemp "$DUCKDB_KEPT.XXXXXX" 2>/dev/null) || return 0
    if cp -- "$DUCKDB_LIBRARY" "$partial" 2>/dev/null && chmod 644 "$partial" && mv -f "$partial" "$DUCKDB_KEPT"; then
        return 0
    fi
    rm -f "$partial"
}

check_processor() {
    if [[ $(uname -m) == x86_64 ]] && ! grep -qm1 -w avx2 /proc/cpuinfo; then
        say "Note: this processor has no AVX2, which FAISS is built for. Remove CXXFLAGS from .cargo/config.toml first."
    fi
}

main "$@"
