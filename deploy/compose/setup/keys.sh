#!/bin/sh
# The key that encrypts Secrets, made once, and a folder that the broker may write the admin's key into.
set -eu
umask 077
if [ ! -s /keys/encryption.keys ]; then
  printf 'k1:%s\n' "$(head -c 32 /dev/urandom | base64)" >/keys/encryption.keys.new
  mv /keys/encryption.keys.new /keys/encryption.keys
fi
chown -R 65532:65532 /keys
