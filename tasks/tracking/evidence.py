"""Evidence of deletions on MLflow's pages, and the way to it from Prefect's."""

from __future__ import annotations

from tasks.tracking.cards import model_card
from tasks.tracking.connection import Connection
from tasks.tracking.markdown import link
from tasks.tracking.names import written
from tasks.tracking.notes import EVIDENCE, describe_run
from tasks.tracking.registry import SERVED, describe_model, versions


def show_evidence(connection: Connection, model_id: str, *, request: str) -> str:
    """Let the pages of a model and of its run lead to their evidence, once the run has it in its folder `EVIDENCE`.

    Returns:
        Markdown for other pages: a paragraph with links to the model, to its version, to the run and to the evidence.
    """
    model = connection.client.get_logged_model(model_id)
    run_id = str(model.source_run_id)
    describe_run(connection, run_id)
    describe_model(connection, model_id, model_card(connection, model))
    run = connection.client.get_run(run_id)
    numbers = [one.number for one in versions(connection).get(model_id, []) if one.name == SERVED]
    pages = [
        *((f"version {number} of {SERVED}", connection.version_url(SERVED, number)) for number in numbers),
        (f"model {written(model.name)}", connection.model_url(model_id)),
        (f"run {run.info.run_name}", connection.run_link(run_id)),
        ("evidence as a page", connection.run_link(run_id, artifact=f"{EVIDENCE}/{request}.html")),
    ]
    return f"In MLflow: {', '.join(link(text, f'{connection.ui}/{page}') for text, page in pages)}.\n\n"
