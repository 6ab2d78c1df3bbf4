#!/usr/bin/env bash
# Installs the library of Standard Webhooks for Python into a cache outside the tree, once per list of versions, and prints its interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

sum=$(sha256sum requirements.txt | cut -c1-16)
cache=${BROKKR_CACHE:-$HOME/.cache/brokkr}
home=$cache/standardwebhooks-$sum
mkdir -p "$cache"

# Two runs at once share one installation: the second waits for the first.
exec 9>"$cache/standardwebhooks.lock"
flock 9
if [ ! -e "$home/complete" ]; then
  command -v python3 >/dev/null || { echo "error: Python 3 is missing" >&2; exit 1; }
  rm -rf "$home"
  python3 -m venv "$home" >&2
  "$home/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >&2
  touch "$home/complete"
fi
printf '%s\n' "$home/bin/python"
