#!/usr/bin/env bash
# Installs what lists the crates of a program into a cache outside the tree, once per version, and prints the program's path.
set -euo pipefail
version=0.5.9
cache=${BROKKR_CACHE:-$HOME/.cache/brokkr}
home=$cache/cargo-cyclonedx-$version
mkdir -p "$cache"

# Two runs at once share one installation: the second waits for the first.
exec 9>"$cache/cargo-cyclonedx.lock"
flock 9
if [ ! -e "$home/complete" ]; then
  rm -rf "$home"
  # Unoptimised: it runs for a second, and is built once.
  (unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
    cargo install --quiet --locked --debug --root "$home" "cargo-cyclonedx@$version") >&2
  touch "$home/complete"
fi
printf '%s\n' "$home/bin/cargo-cyclonedx"
