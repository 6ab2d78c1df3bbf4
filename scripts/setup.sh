#!/usr/bin/env bash
# Installs what is missing for development on a Debian machine that has Rust and Go, as root or not.
#
#   scripts/setup.sh             a C compiler (for SQLite), PostgreSQL, the sqlite3 program, Prometheus, Java and Maven, buildah, jq
#   scripts/setup.sh demo        what the demo needs: the compiler only
#   scripts/setup.sh arm64       what images for the other architecture need (or `amd64`, on arm64): a compiler, and what runs the result
set -euo pipefail

what=${1:-all}
say() { printf '%s\n' "$*" >&2; }

command -v cargo >/dev/null || { say "error: Rust is missing: install it with rustup (https://rustup.rs)"; exit 1; }
command -v go >/dev/null || { say "error: Go 1.26 or later is missing (https://go.dev/doc/install)"; exit 1; }

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v make >/dev/null || packages+=(make)
if [ "$what" = all ]; then
  command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages+=(postgresql)
  # With it tests and benchmarks look into the broker's file.
  command -v sqlite3 >/dev/null || packages+=(sqlite3)
  # Scrapes the daemons in the tests; promtool checks rules and metrics.
  command -v promtool >/dev/null || packages+=(prometheus)
  # The guides are followed up to a trace in a real backend, Zipkin, which comes from Maven's repository and runs with Java 17.
  command -v mvn >/dev/null || packages+=(maven)
  command -v java >/dev/null || packages+=(default-jre-headless)
  # The fuzzer is installed into an environment of its own.
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
fi
if [ "$what" = all ] || [ "$what" = arm64 ] || [ "$what" = amd64 ]; then
  # Builds the images without a daemon; lists what is in them.
  command -v buildah >/dev/null || packages+=(buildah)
  command -v jq >/dev/null || packages+=(jq)
fi
if [ "$what" = arm64 ] || [ "$what" = amd64 ]; then
  case $what in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; esac
  command -v "$machine-linux-gnu-gcc" >/dev/null || packages+=("gcc-${machine//_/-}-linux-gnu" "libc6-dev-$what-cross")
  command -v "qemu-$machine-static" >/dev/null || packages+=(qemu-user-static)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

say "installing ${packages[*]} (Debian packages)"
command -v apt-get >/dev/null || { say "error: apt-get is missing: install ${packages[*]} by hand"; exit 1; }
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { say "error: to install ${packages[*]} be root, or install sudo"; exit 1; }
  as_root=(sudo)
fi
# A PostgreSQL server or a Prometheus of the machine itself is not wanted: the tests start their own. The masked unit and the
# runlevel keep systemd and the older scripts from starting the latter, now and later.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c '
  set -e
  apt-get update -qq
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
  case " $* " in *" prometheus "*)
    mkdir -p /etc/systemd/system
    [ -e /etc/systemd/system/prometheus.service ] || ln -s /dev/null /etc/systemd/system/prometheus.service
  esac
  apt-get install -y -qq --no-install-recommends "$@"
' sh "${packages[@]}" >&2
