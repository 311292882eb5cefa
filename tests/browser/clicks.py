"""Going from page to page as a person does, and looking whether the page is the right one."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

TRAINING = "workflowType=machine_learning"
"""Part of the address of MLflow's pages about model training."""


def follow(page: Page, name: str) -> None:
    """Click one of MLflow's own links, which stay in the tab."""
    link = page.locator("a:not([target=_blank])").and_(page.get_by_role("link", name=name, exact=True)).first
    expect(link, f"{page.url} has no link {name!r}").to_be_visible()
    link.click()


def follow_text(page: Page, name: str) -> Page:
    """Click a link in our descriptions; MLflow opens those in a new tab, which is returned."""
    link = page.locator("a[target=_blank]").and_(page.get_by_role("link", name=name, exact=True)).first
    expect(link, f"the description at {page.url} has no link {name!r}").to_be_visible()
    with page.context.expect_page() as opened:
        link.click()
    return opened.value


def shows(page: Page, *texts: str) -> None:
    """The page shows each text, in whole or within other text."""
    for text in texts:
        expect(page.get_by_text(text).first, f"{page.url} does not show {text!r}").to_be_visible()


def titled(page: Page, text: str) -> None:
    heading = page.get_by_role("heading", name=text, exact=True).first
    expect(heading, f"{page.url} is not the page of {text!r}").to_be_visible()


def at(page: Page, part: str) -> None:
    expect(page, f"{page.url}: the address should have {part}").to_have_url(re.compile(re.escape(part)))
