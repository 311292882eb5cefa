"""One finished study with its servers, and a Chromium to look at its pages with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.pictures import TIDY
from browser.study import REPOSITORY, Study, carry_out, prepare
from playwright.sync_api import Browser, Page, Route

from flows import servers

SCREENSHOTS = REPOSITORY / "test-artifacts" / "browser"

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="package")
def study(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Read-only for tests. Asks for the browser first: without one nothing needs to run."""
    prepared = prepare(tmp_path_factory.mktemp("study"))
    try:
        carry_out(prepared)
        yield prepared
    finally:
        servers.down(prepared.root)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A person's first visit at a desktop. Whatever a page asks of another computer is refused, and fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(60_000)
    context.add_init_script(TIDY)
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("http://127.0.0.1:", "data:", "blob:")), refuse)
    yield context.new_page()
    if request.node.stash.get(FAILED, False):
        for number, opened in enumerate(context.pages):
            photograph(opened, f"failed-{request.node.name}-{number}")
    context.close()
    assert not asked, f"pages asked other computers: {asked}"


@pytest.fixture
def shoot() -> Callable[[Page, str], Path]:
    """Keep what a page shows as `test-artifacts/browser/<name>.png`."""
    return photograph


def photograph(page: Page, name: str) -> Path:
    path = SCREENSHOTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled")
    return path
