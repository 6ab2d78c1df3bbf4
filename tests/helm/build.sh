#!/usr/bin/env bash
# Builds the real helm into a cache outside the tree.
#
#   tests/helm/build.sh            builds it when it is missing; the last line of stdout is the executable
#   tests/helm/build.sh --where    prints the executable and builds nothing; exits 1 when it is missing
#
# The folder follows from the pinned version. Safe under concurrent runs and when interrupted.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_HELM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/helm}
module=helm.sh/helm/v4
version=v4.3.1
# Of the module, as in a go.sum; its own go.sum pins all the rest.
sum=h1:UndCoLe9UPmNoL7IvWzaUXveL7T5t/ijoorEmgJdI9g=
target=$cache/$(sha256sum "$here/build.sh" | cut -c1-16)
program=$target/helm

say() { printf '%s\n' "$*" >&2; }
field() { sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" <<<"$2"; }

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$program"
  [ -x "$program" ]
  exit
fi

mkdir -p "$target"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build of helm in $cache"; flock 9; }
if [ ! -x "$program" ]; then
  command -v go >/dev/null || { say "error: Go 1.26 or later is needed to build helm (https://go.dev/doc/install)"; exit 1; }
  say "building helm in $target (once; up to 3 minutes on two cores)"
  started=$SECONDS
  export GOFLAGS=-mod=mod GOWORK=off GOTOOLCHAIN=local
  # Outside of every module: a go.mod above would have a say in the versions.
  cd /
  answer=$(go mod download -json "$module@$version") || { say "error: $module $version cannot be fetched: $(field Error "$answer")"; exit 1; }
  [ "$(field Sum "$answer")" = "$sum" ] || { say "error: $module $version has the checksum $(field Sum "$answer"), not $sum"; exit 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  GOBIN=$work go install -buildvcs=false -ldflags "-s -w" "$module/cmd/helm@$version" </dev/null >&2
  mv "$work/helm" "$target/.new"
  mv "$target/.new" "$program"
  say "  built helm in $((SECONDS - started)) s"
fi

printf '%s\n' "$program"
