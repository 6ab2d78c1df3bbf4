#!/usr/bin/env bash
# Fetches the real Zipkin, a backend for traces with a page and an API, into a cache outside the tree. It needs Java 17 or later to run.
#
#   tests/zipkin/fetch.sh            fetches it when it is missing; the last line of stdout is the jar
#   tests/zipkin/fetch.sh --where    prints the jar and fetches nothing; exits 1 when it is missing
#
# Safe under concurrent runs and when interrupted.
set -euo pipefail

cache=${BROKKR_ZIPKIN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/brokkr/zipkin}
artifact=io.zipkin:zipkin-server:3.5.1:jar:exec
sum=7ac633a6832647e71e50012a5e3e91fbc7054414955261724526030faf271d8d
target=$cache/${sum:0:16}
jar=$target/zipkin.jar

say() { printf '%s\n' "$*" >&2; }

if [ "${1:-}" = --where ]; then
  printf '%s\n' "$jar"
  [ -e "$jar" ]
  exit
fi

mkdir -p "$target"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another fetch of Zipkin into $cache"; flock 9; }
if [ ! -e "$jar" ]; then
  command -v mvn >/dev/null || { say "error: Maven is needed to fetch Zipkin (scripts/setup.sh installs it)"; exit 1; }
  say "fetching Zipkin into $target (once; 131 MB)"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # Outside of every project: a pom.xml above would have a say.
  cd "$work"
  mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact="$artifact" -DoutputDirectory="$work" -Dmdep.stripVersion=true </dev/null >&2
  found=$(sha256sum "$work"/*.jar | cut -d ' ' -f 1)
  [ "$found" = "$sum" ] || { say "error: $artifact has the checksum $found, not $sum"; exit 1; }
  mv "$work"/*.jar "$target/.new"
  mv "$target/.new" "$jar"
fi

printf '%s\n' "$jar"
