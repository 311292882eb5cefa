"""Model cards: what a model is, what it was made of, and how it was judged, as the description of its page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.entities import Run as MlflowRun

from tasks.tracking.before_after import before_after
from tasks.tracking.checkpoints import DIGEST_TAG, FILES_TAG, TRAINED_IDS
from tasks.tracking.connection import Connection
from tasks.tracking.markdown import NOTE_TAG, code, description, link
from tasks.tracking.names import REGISTERED_TAG, SEARCH_TAG, TRIAL_TAG, USED_AS, names_in_use, written
from tasks.tracking.notes import EVIDENCE, KIND_TAG, PARENT_TAG, data_rows, evidence_links, model_link
from tasks.tracking.registry import describe_model
from tasks.tracking.verdicts import HEADING, SPACE, judgement

COUNT_TAG = "trained_count"
"""Tag of a model: the number of images it was trained on."""

BITS_TAG = "bits"
"""Tag of a model: the bits in force in its layers, such as ``W4A4, edges W8A8``, where its maker looked."""

CHOSEN_TAG = "chosen_run"
"""Tag of a search's run: the run of the trial that it chose."""

STATISTICS = ("tables", "figures", "quantization")
"""Folders of a run's files that hold figures about how the model was made."""


@dataclass(frozen=True)
class Assessment:
    """What the stage `evaluate` found: the row of ``summary``, the model's entry of ``cells``, its run.

    Args:
        also: other rows that this is the model of.
    """

    row: Mapping[str, Any]
    cell: Mapping[str, Any]
    run_id: str | None
    also: Sequence[str] = ()


def model_card(
    connection: Connection, model: LoggedModel, *, bits: str = "", assessment: Assessment | None = None
) -> str:
    """Markdown: a sentence, a table of facts with links to everything the model depends on, and how it was judged.

    Args:
        model: as far as it is known; its run must exist.
        bits: such as ``W4A4``; empty takes those of the tag `BITS_TAG`, or the configured ones.
        assessment: None before the stage `evaluate` has measured the model.
    """
    run = connection.client.get_run(str(model.source_run_id))
    judged = _judged(connection, model, run, assessment)
    facts = description(
        _sentence(connection, model, run),
        {},
        [
            *_subject(model, bits),
            *_trial(connection, model),
            *_ancestry(connection, model, run),
            *_made_by(connection, run),
            ("evaluation", judged.where),
            *_marks(model, run),
        ],
    )
    return f"{facts}\n{SPACE}\n{judged.text}"


def settle_trial(connection: Connection, run_id: str, *, search: str) -> None:
    """Let the card of a trial's model say what a search decided; one that has a verdict is for the evaluation to write.

    Args:
        run_id: of the trial. What it made can be the model of a final cell that the search found again: no trial.
        search: id of the run of the search.
    """
    outputs = connection.client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        tags = connection.client.get_logged_model(output.model_id).tags
        if TRIAL_TAG in tags and HEADING not in tags.get(NOTE_TAG, ""):
            connection.client.set_logged_model_tags(output.model_id, {SEARCH_TAG: search})
            model = connection.client.get_logged_model(output.model_id)
            describe_model(connection, output.model_id, model_card(connection, model))


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
    name = f"**{written(model.name)}**"
    if method == "original":
        return f"{name}: an original model, trained on all training images; unlearning starts from it."
    if method == "retrain":
        return f"{name}: retrained from scratch without the images to be forgotten; unlearning is compared with it."
    parents = ", ".join(model_link(connection, entry) for entry in _parents(run))
    told = f", told to forget {forgot} images" if forgot else ""
    registered, title = _registered(model), title_of(_registered(model))
    variant = "" if registered == method else f", variant {code(method)}"
    shown = f"{title} ({code(registered)}{variant})" if title else f"{code(registered or 'a run')}{variant}"
    return f"{name}: made by {shown}{f' from {parents}' if parents else ''}{told}."


def _registered(model: LoggedModel) -> str:
    """The method's name in the library; models of earlier versions have no tag of their own for it."""
    return str(model.tags.get(REGISTERED_TAG) or model.tags.get("method", ""))


