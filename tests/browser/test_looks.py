"""How the pages look to everybody: on a phone, in the dark, to a screen reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.cast import fill
from tests.browser.conftest import Shop, Sits, apart

pytestmark = pytest.mark.timeout(240)
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# Pictures of the pages for people, if they name a folder.
SHOTS = os.environ.get("RABBITJOBS_TEST_SHOTS")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture
def paths(shop: Shop) -> Iterator[dict[str, str]]:
    """Every page of a desk with something on it, by name."""
    store = shop.crew.app.parts.store
    assert store is not None
    case = apart(lambda: fill(store, shop.crew.app.desk))
    bulk = apart(lambda: shop.crew.app.desk.bulk.list()[0].id)
    yield {
        "cases": "/cases", "filtered": "/cases?queue=emails&state=open", "none": "/cases?q=nothing",
        "groups": "/groups", "case": f"/cases/{case}", "edit": f"/cases/{case}/edit",
        "json": f"/cases/{case}/edit?as=json", "bulks": "/bulk", "bulk-new": "/bulk/new",
        "bulk": f"/bulk/{bulk}", "dry-run": f"/bulk/{bulk}/dry-run", "audit": "/audit",
        "people": "/people", "help": "/help", "lost": "/cases/lost",
    }  # fmt: skip


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with a page."""
    page.evaluate(AXE)
    found: Any = page.evaluate("rules => axe.run(document, rules)", RULES)
    return [
        f"{page.url}: {one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_fault_for_a_screen_reader(
    sits: Sits, paths: dict[str, str], scheme: Literal["light", "dark"]
) -> None:
    """axe-core, with every form unfolded."""
    page = sits("ann", color_scheme=scheme, viewport={"width": 1280, "height": 860})
    found = []
    for name, path in paths.items():
        page.goto(path)
        shot(page, f"{name}-{scheme}")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found += faults(page)
    page.goto("/cases")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    shot(page, f"keys-{scheme}")
    found += faults(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    shot(page, f"login-{scheme}")
    found += faults(page)
    assert found == []


def test_a_phone_shows_all_of_it(sits: Sits, paths: dict[str, str]) -> None:
    """360 pixels: nothing sticks out, and what is pressed is large enough for a thumb."""
    page = sits("ann", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    wide, small = [], []
    for name, path in paths.items():
        page.goto(path)
        shot(page, f"{name}-phone")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(name)
        small += page.eval_on_selector_all(
            "main button, main .button, main summary, main select",
            "all => all.filter(one => one.offsetParent && one.offsetHeight < 24)"
            ".map(one => one.outerHTML.slice(0, 200))",
        )
    assert wide == []
    assert small == []
    page.goto(paths["case"])
    page.get_by_role("button", name="Claim").tap()
    expect(page.locator("h1 .chip")).to_have_text("yours")
