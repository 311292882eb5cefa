"""Write what docs/ says of methods, metrics and evidence from the code: registry, catalogue and models.

python docs/generate.py            # write all files
python docs/generate.py --check    # exit 1 and name each page that is not what the code says
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import evidence_fields_page
import evidence_schema
import method_page
import metric_page

FOLDER = Path(__file__).parent
PAGES = {
    "methods.md": method_page.render,
    "metrics.md": metric_page.render,
    "evidence-fields.md": evidence_fields_page.render,
    "evidence.schema.json": evidence_schema.render,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; the exit code."""
    parser = argparse.ArgumentParser(description="Write the pages of docs/ that say what the code says.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pages are")
    options = parser.parse_args(arguments)
    texts = {options.folder / name: render() for name, render in PAGES.items()}
    if not options.check:
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
        return 0
    stale = [file for file, text in texts.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        print(f"{file} is not what the code says; run: python docs/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
