#!/usr/bin/env bash
# Prints what Rust calls an architecture that Debian and container images call amd64 or arm64.
set -euo pipefail
case $1 in
  amd64) echo x86_64-unknown-linux-gnu ;;
  arm64) echo aarch64-unknown-linux-gnu ;;
  *) echo "error: $1 is neither amd64 nor arm64" >&2; exit 2 ;;
esac
