"""Descriptions of runs, made anew from what the store holds: each leads by clicks to what it belongs to.

The pages of MLflow show no model inputs with a run and no runs with a stage, so the descriptions do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from mlflow.entities import Run as MlflowRun

from tasks.tracking.connection import Connection
from tasks.tracking.markdown import NOTE_TAG, cut, description, link
from tasks.tracking.names import from_key, method_and_seed, written

PARENT_TAG = "mlflow.parentRunId"
KIND_TAG = "kind"
KEY_TAG = "pipeline_key"
SERVICE_KEY = "deletion"
"""The key of the run that all runs of the deletion service hang below."""
REUSED = "reused."
"""Begins the tags of a stage that name the finished runs which stood in for its cells."""

EVIDENCE = "evidence"
"""Folder of a run's files: the evidence of the deletion requests that its model answers."""
MANIFEST = "dvc_manifest."
"""Begins the tags of a run with the digests of the manifests of the data it read, by path."""

LIMIT = 8000
"""Characters of a run's tag that MLflow keeps, and hence of a description."""

ITEM = "**"
"""Begins a line of the list of models, and no other line of a pipeline's description."""
BREAK = "  \n"
"""A new line in Markdown that takes less room than an item of a list."""
REFERENCES = ("original", "retrain")
"""Models that the methods are compared with; they come last."""

PIPELINE = (
    "One state of the whole pipeline: parameters, erased ids and code. Its stages have one run for each model that was "
    "made or measured. A stage that is missing was up to date: it ran in an earlier state of the pipeline."
)
SERVICE = "The deletion service: each run below it answered pending requests with a new served model."


def describe_run(connection: Connection, run_id: str) -> None:
    """Write a run's description anew from its kind, inputs, outputs and the runs below it."""
    run = connection.client.get_run(run_id)
    kind = run.data.tags.get(KIND_TAG, "")
    if kind in _TEXTS:
        connection.client.set_tag(run_id, NOTE_TAG, cut(_TEXTS[kind](connection, run), LIMIT))


def list_models(connection: Connection, run_id: str, models: Sequence[tuple[str, str]]) -> None:
    """Put a list of models, (name, model id), into a pipeline's description; a list from before is replaced."""
    run = connection.client.get_run(run_id)
    listed = _groups(connection, models)
    more = f"\n{ITEM}more{ITEM} in the {link('list of models', connection.models_url())}"
    room = LIMIT - len(_pipeline(connection, run, models=ITEM))
    text = _pipeline(connection, run, models=cut(listed, room, more=more))
    connection.client.set_tag(run_id, NOTE_TAG, text)


def _groups(connection: Connection, models: Iterable[tuple[str, str]]) -> str:
    """One line for each method, with the links of its seeds."""
    found: dict[str, list[str]] = {}
    for name, model_id in models:
        named = method_and_seed(name)
        method, shown = (named[0], f"seed {named[1]}") if named else (name, name)
        found.setdefault(method, []).append(link(shown, connection.model_url(model_id)))
    ordered = sorted(found, key=lambda method: method in REFERENCES)
    return BREAK.join(f"{ITEM}{method}{ITEM}: {', '.join(found[method])}" for method in ordered)


# --- one text for each kind of run -----------------------------------------------------------------------------------
# The page folds a description after some four lines, so links come first and the table of tags last.


def _cell(connection: Connection, run: MlflowRun) -> str:
    read = [model_link(connection, entry.model_id) for entry in (run.inputs.model_inputs or ())] if run.inputs else []
    made = [model_link(connection, out.model_id) for out in (run.outputs.model_outputs or ())] if run.outputs else []
    parts = [f"input model {one}" for one in read] + [f"output model {one}" for one in made]
    data = ", ".join(f"{name} {shown}" for name, shown in data_rows(connection, run))
    shown = f": {', '.join(parts)}" if parts else ""
    lines = [
        f"**{run.info.run_name}**, part of {_above(connection, run)}{shown}.{_evidence(connection, run)}",
        *([f"Read {data}."] if data else []),
    ]
    return description("\n\n".join(lines), run.data.tags)


def _search(connection: Connection, run: MlflowRun) -> str:
    title = f"**{run.info.run_name}**, part of {_above(connection, run)}: the runs below it are its trials."
    return description(f"{title}\n\n{_children(connection, run)}".strip(), run.data.tags)


def _stage(connection: Connection, run: MlflowRun) -> str:
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(REUSED)}
    run_id = run.info.run_id
    kept = connection.client.list_artifacts(run_id)
    files = ", ".join(link(entry.path, connection.run_link(run_id, artifact=entry.path)) for entry in kept)
    title = f"Stage **{run.info.run_name}** of {_above(connection, run)}.{f' Files: {files}.' if files else ''}"
    return description(f"{title}\n\n{_children(connection, run)}".strip(), tags)


