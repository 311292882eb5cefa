"""Stage `retrain`: the references, one a seed, trained from fresh weights on the retained images alone."""

from prefect import flow

from flows.naming import flow_and_time
from flows.stage import main, stage_run
from tasks.manifests import write_manifest
from tasks.training import train_cell
from tasks.workspace import Workspace


@flow(name="retrain", flow_run_name=flow_and_time)
def retrain(params_file: str = "params.yaml") -> None:
    """Train one reference a seed; write `models/retrain.json`."""
    workspace = Workspace.open(params_file)
    with stage_run("retrain", workspace) as (_, _run, context):
        cells = [train_cell.submit(workspace, context, "retrain", seed) for seed in workspace.params.seeds]
        write_manifest(workspace.models("retrain"), [cell.result() for cell in cells])


if __name__ == "__main__":
    main(retrain)
