"""A deployment works on the project it is served from, whatever parameter file a run names.

Parameters of a run come from whoever reaches Prefect's API. A file elsewhere would choose the project, and with it the
commands in its `dvc.yaml` and the hooks of its git, which this program would then run with its own keys at hand.
"""

from __future__ import annotations

from pathlib import Path

from prefect.context import FlowRunContext


class ForeignProjectError(ValueError):
    """A run of a deployment names the parameter file of another project."""


def own_params(params_file: str) -> Path:
    """The parameter file, as absolute path.

    Both ways to serve deployments run them in the project's folder. What a person starts as a program may name any.

    Raises:
        ForeignProjectError: a deployment's run names a file of another folder.
    """
    path = Path(params_file).resolve()
    if _is_deployed() and path.parent != Path.cwd().resolve():
        raise ForeignProjectError(
            "params_file must lie in the folder of the project that is served; leave the parameter as it is"
        )
    return path


def _is_deployed() -> bool:
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None
