#!/usr/bin/env bash
# Builds the programs of the images, for amd64 or arm64 on either: a compiler for the other one does it, no emulation. The same sources
# and the same compilers give the same bytes, in whatever folder and for whomever.
#
#   scripts/build-programs.sh ARCHITECTURE FOLDER     leaves brokkr-broker, brokkr-agent and brokkr in FOLDER
#
# PROFILE=dev builds faster. The other architecture needs Debian's cross compiler and the standard library of Rust for it; the latter is
# installed here where it is missing.
set -euo pipefail
architecture=$1
folder=$2
profile=${PROFILE:-release}
mkdir -p "$folder"
folder=$(realpath "$folder")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(scripts/rust-target.sh "$architecture")
compiler=${target/-unknown-/-}-gcc
command -v "$compiler" >/dev/null || { echo "error: $compiler is missing (Debian package gcc-$(tr _ - <<<"${compiler%-gcc}"))" >&2; exit 1; }
if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx "$target"; then rustup target add "$target" >&2; fi

# Where the sources and their dependencies lie is in panics, in debug information and in what C calls __FILE__: everybody builds in
# /brokkr with the dependencies in /cargo, as far as the programs know. A variable of the caller's would be in the programs too.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
separator=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo${separator}--remap-path-prefix=$PWD=/brokkr"
unset RUSTFLAGS CFLAGS CXXFLAGS CARGO_BUILD_TARGET
variable=${target//-/_}
declare -x "CC_$variable=$compiler" "AR_$variable=${compiler%-gcc}-ar" "CARGO_TARGET_${variable^^}_LINKER=$compiler"
declare -x "CFLAGS_$variable=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$PWD=/brokkr"
export CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_DEV_STRIP=symbols SOURCE_DATE_EPOCH=0

# The target is always named, so that what runs while building is built apart from what is delivered.
cargo build --locked --profile "$profile" --target "$target" --package brokkr-broker --package brokkr-agent --package brokkr-cli
case $profile in dev) built=debug ;; *) built=$profile ;; esac
install -m 0755 "${CARGO_TARGET_DIR:-target}/$target/$built"/{brokkr-broker,brokkr-agent,brokkr} "$folder/"
