#!/usr/bin/env bash
# Lists every crate that is in each program, with version, licence and checksum, as CycloneDX.
#
#   scripts/sbom.sh FOLDER
set -euo pipefail
folder=$(realpath --canonicalize-missing "${1:?a folder}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx

mkdir -p "$folder"
# It writes beside each Cargo.toml, and so does an interrupted run before this one.
trap 'rm -f crates/*/*.cdx.json tests/*.cdx.json' EXIT
cargo cyclonedx --quiet --format json --all-features --describe binaries --target x86_64-unknown-linux-gnu
for program in crates/{broker/brokkr-broker,agent/brokkr-agent,cli/brokkr}; do
  cp "${program}_bin.cdx.json" "$folder/$(basename "$program").cdx.json"
done
