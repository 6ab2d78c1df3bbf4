#!/usr/bin/env bash
# Lists the crates that are in each program: name, version, licence, checksum, and who needs whom, as CycloneDX in JSON.
#
#   scripts/sbom.sh ARCHITECTURE FOLDER     writes brokkr-broker.cdx.json, brokkr-agent.cdx.json and brokkr.cdx.json into FOLDER
#
# Crates that only run while building, or in tests, are not listed. The same Cargo.lock gives the same bytes everywhere.
set -euo pipefail
architecture=$1
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(scripts/rust-target.sh "$architecture")
command -v jq >/dev/null || { echo "error: jq is missing (scripts/setup.sh installs it)" >&2; exit 1; }
tool=$(scripts/cyclonedx.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tool knows every crate, and not which features are on: that knows Cargo, asked as it is when the programs are built, all of them at
# once, because one that is on for one program is on for all.
cargo tree --locked --quiet --package brokkr-broker --package brokkr-agent --package brokkr-cli --target "$target" \
  --edges normal,no-proc-macro --no-dedupe --prefix depth --format ' {p}' \
  | awk -v work="$work" '$1 == 0 { file = work "/" $2 } { print $2 "@" substr($3, 2) | ("sort -u >" file) }'

# It writes beside each Cargo.toml, and so gets a tree of its own.
cp -R crates tests Cargo.toml Cargo.lock rust-toolchain.toml "$work/"
(cd "$work" && SOURCE_DATE_EPOCH=0 "$tool" cyclonedx --quiet --quiet --format json --spec-version 1.5 --no-build-deps --target "$target" \
  --override-filename sbom)

for program in brokkr-broker brokkr-agent brokkr; do
  case $program in brokkr) crate=brokkr-cli ;; *) crate=$program ;; esac
  # Our own crates are called by where they lie on this machine; what follows the root is name enough.
  jq --arg root "path+file://$work/" --rawfile linked "$work/$crate" '
    ($linked | split("\n")) as $linked
    | .components |= map(select("\(.name)@\(.version)" | IN($linked[])))
    | [.metadata.component["bom-ref"], .components[]["bom-ref"]] as $references
    | .dependencies |= map(select(.ref | IN($references[])) | if .dependsOn then .dependsOn |= map(select(IN($references[]))) else . end)
    | walk(if type == "string" then ltrimstr($root) | sub("\\?download_url=file://[^#]*"; "") else . end)
  ' "$work/crates/${crate#brokkr-}/sbom.json" >"$folder/$program.cdx.json"
done
