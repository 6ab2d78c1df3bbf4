#!/usr/bin/env bash
# Builds the real Kubernetes programs that development and tests run, into a cache outside the tree.
#
#   tests/kubernetes/build.sh            builds what is missing; the last line of stdout is the folder
#   tests/kubernetes/build.sh --where    prints the folder and builds nothing; exits 1 when a program is missing
#
# The folder follows from the pinned versions, so that another version is another folder. KUBEBUILDER_ASSETS, the
# convention of envtest, wins for the programs that it holds. Safe under concurrent runs and when interrupted.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_KUBERNETES_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/kubernetes}
pins=$(cat "$here"/go.mod "$here"/go.sum "$here"/kwok/go.mod "$here"/kwok/go.sum "$here/build.sh" | sha256sum | cut -c1-16)
target=$cache/$pins
kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$here/go.mod")
minor=$(cut -d. -f2 <<<"$kubernetes")

# Program, module folder, package, minutes on two cores with an empty Go build cache.
programs=(
  "etcd . go.etcd.io/etcd/server/v3 0.5"
  "kube-apiserver . k8s.io/kubernetes/cmd/kube-apiserver 5"
  "kube-controller-manager . k8s.io/kubernetes/cmd/kube-controller-manager 1"
  "kube-scheduler . k8s.io/kubernetes/cmd/kube-scheduler 0.5"
  "kubectl . k8s.io/kubernetes/cmd/kubectl 0.5"
  "kwok kwok sigs.k8s.io/kwok/cmd/kwok 1.5"
)

say() { printf '%s\n' "$*" >&2; }

have() { [ -x "$target/bin/$1" ]; }

link_assets() { # what the person brought stands in for what we would build; what we built before completes it
  local program folder
  [ -n "${KUBEBUILDER_ASSETS:-}" ] || return 0
  for program in etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kwok; do
    for folder in "$cache/$pins/bin" "$KUBEBUILDER_ASSETS"; do
      if [ -x "$folder/$program" ]; then ln -sfn "$folder/$program" "$1/$program"; fi
    done
  done
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  target=$cache/$pins-assets-$(sha256sum <<<"$KUBEBUILDER_ASSETS" | cut -c1-8)
fi

missing() {
  local entry name
  for entry in "${programs[@]}"; do
    read -r name _ <<<"$entry"
    have "$name" || printf '%s\n' "$entry"
  done
  [ -d "$target/stages" ] || printf 'stages\n'
}

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$target"
  [ -z "$(missing)" ]
  exit
fi

mkdir -p "$target/bin"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another build of the Kubernetes programs in $cache"; flock 9; }
link_assets "$target/bin"

todo=$(missing)
if [ -n "$todo" ]; then
  command -v go >/dev/null || { say "error: Go 1.26 or later is needed to build the Kubernetes programs (https://go.dev/doc/install)"; exit 1; }
  minutes=$(awk '{ sum += $4 } END { print sum }' <<<"$todo")
  say "preparing the Kubernetes programs in $target (once; up to $minutes minutes on two cores)"
fi
while read -r name module package minutes; do
  [ -n "$name" ] || continue
  if [ "$name" = stages ]; then
    dir=$(cd "$here/kwok" && go mod download sigs.k8s.io/kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)
    rm -rf "$target/stages.new"
    cp -R --no-preserve=mode "$dir/kustomize/stage" "$target/stages.new"
    mv "$target/stages.new" "$target/stages"
    continue
  fi
  say "  building $name (up to $minutes min)"
  started=$SECONDS
  version=k8s.io/component-base/version
  (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$minor" \
    -o "$target/bin/.$name.new" "$package") </dev/null >&2
  mv "$target/bin/.$name.new" "$target/bin/$name"
  say "  built $name in $((SECONDS - started)) s"
done <<<"$todo"

printf '%s\n' "$target"
