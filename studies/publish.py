"""The page and the numbers of a finished study for `docs/results/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qunlearn.config import ConfigError, Params, validate
from qunlearn.reporting.table import markdown_table
from studies.overlay import Study
from tasks.files import read_json, write_text


def publish(name: str, study: Study, *, root: Path) -> list[Path]:
    """Write `docs/results/<name>.json` and `.md` from `metrics/evaluation.json`; returns both paths.

    Raises:
        ConfigError: the evaluation was made with other parameters than the study's.
    """
    evaluation = read_json(root / "metrics" / "evaluation.json", made_by="evaluate")
    _check_parameters(name, study, evaluation["context"]["params"])
    folder = root / "docs" / "results"
    numbers, page = folder / f"{name}.json", folder / f"{name}.md"
    write_text(numbers, _one_cell_a_line(evaluation))
    write_text(page, page_of(name, study, evaluation))
    return [numbers, page]


def page_of(name: str, study: Study, evaluation: Mapping[str, Any]) -> str:
    context = evaluation["context"]
    versions = ", ".join(f"{package} {version}" for package, version in context["versions"].items())
    lines = [
        f"# {study.title}",
        "",
        study.question.strip(),
        "",
        *([f"**{study.lesson.strip()}**", ""] if study.lesson.strip() else []),
        markdown_table(evaluation).strip(),
        "",
        *_choices(context["methods"]),
        "## How to run it again",
        "",
        f"`make study NAME={name}`, which replaces these blocks of `params.yaml` and runs `dvc repro`:",
        "",
        "```yaml",
        yaml.safe_dump(study.params, sort_keys=False, default_flow_style=None, width=110).strip(),
        "```",
        "",
        f"{context['hardware']}; {versions}. Numbers: [{name}.json]({name}.json).",
    ]
    return "\n".join(lines) + "\n"


def _choices(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    searched = {name: method for name, method in methods.items() if method.get("trials")}
    if not searched:
        return []
    lines = ["## Choices", "", "| Method | Setting | Score | |", "| --- | --- | ---: | --- |"]
    for name, method in searched.items():
        for trial in method["trials"]:
            setting = ", ".join(f"{key} {value}" for key, value in trial["settings"].items())
            score = "diverged" if trial["score"] is None else f"{trial['score']:.2f}"
            lines.append(f"| `{name}` | {setting} | {score} | {'chosen' if trial['chosen'] else ''} |")
    by = {method["selected_by"] for method in searched.values()}
    meaning = {
        "validation": "Score: the gap as estimated from forget, retain and validation images alone, in points; lower "
        "is better.",
        "oracle": "Score: average gap to the retrained model of the first seed, in points. An oracle: production has "
        "no retrained model to choose by.",
    }
    return [*lines, "", *(meaning[one] for one in sorted(by)), ""]


def _check_parameters(name: str, study: Study, used: Mapping[str, Any]) -> None:
    expected = validate(Params, {**used, **study.params}, where=f"study {name}").model_dump(mode="json")
    if other := [block for block in study.params if used[block] != expected[block]]:
        raise ConfigError(
            f"metrics/evaluation.json was made with other parameters than study {name}: {', '.join(other)} differ; "
            f"run `make study NAME={name}` first"
        )


def _one_cell_a_line(evaluation: Mapping[str, Any]) -> str:
    """JSON that diffs well and is not thousands of lines long."""
    parts = [f'"context": {json.dumps(evaluation["context"], allow_nan=False)}']
    for key in ("cells", "summary"):
        rows = ",\n ".join(json.dumps(row, allow_nan=False) for row in evaluation[key])
        parts.append(f'"{key}": [\n {rows}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"
