"""Where a run comes from: code, DVC stage, Prefect flow, versions and hardware, as tags of its MLflow run."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from tasks.git import git
from tasks.versions import manifest_digest, stage_hashes

PACKAGES = ("torch", "torchvision", "brevitas", "mlflow", "prefect", "dvc")
VERSIONED = ("data/prepared", "data/splits")
"""Data whose manifest names all its content."""
GIT_SECONDS = 30.0


def run_context(root: Path) -> dict[str, str]:
    """Tags for a run; what does not apply (no git, no DVC, no flow) has no tag.

    Args:
        root: the repository's folder.
    """
    return {**_code(root), **_dvc(root), **_prefect(), **_versions(), **_hardware()}


def _code(root: Path) -> dict[str, str]:
    command = Path(sys.argv[0]).name or "python"
    # The mlflow.source tags fill the columns Source and Version of the MLflow page.
    tags = {"mlflow.source.name": command, "mlflow.source.type": "LOCAL"}
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit:
        tags["git_commit"] = tags["mlflow.source.git.commit"] = commit
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if changes is not None:
        tags["git_dirty"] = "true" if changes else "false"
    return tags


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where there is no git, no repository or no commit."""
    # Without optional locks a status never disturbs a git command that runs at the same time.
    return git(root, "--no-optional-locks", *arguments, timeout=GIT_SECONDS)


def _dvc(root: Path) -> dict[str, str]:
    stage = os.environ.get("DVC_STAGE")
    if not stage:
        return {}
    hashes = stage_hashes(root=root, stage=stage)
    # The stage that made the data could not know DVC's digest of it; the manifest's own leads back to its run.
    manifests = {path: manifest_digest(root / path) for path in VERSIONED if path in hashes and (root / path).is_dir()}
    return {
        "dvc_stage": stage,
        **{f"dvc_dep.{path}": md5 for path, md5 in hashes.items()},
        **{f"dvc_manifest.{path}": digest for path, digest in manifests.items()},
    }


def _prefect() -> dict[str, str]:
    # Inside a flow Prefect is imported already; elsewhere importing it costs seconds and tells nothing.
    if "prefect" not in sys.modules:
        return {}
    from prefect.runtime import flow_run  # noqa: PLC0415 - only where a flow runs

    if not flow_run.id:
        return {}
    tags = {"prefect_flow_run_id": str(flow_run.id)}
    # Without a server's own address Prefect puts the word None in its place.
    if flow_run.ui_url and not flow_run.ui_url.startswith("None"):
        tags["prefect_flow_run_url"] = str(flow_run.ui_url)
    return tags


def _versions() -> dict[str, str]:
    tags = {"version_python": platform.python_version()}
    for package in PACKAGES:
        try:
            tags[f"version_{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tags


def _hardware() -> dict[str, str]:
    tags = {"hardware_cpu": processor(), "hardware_cores": str(os.cpu_count())}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        tags["hardware_gpu"] = str(torch.cuda.get_device_name())
    return tags


def processor() -> str:
    """The processor's own name; where the system does not tell it, its architecture."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
