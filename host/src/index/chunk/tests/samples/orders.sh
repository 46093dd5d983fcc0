#!/usr/bin/env bash
set -euo pipefail

LIMIT=3
export PATH="$PATH:/x"
readonly NAME=foo
declare -A map

# Adds one.
add() {
  local item=$1
  git commit -m "$(format "$item")"
  helper "$item" | sort
}

function top {
  if [[ -f x ]]; then
    rm x
  fi
}

alias ll='ls -l'
cat <<EOF
text $(date)
EOF
case "$1" in
  a) add 1 ;;
  *) top ;;
esac
main "$@"
