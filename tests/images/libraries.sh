#!/usr/bin/env bash
# Fetches the packages of Debian that the programs are linked with, for another architecture than this machine's, into a cache outside
# the tree, once, and prints the folder: what `LIBRARIES` of scripts/image-root.sh wants. Nothing of this machine's packages changes.
#
#   tests/images/libraries.sh ARCHITECTURE
set -euo pipefail
architecture=$1
cache=${BROKKR_CACHE:-$HOME/.cache/brokkr}
home=$cache/libraries-$architecture
mkdir -p "$cache"

exec 9>"$home.lock"
flock 9
if [ ! -e "$home/complete" ]; then
  rm -rf "$home"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/state/lists/partial "$work"/cache/archives/partial "$home/var/lib/dpkg/info"
  cat >"$work/apt.conf" <<CONF
APT::Architecture "$architecture";
APT::Architectures "$architecture";
APT::Sandbox::User "";
Dir::State "$work/state";
Dir::State::status "/dev/null";
Dir::Cache "$work/cache";
CONF
  (cd "$work" && export APT_CONFIG=$work/apt.conf && apt-get update -qq && apt-get download -qq libc6 libgcc-s1) >&2
  for package in "$work"/*.deb; do
    dpkg-deb --extract "$package" "$home"
    # As if it were installed there, for who asks which package a file is of.
    name=$(dpkg-deb --field "$package" Package)
    { dpkg-deb --field "$package" | sed '1a Status: install ok installed'; echo; } >>"$home/var/lib/dpkg/status"
    dpkg-deb --fsys-tarfile "$package" | tar -t | sed 's|^\./||; s|/$||; s|^|/|; s|^/$|/.|' >"$home/var/lib/dpkg/info/$name:$architecture.list"
  done
  echo 1 >"$home/var/lib/dpkg/info/format"
  echo "$architecture" >"$home/var/lib/dpkg/arch"
  touch "$home/complete"
fi
printf '%s\n' "$home"
