#!/usr/bin/env bash
# The main job from end to end on a real repository: build, index, serve, one MCP call
# over HTTP, its findings, its trace. Takes REPO (a folder) and QUERY from the environment.

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

READY_SECONDS_MAX=60
LEDGER_SECONDS_MAX=5
QUERY_HERE="where is a plugin's running time limited"
QUERY_ELSEWHERE="where are errors handled"

main() {
    local repo query data target
    repo=$(repository) || exit 1
    query=${QUERY:-$([[ $repo == "$ROOT" ]] && echo "$QUERY_HERE" || echo "$QUERY_ELSEWHERE")}
    "$ROOT/scripts/setup.sh"
    cd -- "$ROOT"

    target=$(target_folder) || die "cargo can't read this project (see above)."
    announce_wait "$target"
    say "Building"
    cargo build --release -p spanloom "${CARGO_OPTIONS[@]}" || die "The build failed, see above. Alone again: cargo build --release -p spanloom"
    PROGRAM=$target/release/spanloom

    # One index for each repository, so that going back to one is quick.
    data=.spanloom/demo/$(basename -- "$repo" | tr -cs 'A-Za-z0-9._\n-' _)-$(cksum <<<"$repo" | cut -d ' ' -f 1)
    mkdir -p "$data"
    SCRATCH=$(mktemp -d)
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    index "$repo" "$data"
    serve "$data"
    search "$query"
    trace "$data"
    explain "$data"
    stop
    say "The server has stopped."
}

# The folder to index, absolute.
repository() {
    local given=${REPO:-$ROOT}
    [[ -d $given ]] || die "REPO=$given is no folder. Name a git work tree or any other folder: make demo REPO=path"
    (cd -- "$given" && pwd -P) || die "REPO=$given can't be entered; its permissions may forbid it."
}

index() {
    say "Indexing $1"
    local code=0
    "$PROGRAM" index --data-dir "$2" -- "$1" || code=$?
    # 4: done, with parts missing, which its warnings name.
    ((code == 0 || code == 4)) || die "Indexing failed, see above. \`$(shown "$PROGRAM") doctor\` checks every part."
}

# Starts the server on ports the kernel chooses; sets URL and SERVER.
serve() {
    say "Starting the server"
    "$PROGRAM" serve --data-dir "$1" --bind 127.0.0.1:0 --metrics-bind 127.0.0.1:0 2>"$SCRATCH/server.log" &
    SERVER=$!
    URL=
    # A proxy has no business between this script and this machine.
    export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"
    local deadline=$((SECONDS + READY_SECONDS_MAX))
    until [[ -n $URL ]] && curl -fs -o /dev/null --max-time 2 "${URL%/mcp}/readyz"; do
        URL=$(sed -n 's|^MCP endpoint: \(http://[^ ]*\)$|\1|p' "$SCRATCH/server.log" | head -n 1)
        kill -0 "$SERVER" 2>/dev/null || server_failed "The server ended before it was ready"
        ((SECONDS < deadline)) || server_failed "The server was not ready within $READY_SECONDS_MAX s"
        sleep 0.05
    done
    say "Ready: $URL"
}

server_failed() {
    cat "$SCRATCH/server.log" >&2
    die "$1; its messages stand above. \`$(shown "$PROGRAM") doctor\` checks every part."
}

# One call of the tool semantic_search_pro by an MCP client, over HTTP.
search() {
    say "Asking over MCP: $1"
    "$PROGRAM" search --url "$URL" --limit 5 -- "$1" >"$SCRATCH/answer" || server_failed "The MCP call failed"
    printf '\n' && cat "$SCRATCH/answer" && printf '\n'
}

# The spans of that very call, out of the run's ledger, once the ledger is complete.
trace() {
    local run ledger deadline=$((SECONDS + LEDGER_SECONDS_MAX))
    run=$(sed -n 's/^index .*; run \([^ ]*\) trace [0-9a-f]*$/\1/p' "$SCRATCH/answer" | tail -n 1)
    [[ -n $run ]] || die "The answer above names no run, so its trace can't be shown."
    say "The trace of that call, with times"
    while :; do
        if "$PROGRAM" trace --data-dir "$1" "$run" >"$SCRATCH/trace" 2>"$SCRATCH/trace.log"; then
            ledger=$(sed -n 's/^ledger: //p' "$SCRATCH/trace" | tail -n 1)
            ! grep -q '"run\.end"' "$ledger" || break
        fi
        ((SECONDS < deadline)) || die "The ledger of run $run was not complete within $LEDGER_SECONDS_MAX s. $(cat "$SCRATCH/trace.log")"
        sleep 0.05
    done
    printf '\n' && sed '/^ledger: /d' "$SCRATCH/trace"
    printf '\nThe ledger of this run, every span and event a line of JSON:\n  %s\n' "$ledger"
}

explain() {
    local program
    program=$(shown "$PROGRAM")
    cat <<END

Go on with this index:
  $program search --data-dir $(shown "$1") --trace "your question"
  $program serve --data-dir $(shown "$1")

Point an MCP client at that server:
  {"mcpServers": {"spanloom": {"type": "http", "url": "http://127.0.0.1:8000/mcp"}}}

END
}

# A path as one would type it here.
shown() {
    printf '%q' "${1#"$ROOT"/}"
}

# Ends the server and waits until it has; can be called twice.
stop() {
    if [[ -n ${SERVER:-} ]]; then
        kill -TERM "$SERVER" 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
        SERVER=
    fi
    [[ -z ${SCRATCH:-} ]] || rm -rf "$SCRATCH"
}

main "$@"
