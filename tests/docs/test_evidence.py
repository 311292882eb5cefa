"""docs/evidence.md: its steps work, its names are those of the program, and it claims no more than there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from deletion import evidence_examples as examples

from qunlearn.deletion import evidence as e
from qunlearn.deletion import signing

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evidence.md").read_text(encoding="utf-8")
(BY_HAND,) = re.findall(r"```bash\n(FILE=.*?)```", TEXT, re.DOTALL)
(ROTATION,) = re.findall(r"```bash\n(mkdir.*?)```", TEXT, re.DOTALL)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


@pytest.fixture
def audited(tmp_path):
    """What an auditor has: the file and the public key."""
    (tmp_path / f"{examples.REQUEST}.json").write_bytes(examples.signed().content)
    (tmp_path / "signing.pub").write_bytes(examples.key().public.pem)
    return tmp_path


def by_hand(folder):
    return subprocess.run(["bash", "-euc", BY_HAND], cwd=folder, capture_output=True, text=True, check=False)


@needs_openssl
def test_the_steps_by_hand_verify_a_file(audited):
    done = by_hand(audited)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == ["Signature Verified Successfully", examples.signed().signature.key]
    assert (audited / "document.json").read_bytes() == e.message(examples.document())
    assert json.loads((audited / "document.json").read_bytes())["request"]["id"] == examples.REQUEST


@needs_openssl
def test_the_steps_by_hand_find_a_changed_document_and_another_key(audited):
    file = audited / f"{examples.REQUEST}.json"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"passed":true', b'"passed":false', 1))
    assert by_hand(audited).returncode != 0
    file.write_bytes(content)
    (audited / "signing.pub").write_bytes(examples.key(2).public.pem)
    assert by_hand(audited).returncode != 0


@needs_openssl
def test_a_key_made_as_described_is_taken(tmp_path):
    assert "openssl genpkey -algorithm ed25519" in TEXT
    file = tmp_path / signing.KEY
    file.parent.mkdir()
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    file.chmod(0o600)
    assert signing.SigningKey.load(tmp_path).public


def test_keys_change_as_described(tmp_path, monkeypatch):
    monkeypatch.delenv(signing.VARIABLE, raising=False)
    old = e.sign(examples.document(), signing.SigningKey.load(tmp_path))
    subprocess.run(["bash", "-euc", ROTATION], cwd=tmp_path, check=True)
    new = e.sign(examples.document(), signing.SigningKey.load(tmp_path))
    assert old.signature.key != new.signature.key
    trusted = signing.trusted_keys(tmp_path)
    assert [e.first_fault(e.verify(one, trusted)) for one in (old, new)] == [None, None]


def test_every_part_and_outcome_is_explained():
    for part in (*e.Document.model_fields, *examples.OUTCOMES):
        if part not in ("format", "version", "completed"):
            assert re.search(rf"\*\*{part}\*\*|`{part}`", TEXT), part


def test_fields_to_compare_exist():
    document = json.loads(e.message(examples.document()))
    rows = re.findall(r"^\| (`.*?) \|", TEXT.split("hold the digests against")[1], re.MULTILINE)
    fields = [field for row in rows for field in re.findall(r"`([\w.]+)`", row)]
    assert len(fields) == 7
    for field in fields:
        value = document
        for key in field.split("."):
            value = value[key]
        assert value


def test_every_field_has_a_meaning():
    for part in json.loads((DOCS / "evidence.schema.json").read_text())["$defs"].values():
        assert part["description"]
        for name, field in part["properties"].items():
            assert field.get("description"), name


def test_the_page_leads_somewhere_and_claims_no_more_than_there_is():
    for target in re.findall(r"\]\((.*?)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert not path or (DOCS / path).is_file(), target
        assert not anchor or f"## {anchor.replace('-', ' ')}" in TEXT.lower()
    assert not examples.OVERCLAIMS.search(TEXT)
