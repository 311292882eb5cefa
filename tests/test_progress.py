"""What is written while a model trains."""

import io

import pytest

from qunlearn.progress import EpochPrinter, EpochStats, epoch_printer


def stats(epoch, epochs=4):
    return EpochStats(epoch, epochs, loss=0.5, accuracy=97.25, learning_rate=0.1, seconds=0.25)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_plain_lines_come_at_intervals_and_for_the_last_epoch():
    stream, clock = io.StringIO(), Clock()
    printer = EpochPrinter("pretrain seed 0", stream=stream, interval=10.0, clock=clock)
    for epoch, now in ((1, 4.0), (2, 11.0), (3, 15.0), (4, 16.0)):
        clock.now = now
        printer(stats(epoch))
    assert stream.getvalue().splitlines() == [
        "pretrain seed 0: epoch 2/4, loss 0.5000, accuracy 97.25 %, 0.25 s",
        "pretrain seed 0: epoch 4/4, loss 0.5000, accuracy 97.25 %, 0.25 s",
    ]


def test_terminal_gets_a_bar():
    stream = Terminal()
    with EpochPrinter("pretrain", stream=stream) as printer:
        for epoch in range(1, 5):
            printer(stats(epoch))
    assert "pretrain" in stream.getvalue()
    assert "4/4" in stream.getvalue()
    assert "accuracy 97.25 %" in stream.getvalue()


def test_bar_is_closed_when_training_fails():
    stream = Terminal()

    def diverge():
        with EpochPrinter("pretrain", stream=stream) as printer:
            printer(stats(1))
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        diverge()
    assert stream.getvalue().endswith("\n")


def test_epoch_printer_writes_to_standard_error(capsys):
    with epoch_printer("retrain") as printer:
        printer(stats(4))
    captured = capsys.readouterr()
    assert captured.err.startswith("retrain: epoch 4/4")
    assert captured.out == ""
