"""What was run: title, facts, split and bit-width audit, from the evaluation's context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qunlearn.reporting.source import TIMES, Phrase, Piece, Value, joined, listed, pointer
from qunlearn.reporting.study import Study, phrase

FLOAT_BITS = 32
RECIPE = ("batch_size", "learning_rate", "schedule", "weight_decay")


@dataclass(frozen=True)
class Part:
    """A part of the images: how many, and their share of all."""

    name: str
    count: Value
    share: Value


def title(study: Study) -> list[Piece]:
    """`Forgetting 777 images in a 4-bit resnet20`."""
    quantization = study.context.get("params", {}).get("quantization", {})
    bits = study.value("context", "params", "quantization", "weight_bits", spec="d")
    forgotten = study.value("context", "data", "counts", "train/forget", spec=",d")
    is_float = quantization.get("quantizer") == "none" or bits is None
    precision: Phrase = "float" if is_float or bits is None else [bits, "-bit"]
    model = phrase(study.value("context", "params", "model", "name", spec=""), missing="network")
    what: Phrase = ["Forgetting ", forgotten, " images"] if forgotten is not None else "Forgetting"
    return [*joined([what, "in a", precision, model], " ")]


def facts(study: Study) -> list[tuple[str, Phrase]]:
    """What was run, as (name, text) pairs; what the context does not know is left out."""
    data, training = ("context", "data"), ("context", "params", "training")
    shape = [[value] for i in range(4) if (value := study.value(*data, "shape", i, spec="")) is not None]
    versions = study.context.get("versions", {})
    erased = study.value(*data, "erased_sha256", spec=".16")
    candidates: list[tuple[str, list[Phrase]]] = [
        ("Images", [_text(study, *data, "source"), joined(shape, f" {TIMES} "), _counted(study, "classes", *data)]),
        ("Licence", [_text(study, *data, "licence")]),
        ("To forget", [_block(study, *data, "scenario")]),
        ("Network", [_text(study, "context", "params", "model", "name"), _model(study)]),
        ("Quantizer", [_text(study, "context", "params", "quantization", "quantizer"), _bits(study)]),
        ("Training", [_counted(study, "epochs", *training), _block(study, *training, only=RECIPE)]),
        ("Seeds", [_text(study, "context", "seeds", i) for i in range(len(study.context.get("seeds", [])))]),
        ("Hardware", [_text(study, "context", "hardware")]),
        ("Versions", [[f"{name} ", *_text(study, "context", "versions", name)] for name in versions]),
        ("Erased ids", [["sha256 ", erased, "…"] if erased is not None else ""]),
    ]
    texts = ((name, joined(parts, ", ")) for name, parts in candidates)
    return [(name, text) for name, text in texts if text]


def parts(study: Study) -> list[Part]:
    """The bar of the split: forget, retain (or adjacent and remote), validation, test, with their share of all."""
    counts = study.context.get("data", {}).get("counts", {})
    entangled = any(counts.get(f"train/{name}") for name in ("adjacent", "remote"))
    kept = ("adjacent", "remote") if entangled else ("retain",)
    names = {f"train/{name}": name for name in ("forget", *kept)} | {"validation": "validation", "test": "test"}
    shown = [key for key in names if counts.get(key)]
    places = [pointer("context", "data", "counts", key) for key in shown]
    total = sum(counts[key] for key in shown)
    found = []
    for i, key in enumerate(shown):
        share = Value(counts[key] / total, (places[i], *(p for p in places if p != places[i])), ".1%", "share")
        found.append(Part(names[key], Value(counts[key], (places[i],), ",d"), share))
    return found


def audit_reading(study: Study) -> list[Piece]:
    """The audit in a sentence."""
    audit = study.context.get("audit") or []

    def spoken(edge: bool) -> Phrase:
        first: dict[tuple[int, int], int] = {}
        for i, layer in enumerate(audit):
            if bool(layer["edge"]) is edge:
                first.setdefault((layer["weight_bits"], layer["activation_bits"]), i)
        pairs = [
            joined([_text(study, "context", "audit", i, f"{kind}_bits") for kind in ("weight", "activation")], "/")
            for _, i in sorted(first.items())
        ]
        return listed(pairs) if pairs else "none"

    edges = tuple(pointer("context", "audit", i, "edge") for i in range(len(audit)))
    inner = Value(sum(not layer["edge"] for layer in audit), edges, "d", "count:False")
    outer = Value(sum(bool(layer["edge"]) for layer in audit), edges, "d", "count:True")
    return ["Bits of weights/inputs really in force, read from the model: ", *spoken(False), " in the ", inner,
            " inner layers, ", *spoken(True), " at the ", outer, " edges. 32 means float."]  # fmt: skip


def departures(study: Study) -> list[Phrase] | None:
    """Where a model has other bits than configured; None where the evaluation did not look."""
    looked = [(i, cell) for i, cell in enumerate(study.evaluation["cells"]) if "departures" in cell["stats"]]
    if not looked:
        return None
    return [
        [f"{cell['method']}, seed ", *phrase(study.value("cells", i, "seed", spec="d")), ": ",
         *phrase(study.value("cells", i, "stats", "departures", k, spec=""))]
        for i, cell in looked for k in range(len(cell["stats"]["departures"]))
    ]  # fmt: skip


def _text(study: Study, *path: str | int) -> Phrase:
    return phrase(study.value(*path, spec=""), missing="")


def _counted(study: Study, unit: str, *path: str) -> Phrase:
    value = study.value(*path, unit, spec="")
    return "" if value is None else [value, f" {unit}"]


def _model(study: Study) -> Phrase:
    return _block(study, "context", "params", "model", skip=("name",))


def _block(study: Study, *path: str, skip: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> Phrase:
    """The settings of a block: `fraction 0.1, ...`; `kind` stands for itself."""
    block: Any = study.context
    for part in path[1:]:
        block = block.get(part, {}) if isinstance(block, Mapping) else {}
    kept = [key for key, value in block.items() if value is not None and key not in skip]
    texts = [
        [*([] if key == "kind" else [f"{key.replace('_', ' ')} "]), *_setting(study, block[key], *path, key)]
        for key in kept
        if only is None or key in only
    ]
    return joined(texts, ", ")


def _setting(study: Study, value: Any, *path: str) -> Phrase:
    if isinstance(value, list):
        return joined([_text(study, *path, i) for i in range(len(value))], " ")
    if isinstance(value, Mapping):
        return joined([[f"{key} ", *_setting(study, inner, *path, key)] for key, inner in value.items()], " ")
    return _text(study, *path)


def _bits(study: Study) -> Phrase:
    path = ("context", "params", "quantization")
    quantization = study.context.get("params", {}).get("quantization", {})
    if quantization.get("quantizer") in (None, "none"):
        return ""
    edges = quantization["edge_bits"]
    scales = "per channel" if quantization.get("per_channel") else "per tensor"
    outer: Phrase = "float" if edges == FLOAT_BITS else [*_text(study, *path, "edge_bits"), " bits"]
    inside = [*_text(study, *path, "weight_bits"), "-bit weights, ", *_text(study, *path, "activation_bits")]
    return [*inside, "-bit inputs, edges ", *outer, f", weight scales {scales}"]
