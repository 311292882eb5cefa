"""docs/evidence.schema.json, from the models of the evidence: JSON Schema of the signed file."""

from __future__ import annotations

import json

from qunlearn.deletion.evidence import FORMAT, VERSION, Signed


def render() -> str:
    """The schema, as the package has it; its `allOf` says which outcome needs which part."""
    schema = Signed.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{FORMAT}, version {VERSION}"}
    return json.dumps({**schema, **head}, indent=2, ensure_ascii=False) + "\n"
