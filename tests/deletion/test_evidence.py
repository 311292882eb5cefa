"""What a document of evidence must say, and must not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import numpy as np
import pytest
from deletion import evidence_examples as examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qunlearn.deletion import evidence as e
from qunlearn.deletion.evidence.document import OF_A_CHANGE, OF_AN_ERASURE
from qunlearn.deletion.gates import Gate as JudgedGate
from qunlearn.deletion.gates.accuracy import accuracies
from qunlearn.deletion.gates.judgement import SETS, Readings
from qunlearn.deletion.purge import Action, Entry
from qunlearn.deletion.states import Outcome

CHANGED = ("unlearned", "retrained")
SCHEMA = jsonschema.Draft202012Validator(e.Signed.model_json_schema())


def put(content, name, part):
    """`content` with another value at `outer` or `outer.inner`."""
    outer, _, inner = name.partition(".")
    return {**content, outer: {**content[outer], inner: part} if inner else part}


@pytest.mark.parametrize("outcome", examples.OUTCOMES)
def test_every_outcome_has_its_evidence(outcome):
    signed = examples.signed(outcome)
    assert signed.document.request.outcome == outcome
    assert all(finding.ok for finding in e.verify(signed, [examples.key().public], request=examples.REQUEST))
    assert e.parse(signed.content) == signed
    SCHEMA.validate(json.loads(signed.content))


def test_the_outcomes_are_those_of_the_ledger():
    assert set(examples.OUTCOMES) == {outcome.value for outcome in Outcome}
    assert e.Request.model_validate({**request_content(), "outcome": Outcome.UNLEARNED}).outcome == "unlearned"


def request_content(outcome="unlearned"):
    return examples.document(outcome).request.model_dump()


@pytest.mark.parametrize("outcome", examples.OUTCOMES)
@pytest.mark.parametrize("name", [*OF_A_CHANGE, *OF_AN_ERASURE])
def test_model_and_schema_agree_on_what_an_outcome_needs(outcome, name):
    """Each part once missing, once there, whatever the outcome."""
    full, changed = (examples.document(one).model_dump(mode="json") for one in ("unlearned", outcome))
    if changed["request"]["outcome"] == "retrained":
        full["method"] = changed["method"]
    outer, _, inner = name.partition(".")
    signature = examples.signed().signature.model_dump()
    for part in (None, full[outer][inner] if inner else full[outer]):
        content = put(changed, name, part)
        needed = outcome in CHANGED or (name in OF_AN_ERASURE and outcome == "not trained")
        optional = name in OF_AN_ERASURE and outcome == "already erased"
        allowed = optional or (part is not None) == needed
        assert SCHEMA.is_valid({"document": content, "signature": signature}) == allowed
        if allowed:
            e.Document.model_validate(content)
        else:
            with pytest.raises(ValidationError, match=f"missing, or there but out of place: {name}"):
                e.Document.model_validate(content)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model": None}, "missing, or there but out of place: model"),
        ({"metrics": []}, "metrics: Tuple should have at least 1 item"),
        ({"verdict": " \n "}, "verdict: Value should have at least 1 item"),
        ({"gates": [examples.gates()[0].model_copy(update={"passed": False})]}, "fails binding gates .*: utility"),
    ],
)
def test_a_document_that_contradicts_itself_is_not_made(changed, reason):
    with pytest.raises(e.EvidenceError, match=f"evidence of {examples.REQUEST}: .*{reason}"):
        examples.document(**changed)


def test_a_gate_that_does_not_bind_may_be_missed_and_the_limits_say_so():
    missed = examples.gates()[3].model_copy(update={"passed": False})
    limits = examples.document(gates=[missed]).limits
    assert any("does not meet it" in limit for limit in limits)


@pytest.mark.parametrize(
    "change",
    [
        {"known": 41},
        {"already_erased": 41},
        {"trained_on": 41},
        {"asked": 0, "known": 0, "unknown": 0, "already_erased": 0, "trained_on": 0},
    ],
)
def test_counts_add_up(change):
    with pytest.raises(ValidationError):
        e.Counts.model_validate({**examples.COUNTS["unlearned"], **change})


@pytest.mark.parametrize("outcome", examples.OUTCOMES)
@pytest.mark.parametrize("counts_of", examples.OUTCOMES)
def test_an_outcome_that_the_counts_contradict_is_refused(outcome, counts_of):
    content = {**request_content(counts_of), "outcome": outcome}
    if outcome == counts_of or {outcome, counts_of} == set(CHANGED):
        e.Request.model_validate(content)
    else:
        with pytest.raises(ValidationError, match="contradicts the counts"):
            e.Request.model_validate(content)


@pytest.mark.parametrize("name", ["samples", "unknown_names"])
def test_a_digest_of_nothing_is_no_digest(name):
    with pytest.raises(ValidationError, match="exactly where their counts are above 0"):
        e.Request.model_validate({**request_content(), name: None})


def test_the_chain_of_parents_ends_at_the_model_served_before():
    parts = examples.parts()
    stranger = parts["method"].parents[0]
    method = parts["method"].model_copy(update={"parents": (stranger, stranger)})
    with pytest.raises(e.EvidenceError, match="must be the model served before"):
        e.build(**{**parts, "method": method})
    with pytest.raises(ValidationError, match="has one parent"):
        e.Method.model_validate({**parts["method"].model_dump(), "sequential": 3})
    with pytest.raises(e.EvidenceError, match="a retrained model has no parents"):
        examples.document("retrained", method=parts["method"])


def test_an_unlearned_model_keeps_no_more_than_its_parent_without_the_request():
    model = examples.parts()["model"]
    for kept, possible in ((1293 - 36, True), (1293 - 35, False)):
        after = model.after.model_copy(update={"training_samples": kept})
        if possible:
            examples.document(model=model.model_copy(update={"after": after}))
        else:
            with pytest.raises(e.EvidenceError, match="keeps at most its parent's training samples"):
                examples.document(model=model.model_copy(update={"after": after}))


def test_a_request_with_something_left_over_is_never_completed():
    with pytest.raises(ValidationError, match="found"):
        e.Scan(places=[e.Scanned(what="DVC cache", objects=3)], found=1)


def test_unknown_fields_and_endless_numbers_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        e.Tool.model_validate({"version": "1", "git_commit": None, "host": "worker-7"})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="finite"):
            e.Estimate(value=value, interval=None)
    with pytest.raises(ValidationError, match="not above its upper end"):
        e.Estimate(value=1.0, interval=(2.0, 1.0))


@pytest.mark.parametrize(
    "name", ["r-0123456789ABCDEF", "r-0123456789abcde", "../r-0123456789abcdef", "r-0123456789abcdef\n"]
)
def test_a_request_has_a_random_name_and_no_other(name):
    with pytest.raises(ValidationError):
        e.Request.model_validate({**request_content(), "id": name})


def test_times_are_utc_in_whole_seconds():
    at = datetime(2026, 11, 4, 5, 2, 41, 999_999, tzinfo=timezone(timedelta(hours=2)))
    request = e.Request.model_validate({**request_content(), "completed": at})
    assert request.completed == datetime(2026, 11, 4, 3, 2, 41, tzinfo=UTC)
    assert request.model_dump(mode="json")["completed"] == "2026-11-04T03:02:41Z"
    for wrong in (datetime(2026, 11, 4), datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))):
        with pytest.raises(ValidationError):
            e.Request.model_validate({**request_content(), "completed": wrong})


@settings(deadline=None)
@given(st.text())
def test_a_text_becomes_one_printable_line_or_is_refused(text):
    try:
        found = examples.document(verdict=text).verdict
    except e.EvidenceError:
        assert not any(sign.isprintable() and not sign.isspace() for sign in text)
        return
    assert found.isprintable()
    assert found == found.strip()
    assert [sign for sign in found if sign != " "] == [s for s in text if s.isprintable() and s != " "]


def test_the_limits_follow_from_what_was_done():
    def limits(outcome="unlearned", **changed):
        return " ".join(examples.document(outcome, **changed).limits)

    assert "approximates training without the samples" in limits()
    assert "2 unlearnings one after the other" in limits()
    assert "'loss_percentile': the old model met it too" in limits()
    assert "'loss_percentile': it judges so few samples" in limits()
    assert "'membership'" not in limits()
    assert "moved aside and still exist; there are 1" in limits()
    assert "moved aside" not in limits(purge=examples.purge(3))
    assert "looked up as they were written" in limits()
    assert "trained anew without the samples" in limits("retrained")
    assert "looked up as they were written" not in limits("retrained")
    for outcome in ("already erased", "not present"):
        assert "gate" not in limits(outcome).lower()
        assert "Whoever controls the computer" in limits(outcome)
    assert examples.document(limits=["Power failed."]).limits[-1] == "Power failed."
    assert examples.document(outside_custody=["A tape"]).outside_custody == (*e.OUTSIDE_CUSTODY, "A tape")


def test_no_name_of_a_person_can_be_where_a_keyed_hash_belongs():
    for name in ("subject", "reference", "samples", "unknown_names"):
        with pytest.raises(ValidationError, match=name):
            e.Request.model_validate({**request_content(), name: "jane.doe@example.org"})


def test_an_error_repeats_nothing_of_what_a_field_held():
    content = json.loads(examples.signed().content)
    content["document"]["request"]["subject"] = "jane.doe@example.org"
    content["document"]["request"]["jane.doe"] = "jane.doe@example.org"
    content["document"]["request"]["counts"]["asked"] = "jane.doe"
    with pytest.raises(e.EvidenceError) as error:
        e.parse(json.dumps(content).encode())
    assert str(error.value).count("\n") == 2
    assert "document.request.subject" in str(error.value)
    assert "jane" not in str(error.value)


def test_ids_and_json_have_one_digest_each():
    ids = ["b", "é", "a", "B", "a"]
    listed = "".join(f"{one}\n" for one in ids)
    shell = subprocess.run(
        "LC_ALL=C sort -u | sha256sum", shell=True, input=listed.encode(), capture_output=True, check=True
    )
    assert e.ids_digest(ids) == shell.stdout.decode().split()[0]
    assert e.ids_digest([]) == hashlib.sha256(b"").hexdigest()
    assert e.canonical({"b": [1.0, None], "a": "é\n"}) == '{"a":"é\\n","b":[1.0,null]}'.encode()
    assert e.json_digest({"a": 1, "b": 2}) == e.json_digest({"b": 2, "a": 1}) != e.json_digest({"a": 1, "b": 2.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        e.canonical(float("nan"))


def test_gates_are_taken_as_they_were_judged():
    judged = JudgedGate("utility", True, 0.5, (0.1, 0.9), 2.0, 0.0, True, True, False, "Fine.")
    gate = e.Gate.model_validate(judged, from_attributes=True)
    assert gate.model_dump() == {**vars(judged)}


def test_purged_objects_are_taken_as_they_were_planned():
    entry = Entry(
        "DVC object", "1f.dir", f"md5:{'1f' * 16}.dir", "DVC cache", Action.REMOVE, "holds erased samples", "x"
    )
    purged = e.Purged.model_validate(entry, from_attributes=True)
    assert (purged.kind, purged.digest, purged.action) == ("DVC object", f"md5:{'1f' * 16}.dir", "remove")
    assert {action.value for action in Action} - {"outside"} == {"remove", "rewrite", "quarantine"}


def test_the_figures_of_the_gates_become_rows():
    labels = {name: np.arange(10) % 3 for name in SETS}
    models = {}
    for model, wrong in (("before", 1), ("after", 3), ("reference", 2)):
        logits = {name: np.eye(3)[(labels[name] + (np.arange(10) < wrong)) % 3] for name in SETS}
        models |= accuracies(model, Readings(logits, labels), forgotten=np.array([0]))
    metrics = {**models, **{f"{name}_samples": 10.0 for name in SETS}}
    rows = {(row.subset, row.name): row for row in e.accuracy_metrics(metrics)}
    assert len(rows) == 6
    row = rows["forget", "accuracy"]
    assert (row.before.value, row.after.value, row.retrained.value, row.samples) == (90.0, 70.0, 80.0, 10)
    assert row.after.interval[0] < 70.0 < row.after.interval[1]
    assert rows["test", "accuracy without the forgotten classes"].samples is None

    without = {key: value for key, value in metrics.items() if not key.startswith("reference")}
    assert all(row.retrained is None for row in e.accuracy_metrics(without))
    assert e.accuracy_metrics({"forget_samples": 3.0}) == ()
