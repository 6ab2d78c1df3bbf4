#!/usr/bin/env bash
# Builds the real Docker Compose into a cache outside the tree. It reads and checks compose files without a daemon.
#
#   tests/compose/build.sh            builds it when it is missing; the last line of stdout is the executable
#   tests/compose/build.sh --where    prints the executable and builds nothing; exits 1 when it is missing
#
# The folder follows from the pinned versions. Safe under concurrent runs and when interrupted.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_COMPOSE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/compose}
pins=$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | sha256sum | cut -c1-16)
program=$cache/$pins/docker-compose

say() { printf '%s\n' "$*" >&2; }

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$program"
  [ -x "$program" ]
  exit
fi

mkdir -p "$cache/$pins"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build of Compose in $cache"; flock 9; }
if [ ! -x "$program" ]; then
  command -v go >/dev/null || { say "error: Go 1.26 or later is needed to build Compose (https://go.dev/doc/install)"; exit 1; }
  say "building Compose in $cache/$pins (once; up to 3 minutes on two cores)"
  started=$SECONDS
  export CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=local
  (cd "$here" && go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w" -o "$cache/$pins/.new" github.com/docker/compose/v2/cmd) \
    </dev/null >&2
  mv "$cache/$pins/.new" "$program"
  say "  built Compose in $((SECONDS - started)) s"
fi

printf '%s\n' "$program"
