"""Stage `evaluate`: every model of the three model stages against the retrained reference of its seed."""

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, wait

from flows.naming import flow_and_time
from flows.stage import main, stage_run
from qunlearn.evaluation.summary import assemble
from tasks.comparison import check_parameters, check_references, comparisons
from tasks.evaluation import evaluate_cell, infer_cell
from tasks.evaluation_cards import write_cards
from tasks.evaluation_context import context as describe
from tasks.files import write_json
from tasks.manifests import MODEL_STAGES, read_manifest
from tasks.material import Material
from tasks.scratch import scratch
from tasks.training import train_cell
from tasks.workspace import Workspace


@flow(name="evaluate", flow_run_name=flow_and_time)
def evaluate(params_file: str = "params.yaml") -> None:
    """Measure all models; write `metrics/evaluation.json` and the models' cards."""
    workspace = Workspace.open(params_file)
    manifests = {stage: read_manifest(workspace.models(stage)) for stage in MODEL_STAGES}
    check_parameters(workspace, manifests)
    compared = comparisons(manifests)
    with stage_run("evaluate", workspace) as (store, run, context), scratch(workspace.root) as folder:
        Material.load(workspace).check_erased(workspace)
        check_references(store, compared)
        results([infer_cell.submit(workspace, one.cell, folder) for one in compared])
        count = workspace.params.evaluate.shadows
        shadows = results([train_cell.submit(workspace, context, "shadow", index) for index in range(count)])
        results([infer_cell.submit(workspace, shadow, folder) for shadow in shadows])
        cells = results([evaluate_cell.submit(workspace, context, one, shadows, folder) for one in compared])
        evaluation = assemble(cells, describe(workspace, manifests["pretrain"][0]))
        write_json(workspace.evaluation, evaluation)
        run.json("evaluation.json", evaluation)
        write_cards(store, evaluation)


def results(futures: list[PrefectFuture[Any]]) -> list[Any]:
    """What the tasks returned; an error is raised once none of them uses the scratch folder any more."""
    wait(futures)
    return [future.result() for future in futures]


if __name__ == "__main__":
    main(evaluate)
