#!/usr/bin/env bash
# Writes every file that follows from the code. With --check it writes nothing and fails where a committed one differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${BROKKR_BIN:-target/debug}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

write() { # file, program, what
  mkdir -p "$new/$(dirname "$1")"
  "$bin/$2" generate "$3" >"$new/$1"
}
write config/broker.toml brokkr-broker config
write config/agent.toml brokkr-agent config
write docs/content/reference/configuration.md brokkr-broker configuration
"$bin/brokkr-agent" generate configuration >>"$new/docs/content/reference/configuration.md"
write docs/content/reference/openapi.json brokkr-broker openapi
write docs/content/reference/errors.md brokkr-broker errors
write docs/content/reference/metrics.md brokkr-broker metrics
write docs/content/reference/tracing.md brokkr-broker tracing
for dashboard in agent broker fleet rollout; do
  write "monitoring/dashboards/$dashboard.json" brokkr-lab "$dashboard"
done

# A chart must be whole when it is packaged: what both have in common, and what they share with others, is copied into each.
for daemon in broker agent; do
  chart=charts/brokkr-$daemon
  mkdir -p "$new/$chart/templates" "$new/$chart/files"
  "$bin/brokkr-$daemon" generate config-schema >"$new/config.json"
  "$bin/brokkr-lab" chart schema "$chart" "$new/config.json" >"$new/$chart/values.schema.json"
  "$bin/brokkr-lab" chart readme "$chart" >"$new/$chart/README.md"
  rm "$new/config.json"
  cp charts/common/*.tpl "$new/$chart/templates/"
  cp charts/common/redaction.yaml "$new/$chart/files/"
  cp monitoring/rules/brokkr.yaml "$new/$chart/files/rules.yaml"
done
# Whoever has the broker sees the whole fleet; in the cluster of an agent there is only that.
mkdir -p "$new"/charts/brokkr-{broker,agent}/files/dashboards
cp "$new"/monitoring/dashboards/*.json "$new/charts/brokkr-broker/files/dashboards/"
cp "$new/monitoring/dashboards/agent.json" "$new/charts/brokkr-agent/files/dashboards/"

# Every other configuration of a collector masks the same.
for file in deploy/compose/collector.yaml deploy/examples/gateway/collector.yaml deploy/examples/trial/kubernetes.yaml; do
  mkdir -p "$new/$(dirname "$file")"
  awk -v list=charts/common/redaction.yaml '
    function indent(line) { match(line, /^ */); return RLENGTH }
    inside && indent($0) > outer { next }
    { inside = 0; print }
    /^ *redaction:$/ {
      inside = 1
      outer = indent($0)
      while ((getline line < list) > 0) if (line !~ /^#/) printf "%*s%s\n", outer + 2, "", line
      close(list)
    }' "$file" >"$new/$file"
done

if [ "${1:-}" = --check ]; then
  status=0
  while IFS= read -r file; do
    if ! diff -u "$file" "$new/$file"; then status=1; fi
  done < <(cd "$new" && find . -type f | sed 's|^\./||' | sort)
  [ $status = 0 ] || echo "generated files are not current: run \`make generate\` and commit" >&2
  exit $status
fi
cp -R "$new"/. .
