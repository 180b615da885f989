"""The review desk as a person meets it, in a browser, with real jobs on a real broker."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from rabbitjobs.review.case import Filters
from tests.broker.crew import until
from tests.browser.conftest import Shop, Sits

pytestmark = pytest.mark.timeout(180)


def field(page: Page, name: str) -> Locator:
    """The field of an argument."""
    return page.get_by_role("textbox", name=re.compile(f"^{name}\\b"))


def test_a_failing_job_lands_is_edited_and_ends_by_itself(shop: Shop, sits: Sits) -> None:
    """Nothing is loaded by hand: the case appears, and closes, on the open pages."""
    page = sits("ann", timezone_id="Asia/Tokyo")
    expect(page.get_by_role("heading", name="Nothing has come here yet")).to_be_visible()
    (job_id,) = shop.send("ann")
    shop.work()
    row = page.get_by_role("link", name="shop.mail")
    expect(row).to_be_visible()
    expect(page.locator("[data-zone]")).to_have_text("in Asia/Tokyo")
    page.get_by_role("link", name="Groups").click()
    page.wait_for_url("**/groups")
    page.get_by_role("link", name="shop.mail").click()
    page.wait_for_url(re.compile(r"/cases\?.*group="))
    page.get_by_role("link", name="shop.mail").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("shop.mail")
    expect(page.get_by_text("expected an address, got ann").first).to_be_visible()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("h1 .chip")).to_have_text("yours")
    page.get_by_role("link", name="Edit…").click()
    field(page, "copies").fill('"two"')
    page.get_by_role("button", name="Send it").click()
    expect(page.locator(".field.wrong .fault")).to_contain_text("Expected `int`")
    field(page, "copies").fill("2")
    field(page, "to").fill("ann@example.org")
    page.get_by_role("button", name="Check and show the change").click()
    expect(page.locator(".diff")).to_contain_text('"copies": 2')
    page.get_by_role("button", name="Send it").click()
    expect(page.locator("h1 .chip")).to_have_text("closed")
    expect(page.get_by_text("succeeded").first).to_be_visible()
    assert shop.result(job_id) == "2 sent to ann@example.org"
    assert shop.open_cases() == 0


def test_two_browsers_collide(shop: Shop, sits: Sits) -> None:
    """One wins; the other is told who, and what he typed is there still."""
    shop.work()
    shop.send("nowhere")
    # Before they sit down: bob's page will hear of nothing.
    until(lambda: shop.open_cases() == 1)
    ann, bob = sits("ann"), sits("bob")
    # It is as old as pages are without scripts.
    bob.route("**/live", lambda route: route.abort())
    for page in (ann, bob):
        page.get_by_role("link", name="shop.mail").click()
    bob.get_by_text("Discard…").click()
    bob.get_by_label("Why? The job has failed").fill("not <b>ours</b>")
    ann.get_by_role("button", name="Claim").click()
    expect(ann.locator("h1 .chip")).to_have_text("yours")
    bob.get_by_role("button", name="Discard").click()
    expect(bob.get_by_role("alert")).to_contain_text("claim by ann")
    expect(bob.locator("h1 .chip")).to_have_text("held by ann")
    bob.get_by_text("Take it over…").click()
    bob.get_by_label("Why do you take it?").fill("she is ill")
    bob.get_by_role("button", name="Take it over").click()
    expect(bob.locator("h1 .chip")).to_have_text("yours")
    # Ann's page hears of it by itself.
    expect(ann.locator("h1 .chip")).to_have_text("held by bob")
    expect(ann.get_by_role("button", name="Retry")).to_have_count(0)


def test_a_bulk_canary_stops(shop: Shop, sits: Sits) -> None:
    """The first one fails again, so no other is sent; the page says so by itself."""
    shop.work()
    shop.send("one", "two", "three")
    page = sits("ann")
    until(lambda: shop.open_cases() == 3)
    page.goto("/groups")
    page.get_by_role("link", name="Act on all").click()
    page.get_by_label("Canary").fill("1")
    page.get_by_role("button", name="Fix the cases and try it dry").click()
    expect(page.get_by_text("would be: retry")).to_have_count(3)
    page.get_by_role("button", name="Run it on 3 cases").click()
    expect(page.locator("h1 .chip")).to_have_text("stopped")
    expect(page.get_by_text("1 of the canary did not succeed")).to_be_visible()
    expect(page.get_by_label("What became of them")).to_contain_text(re.compile(r"2\s+waiting"))
    sent = shop.crew.app.desk.list(Filters(state="open")).cases
    assert sorted(one.failures for one in sent) == [1, 1, 2]


def test_a_script_in_a_payload_is_text(shop: Shop, sits: Sits) -> None:
    """It is shown, and it is not run."""
    shop.work()
    evil = "<script>document.title = 'robbed'</script><img src=x onerror='document.title=1'>"
    shop.send(evil)
    page = sits("ann")
    page.get_by_role("link", name="shop.mail").click()
    expect(page.locator(".arguments")).to_contain_text("<script>document.title")
    expect(page.locator("main script, main img")).to_have_count(0)
    page.get_by_role("link", name="Edit…").click()
    expect(field(page, "to")).to_have_value(evil)
    expect(page).not_to_have_title(re.compile("robbed|^1"))


def test_all_of_it_by_keyboard(shop: Shop, sits: Sits) -> None:
    """From the list to a comment and a retry, without a mouse; and the keys can be turned off."""
    shop.work()
    shop.send("one", "two")
    # Before she sits down: no row moves under her keys.
    until(lambda: shop.open_cases() == 2)
    page = sits("ann")
    expect(page.locator("[data-row]")).to_have_count(2)
    keys = page.keyboard
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys.press("Escape")
    for key in ("j", "j", "x"):
        keys.press(key)
    expect(page.locator("[data-ticked]")).to_have_text(" 1")
    keys.press("Enter")
    page.wait_for_url("**/cases/*-*")
    keys.press("c")
    keys.press("Enter")
    expect(page.locator("h1 .chip")).to_have_text("yours")
    # A page is seen before its scripts, which hear the keys, have run.
    page.wait_for_load_state()
    keys.press("m")
    keys.type("asked them")
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator(".comment .text")).to_have_text("asked them")
    page.wait_for_load_state()
    keys.press("r")
    expect(page.get_by_role("button", name="Retry").first).to_be_focused()
    # What others do meanwhile brings the page up to date, and leaves the keys where they are.
    (case,) = shop.crew.app.desk.list(Filters(owner="ann")).cases
    shop.crew.app.desk.comment(case.id, "hurry", who="bob", version=case.version)
    expect(page.locator(".comment .text").last).to_have_text("hurry")
    expect(page.get_by_role("button", name="Retry").first).to_be_focused()
    keys.press("Enter")
    # It fails again: the page shows the case open, by itself.
    expect(page.locator(".facts")).to_contain_text("Failures")
    page.wait_for_load_state()
    keys.press("u")
    page.wait_for_url("**/cases")
    keys.press("g")
    keys.press("a")
    page.wait_for_url("**/audit")
    keys.press("?")
    page.get_by_label("Turn the keys off").check()
    keys.press("Escape")
    keys.press("g")
    keys.press("c")
    expect(page).to_have_url(re.compile("/audit$"))


@pytest.mark.parametrize("shop", ["6s"], indirect=True)
def test_an_open_page_keeps_its_claim(shop: Shop, sits: Sits) -> None:
    """Beyond the lease; when the page is left, the claim ends by itself."""
    shop.work()
    shop.send("nowhere")
    page = sits("bob")
    page.get_by_role("link", name="shop.mail").click()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("h1 .chip")).to_have_text("yours")
    (case,) = shop.crew.app.desk.list(Filters(state="open")).cases
    first = case.lease_until
    assert first is not None

    def held_until() -> float:
        return shop.crew.app.desk.get(case.id).lease_until or 0.0

    until(lambda: held_until() > first + 6)
    page.goto("/help")
    until(lambda: shop.crew.app.desk.list(Filters(state="open", claimed=False)).cases)


def test_without_scripts_every_step_is_there(shop: Shop, sits: Sits) -> None:
    """Claim, snooze, wake, edit and send: all are plain forms."""
    shop.work()
    shop.send("one")
    until(lambda: shop.open_cases() == 1)
    page = sits("bob", java_script_enabled=False)
    page.get_by_role("link", name="shop.mail").click()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("h1 .chip")).to_have_text("yours")
    page.get_by_text("Snooze…").click()
    page.get_by_role("button", name="Snooze").click()
    expect(page.locator("h1 .chip")).to_contain_text("snoozed")
    page.get_by_role("button", name="Wake it").click()
    expect(page.locator("h1 .chip")).to_have_text("open")
    page.get_by_role("link", name="Edit…").click()
    field(page, "to").fill("one@example.org")
    page.get_by_role("button", name="Send it").click()
    page.wait_for_url(re.compile(r"/cases/[^/]+\?done="))
    until(lambda: shop.open_cases() == 0)
    page.reload()
    expect(page.locator("time").first).to_contain_text(re.compile("UTC|ago"))
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