def _pipeline(connection: Connection, run: MlflowRun, *, models: str | None = None) -> str:
    """The text; `models` are the items of the list in it, None keeps those that are there."""
    run_id, service = run.info.run_id, run.data.tags.get(KEY_TAG) == SERVICE_KEY
    if models is None:
        kept = run.data.tags.get(NOTE_TAG, "").splitlines()
        models = BREAK.join(line.rstrip() for line in kept if line.startswith(ITEM))
    # The latest run of each stage; every run of a service.
    stages = {(one.info.run_id if service else one.info.run_name): one for one in _below(connection, run_id)}
    parts = [link("Lineage diagram", connection.run_link(run_id, artifact="lineage/lineage.svg"))] if models else []
    report = stages.get("report")
    if report is not None and report.info.status == "FINISHED":
        parts.append(link("Report", connection.run_link(report.info.run_id, artifact="report/index.html")))
    listed = [link(one.info.run_name, connection.run_link(one.info.run_id)) + _state(one) for one in stages.values()]
    parts += [f"{'Runs' if service else 'Stages'}: {', '.join(listed)}"] if listed else []
    # The models are what most people come for, and the page folds what follows the first five lines.
    links = BREAK.join(part for part in (" · ".join(parts), models) if part)
    return description(f"{links}\n\n{SERVICE if service else PIPELINE}".strip(), run.data.tags)


def _state(run: MlflowRun) -> str:
    return "" if run.info.status == "FINISHED" else f" ({run.info.status.lower()})"


_TEXTS: Mapping[str, Callable[[Connection, MlflowRun], str]] = {
    "cell": _cell,
    "search": _search,
    "stage": _stage,
    "pipeline": _pipeline,
}


# --- pieces ----------------------------------------------------------------------------------------------------------


def _below(connection: Connection, run_id: str) -> Iterable[MlflowRun]:
    """Oldest first."""
    return connection.runs(f"tags.`{PARENT_TAG}` = '{run_id}'", newest_first=False)


def _children(connection: Connection, run: MlflowRun) -> str:
    """The runs below a run, and those of earlier runs that stood in for some."""
    # The page gives cells no space between them.
    rows = []
    for child in _below(connection, run.info.run_id):
        made = [entry.model_id for entry in (child.outputs.model_outputs or ())] if child.outputs else []
        models = ", ".join(link("model", connection.model_url(model_id)) for model_id in made)
        name = link(child.info.run_name, connection.run_link(child.info.run_id))
        rows.append(f"| {name}&emsp; | {models or '-'}&emsp; | {child.info.status.lower()} |")
    for key, reused in sorted(run.data.tags.items()):
        if key.startswith(REUSED):
            name = link(from_key(key.removeprefix(REUSED)), connection.run_link(reused))
            rows.append(f"| {name}&emsp; | on its page&emsp; | reused |")
    return "\n".join(["| run | model | status |", "|---|---|---|", *rows]) if rows else ""


def data_rows(connection: Connection, run: MlflowRun) -> list[tuple[str, str]]:
    """Rows for a description: the versions of data and split that a run read, each a link to the run that made it."""
    rows = []
    for entry in run.inputs.dataset_inputs if run.inputs else ():
        name, digest = entry.dataset.name, entry.dataset.digest
        stage, path = ("split", "data/splits") if name.startswith("split") else ("ingest", "data/prepared")
        # Under DVC the digest is that of dvc.lock, which the stage that makes the data cannot know yet.
        made = _maker(connection, stage, run.data.tags.get(f"{MANIFEST}{path}", digest))
        shown = f"[`{digest}`]({connection.run_link(made)})" if made else f"`{digest}`"
        rows.append((f"data {name}", shown))
    return rows


def _maker(connection: Connection, stage: str, digest: str) -> str | None:
    """The newest finished run of a stage that wrote the data with this digest of its manifest."""
    condition = f"dataset.digest = '{digest}' and tags.stage = '{stage}' and tags.{KIND_TAG} = 'stage'"
    return next((str(run.info.run_id) for run in connection.runs(condition)), None)


def evidence_links(connection: Connection, run_id: str) -> list[str]:
    """Links to the pages of evidence that a run has, each with its request's id."""
    kept = [PurePosixPath(entry.path) for entry in connection.client.list_artifacts(run_id, EVIDENCE)]
    pages = [path for path in kept if path.suffix == ".html"]
    return [link(path.stem, connection.run_link(run_id, artifact=str(path))) for path in pages]


def _evidence(connection: Connection, run: MlflowRun) -> str:
    """A sentence for a run of the deletion service; in the first paragraph, as the page lays a veil over the third."""
    shown = ", ".join(evidence_links(connection, run.info.run_id))
    flow = run.data.tags.get("prefect_flow_run_url")
    done = f"; carried out by {link('a flow run in Prefect', flow)}" if flow else ""
    return f" Evidence of deletion requests: {shown}{done}." if shown else ""


def model_link(connection: Connection, model_id: str) -> str:
    """A link to a model's page, with its name."""
    return link(written(connection.client.get_logged_model(model_id).name), connection.model_url(model_id))


def _above(connection: Connection, run: MlflowRun) -> str:
    """A link to the run that this one hangs below, with its name."""
    above = connection.client.get_run(run.data.tags[PARENT_TAG])
    return link(above.info.run_name, connection.run_link(above.info.run_id))
