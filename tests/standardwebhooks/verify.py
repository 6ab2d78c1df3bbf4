"""Verifies a message with the library of Standard Webhooks: the secret, the headers and the body come as JSON on the standard input."""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook

given = json.load(sys.stdin)
body = base64.b64decode(given["body"])
message = Webhook(given["secret"]).verify(body, given["headers"])
changed = body.replace(b"type", b"tipe")
try:
    Webhook(given["secret"]).verify(changed, given["headers"])
except Exception:
    print(message["type"])
else:
    sys.exit("a changed message was verified")
