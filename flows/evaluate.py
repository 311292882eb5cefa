"""Stage `evaluate`: every model of the three model stages against the retrained reference of its seed."""

from prefect import flow

from flows.stage import main, stage_run
from qunlearn.evaluation.summary import assemble
from tasks.evaluation import context as describe
from tasks.evaluation import evaluate_cell
from tasks.files import write_json
from tasks.manifests import MODEL_STAGES, read_manifest
from tasks.material import Material
from tasks.workspace import Workspace


@flow(name="evaluate")
def evaluate(params_file: str = "params.yaml") -> None:
    """Measure all models; write `metrics/evaluation.json`."""
    workspace = Workspace.open(params_file)
    manifests = {stage: read_manifest(workspace.models(stage)) for stage in MODEL_STAGES}
    originals = {cell.seed: cell for cell in manifests["pretrain"]}
    with stage_run("evaluate", workspace) as (_, run, context):
        Material.load(workspace).check_erased(workspace)
        cells = [
            evaluate_cell.submit(workspace, context, cell, originals[cell.seed])
            for stage in MODEL_STAGES
            for cell in manifests[stage]
        ]
        evaluation = assemble([cell.result() for cell in cells], describe(workspace, manifests["pretrain"]))
        write_json(workspace.evaluation, evaluation)
        run.json("evaluation.json", evaluation)


if __name__ == "__main__":
    main(evaluate)
