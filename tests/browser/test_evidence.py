"""The page of a deletion request's evidence: quiet, accessible, readable on a desk, a phone and paper."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from deletion import evidence_examples as examples

from qunlearn.deletion import evidence_page

pytestmark = pytest.mark.browser

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
OUTCOMES = ("unlearned", "retrained", "not present")


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of an outcome without a network. At the end: nothing was asked for, the console is empty."""
    contexts, problems = [], []

    def open_page(outcome, **settings):
        file = tmp_path / "evidence.html"
        file.write_text(evidence_page.render(examples.signed(outcome)), encoding="utf-8")
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or problems.append(f"asked for {r.url}"))
        page.on("console", lambda m: problems.append(f"{m.type}: {m.text}"))
        page.goto(file.as_uri(), wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, problems


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_accessible_and_fits(opened, shoot, outcome, scheme, size):
    page = opened(outcome, viewport=SIZES[size], color_scheme=scheme)
    name = f"evidence-{outcome.replace(' ', '-')}-{scheme}-{size}"
    page.screenshot(path=shoot(page, name).with_name(f"{name}-whole.png"), full_page=True)
    bad = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    told = [f"{v['id']}: {v['help']}: " + "; ".join(n["html"][:120] for n in v["nodes"][:4]) for v in bad]
    assert not told, "\n".join(told)
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(channels) / 3 < 100) == (scheme == "dark")


def test_it_prints(opened, shoot):
    page = opened("retrained", viewport=SIZES["desktop"], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    content = page.pdf(path=shoot(page, "evidence-print").with_suffix(".pdf"), format="A4", print_background=True)
    pages = content.count(b"/Type /Page") - content.count(b"/Type /Pages")
    assert 2 <= pages <= 6, f"{pages} pages"
