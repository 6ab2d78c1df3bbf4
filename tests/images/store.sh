#!/usr/bin/env bash
# What the scripts beside this one have in common: a folder `work` that goes when the script ends, and buildah with its store in there.
work=$(mktemp -d)
buildah() { command buildah --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }
clean() {
  buildah rm --all >/dev/null 2>&1 || true
  buildah rmi --all --force >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT
