"""Stage `split`: which image is for training, validation or test, and which is to be forgotten, as `data/splits`."""

from prefect import flow

from flows.naming import flow_and_time
from flows.stage import main, stage_run
from tasks import preparation
from tasks.versions import manifest_digest
from tasks.workspace import Workspace


@flow(name="split", flow_run_name=flow_and_time)
def split(params_file: str = "params.yaml") -> None:
    """Divide `data/prepared` into `data/splits` by the configured scenario."""
    workspace = Workspace.open(params_file)
    with stage_run("split", workspace) as (_, run, _context):
        manifest = preparation.split(workspace)
        run.json("manifest.json", manifest)
        run.metrics({name.replace("/", "_"): count for name, count in manifest["counts"].items()})
        run.dataset(
            f"split-{manifest['scenario']}",
            digest=manifest_digest(workspace.splits),
            source="data/splits",
            context="split",
        )


if __name__ == "__main__":
    main(split)
