"""Evidence of completed deletion requests: one signed document each, which anybody with the public key can check.

`build` puts the facts together, `sign` signs them, `write_evidence` stores document and page, `verify` checks a file.
"""

from qunlearn.deletion.evidence.assembly import build
from qunlearn.deletion.evidence.document import (
    FORMAT,
    VERSION,
    Digests,
    Document,
    LedgerHead,
    Purge,
    Purged,
    Scan,
    Scanned,
    Tool,
)
from qunlearn.deletion.evidence.fields import canonical, ids_digest, json_digest
from qunlearn.deletion.evidence.figures import accuracy_metrics
from qunlearn.deletion.evidence.files import evidence_file, is_request_id, read_evidence, write_evidence, write_page
from qunlearn.deletion.evidence.limits import OUTSIDE_CUSTODY
from qunlearn.deletion.evidence.model import (
    Attempt,
    Estimate,
    Gate,
    Method,
    Metric,
    ModelChange,
    Parent,
    ServedModel,
)
from qunlearn.deletion.evidence.request import Batch, Counts, Request
from qunlearn.deletion.evidence.signed import EvidenceError, Signature, Signed, message, parse, sign
from qunlearn.deletion.evidence.verification import Finding, Lookup, Recorded, first_fault, verify

__all__ = [
    "FORMAT",
    "OUTSIDE_CUSTODY",
    "VERSION",
    "Attempt",
    "Batch",
    "Counts",
    "Digests",
    "Document",
    "Estimate",
    "EvidenceError",
    "Finding",
    "Gate",
    "LedgerHead",
    "Lookup",
    "Method",
    "Metric",
    "ModelChange",
    "Parent",
    "Purge",
    "Purged",
    "Recorded",
    "Request",
    "Scan",
    "Scanned",
    "ServedModel",
    "Signature",
    "Signed",
    "Tool",
    "accuracy_metrics",
    "build",
    "canonical",
    "evidence_file",
    "first_fault",
    "ids_digest",
    "is_request_id",
    "json_digest",
    "message",
    "parse",
    "read_evidence",
    "sign",
    "verify",
    "write_evidence",
    "write_page",
]
