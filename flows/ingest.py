"""Stage `ingest`: images from their source, without the erased ones, as `data/prepared`."""

from prefect import flow

from flows.naming import flow_and_time
from flows.stage import main, stage_run
from tasks import preparation
from tasks.versions import manifest_digest
from tasks.workspace import Workspace


@flow(name="ingest", flow_run_name=flow_and_time)
def ingest(params_file: str = "params.yaml") -> None:
    """Read the configured source into `data/prepared`."""
    workspace = Workspace.open(params_file)
    with stage_run("ingest", workspace) as (_, run, _context):
        summary = preparation.ingest(workspace)
        run.json("summary.json", summary)
        run.metrics({"images": summary["images"], "erased_ids": summary["erased_ids"]})
        run.dataset(
            workspace.params.data.source,
            digest=manifest_digest(workspace.prepared),
            source="data/prepared",
            context="prepared",
        )


if __name__ == "__main__":
    main(ingest)
