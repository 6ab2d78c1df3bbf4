#!/usr/bin/env bash
# Compiles the disk that forgets what was not synchronised, into a cache outside the tree; the last line of stdout is the library.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BROKKR_POWERCUT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/powercut}
target=$cache/$(cat "$here/powercut.c" "$here/build.sh" | sha256sum | cut -c1-16)/libpowercut.so

if [ ! -e "$target" ]; then
  command -v cc >/dev/null || { printf 'error: a C compiler is missing: run scripts/setup.sh\n' >&2; exit 1; }
  mkdir -p "$(dirname "$target")"
  cc -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -o "$target.$$" "$here/powercut.c" -ldl -lpthread
  # Two who compile at once make the same file.
  mv "$target.$$" "$target"
fi
printf '%s\n' "$target"
