"""The cards of the evaluated models: what each is, and how it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qunlearn.quantization.convert import FLOAT_BITS
from tasks.manifests import Cell
from tasks.tracking import Store
from tasks.tracking.records import settings_digest


def write_cards(store: Store, evaluation: Mapping[str, Any]) -> None:
    """Replace the description of every evaluated model, with the figures of its cell and of its method."""
    rows = {row["method"]: row for row in evaluation["summary"]}
    bits = described_bits(evaluation["context"]["audit"])
    for cell in evaluation["cells"]:
        made = Cell(cell["method"], cell["seed"], cell["stats"]["sha256"])
        chosen = evaluation["context"]["methods"].get(made.method, {}).get("settings")
        settings = None if chosen is None else settings_digest(chosen)
        record = store.record_by_digest(made.sha256, cell=made.run_name, settings=settings)
        store.write_card(record, evaluation_row=rows[made.method], cell=cell, bits=bits)


def described_bits(audit: Sequence[Mapping[str, Any]]) -> str:
    """The bits in force in the layers, such as `W4A4, edges W8A8`.

    Args:
        audit: the entry `audit` of the evaluation's context.
    """
    inside, edges = (_bits([layer for layer in audit if layer["edge"] is edge]) for edge in (False, True))
    return inside if inside == edges or not edges else edges if not inside else f"{inside}, edges {edges}"


def _bits(layers: Sequence[Mapping[str, Any]]) -> str:
    pairs = sorted({(layer["weight_bits"], layer["activation_bits"]) for layer in layers})
    return " or ".join("float" if pair == (FLOAT_BITS, FLOAT_BITS) else f"W{pair[0]}A{pair[1]}" for pair in pairs)
