"""The flow `submit-request`: what its form accepts, what it does, and what Prefect stores of it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys

import cloudpickle
import pytest
import small_requests as small
from hypothesis import given
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.logging import disable_run_logger
from prefect.utilities.schema_tools import ValidationError, validate
from small_requests import IDS, TRAIN

from flows.serving import deployments
from flows.submit_request import submit, submit_request
from qunlearn.deletion.identity import Key
from qunlearn.deletion.ledger import Ledger
from qunlearn.deletion.names import IntakeError

PERSON = "jane.doe@example.org"
HASH = "0123456789abcdef" * 4


pytestmark = pytest.mark.usefixtures("only_this_project")


@pytest.fixture
def project(tmp_path, tmp_path_factory):
    return small.folder_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


@pytest.fixture
def plain(tmp_path, tmp_path_factory):
    return small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


def run(root, **parameters):
    """The flow's own code, without a server: the final state."""
    with disable_run_logger():
        return submit_request.fn(**parameters, params_file=str(root / "params.yaml"))


def kept(root):
    return Ledger.open(root=root).requests()


# --- what it does ----------------------------------------------------------------------------------------------------


def test_samples_become_a_request_whose_id_is_the_result(plain):
    state = run(plain, samples=[TRAIN[0], IDS[3]], due="2199-01-31", reference_hash=HASH)
    (request,) = kept(plain)
    assert (state.data, state.message) == (request.id, f"request {request.id}, due 2199-01-31")
    assert (request.asked.samples, request.asked.reference) == ((TRAIN[0], IDS[3]), HASH)


def test_a_class_and_a_subject_become_requests(project):
    run(project, class_name="cat")
    run(project, subject_hash=Key.load(project).hashed("subject", "7"))
    assert [(one.asked.kind, len(one.asked.samples)) for one in kept(project)] == [("class", 4), ("group", 3)]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "in exactly one way, not 0: fill in one of samples, class_name and subject_hash"),
        ({"samples": [TRAIN[0]], "class_name": "cat"}, "in exactly one way, not 2"),
        ({"class_name": "cow"}, "the classes are 'cat', 'dog', 'owl'"),
        ({"samples": [TRAIN[0]], "due": "2199-02-30"}, "a day of the calendar"),
        ({"samples": [TRAIN[0]], "due": "2020-01-01"}, "is in the past"),
        ({"subject_hash": HASH}, "knows no subjects"),
        ({"samples": list(TRAIN)}, "withdraw the served model"),
    ],
)
def test_what_cannot_be_taken_in_fails_with_the_reason(plain, parameters, reason):
    with pytest.raises(IntakeError, match=reason):
        run(plain, **parameters)
    assert not (plain / ".qunlearn" / "ledger.db").exists()


def test_from_python_a_person_is_named_in_clear(project):
    submitted = submit(project / "params.yaml", subject="7", reference=PERSON)
    assert submitted.request == kept(project)[0]
    assert submitted.request.asked.reference == Key.load(project).hashed("reference", PERSON)


# --- what its form accepts -------------------------------------------------------------------------------------------

SCHEMA = next(
    one._parameter_openapi_schema.model_dump(exclude_unset=True)
    for one in deployments("params.yaml", "0 3 * * *")
    if one.flow_name == submit_request.name
)
"""As the server gets it from the process that serves the flow."""


def test_the_form_says_that_one_of_the_optional_fields_is_needed():
    assert "exactly one of `samples`, `class_name` and `subject_hash`" in submit_request.description
    assert "One of the first three fields is needed" in SCHEMA["properties"]["samples"]["description"]


