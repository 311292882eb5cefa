"""Model and run lead to the evidence of the requests that they answer, and so does a paragraph for other pages."""

import re

import pytest

from tasks.tracking.registry import SERVED

NOTE = "mlflow.note.content"
REQUEST, OTHER = "r-0123456789abcdef", "r-fedcba9876543210"
FLOW = "http://127.0.0.1:4200/runs/flow-run/1"


@pytest.fixture
def record(store, make_cell):
    """A cell that made a model, and then got the evidence of two requests."""
    made = make_cell("delete 3 samples")
    run = store.run(made.run_id)
    for request in (REQUEST, OTHER):
        run.text(f"evidence/{request}.json", "{}")
        run.text(f"evidence/{request}.html", "<p>")
    return made


def notes(store, record):
    client = store.connection.client
    model = client.get_logged_model(record.model_id)
    return model.tags[NOTE], client.get_run(record.run_id).data.tags[NOTE]


def page(store, record, request):
    return store.connection.run_link(record.run_id, artifact=f"evidence/{request}.html")


def test_model_and_run_lead_to_every_evidence_as_a_page(store, record):
    assert not any(REQUEST in note for note in notes(store, record))
    store.show_evidence(record.model_id, request=REQUEST)
    for note in notes(store, record):
        assert re.findall(r"\[(r-\w+)\]\((\S+)\)", note) == [
            (request, page(store, record, request)) for request in (REQUEST, OTHER)
        ]


def test_the_run_leads_to_the_flow_run_where_prefect_had_a_page_of_it(store, record):
    store.run(record.run_id).tag({"prefect_flow_run_url": FLOW})
    store.show_evidence(record.model_id, request=REQUEST)
    first = notes(store, record)[1].splitlines()[0]
    assert f"; carried out by [a flow run in Prefect]({FLOW})." in first


def test_a_run_without_evidence_does_not_speak_of_it(store, make_cell):
    made = make_cell()
    store.run(made.run_id).tag({"prefect_flow_run_url": FLOW})
    store.show_evidence(made.model_id, request=REQUEST)
    assert not any("vidence" in note or FLOW in note for note in notes(store, made))


def test_the_paragraph_leads_from_elsewhere_to_version_model_run_and_evidence(store, record):
    version = store.register(record.model_id)
    text = store.show_evidence(record.model_id, request=REQUEST)
    connection = store.connection
    assert text.endswith(".\n\n")
    assert dict(re.findall(r"\[([^\]]+)\]\((\S+)\)", text)) == {
        name: f"{connection.ui}/{address}"
        for name, address in {
            f"version {version} of {SERVED}": connection.version_url(SERVED, version),
            "model delete-3-samples": connection.model_url(record.model_id),
            "run delete 3 samples": connection.run_link(record.run_id),
            "evidence as a page": page(store, record, REQUEST),
        }.items()
    }
