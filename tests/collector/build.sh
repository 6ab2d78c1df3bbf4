#!/usr/bin/env bash
# Builds a real OpenTelemetry Collector, with the components that our configurations use, into a cache outside the tree.
#
#   tests/collector/build.sh            builds it when it is missing; the last line of stdout is the executable
#   tests/collector/build.sh --where    prints the executable and builds nothing; exits 1 when it is missing
#
# The folder follows from the list of components and the pinned versions. Safe under concurrent runs and when interrupted.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_COLLECTOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/collector}
version=v0.155.0
pins=$(cat "$here/builder.yaml" "$here/go.mod" "$here/go.sum" "$here/build.sh" | sha256sum | cut -c1-16)
program=$cache/$pins/collector

say() { printf '%s\n' "$*" >&2; }

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$program"
  [ -x "$program" ]
  exit
fi

mkdir -p "$cache/$pins"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build of the collector in $cache"; flock 9; }
if [ ! -x "$program" ]; then
  command -v go >/dev/null || { say "error: Go 1.26 or later is needed to build the collector (https://go.dev/doc/install)"; exit 1; }
  say "building the collector in $cache/$pins (once; up to 4 minutes on two cores)"
  started=$SECONDS
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export CGO_ENABLED=0 GOWORK=off
  # The builder only writes the source: left to itself it would tidy the module too, which asks for modules of other people's
  # tests that are not published. The versions are those of `go.mod` beside this script.
  (cd "$work" && go run "go.opentelemetry.io/collector/cmd/builder@$version" --config "$here/builder.yaml" \
    --skip-get-modules --skip-compilation) </dev/null >&2
  cp "$here/go.mod" "$here/go.sum" "$work/collector"
  (cd "$work/collector" && go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w" -o "$cache/$pins/.new" .) </dev/null >&2
  mv "$cache/$pins/.new" "$program"
  say "  built the collector in $((SECONDS - started)) s"
fi

printf '%s\n' "$program"
