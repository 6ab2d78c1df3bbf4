"""What the fuzzer is told about Brokkr. Loaded by schemathesis.

Random names meet nothing; so a half of the well-formed ones is replaced by what the test has made, which takes
requests past the first "not found". The key that a run comes with must survive the run.
"""

import os
import re
import zlib

import schemathesis

KNOWN = {"stack": os.environ.get("BROKKR_KNOWN_STACK", ""), "agent": os.environ.get("BROKKR_KNOWN_AGENT", "")}
OWN_KEYS = set(os.environ.get("BROKKR_OWN_KEYS", "").split())
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
WAIT = re.compile(r"[0-9]{1,9}(ms|s|m|h)")
# What they name is gone or closed after them.
DESTRUCTIVE = {"deleteStack", "deactivateAgent"}


def every_second(text):
    return zlib.crc32(text.encode()) % 2 == 0


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    path = case.path_parameters or {}
    if path.get("key") in OWN_KEYS:
        path["key"] = "00000000-0000-7000-8000-000000000000"
    if operation not in DESTRUCTIVE:
        for name, known in KNOWN.items():
            value = path.get(name)
            if known and isinstance(value, str) and NAME.fullmatch(value) and every_second(value):
                path[name] = known
    # A granted wait is waited for: the time is for other requests.
    query = case.query or {}
    if isinstance(query.get("wait"), str) and WAIT.fullmatch(query["wait"]):
        query["wait"] = "5ms"
    body = case.body if isinstance(case.body, dict) else {}
    if operation == "abandonAgent" and body.get("agent") == KNOWN["agent"]:
        body["agent"] = "nobody"
