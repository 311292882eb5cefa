"""Model cards: what a model is, what it was made of, and how it was judged, as the description of its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.entities import Run as MlflowRun

from tasks.tracking.checkpoints import DIGEST_TAG, FILES_TAG, TRAINED_IDS
from tasks.tracking.connection import Connection
from tasks.tracking.markdown import code, description, link
from tasks.tracking.notes import KIND_TAG, PARENT_TAG, data_rows, model_link
from tasks.tracking.verdicts import SPACE, judgement

COUNT_TAG = "trained_count"
"""Tag of a model: the number of images it was trained on."""

STATISTICS = ("tables", "figures", "quantization")
"""Folders of a run's files that hold figures about how the model was made."""


@dataclass(frozen=True)
class Assessment:
    """What the stage `evaluate` found: the method's row of ``summary``, the model's entry of ``cells``, its run."""

    row: Mapping[str, Any]
    cell: Mapping[str, Any]
    run_id: str | None


def model_card(
    connection: Connection, model: LoggedModel, *, bits: str = "", assessment: Assessment | None = None
) -> str:
    """Markdown: a sentence, a table of facts with links to everything the model depends on, and the verdict.

    Args:
        model: as far as it is known; its run must exist.
        bits: such as ``W4A4``; empty takes the configured ones.
        assessment: None before the stage `evaluate` has measured the model.
    """
    run = connection.client.get_run(str(model.source_run_id))
    facts = description(
        _sentence(connection, model, run),
        {},
        [
            *_subject(model, bits),
            *_ancestry(connection, model, run),
            *_made_by(connection, run),
            ("evaluation", _evaluation(connection, assessment)),
            *_marks(model, run),
        ],
    )
    if assessment is None:
        return f"{facts}\n{SPACE}\nNot yet evaluated: the stage `evaluate` writes the verdict here."
    return f"{facts}\n{SPACE}\n{judgement(assessment.row, assessment.cell)}"


def evaluation_run(connection: Connection, model_id: str, *, cell: Mapping[str, Any]) -> str | None:
    """The newest run of the stage `evaluate` that read this model; None if there is none."""
    condition = f"tags.stage = 'evaluate' and tags.method = '{cell['method']}' and tags.seed = '{cell['seed']}'"
    for found in connection.runs(condition):
        # Runs that a search finds carry no model inputs.
        if model_id in _parents(connection.client.get_run(found.info.run_id)):
            return str(found.info.run_id)
    return None


def title_of(method: str) -> str:
    """The title of a method, empty for one that the library does not know."""
    from qunlearn.unlearning import methods  # noqa: PLC0415 - brings PyTorch, which whoever makes models has already

    known = methods()
    return known[method].title if method in known else ""


def _sentence(connection: Connection, model: LoggedModel, run: MlflowRun) -> str:
    method, forgot = model.tags.get("method", ""), model.tags.get("forgot_count")
    name = f"**{model.name}**"
    if method == "original":
        return f"{name}: an original model, trained on all training images; unlearning starts from it."
    if method == "retrain":
        return f"{name}: retrained from scratch without the images to be forgotten; unlearning is compared with it."
    parents = ", ".join(model_link(connection, entry) for entry in _parents(run))
    told = f", told to forget {forgot} images" if forgot else ""
    shown = f"{title_of(method)} (`{method}`)" if title_of(method) else code(method or "a run")
    return f"{name}: made by {shown}{f' from {parents}' if parents else ''}{told}."


def _subject(model: LoggedModel, bits: str) -> list[tuple[str, str]]:
    tags, params = model.tags, model.params or {}
    rows: list[tuple[str, str]] = [(name, code(tags[name])) for name in ("method", "seed") if name in tags]
    weights, activations = (params.get(f"quantization.{kind}_bits") for kind in ("weight", "activation"))
    shown = bits or (f"W{weights}A{activations} configured" if weights and activations else "")
    rows += [("bits", shown)] if shown else []
    trained = json.loads(tags.get(FILES_TAG, "{}")).get(TRAINED_IDS)
    if trained:
        rows.append(("trained on", f"{tags.get(COUNT_TAG, '?')} images; sha256 of their ids {code(trained)}"))
    if "forgot" in tags:
        rows.append(
            ("forgotten", f"{tags.get('forgot_count', '?')} images; sha256 of their ids {code(tags['forgot'])}")
        )
    return rows


def _ancestry(connection: Connection, model: LoggedModel, run: MlflowRun) -> list[tuple[str, str]]:
    rows = [("parent model", model_link(connection, entry)) for entry in _parents(run)]
    if "parent_sha256" in model.tags:
        rows.append(("parent weights", code(model.tags["parent_sha256"])))
    return rows + data_rows(connection, run)


def _parents(run: MlflowRun) -> list[str]:
    return [entry.model_id for entry in (run.inputs.model_inputs or ())] if run.inputs else []


def _made_by(connection: Connection, run: MlflowRun) -> list[tuple[str, str]]:
    run_id = run.info.run_id
    rows = [("made by", f"run {link(run.info.run_name, connection.run_link(run_id))}")]
    kept = {entry.path for entry in connection.client.list_artifacts(run_id)}
    found = [link(name, connection.run_link(run_id, artifact=name)) for name in STATISTICS if name in kept]
    curves = link("curves", f"{connection.run_link(run_id, tab='model-metrics')}")
    rows.append(("statistics", ", ".join([*found, curves])))
    above = run
    while above.data.tags.get(KIND_TAG) != "pipeline" and PARENT_TAG in above.data.tags:
        above = connection.client.get_run(above.data.tags[PARENT_TAG])
    if above is not run:
        rows.append(("pipeline", link(above.info.run_name, connection.run_link(above.info.run_id))))
    return rows


def _evaluation(connection: Connection, assessment: Assessment | None) -> str:
    if assessment is None:
        return "not yet evaluated"
    name = f"evaluate {assessment.cell['method']} seed {assessment.cell['seed']}"
    return link(name, connection.run_link(assessment.run_id)) if assessment.run_id else "its run is not in this store"


def _marks(model: LoggedModel, run: MlflowRun) -> list[tuple[str, str]]:
    commit = run.data.tags.get("git_commit")
    changed = ", with uncommitted changes" if run.data.tags.get("git_dirty") == "true" else ""
    rows = [("git commit", f"{code(commit)}{changed}" if commit else "none: not made in a git repository")]
    rows.append(("weights sha256", code(model.tags[DIGEST_TAG])))
    kept = ("stage", "cell", "fingerprint", "trained_on")
    rows += [(name.replace("_", " "), code(model.tags[name])) for name in kept if name in model.tags]
    shown = {"method", "seed", "forgot", "forgot_count", "parent_sha256", COUNT_TAG, DIGEST_TAG, FILES_TAG, *kept}
    others = [key for key in model.tags if key not in shown and not key.startswith("mlflow.")]
    return rows + [(key.replace("_", " "), code(model.tags[key])) for key in others]
