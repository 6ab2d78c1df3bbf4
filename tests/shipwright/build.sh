#!/usr/bin/env bash
# Builds the real controllers of Shipwright and Tekton into a cache outside the tree, with the CRDs and ConfigMaps of their modules.
#
#   tests/shipwright/build.sh            builds what is missing; the last line of stdout is the folder
#   tests/shipwright/build.sh --where    prints the folder and builds nothing; exits 1 when something is missing
#
# The folder follows from the pinned versions: bin/ holds the programs, shipwright/ and tekton/ what is applied to a cluster. Safe under
# concurrent runs and when interrupted.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_SHIPWRIGHT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/shipwright}
pins=$(cat "$here"/*/go.mod "$here"/*/go.sum "$here/build.sh" | sha256sum | cut -c1-16)
target=$cache/$pins

# Program, module folder, module, package in it, minutes on two cores with an empty Go build cache.
programs=(
  "shipwright-build-controller shipwright github.com/shipwright-io/build cmd/shipwright-build-controller 2.5"
  "tekton-controller tekton github.com/tektoncd/pipeline cmd/controller 3"
)

say() { printf '%s\n' "$*" >&2; }

missing() {
  local entry name folder
  for entry in "${programs[@]}"; do
    read -r name folder _ <<<"$entry"
    if [ ! -x "$target/bin/$name" ] || [ ! -d "$target/$folder" ]; then printf '%s\n' "$entry"; fi
  done
}

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$target"
  [ -z "$(missing)" ]
  exit
fi

# What a cluster gets before a controller starts.
copy_manifests() { # folder of the module, name, where to
  case $2 in
    shipwright) cp "$1"/deploy/crds/*.yaml "$3" ;;
    tekton) cp "$1"/config/100-namespace/*.yaml "$1"/config/300-crds/*.yaml "$1"/config/config-*.yaml "$3" ;;
  esac
  chmod -R u+w "$3"
}

# Shipwright's program serves its metrics on a fixed port of all interfaces, which two test runs of one machine cannot share. Its `main` is
# built without that; everything else is as it is in the module.
without_metrics_port() { # folder of the module, the changed file
  local main=$1/cmd/shipwright-build-controller/main.go
  sed 's|fmt.Sprintf("%s:%d", metricsHost, metricsPort)|"0"|' "$main" >"$2"
  if cmp -s "$main" "$2"; then say "error: $main is not as it was: look at how its metrics port is set"; return 1; fi
}

mkdir -p "$target/bin"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build of Shipwright and Tekton in $cache"; flock 9; }
todo=$(missing)
if [ -n "$todo" ]; then
  command -v go >/dev/null || { say "error: Go 1.26 or later is needed to build Shipwright and Tekton (https://go.dev/doc/install)"; exit 1; }
  minutes=$(awk '{ sum += $5 } END { print sum }' <<<"$todo")
  say "preparing Shipwright and Tekton in $target (once; up to $minutes minutes on two cores)"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
while read -r name folder module package minutes; do
  [ -n "$name" ] || continue
  say "  building $name (up to $minutes min)"
  started=$SECONDS
  dir=$(cd "$here/$folder" && go mod download "$module" && go list -m -f '{{.Dir}}' "$module")
  what=$module/$package
  if [ "$folder" = shipwright ]; then
    what=$work/main.go
    without_metrics_port "$dir" "$what"
  fi
  (cd "$here/$folder" && go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$target/bin/.$name.new" "$what") </dev/null >&2
  rm -rf "$target/$folder.new" "$target/$folder"
  mkdir "$target/$folder.new"
  copy_manifests "$dir" "$folder" "$target/$folder.new"
  mv "$target/$folder.new" "$target/$folder"
  mv "$target/bin/.$name.new" "$target/bin/$name"
  say "  built $name in $((SECONDS - started)) s"
done <<<"$todo"

printf '%s\n' "$target"
