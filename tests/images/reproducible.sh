#!/usr/bin/env bash
# Builds what the images hold twice from the last commit, in two folders, each with a home of Cargo of its own, and compares the bytes.
#
#   tests/images/reproducible.sh [ARCHITECTURE]     amd64 or arm64; PROFILE=dev is quicker, and says less
#
# Prints a checksum for each file. It takes two builds from nothing: half an hour on two cores, or ten minutes with PROFILE=dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
architecture=${1:-$(dpkg --print-architecture)}
home=${CARGO_HOME:-$HOME/.cargo}
commit=$(git rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What is downloaded already is shared; its path, which is what a program could give away, is another one each time.
build() { # folder, results
  mkdir -p "$1" "$work/home-$2"
  ln -s "$home/registry" "$work/home-$2/registry"
  git archive "$commit" | tar -x -C "$1"
  CARGO_HOME="$work/home-$2" "$1/scripts/build-programs.sh" "$architecture" "$work/$2"
  CARGO_HOME="$work/home-$2" "$1/scripts/sbom.sh" "$architecture" "$work/$2"
  rm -rf "$1"
}
build "$work/source" one
build "$work/another/and/deeper" two

status=0
for file in "$work/one"/*; do
  cmp "$file" "$work/two/${file##*/}" || status=1
  if grep -q --text --fixed-strings -e "$work" -e "$home/" "$file"; then echo "error: ${file##*/} names a folder of this machine" >&2; status=1; fi
done
(cd "$work/one" && sha256sum -- *)
exit $status