def _subject(model: LoggedModel, bits: str) -> list[tuple[str, str]]:
    tags, params = model.tags, model.params or {}
    known = {"variant": tags.get("method"), "method": _registered(model), "seed": tags.get("seed")}
    if known["variant"] == known["method"]:
        del known["variant"]
    rows: list[tuple[str, str]] = [(name, code(value)) for name, value in known.items() if value]
    weights, activations = (params.get(f"quantization.{kind}_bits") for kind in ("weight", "activation"))
    shown = bits or tags.get(BITS_TAG) or (f"W{weights}A{activations} configured" if weights and activations else "")
    rows += [("bits", shown)] if shown else []
    trained = json.loads(tags.get(FILES_TAG, "{}")).get(TRAINED_IDS)
    if trained:
        rows.append(("trained on", f"{tags.get(COUNT_TAG, '?')} images; sha256 of their ids {code(trained)}"))
    if "forgot" in tags:
        rows.append(
            ("forgotten", f"{tags.get('forgot_count', '?')} images; sha256 of their ids {code(tags['forgot'])}")
        )
    return rows


def _trial(connection: Connection, model: LoggedModel) -> list[tuple[str, str]]:
    used = ", ".join(map(code, names_in_use(model)))
    rows = [("used as", used)] if used else []
    if TRIAL_TAG not in model.tags:
        return rows
    search = connection.client.get_run(model.tags[SEARCH_TAG])
    page = link(search.info.run_name, connection.run_link(search.info.run_id))
    state = {True: "**chosen**", False: "not chosen", None: "not decided yet"}[_is_chosen(connection, model)]
    return [("trial", f"{code(model.tags[TRIAL_TAG])} of {page}: {state}"), *rows]


def _is_chosen(connection: Connection, model: LoggedModel) -> bool | None:
    """Whether the search chose this trial; None before it has."""
    chosen = connection.client.get_run(model.tags[SEARCH_TAG]).data.tags.get(CHOSEN_TAG)
    return None if chosen is None else chosen == model.source_run_id


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
    if EVIDENCE in kept:
        rows.append(("evidence", ", ".join(evidence_links(connection, run_id))))
    above = run
    while above.data.tags.get(KIND_TAG) != "pipeline" and PARENT_TAG in above.data.tags:
        above = connection.client.get_run(above.data.tags[PARENT_TAG])
    if above is not run:
        rows.append(("pipeline", link(above.info.run_name, connection.run_link(above.info.run_id))))
    return rows


@dataclass(frozen=True)
class _Judged:
    """Where a model was judged, on one line, and what came of it, in Markdown."""

    where: str
    text: str


def _judged(connection: Connection, model: LoggedModel, run: MlflowRun, assessment: Assessment | None) -> _Judged:
    if assessment is not None:
        name = f"evaluate {assessment.cell['method']} seed {assessment.cell['seed']}"
        page = link(name, connection.run_link(assessment.run_id)) if assessment.run_id else ""
        text = judgement(assessment.row, assessment.cell, also=assessment.also)
        return _Judged(page or "its run is not in this store", text)
    if measured := before_after(run.data.metrics):
        return _Judged("by the deletion itself, see below", measured)
    if TRIAL_TAG in model.tags and not names_in_use(model) and _is_chosen(connection, model) is False:
        return _Judged("none", "A trial that was not chosen: the stage `evaluate` does not measure it.")
    return _Judged("not yet evaluated", "Not yet evaluated: the stage `evaluate` writes the verdict here.")


def _marks(model: LoggedModel, run: MlflowRun) -> list[tuple[str, str]]:
    commit = run.data.tags.get("git_commit")
    changed = ", with uncommitted changes" if run.data.tags.get("git_dirty") == "true" else ""
    rows = [("git commit", f"{code(commit)}{changed}" if commit else "none: not made in a git repository")]
    rows.append(("weights sha256", code(model.tags[DIGEST_TAG])))
    kept = ("stage", "cell", "fingerprint", "trained_on")
    rows += [(name.replace("_", " "), code(model.tags[name])) for name in kept if name in model.tags]
    shown = {"method", "seed", "forgot", "forgot_count", "parent_sha256", COUNT_TAG, DIGEST_TAG, FILES_TAG, *kept}
    shown |= {BITS_TAG, TRIAL_TAG, SEARCH_TAG, REGISTERED_TAG}
    others = [key for key in model.tags if key not in shown and not key.startswith(("mlflow.", USED_AS))]
    return rows + [(key.replace("_", " "), code(model.tags[key])) for key in others]
