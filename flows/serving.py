"""The process that serves the deletion flow on its schedule: ``python -m flows.serving <params.yaml> <cron>``.

`qunlearn up` starts it with PREFECT_API_URL set to the project's server.
"""

from __future__ import annotations

import sys

from prefect import get_client
from prefect.flows import EntrypointType

from flows.deletion import deletion
from flows.servers import LIMIT


def serve(params_file: str, cron: str) -> None:
    """Create the lock of the served model on the server, then run the flow whenever `cron` (in UTC) says so."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)
    deletion.serve(
        name="deletion",
        cron=cron,
        parameters={"params_file": params_file},
        limit=1,
        pause_on_shutdown=False,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description="Reads the pending deletion requests, unlearns the samples and releases the new model.",
    )


if __name__ == "__main__":
    serve(*sys.argv[1:])
