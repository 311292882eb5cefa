"""`python -m studies apply NAME` writes a study's parameters to `params.yaml`; `publish NAME` keeps its results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from flows.errors import is_ours, tell
from qunlearn.config import ConfigError
from studies.overlay import Study, merged, names, read
from studies.publish import publish
from tasks.files import write_text


def apply(name: str, study: Study, target: Path) -> None:
    """Write the study's parameters to `target`, a parameter file; once is enough.

    Raises:
        ConfigError: the file holds another study already, whose blocks would stay behind.
    """
    text = target.read_text(encoding="utf-8")
    mark = f"# Study {name}; "
    if not text.startswith(mark):
        if text.startswith("# Study "):
            raise ConfigError(f"{target} holds {text.splitlines()[0][2:]}; do that first")
        content = yaml.safe_dump(merged(yaml.safe_load(text), study), sort_keys=False, width=110)
        write_text(target, f"{mark}`git checkout params.yaml` brings the defaults back.\n{content}")
    print(f"{target} describes study {name}; `dvc repro` runs it")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__)
    parser.add_argument("command", choices=["apply", "publish"])
    parser.add_argument("name", choices=names())
    parser.add_argument("--root", type=Path, default=Path(), help="folder of params.yaml (%(default)s)")
    options = parser.parse_args(arguments)
    study = read(options.name)
    try:
        if options.command == "apply":
            apply(options.name, study, options.root / "params.yaml")
        else:
            for path in publish(options.name, study, root=options.root):
                print(path)
    except ValueError as error:
        if not is_ours(error):
            raise
        tell("studies", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
