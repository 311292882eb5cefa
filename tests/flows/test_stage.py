"""How a stage, and the deletion flow as a program, end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import httpx
import pytest

from flows import stage
from flows.interrupts import interruptible


@pytest.fixture
def foreground():
    """As in a terminal; who runs the tests may be a background job, in which the signal is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ends(monkeypatch, tmp_path, capsys):
    """Runs a flow that is this function as a program: (exit code, standard error)."""
    workspace = SimpleNamespace(root=tmp_path, params=SimpleNamespace(runner=None))
    monkeypatch.setattr(stage.Workspace, "open", lambda _path: workspace)
    monkeypatch.setattr(stage, "task_runner", lambda _runner: None)
    monkeypatch.setattr(stage, "prefect_api", lambda _root: nullcontext())

    def runner(function):
        flow = SimpleNamespace(name="pretrain", with_options=lambda **_: function)
        with pytest.raises(SystemExit) as ended:
            stage.main(flow, [])
        return ended.value.code, capsys.readouterr().err

    return runner


def interrupted(_params):
    raise KeyboardInterrupt


def interrupted_beside_its_server(_params):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise httpx.ConnectError("All connection attempts failed") from None


def pressed(_params):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)


@pytest.mark.parametrize("function", [interrupted, interrupted_beside_its_server])
def test_an_interrupt_is_told_in_one_line(ends, function):
    assert ends(function) == (130, "pretrain: stopped; the same command goes on where it was\n")


@pytest.mark.usefixtures("foreground")
def test_the_first_press_says_what_the_second_does(ends):
    code, err = ends(pressed)
    assert (code, err.splitlines()) == (
        130,
        [
            "pretrain: stopping after the step that runs now; Ctrl-C again stops at once",
            "pretrain: stopped; the same command goes on where it was",
        ],
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_press_does_not_wait():
    code = (
        "import os, signal, time\n"
        "from flows.interrupts import interruptible\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interruptible('pretrain'):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(10)\n"
        "    finally: os.kill(os.getpid(), signal.SIGINT); time.sleep(10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (130, 2), done.stderr


def test_a_background_job_stays_deaf_to_it():
    deaf = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible("pretrain"):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, deaf)


def test_a_server_that_does_not_answer_is_told_as_that(ends):
    def unreachable(_params):
        raise httpx.ConnectError("All connection attempts failed")

    code, err = ends(unreachable)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "Prefect's server does not answer" in err


def test_other_errors_keep_their_traceback(ends):
    def broken(_params):
        raise ZeroDivisionError("of ours")

    with pytest.raises(ZeroDivisionError):
        ends(broken)
