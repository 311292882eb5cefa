"""Stage `unlearn`: every configured method on the original model of every seed."""

from prefect import flow

from flows.stage import main, stage_run
from tasks.manifests import read_manifest, write_manifest
from tasks.unlearning import unlearn_cell
from tasks.workspace import Workspace


@flow(name="unlearn")
def unlearn(params_file: str = "params.yaml") -> None:
    """Apply each method of `params.yaml` to each original model; write `models/unlearn.json`."""
    workspace = Workspace.open(params_file)
    originals = {cell.seed: cell for cell in read_manifest(workspace.models("pretrain"))}
    with stage_run("unlearn", workspace) as (_, _run, context):
        cells = [
            unlearn_cell.submit(workspace, context, method, seed, originals[seed])
            for method in workspace.params.unlearn
            for seed in workspace.params.seeds
        ]
        write_manifest(workspace.models("unlearn"), [cell.result() for cell in cells])


if __name__ == "__main__":
    main(unlearn)
