"""The search for planted texts finds them in every form and place; else the tests that use it would show nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sqlite3
import subprocess
import zipfile
from urllib.parse import quote

import pandas as pd
import pytest
from security.planted import find

NAME = "Zoë Plantedname"
OTHER = "Somebody Else"
FORMS = {
    "plain": lambda text: text.encode(),
    "capitals": lambda text: text.upper().encode(),
    "latin-1": lambda text: text.encode("latin-1"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16, big end first": lambda text: text.encode("utf-16-be"),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal capitals": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 after one byte": lambda text: base64.b64encode(b"x" + text.encode() + b"y"),
    "base64 after two bytes": lambda text: base64.b64encode(b"xy" + text.encode() + b"z"),
    "base64 of json": lambda text: base64.b64encode(f'{{"a": "{text}", "b": 1}}'.encode()),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"???{text}".encode()),
    "json": lambda text: json.dumps({"name": text}).encode(),
    "python": lambda text: ascii(text).encode(),
    "url": lambda text: quote(f"/{text}/x").encode(),
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest().encode(),
    "md5 of small letters": lambda text: hashlib.md5(text.lower().encode()).hexdigest().encode(),
    "sha1, raw": lambda text: hashlib.sha1(text.encode()).digest(),
    "gzip": lambda text: gzip.compress(text.encode()),
}


def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.gz", gzip.compress(text.encode()))
    return stream.getvalue()


@pytest.mark.parametrize("form", [*FORMS, "zip with gzip"])
def test_a_text_is_found_in_every_form(tmp_path, form):
    write = (FORMS | {"zip with gzip": zipped})[form]
    (tmp_path / "file").write_bytes(b"before " + write(NAME) if "zip" not in form else write(NAME))
    (tmp_path / "other").write_bytes(write(OTHER))
    assert find([tmp_path], [NAME]) == {(str(tmp_path / "file"), NAME)}


def test_a_long_value_that_lies_in_pieces_in_a_database_is_found(tmp_path):
    with sqlite3.connect(tmp_path / "database") as connection:
        connection.execute("CREATE TABLE t (x TEXT, y BLOB)")
        for length in range(4000, 4200):
            connection.execute("INSERT INTO t VALUES (?, ?)", ("x" * length + NAME, b"x" * length + OTHER.encode()))
    place = str(tmp_path / "database")
    assert find([tmp_path], [NAME, OTHER, "Nobody"]) == {(place, NAME), (place, OTHER)}


def test_packed_columns_are_searched(tmp_path):
    pd.DataFrame({"who": [NAME] * 50, "n": range(50)}).to_parquet(tmp_path / "table", compression="zstd")
    assert find([tmp_path], [NAME, OTHER]) == {(str(tmp_path / "table"), NAME)}


def test_names_of_files_and_folders_are_searched(tmp_path):
    (tmp_path / "a" / NAME / "b").mkdir(parents=True)
    found = find([tmp_path], [NAME])
    assert found == {(str(tmp_path / "a" / NAME), NAME), (str(tmp_path / "a" / NAME / "b"), NAME)}


def test_git_history_is_searched(tmp_path):
    for words in (["init"], ["commit", "--allow-empty", "-m", f"Erase {NAME}"]):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    (tmp_path / ".git" / "COMMIT_EDITMSG").unlink()
    (tmp_path / ".git" / "logs" / "HEAD").unlink()
    assert (f"{tmp_path} (git)", NAME) in find([tmp_path], [NAME])


def test_printed_texts_are_searched_too(tmp_path):
    assert find([tmp_path], [NAME, OTHER], others={"stdout": f"hello {NAME.lower()}"}) == {("stdout", NAME)}
