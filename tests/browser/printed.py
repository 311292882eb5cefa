"""What the report should print where, told by the attributes of its elements and the evaluation alone.

data-source="/summary/3/mean/test_accuracy"       a JSON pointer into the evaluation
data-derived="mean /cells/3/stats/x /cells/4/..."  an operation on several pointers
data-format=".2f"                                  Python's format of the number
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPERATIONS: dict[str, Callable[[list[Any]], Any]] = {
    "mean": lambda values: sum(values) / len(values),
    "share": lambda values: values[0] / sum(values),
    "sum": sum,
    "length": lambda values: len(values[0]),
    "text": lambda values: str(values[0]),
}


def expected(evaluation: Any, *, origin: str, spec: str) -> str:
    """The text of the element with this `data-source` or `data-derived` and this `data-format`."""
    operation, *pointers = origin.split(" /") if not origin.startswith("/") else ("", origin[1:])
    values = [resolve(evaluation, f"/{pointer}") for pointer in pointers]
    if not operation:
        value = values[0]
    elif operation.startswith("count:"):
        value = sum(str(value) == operation.removeprefix("count:") for value in values)
    else:
        value = OPERATIONS[operation](values)
    text = format(value, spec)
    return text if isinstance(value, str) else text.replace("-", "\N{MINUS SIGN}").replace("%", " %")


def resolve(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document
