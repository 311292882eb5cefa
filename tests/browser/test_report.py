"""The report as a file on disk: quiet, accessible, readable on a desk, a phone and paper, true to the evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.printed import expected
from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

NUMBERS = """
() => [...document.querySelectorAll('[data-source], [data-derived]')].map(element => ({
    origin: element.dataset.source ?? element.dataset.derived,
    spec: element.dataset.format ?? '',
    text: element.textContent,
}))
"""

WIDER_THAN_THE_PAGE = """
() => {
    const inside = element => {
        for (let parent = element.parentElement; parent; parent = parent.parentElement)
            if (/auto|scroll|hidden|clip/.test(getComputedStyle(parent).overflowX)) return true;
        return false;
    };
    return [...document.body.querySelectorAll('*')]
        .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !inside(e))
        .slice(0, 5).map(e => e.outerHTML.slice(0, 120));
}
"""


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return request.param


@pytest.fixture
def opened(browser, study) -> Iterator:
    """Opens the report without a network. At the end: nothing was asked for, and nothing was said on the console."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_report(**settings) -> Page:
        context = browser.new_context(**settings)
        contexts.append(context)
        context.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or problems.append(f"asked for {r.url}"))
        page.on("requestfailed", lambda r: problems.append(f"could not load {r.url}"))
        page.on("console", lambda m: m.type in ("error", "warning") and problems.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.goto((study.root / "report" / "index.html").as_uri(), wait_until="load")
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert not problems, problems


def test_it_has_no_serious_accessibility_problem(opened, scheme, size, shoot):
    page = opened(viewport=size, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = Axe().run(page)
    bad = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
    told = [f"{v['id']}: {v['help']}: " + "; ".join(n["html"][:120] for n in v["nodes"][:4]) for v in bad]
    assert not told, "\n".join(told)


def test_it_looks_the_same_to_everybody(opened, scheme, size, shoot):
    """Kept to look at: the first screen and the whole page."""
    page = opened(viewport=size, color_scheme=scheme)
    name = f"report-{scheme}-{'phone' if size is PHONE else 'desktop'}"
    first = shoot(page, name)
    page.screenshot(path=first.with_name(f"{name}-whole.png"), full_page=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(channels) / 3 < 100) == (scheme == "dark"), f"background {background} in the {scheme} scheme"


def test_a_phone_need_not_scroll_sideways(opened):
    page = opened(viewport=PHONE, device_scale_factor=2, has_touch=True)
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1], f"page of {widths[0]} px on {widths[1]} px: {page.evaluate(WIDER_THAN_THE_PAGE)}"


def test_every_number_is_the_evaluations(opened, study):
    page = opened(viewport=DESKTOP)
    numbers = page.evaluate(NUMBERS)
    assert len(numbers) > 100
    evaluation = study.evaluation
    wrong = [
        (number["origin"], number["text"], right)
        for number in numbers
        if number["text"] != (right := expected(evaluation, origin=number["origin"], spec=number["spec"]))
    ]
    assert not wrong, f"{len(wrong)} of {len(numbers)} differ (source, printed, evaluation): {wrong[:5]}"


def test_it_prints(opened, shoot):
    page = opened(viewport=DESKTOP, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    shoot(page, "report-print")
    path = shoot(page, "report-print").with_suffix(".pdf")
    content = page.pdf(path=path, format="A4", print_background=True)
    assert content.startswith(b"%PDF")
    pages = content.count(b"/Type /Page") - content.count(b"/Type /Pages")
    assert 1 <= pages <= 20, f"{pages} pages"
