"""Threads and processes use one store at once."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from qunlearn.config import TrackingConfig
from tasks.tracking import Store

PROCESS = """
import sys
from pathlib import Path
from qunlearn.config import TrackingConfig
from tasks.tracking import Store
store = Store.open(TrackingConfig(), root=Path(sys.argv[1]))
pipeline = store.pipeline("ab" * 32, params={"seeds": [0]})
with store.stage("unlearn", pipeline) as stage, store.cell("c", stage.id, fingerprint=None, params={"a": 1}) as cell:
    cell.metrics({"m": 1.0})
print(pipeline)
"""


@pytest.mark.slow
def test_four_processes_open_a_new_store_at_once(tmp_path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, results
    assert len({out for out, _ in results}) == 1  # one pipeline, found by three of them
    store = Store.open(TrackingConfig(), root=tmp_path)
    cells = list(store.connection.runs("tags.kind = 'cell'"))
    assert len(cells) == 4
    assert all(cell.info.status == "FINISHED" and cell.data.metrics == {"m": 1.0} for cell in cells)


def test_four_threads_write_cells_at_once(store, unique, checkpoint):
    marks = [unique() for _ in range(12)]
    folders = [checkpoint() for _ in marks]

    def write(stage, position):
        own = Store.open(TrackingConfig(), root=store.connection.lock_path.parent)
        name, (folder, digest) = f"oeu seed {position}", folders[position]
        with own.cell(name, stage.id, fingerprint=marks[position], params={"seed": position}) as run:
            run.epochs([{"epoch": e, "loss": float(position)} for e in range(20)])
            run.table("steps", {"step": np.arange(50) + position})
            run.output_model(folder, name=f"oeu-seed{position}", digest=digest, tags={})

    with store.stage("unlearn", store.pipeline(unique(), params={})) as stage, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda position: write(stage, position), range(12)))
    for position, mark in enumerate(marks):
        record = store.find_cell(mark)
        assert record.digest == folders[position][1]
        assert record.params == {"seed": str(position)}
        assert record.metrics == {"epoch/loss": float(position)}
        assert record.tags["mlflow.parentRunId"] == stage.id
        assert store.cell_table(record, "steps")["step"][0] == position


def test_four_threads_find_or_create_one_pipeline(store, unique):
    key = unique()
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: store.pipeline(key, params={}), range(8)))) == 1


@pytest.mark.slow  # only because it is timed: slow tests run one at a time
def test_the_bookkeeping_of_a_cell_takes_less_than_half_a_second(store, unique, checkpoint):
    folder, digest = checkpoint(b"0" * 1_000_000)
    took = []
    with store.stage("unlearn", store.pipeline(unique(), params={})) as stage:
        for _ in range(3):
            start, mark = time.perf_counter(), unique()
            assert store.find_cell(mark) is None
            with store.cell("c", stage.id, fingerprint=mark, params={f"p{i}": i for i in range(60)}) as run:
                run.dataset("digits", digest="1" * 32, source="data/prepared", context="training")
                run.dataset("split-random", digest="2" * 32, source="data/splits", context="training")
                run.epochs([{"epoch": e, "loss": 0.5, "accuracy": 0.5, "rate": 0.1} for e in range(30)])
                run.metrics({"seconds": 1.0})
                run.table("steps", {f"c{i}": np.zeros(2000) for i in range(12)})
                run.output_model(folder, name="c", digest=digest, tags={})
            took.append(time.perf_counter() - start)
    assert min(took) < 0.5
