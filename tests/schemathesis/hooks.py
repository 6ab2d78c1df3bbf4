"""What the fuzzer is told about Brokkr. Loaded by schemathesis.

Random names meet nothing; so a half of the well-formed ones is replaced by what the test has made, which takes
requests past the first "not found". Not in sequences of calls: there the names come from earlier answers, and a call
that asked for something else would be judged as if it had asked for what was just made. The key that a run comes with
must survive the run.
"""

import os
import re
import zlib

import schemathesis
from schemathesis.generation.meta import TestPhase

KNOWN = {
    "stack": os.environ.get("BROKKR_KNOWN_STACK", ""),
    "agent": os.environ.get("BROKKR_KNOWN_AGENT", ""),
    "webhook": os.environ.get("BROKKR_KNOWN_WEBHOOK", ""),
    "order": os.environ.get("BROKKR_KNOWN_ORDER", ""),
}
OWN_KEYS = set(os.environ.get("BROKKR_OWN_KEYS", "").split())
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
WAIT = re.compile(r"[0-9]{1,9}(ms|s|m|h)")
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d.*")
# What they name is gone or closed after them.
DESTRUCTIVE = {"deleteStack", "deactivateAgent", "deleteWebhook"}


STACK_ID, REVISION = os.environ.get("BROKKR_KNOWN_STACK_ID", ""), int(os.environ.get("BROKKR_KNOWN_REVISION", "0"))
# What an agent may report of a stack that it is to apply; of others nothing is checked.
PHASES = {"progressing", "failed", "applied", "healthy", "degraded"}


def every_second(text):
    return zlib.crc32(text.encode()) % 2 == 0


def with_integers(value):
    """JSON Schema counts 7.0 among the integers; as most typed parsers, the broker does not."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, dict):
        return {key: with_integers(item) for key, item in value.items()}
    return [with_integers(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    path = case.path_parameters or {}
    if path.get("key") in OWN_KEYS:
        path["key"] = "00000000-0000-7000-8000-000000000000"
    if operation == "getContent":
        if STACK_ID and every_second(str(path)):
            path.update(stack=STACK_ID, digest=os.environ.get("BROKKR_KNOWN_DIGEST", ""))
    elif operation not in DESTRUCTIVE and case.meta.phase.name != TestPhase.STATEFUL:
        for name, known in KNOWN.items():
            value = path.get(name)
            if known and isinstance(value, str) and NAME.fullmatch(value) and every_second(value):
                path[name] = known
    # A granted wait is waited for: the time is for other requests.
    query = case.query or {}
    if isinstance(query.get("wait"), str) and WAIT.fullmatch(query["wait"]):
        query["wait"] = "5ms"
    if isinstance(case.body, (dict, list)):
        case.body = with_integers(case.body)
    body = case.body if isinstance(case.body, dict) else {}
    reports = body.get("reports") if operation == "postReports" else None
    for report in reports if isinstance(reports, list) else []:
        if STACK_ID and isinstance(report, dict) and str(report.get("phase")) in PHASES and every_second(str(report)):
            report.update(stack_id=STACK_ID, revision=REVISION)
            break
    if operation == "approveDeletions" and KNOWN["agent"] and isinstance(body.get("agent"), str) and every_second(str(body)):
        body.update(agent=KNOWN["agent"], revision=REVISION)
    # A time in the past is well formed, and refused.
    if operation == "createKey" and isinstance(body.get("expires_at"), str) and TIME.fullmatch(body["expires_at"]):
        body["expires_at"] = "2100-01-01T00:00:00Z"
    if operation == "abandonAgent" and body.get("agent") == KNOWN["agent"]:
        body["agent"] = "nobody"
