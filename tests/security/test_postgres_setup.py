"""`.ci/postgres-setup`, without installing anything: where it cannot, it says so and lets the tests be skipped."""

from __future__ import annotations

import pytest

SKIPPED = "the tests of the ledger on PostgreSQL will be SKIPPED"


@pytest.fixture
def setup(scripts):
    """Runs a copy whose places are those of the test."""
    script = scripts.root / ".ci" / "postgres-setup"
    for place in ("/usr/lib/postgresql", "/etc/postgresql-common"):
        assert place in script.read_text()
        script.write_text(script.read_text().replace(place, f"{scripts.root}{place}"))
    scripts.link("mkdir", "tee", "ls", "env")
    return lambda: scripts.run(str(script))


def installer(scripts, *, as_user=0):
    """An apt-get that writes down what it is told, and installs the server's program."""
    place = f"{scripts.root}/usr/lib/postgresql/15/bin"
    scripts.shell_program("id", f"echo {as_user}")
    scripts.shell_program(
        "apt-get", f'echo "$@" >> {scripts.root}/told; [ "$1" = update ] || (mkdir -p {place}; echo > {place}/postgres)'
    )


def test_what_is_installed_is_used(scripts, setup):
    installer(scripts)
    scripts.shell_program("postgres", "")
    done = setup()
    assert (done.returncode, done.stdout) == (0, f"{scripts.programs}/postgres\n")
    assert not (scripts.root / "told").exists()


def test_debians_own_place_is_looked_at(scripts, setup):
    program = scripts.root / "usr/lib/postgresql/15/bin/postgres"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    done = setup()
    assert (done.returncode, done.stdout) == (0, f"{program}\n")


def test_it_is_installed_and_no_server_is_started(scripts, setup):
    installer(scripts)
    done = setup()
    assert done.returncode == 0, done.stderr
    assert (scripts.root / "told").read_text() == "update\ninstall --yes --no-install-recommends postgresql\n"
    made = scripts.root / "etc/postgresql-common/createcluster.d/no-main-cluster.conf"
    assert made.read_text() == "create_main_cluster = false\n"


def test_without_apt_it_says_that_the_tests_will_be_skipped(setup):
    done = setup()
    assert done.returncode == 0
    assert SKIPPED in done.stderr


def test_without_root_it_says_that_the_tests_will_be_skipped(scripts, setup):
    installer(scripts, as_user=1000)
    done = setup()
    assert done.returncode == 0
    assert SKIPPED in done.stderr
    assert not (scripts.root / "told").exists()


def test_an_installation_that_fails_is_a_failure(scripts, setup):
    installer(scripts)
    scripts.shell_program("apt-get", "exit 100")
    assert setup().returncode == 100
