"""Stage `pretrain`: the original models, one a seed, trained on all training images."""

from prefect import flow

from flows.naming import flow_and_time
from flows.stage import main, stage_run
from tasks.manifests import write_manifest
from tasks.training import train_cell
from tasks.workspace import Workspace


@flow(name="pretrain", flow_run_name=flow_and_time)
def pretrain(params_file: str = "params.yaml") -> None:
    """Train one original model a seed; write `models/pretrain.json`."""
    workspace = Workspace.open(params_file)
    with stage_run("pretrain", workspace) as (_, _run, context):
        cells = [train_cell.submit(workspace, context, "original", seed) for seed in workspace.params.seeds]
        write_manifest(workspace.models("pretrain"), [cell.result() for cell in cells])


if __name__ == "__main__":
    main(pretrain)
