"""Links to MLflow's pages lead to where they are shown."""

import pytest

from flows import processes, services
from flows.processes import Process
from qunlearn.config import Params
from tasks.pages import RECORD, mlflow_pages

URL = "http://127.0.0.1:5999"


@pytest.fixture
def params():
    content = {"data": {"source": "digits"}, "split": {"scenario": {"kind": "random", "fraction": 0.1}}}
    more = {"seeds": [0], "unlearn": {"oeu": {}}, "servers": {"mlflow_port": 5001, "prefect_port": 4200}}
    return Params.model_validate({**content, **more})


def test_the_server_that_was_started_last_is_where_they_are(tmp_path, params):
    services.folder(tmp_path).mkdir()
    processes.write(Process(1, "", (), URL, since=0, mark=""), services.folder(tmp_path) / "mlflow.json")
    assert mlflow_pages(tmp_path, params) == URL


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_else_it_is_the_port_of_the_parameters(tmp_path, params, content):
    if content is not None:
        (tmp_path / RECORD).parent.mkdir()
        (tmp_path / RECORD).write_text(content)
    assert mlflow_pages(tmp_path, params) == "http://127.0.0.1:5001"
