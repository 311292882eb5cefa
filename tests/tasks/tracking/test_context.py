"""Tags that let a run's page lead to the run that made its data, and to no page that does not exist."""

import pytest

from tasks.context import run_context
from tasks.versions import manifest_digest


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("stages: {unlearn: {cmd: x, deps: [data/splits, data/erased.txt, qunlearn]}}")
    (tmp_path / "dvc.lock").write_text("stages: {split: {outs: [{path: data/splits, md5: abc.dir}]}}")
    monkeypatch.setenv("DVC_STAGE", "unlearn")
    return tmp_path


def test_under_dvc_the_manifests_own_digest_is_kept_beside_dvcs(root):
    (root / "data" / "splits").mkdir(parents=True)
    (root / "data" / "splits" / "manifest.json").write_text("{}")
    tags = run_context(root)
    assert tags["dvc_dep.data/splits"] == "abc.dir"
    assert tags["dvc_manifest.data/splits"] == manifest_digest(root / "data" / "splits")


def test_data_that_is_not_there_has_no_manifest(root):
    assert not [tag for tag in run_context(root) if tag.startswith("dvc_manifest")]


def test_a_flow_without_pages_has_no_address(tmp_path, monkeypatch):
    from prefect.runtime import flow_run

    monkeypatch.setattr(flow_run, "id", "11111111", raising=False)
    for address, kept in [("None/flow-runs/flow-run/1", None), ("http://127.0.0.1:4200/1", "http://127.0.0.1:4200/1")]:
        monkeypatch.setattr(flow_run, "ui_url", address, raising=False)
        assert run_context(tmp_path).get("prefect_flow_run_url") == kept
