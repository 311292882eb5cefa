"""Freed memory is kept for the next step, and given back at the end; settings last, so each test has a process."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys

import pytest

from qunlearn import memory

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or resource.getrusage(resource.RUSAGE_SELF).ru_minflt == 0,
    reason="other C libraries have no such settings, and some sandboxes count no page faults",
)

LOOP = """
import contextlib, ctypes, json, resource, sys, threading, numpy, psutil
from qunlearn.memory import freed_memory_kept, give_back_freed_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages are counted that have 4 KB
found = {}

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    # Blocks of 1 to 40 MB, as activations are, all held at once.
    blocks = [numpy.ones(megabytes * 1_000_000, numpy.uint8) for megabytes in (1, 4, 10, 40)]

def steps():
    with freed_memory_kept() if sys.argv[1] == "kept" else contextlib.nullcontext():
        for _ in range(5):
            step()
        before = faults()
        for _ in range(10):
            step()
        found["faults"] = faults() - before
        held = numpy.ones(200_000_000, numpy.uint8)
        del held
        found["within"] = psutil.Process().memory_info().rss
    found["after"] = psutil.Process().memory_info().rss

if sys.argv[2] == "thread":
    thread = threading.Thread(target=steps)
    thread.start()
    thread.join()
else:
    steps()
print(json.dumps(found))
"""
PAGES = 10 * 55_000_000 // 4096
"""Of ten steps. Kept memory may still grow once or twice by a block, until all have found places."""


def measured(*arguments: str, loop: str = LOOP, **environment: str) -> dict[str, int]:
    """What the loop found in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", loop, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@glibc
@pytest.mark.parametrize("where", ["main", "thread"])
def test_kept_memory_is_not_taken_again_page_by_page(where):
    assert measured("kept", where)["faults"] < PAGES / 4


@glibc
def test_without_it_the_pages_of_large_blocks_come_anew_in_every_step():
    assert measured("as it comes", "main")["faults"] > PAGES / 2


@glibc
@pytest.mark.parametrize("where", ["main", "thread"])
def test_after_the_block_memory_goes_back(where):
    found = measured("kept", where)
    assert found["within"] - found["after"] > 40_000_000
    assert found["after"] < measured("as it comes", where)["after"] + 20_000_000


@glibc
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_settings_of_the_environment_are_left_alone(name):
    value = {"MALLOC_TRIM_THRESHOLD_": "0", "GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0"}[name]
    assert measured("kept", "main", **{name: value})["faults"] > PAGES / 2


@glibc
def test_other_variables_of_the_allocator_change_nothing():
    assert measured("kept", "main", MALLOC_ARENA_MAX="2")["faults"] < PAGES / 4


@glibc
def test_giving_back_alone_sets_nothing():
    loop = LOOP.replace('if sys.argv[1] == "kept"', "if give_back_freed_memory()")
    assert measured("kept", "main", loop=loop)["faults"] > PAGES / 2


def test_a_c_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    with memory.freed_memory_kept():
        pass


def test_an_error_in_the_block_comes_through():
    with pytest.raises(KeyError), memory.freed_memory_kept():
        raise KeyError
