"""The process that serves the three deployments: ``python -m flows.serving <params.yaml> <cron>``.

`qunlearn up` starts it with PREFECT_API_URL set to the project's server. `prefect.yaml` describes the same deployments
for workers of a work pool.
"""

from __future__ import annotations

import sys
from typing import Any

from prefect import Flow, get_client
from prefect import serve as serve_all
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema

from flows.deletion import deletion
from flows.refresh_benchmark import refresh_benchmark
from flows.servers import LIMIT
from flows.submit_request import submit_request

ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""A second run waits. To cancel it instead would wedge the deployment when a run is killed before it has begun."""


class ClosedSchema(ParameterSchema):
    """The parameters of a flow: the server refuses any other before it stores it."""

    additionalProperties: bool  # noqa: N815 - JSON Schema's name


def deployments(params_file: str, cron: str) -> list[RunnerDeployment]:
    """What is served.

    Args:
        params_file: absolute path.
        cron: when deletions run, in UTC.
    """

    def deployed(flow: Flow[..., Any], description: str, **options: Any) -> RunnerDeployment:
        made = RunnerDeployment.from_flow(
            flow,
            name=flow.name,
            description=description,
            parameters={"params_file": params_file},
            entrypoint_type=EntrypointType.MODULE_PATH,
            **options,
        )
        # Prefect makes the schema of the flow's parameters without saying that there are no others.
        schema = made._parameter_openapi_schema.model_dump(exclude_unset=True)
        made._parameter_openapi_schema = ClosedSchema(**schema, additionalProperties=False)
        return made

    return [
        deployed(
            deletion,
            "Carries out the deletion requests that wait, and releases the new model.",
            cron=cron,
            concurrency_limit=ONE,
        ),
        deployed(
            submit_request,
            "Adds a deletion request. Fill in exactly one of samples, class_name and subject_hash; the other fields "
            "are optional. People only as keyed hashes.",
        ),
        deployed(refresh_benchmark, "Runs `dvc repro`, and leaves the commit to a person.", concurrency_limit=ONE),
    ]


def serve(params_file: str, cron: str) -> None:
    """Create the lock of the served model on the server, then run what is due until this process is ended."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)
    serve_all(*deployments(params_file, cron), pause_on_shutdown=False)


if __name__ == "__main__":
    serve(*sys.argv[1:])
