"""What a run of the deletion flow logs while it works: enough to see that it goes on, and nobody's name."""

from __future__ import annotations

import logging
import re

import pytest
from deletion_project import run

from qunlearn.deletion.ledger import Worker
from tasks.deletion import claiming, planning, progress

pytestmark = pytest.mark.usefixtures("plainly")


@pytest.fixture
def logged(caplog, monkeypatch):
    """The lines so far."""
    caplog.set_level(logging.INFO, "deletion-run")
    for module in (claiming, planning, progress):
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("deletion-run"))
    return lambda: [record.getMessage() for record in caplog.records if record.name == "deletion-run"]


def test_unlearning_tells_its_method_its_amount_and_each_epoch(served, logged):
    asked = served.training_ids[0]
    served.ask(asked)
    run(served)
    kept = len(served.training_ids) - 1
    told = logged()
    assert f"1 request: 1 sample to unlearn, {kept} to keep, 1 to erase" in told
    place = told.index(f"neg_grad_plus: unlearns 1 sample, keeps {kept}, 2 epochs")
    figures = r"loss \d+\.\d{4}, accuracy \d+\.\d\d %, \d+\.\d\d s"
    for epoch in (1, 2):
        assert re.fullmatch(f"neg_grad_plus: epoch {epoch}/2, {figures}", told[place + epoch])
    assert not [line for line in told if asked in line]
    assert not [line for line in told if "taken over" in line]


def test_a_run_says_that_it_takes_over_what_another_left(served, logged):
    served.ask(served.training_ids[0])
    batch = served.ledger.claim(Worker.current())
    run(served)
    first = f"batch {batch.id} was left unfinished by another run, and is taken over"
    assert logged()[:2] == [first, f"batch {batch.id}: 1 request, claimed"]
