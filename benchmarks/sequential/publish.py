"""The numbers, table, figure and page of a study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.qat_step import context as machine
from benchmarks.sequential.figure import sequential_figure
from benchmarks.sequential.ground import Ground
from benchmarks.sequential.kept import Row
from benchmarks.sequential.page import page
from benchmarks.sequential.setting import Setting
from benchmarks.sequential.summary import complete, summarised
from qunlearn.reporting.figures.style import svg
from tasks.files import write_text

KEYS = ("seed", "request", "arm", "method", "made_by", "sequential")
OWN = ("average_gap", "code_flips", "seconds", "cost_ratio", "work_ratio")
PACKAGES = ("torch", "torchvision", "brevitas")


def content(setting: Setting, ground: Ground, rows: Sequence[Row], *, seeds: Sequence[int]) -> dict[str, Any]:
    """All numbers of a study as JSON can hold them: `context`, `rows` and `summary`."""
    params = ground.params.model_dump(mode="json", include={"data", "split", "model", "quantization", "training"})
    # Where the images lie differs between machines.
    params["data"].pop("root", None)
    finished = complete(rows)
    return {
        "context": {
            "setting": setting.model_dump(mode="json", exclude={"title", "lesson", "notes", "params"}),
            "params": params,
            "methods": {name: _method(setting, ground, name) for name in setting.methods},
            "gates": ground.params.deletion.gates.model_dump(mode="json"),
            "seeds": list(seeds),
            "images": {
                "train": len(ground.train),
                "validation": len(ground.validation),
                "test": len(ground.test),
                "request": len(ground.requests[0]),
            },
            "shape": list(ground.pool.images.shape[1:]),
            "machine": machine(),
            "versions": {name: version(name) for name in PACKAGES},
        },
        "rows": finished,
        "summary": summarised(finished),
    }


def _method(setting: Setting, ground: Ground, name: str) -> dict[str, Any]:
    choice = setting.choice(name, ground.params)
    return {"method": choice.method, "settings": choice.base.model_dump(mode="json", by_alias=True)}


def publish(name: str, found: Mapping[str, Any], folder: Path) -> None:
    """Write `<name>.json` and `<name>.csv`, and render the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f'"context": {json.dumps(found["context"], allow_nan=False)}']
    for key in ("rows", "summary"):
        lines = ",\n ".join(json.dumps(row, allow_nan=False) for row in found[key])
        parts.append(f'"{key}": [\n {lines}\n]')
    write_text(folder / f"{name}.json", "{\n" + ",\n".join(parts) + "\n}\n")
    write_text(folder / f"{name}.csv", table(found["rows"]))


def render(name: str, setting: Setting, folder: Path) -> None:
    """Write figure and page from `<name>.json`."""
    found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    write_text(folder / f"{name}.svg", svg(sequential_figure, found))
    write_text(folder / f"{name}.md", page(name, setting, found))


def table(rows: Sequence[Row]) -> str:
    """One line for each model and request, as CSV."""
    metrics = list(rows[0]["metrics"])
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([*KEYS, *OWN, *metrics, "gates_passed", "gates_failed"])
    for row in rows:
        gates = row.get("gates", {"passed": "", "failed": []})
        own = [_cell(row.get(name, "")) for name in (*KEYS, *OWN)]
        own += [_cell(row["metrics"][name]) for name in metrics]
        writer.writerow([*own, gates["passed"], " ".join(gates["failed"])])
    return sink.getvalue()


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
