#!/usr/bin/env bash
# install.sh NAME: installs what tests/NAME/requirements.txt lists into a cache outside the tree, once per list of versions, and prints the
# folder of its programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../$1"

sum=$(sha256sum requirements.txt | cut -c1-16)
cache=${BROKKR_CACHE:-$HOME/.cache/brokkr}
home=$cache/$1-$sum
mkdir -p "$cache"

# Two runs at once share one installation: the second waits for the first.
exec 9>"$cache/$1.lock"
flock 9
if [ ! -x "$home/bin/python" ] || [ ! -e "$home/complete" ]; then
  command -v python3 >/dev/null || { echo "error: Python 3 is missing" >&2; exit 1; }
  rm -rf "$home"
  python3 -m venv "$home" >&2
  "$home/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >&2
  touch "$home/complete"
fi
printf '%s\n' "$home/bin"
