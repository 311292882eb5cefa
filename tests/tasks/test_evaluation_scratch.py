"""Logits of people's data live in a folder of their own, and not a moment longer than the stage that made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.manifests import Cell
from tasks.outputs import read_logits, write_logits
from tasks.scratch import FOLDER, scratch

REPOSITORY = Path(__file__).parents[2]
CELL = Cell("oeu", 3, "a" * 64)


def left(root: Path) -> list[Path]:
    return [path for path in (root / FOLDER).rglob("*") if path.suffix != ".lock"]


def test_logits_come_back_as_they_were_written(tmp_path):
    logits = {"forget": np.float32([[0.1, -2.0]]), "test": np.zeros((0, 2), dtype=np.float32)}
    write_logits(tmp_path, CELL, logits)
    found = read_logits(tmp_path, CELL)
    assert found.keys() == logits.keys()
    for name, values in logits.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values)


def test_folder_is_private_and_below_the_root(tmp_path):
    with scratch(tmp_path) as folder:
        assert folder.parent == tmp_path / FOLDER
        assert folder.stat().st_mode & 0o077 == 0
        write_logits(folder, CELL, {"forget": np.zeros((1, 2), dtype=np.float32)})
    assert left(tmp_path) == []


def test_nothing_stays_after_an_error(tmp_path):
    def fail_after_writing() -> None:
        with scratch(tmp_path) as folder:
            write_logits(folder, CELL, {"forget": np.zeros((1, 2), dtype=np.float32)})
            read_logits(folder, Cell("oeu", 4, "b" * 64))

    with pytest.raises(FileNotFoundError):
        fail_after_writing()
    assert left(tmp_path) == []


def test_two_stages_at_once_have_a_folder_each(tmp_path):
    with scratch(tmp_path) as first, scratch(tmp_path) as second:
        assert first != second
        assert first.is_dir()
    assert left(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from tasks.scratch import scratch
        with scratch(Path(sys.argv[1])) as folder:
            (folder / "oeu-3.npz").write_bytes(b"logits")
            print("ready", flush=True)
            time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with scratch(tmp_path):
        assert [path.name for path in left(tmp_path) if path.is_file()] == ["oeu-3.npz"], "its owner still lives"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [path.name for path in left(tmp_path) if path.is_file()] == ["oeu-3.npz"]
    with scratch(tmp_path):
        assert [path for path in left(tmp_path) if path.is_file()] == []
    assert left(tmp_path) == []
