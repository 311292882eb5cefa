"""Which errors are told in plain lines, and which keep their traceback."""

import logging
import os
import subprocess
import sys

import pytest

from flows.errors import PlainErrors, is_ours
from qunlearn.training import DivergedError
from qunlearn.unlearning.engine import UnlearningDivergedError

DIVERGED = [
    DivergedError(epoch=1, epochs=2, loss=float("nan"), learning_rate=0.1),
    UnlearningDivergedError(method="oeu", epoch=1, what="the loss", learning_rate=0.1),
]


@pytest.mark.parametrize("error", DIVERGED)
def test_divergence_is_told_without_a_traceback(error):
    assert is_ours(error)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "it failed", None, (type(error), error, None))
    assert PlainErrors().filter(record)
    assert record.exc_info is None


def test_other_errors_of_that_kind_keep_theirs():
    assert not is_ours(RuntimeError("the disk is gone"))


def test_judging_an_error_brings_no_slow_library():
    code = "import sys; from flows.errors import is_ours; print(is_ours(RuntimeError('x')), 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
