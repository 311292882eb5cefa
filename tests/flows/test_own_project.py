"""A deployment's run works on the project it is served from, and on no other."""

from types import SimpleNamespace

import pytest

from flows import own_project
from flows.own_project import ForeignProjectError, own_params


@pytest.fixture
def deployed(monkeypatch, tmp_path):
    """As in a run that a deployment started, in the project's folder."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    run = SimpleNamespace(flow_run=SimpleNamespace(deployment_id="0123"))
    monkeypatch.setattr(own_project, "FlowRunContext", SimpleNamespace(get=lambda: run))
    return run


@pytest.mark.usefixtures("deployed")
def test_its_own_file_by_any_name(tmp_path):
    expected = tmp_path / "project" / "params.yaml"
    for name in ("params.yaml", "./params.yaml", "../project/params.yaml", str(expected)):
        assert own_params(name) == expected


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("name", ["../evil/params.yaml", "../params.yaml", "data/params.yaml", "/params.yaml", "."])
def test_a_file_elsewhere_is_refused(name):
    with pytest.raises(ForeignProjectError, match="leave the parameter as it is") as raised:
        own_params(name)
    assert "evil" not in str(raised.value)


@pytest.mark.usefixtures("deployed")
def test_a_link_to_a_file_elsewhere_is_refused(tmp_path):
    (tmp_path / "params.yaml").touch()
    (tmp_path / "project" / "params.yaml").symlink_to(tmp_path / "params.yaml")
    with pytest.raises(ForeignProjectError):
        own_params("params.yaml")


def test_what_a_person_starts_may_name_any(tmp_path, deployed):
    deployed.flow_run.deployment_id = None
    assert own_params("../other/params.yaml") == tmp_path / "other" / "params.yaml"