def accepted(parameters):
    """Whether Prefect's server takes these parameters from the form, before it stores them."""
    try:
        validate(parameters, SCHEMA, raise_on_error=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"samples": ["img-0123456789abcdef0123", "all-000001-0123456789ab", *IDS]},
        {"class_name": "aquarium fish"},
        {"subject_hash": HASH, "reference_hash": HASH, "due": "2030-12-31"},
        {"subject_hash": "", "reference_hash": "", "due": "", "class_name": "", "samples": []},
    ],
)
def test_the_form_accepts(parameters):
    assert accepted(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"samples": [PERSON]},
        {"samples": ["jane-doe"]},
        {"samples": [TRAIN[0], "jane doe"]},
        {"samples": "img-0123456789abcdef0123"},
        {"samples": [7]},
        {"samples": ["cat/1.png"]},
        {"samples": [TRAIN[0]] * 10_001},
        {"class_name": "cat\ndog"},
        {"class_name": "x" * 201},
        {"subject_hash": PERSON},
        {"subject_hash": HASH.upper()},
        {"reference_hash": HASH[:-1]},
        {"due": "tomorrow"},
        {"due": "31.01.2030"},
        {"due": "2030-13-01"},
        {"due": None},
        {"params_file": ""},
        {"subject": PERSON},
        {"samples": [IDS[0]], PERSON: "1"},
    ],
)
def test_the_form_refuses(parameters):
    assert not accepted(parameters)


@given(text=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_the_form_takes_no_free_text_where_a_person_could_be_named(text):
    for parameters in ({"samples": [text]}, {"subject_hash": text}, {"reference_hash": text}, {"due": text}):
        assert not accepted(parameters) or re.fullmatch("[0-9a-f-]*|img-[0-9a-f-]*|(all|train|test)-[0-9a-f-]*", text)


def test_the_form_explains_every_field():
    assert list(SCHEMA["properties"]) == [
        "samples",
        "class_name",
        "subject_hash",
        "reference_hash",
        "due",
        "params_file",
    ]
    assert all(field["description"] for field in SCHEMA["properties"].values())
    assert "required" not in SCHEMA


def test_another_process_that_is_sent_the_flow_can_check_its_parameters():
    """As a deployment that is served does it; names in postponed annotations would be unknown there."""
    code = (
        "import cloudpickle, sys\n"
        "flow = cloudpickle.load(sys.stdin.buffer)\n"
        f"print(flow.validate_parameters({{'samples': ['{TRAIN[0]}'], 'class_name': '', 'subject_hash': '', "
        "'reference_hash': '', 'due': '', 'params_file': 'params.yaml'})['samples'])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=cloudpickle.dumps(submit_request), capture_output=True, check=False)
    assert (done.stdout.decode().strip(), done.returncode) == (f"['{TRAIN[0]}']", 0), done.stderr.decode()


# --- with a server ---------------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_prefect_stores_nobody_and_refuses_what_is_no_id(project, tmp_path):
    """A run by the server's own rules: the result, the stored parameters and logs, and parameters that are refused."""
    from prefect import get_client
    from prefect.testing.utilities import prefect_test_harness

    key = Key.load(project)
    parameters = {"params_file": str(project / "params.yaml")}
    with prefect_test_harness(server_startup_timeout=120):
        hashes = {"subject_hash": key.hashed("subject", "007"), "reference_hash": key.hashed("reference", PERSON)}
        made = submit_request(**parameters, **hashes)
        assert made == kept(project)[0].id
        with pytest.raises(ParameterTypeError):
            submit_request(**parameters, due="2030-13-01")

        async def through_the_form(given):
            async with get_client() as client:
                flow_id = await client.create_flow(submit_request)
                deployment = await client.create_deployment(
                    flow_id,
                    "submit-request",
                    parameter_openapi_schema=SCHEMA,
                    enforce_parameter_schema=True,
                    parameters=parameters,
                )
                run = await client.create_flow_run_from_deployment(deployment, parameters=given)
                return run.parameters

        assert asyncio.run(through_the_form({"samples": [TRAIN[0]]})) == {**parameters, "samples": [TRAIN[0]]}
        for given in ({"samples": ["jane-doe"]}, {"subject_hash": PERSON}, {"due": PERSON}, {"subject": PERSON}):
            with pytest.raises(PrefectHTTPStatusError, match="409"):
                asyncio.run(through_the_form(given))
        database = _database()
    assert not re.search(r"jane|[-. ]doe\b", database, re.IGNORECASE)
    assert hashes["subject_hash"] in database


def _database() -> str:
    """All that the running test server has stored, as text."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    file = (url.get_secret_value() if hasattr(url, "get_secret_value") else str(url)).rpartition(":///")[2]
    with sqlite3.connect(file) as connection:
        return "\n".join(connection.iterdump())
