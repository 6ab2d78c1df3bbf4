#!/usr/bin/env bash
# Builds an image by the whole Dockerfile, its stage `build` too, where no base can be pulled: the base is a Debian made by debootstrap
# with the Rust, the package sources and the authorities of this machine. Somebody with a registry needs none of this.
#
#   tests/images/dockerfile.sh [IMAGE]     broker, agent or cli
#
# PROFILE=dev is the default, because everything is compiled from nothing: some twenty minutes on two cores. It needs root, debootstrap
# and buildah, and 15 GB of disk meanwhile. Prints the version that the program in the image tells.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
image=${1:-broker}
profile=${PROFILE:-dev}
for program in debootstrap buildah rustup; do
  command -v "$program" >/dev/null || { echo "error: $program is missing" >&2; exit 1; }
done
case $image in cli) program=brokkr ;; broker | agent) program=brokkr-$image ;; *) echo "error: there is no image $image" >&2; exit 2 ;; esac

# shellcheck source=tests/images/store.sh
. tests/images/store.sh

# As the official image has it: Rust in /usr/local/rustup, Cargo in /usr/local/cargo.
base=$work/base
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
debootstrap --variant=minbase "$release" "$base" >&2
toolchain=$(rustup show active-toolchain | cut -d ' ' -f 1)
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$base"/usr/local/{rustup/toolchains,cargo/bin,cargo/registry,share/ca-certificates}
cp --recursive --dereference "$rustup_home/toolchains/$toolchain" "$base/usr/local/rustup/toolchains/"
rm -rf "$base/usr/local/rustup/toolchains/$toolchain/share/doc"
cp "$rustup_home/settings.toml" "$base/usr/local/rustup/"
# The proxies that rustup puts there; what else somebody has installed stays at home.
for name in cargo rustc rustdoc rustup; do cp --dereference "$cargo_home/bin/$name" "$base/usr/local/cargo/bin/"; done
if [ -e "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$base/usr/local/cargo/"; fi
for part in index cache; do
  if [ -d "$cargo_home/registry/$part" ]; then cp --recursive "$cargo_home/registry/$part" "$base/usr/local/cargo/registry/"; fi
done
# Where Debian's packages come from here; what other sources somebody has is no business of an image.
rm -f "$base/etc/apt/sources.list"
cp --recursive /etc/apt/apt.conf.d/. "$base/etc/apt/apt.conf.d/"
for file in sources.list sources.list.d/debian.sources; do
  if [ -e "/etc/apt/$file" ]; then cp "/etc/apt/$file" "$base/etc/apt/$file"; fi
done
cp --recursive /usr/local/share/ca-certificates/. "$base/usr/local/share/ca-certificates/"
install -D -m 0644 "$(readlink -f /etc/ssl/certs/ca-certificates.crt)" "$base/etc/ssl/certs/ca-certificates.crt"

mkdir -p "$work/run"
container=$(buildah from scratch)
buildah add "$container" "$base" / >&2
buildah config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
  --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --rm --quiet "$container" localhost/rust:here >&2
rm -rf "$base"

buildah bud --isolation chroot --pull-never --build-arg RUST=localhost/rust:here --build-arg PROFILE="$profile" \
  --target "$image" --tag "$image" --file Dockerfile . >&2
container=$(buildah from --pull-never "localhost/$image")
version=$(buildah run --isolation chroot "$container" -- "/usr/bin/$program" --version)
mount=$(buildah mount "$container")
[[ $version == "$program "* ]] || { echo "error: --version says $version" >&2; exit 1; }
[ -s "$mount/usr/share/sbom/$program.cdx.json" ] || { echo "error: it has no list of the crates of $program" >&2; exit 1; }
printf '%s\n' "$version"
