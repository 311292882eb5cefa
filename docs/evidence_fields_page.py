"""docs/evidence-fields.md, from the models of the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markdown_parts import NOTE, table

from qunlearn.deletion.evidence import Signed

KINDS = {
    "integer": "whole number", "number": "number", "boolean": "`true`, `false`", "null": "`null`", "array": "list",
    "string": "text",
}  # fmt: skip
PATTERNS = {
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
    "^[0-9a-f]{40}([0-9a-f]{24})?$": "git commit",
    "^[0-9a-f]{16}$": "16 hexadecimal digits",
    "^r-[0-9a-f]{16}$": "`r-` and 16 hexadecimal digits",
    "^b-[0-9a-f]{16}$": "`b-` and 16 hexadecimal digits",
    r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}(\.dir)?)$": "`sha256:...` or `md5:...`",
    "^[A-Za-z0-9+/]{85}[AQgw]==$": "base64",
}


def render() -> str:
    """A section for each part of the signed file, in its order."""
    schema = Signed.model_json_schema()
    lines = [
        "# Fields of the evidence", "", NOTE, "",
        "The parts of `.qunlearn/evidence/<request>.json`, version 1. What the file is for, how it is checked and what "
        "it does not prove is in [evidence.md](evidence.md); programs read the [JSON Schema](evidence.schema.json). "
        "Every field is there, also where its value is `null`.", "",
        *section("The file", schema),
    ]  # fmt: skip
    for part, place in parts(schema):
        lines += section(f"`{place}`", part)
    return "\n".join(lines)


def parts(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The definition of each part once, and where it is in the file first."""
    seen: set[str] = set()

    def walk(part: dict[str, Any], place: str) -> Iterator[tuple[dict[str, Any], str]]:
        for field, one in part["properties"].items():
            for name in references(one):
                if name not in seen:
                    seen.add(name)
                    where = f"{place}{field}" + ("[]" if "'array'" in str(one) else "")
                    yield schema["$defs"][name], where
                    yield from walk(schema["$defs"][name], f"{where}.")

    yield from walk(schema, "")


def references(schema: dict[str, Any]) -> Iterator[str]:
    """Names of the definitions that a field refers to."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    for option in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        yield from references(option)


def section(title: str, part: dict[str, Any]) -> list[str]:
    """What a part is, and a row for each of its fields."""
    rows = [[f"`{field}`", kind(one), one["description"]] for field, one in part["properties"].items()]
    about = " ".join(part["description"].split())
    return [f"## {title}", "", about, "", *table(["field", "value", "meaning"], rows), ""]


def kind(schema: dict[str, Any]) -> str:
    """What a field may hold, in words."""
    if "$ref" in schema:
        return "a part"
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "prefixItems" in schema:
        return "two numbers"
    if "format" in schema:
        return {"date": "date", "date-time": "moment"}[schema["format"]]
    if "items" in schema:
        return {"a part": "list of parts", "text": "list of texts"}[kind(schema["items"])]
    return PATTERNS[schema["pattern"]] if "pattern" in schema else KINDS[schema["type"]]
