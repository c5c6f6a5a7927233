"""The page of a recorder that requires keys: signing in, live numbers, signing out, a key that is revoked."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.page.watched import watched
from tests.pipeline.running import environment, run, running

pytestmark = pytest.mark.timeout(120)


def test_who_signs_in_with_a_key_sees_live_numbers_until_signing_out(
    tmp_path: Path, browser: Browser
) -> None:
    env = environment(tmp_path, DECAHERTZ_API_REQUIRE_KEYS="true")
    with running("--demo", env=env, log=tmp_path / "log") as demo:
        made = run("keys", "create", "ada", "--scope", "read", env=env)
        key, key_id = made.stdout.strip(), made.stdout.split("_")[1]
        with watched(browser, f"{demo.page}#/market", expected="401|Error during WebSocket") as page:
            form = page.get_by_role("dialog", name="Sign in")
            form.get_by_label("Key").fill(key[:-1] + ("A" if key[-1] != "A" else "B"))
            form.get_by_role("button", name="Sign in").click()
            expect(form.get_by_role("alert")).to_have_text(
                "Not signed in: the key is unknown, expired or revoked."
            )
            assert page.locator("tbody tr").count() == 0
            form.get_by_label("Key").fill(key)
            form.get_by_label("Key").press("Enter")
            # The demo trades here too: it has a key that the recorder made for it.
            expect(page.locator("tbody tr")).to_have_count(20)
            expect(page.locator("#link")).to_contain_text("Hz")
            expect(form).to_be_hidden()
            [cookie] = page.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            assert page.evaluate("document.cookie + JSON.stringify({...localStorage})").count(key) == 0
            assert key not in page.url

            page.reload()
            expect(page.locator("#link")).to_contain_text("Hz")
            page.get_by_role("button", name="Sign out").click()
            expect(form).to_be_visible()
            assert page.context.cookies() == []

            form.get_by_label("Key").fill(key)
            form.get_by_label("Key").press("Enter")
            expect(page.locator("#link")).to_contain_text("Hz")
            assert run("keys", "revoke", key_id, env=env).returncode == 0
            expect(form).to_be_visible()
