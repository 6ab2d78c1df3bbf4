#!/bin/sh
# A registration token for the agent of k3s, unless it has its key already, and a kubeconfig for it.
set -eu
umask 077
sed 's|https://127.0.0.1:6443|https://k3s:6443|' /kubeconfig/k3s.yaml >/agent/kubeconfig
if [ ! -s /agent/agent.key ]; then
  until wget -q -O /dev/null http://broker:3000/readyz; do sleep 1; done
  wget -q -O - --header "Authorization: Bearer $(cat /keys/admin.key)" --header 'Content-Type: application/json' \
    --post-data '{"name": "k3s"}' http://broker:3000/api/v1/registration-tokens \
    | sed 's/.*"secret":"\([^"]*\)".*/\1/' >/agent/registration.token
fi
chown -R 65532:65532 /agent
