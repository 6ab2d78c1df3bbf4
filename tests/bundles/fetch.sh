#!/usr/bin/env bash
# Fetches the public bundles that tests send through a broker and an agent. They are read from the Go modules of their projects,
# in Go's own module cache, and never copied into the tree. Takes the names of those that are wanted, and prints one line for each: name,
# tab, folder or file.
set -euo pipefail

# Name, module, version, checksum of the module (as in a go.sum), path of the bundle in it.
bundles=(
  "gateway-api sigs.k8s.io/gateway-api v1.6.0 h1:735YBRj5NXFrOGX0GoSjwzUIzbz8kiEOfADsqHFmHgE= config/crd/standard"
  "cert-manager github.com/cert-manager/cert-manager v1.21.2 h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68= deploy/crds"
  "prometheus-operator github.com/prometheus-operator/prometheus-operator v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s= bundle.yaml"
  "kyverno github.com/kyverno/kyverno v1.19.1 h1:/MkgFii3/VlQfKR1JpC9tVwNNVNQTt2S4U6qCsafsTU= config/install-latest-testing.yaml"
  "cluster-api sigs.k8s.io/cluster-api v1.11.0 h1:4ZqKxjhdP3F/vvHMd675rGsDrT/siggnFPt5eKQ8nkI= config/crd/bases"
  "istio istio.io/api v1.28.0 h1:0fYY9G03CAdFwE/fCkpr0v7kKsy+Hz9OCCjLNBNLbnU= kubernetes/customresourcedefinitions.gen.yaml"
)

field() { sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" <<<"$2"; }

command -v go >/dev/null || { echo "error: Go 1.26 or later is needed to fetch the bundles (https://go.dev/doc/install)" >&2; exit 1; }
# Outside of every module: a go.mod above would have a say in the versions.
cd /
for bundle in "${bundles[@]}"; do
  read -r name module version sum path <<<"$bundle"
  [[ " $* " == *" $name "* ]] || continue
  if ! answer=$(GOFLAGS=-mod=mod GOWORK=off go mod download -json "$module@$version"); then
    echo "error: $module $version cannot be fetched: $(field Error "$answer")" >&2
    exit 1
  fi
  if [ "$(field Sum "$answer")" != "$sum" ]; then
    echo "error: $module $version has the checksum $(field Sum "$answer"), not $sum" >&2
    exit 1
  fi
  place=$(field Dir "$answer")/$path
  [ -e "$place" ] || { echo "error: $module $version has no $path" >&2; exit 1; }
  printf '%s\t%s\n' "$name" "$place"
done
