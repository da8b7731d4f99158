"""The web page in headless Chromium: a conversation, editing, stopping, hostile answers, themes, a phone.

    page_client.py PORT [FOLDER_FOR_PICTURES]"""
import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

URL = f"http://127.0.0.1:{sys.argv[1]}/"
PICTURES = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None


def answer(page, text):
    page.fill("#input", text)
    page.press("#input", "Enter")
    page.wait_for_selector(".message.assistant:last-child:not(.writing)")
    return page.locator(".message.assistant").last


def until(page, expression):
    """Playwright's own way to wait for an expression needs eval, which the page's policy forbids."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def picture(page, name):
    if PICTURES:
        page.screenshot(path=PICTURES / name)


with sync_playwright() as p:
    chromium = shutil.which("chromium")
    browser = p.chromium.launch(executable_path=chromium) if chromium else p.chromium.launch()
    context = browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme="light")
    page = context.new_page()
    outside, problems, dialogs = [], [], []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith(URL) else None)
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
    page.goto(URL + "?q=hi")
    until(page, "document.querySelector('#model').textContent === 'scripted'")
    assert page.locator(".message").count() == 0, "nothing is sent by an address"

    first = answer(page, "hi")
    assert first.locator(".body").inner_text().strip() == "Hello, here I am. 🙂 naïve 日本"
    thinking = first.locator("details.thinking")
    assert not thinking.evaluate("d => d.open") and "Nothing to do." in thinking.evaluate("d => d.textContent")
    assert "tokens/s" in page.inner_text("#status") and page.locator("#status meter").count() == 1, page.inner_text("#status")

    shown = answer(page, "show MARKDOWN")
    assert shown.locator("h2").inner_text() == "Title" and shown.locator("li").count() == 3 and shown.locator("table td").count() == 2
    assert shown.locator("pre .k").first.inner_text() == "int" and shown.locator("strong").inner_text() == "bold"
    picture(page, "page-light.png")

    hostile = answer(page, "show HOSTILE")
    assert hostile.locator("img, script, iframe, object, svg, style").count() == 0
    assert hostile.locator("a").evaluate_all("links => links.every(a => /^https?:/.test(a.href))")
    assert "<img src=x" in hostile.inner_text()
    page.wait_for_timeout(300)
    assert not dialogs and page.evaluate("window.pwned === undefined")

    page.locator(".message.user").first.hover()
    page.locator(".message.user").first.get_by_text("Edit").click()
    assert page.input_value("#input") == "hi" and page.locator(".message").count() == 0
    answer(page, "hi again")
    page.locator(".message.assistant").last.hover()
    page.locator(".message.assistant").last.get_by_text("Retry").click()
    page.wait_for_selector(".message.assistant:last-child:not(.writing)")
    assert page.locator(".message").count() == 2

    page.fill("#input", "a LONG one")
    page.press("#input", "Enter")
    until(page, "document.querySelector('.message.assistant.writing .body')?.textContent.length > 20")
    page.press("#input", "Escape")
    page.wait_for_selector(".message.assistant:last-child:not(.writing)")
    assert "stopped" in page.inner_text("#status") or page.locator("#send").is_visible()
    length = len(page.locator(".message.assistant").last.inner_text())
    page.wait_for_timeout(300)
    assert len(page.locator(".message.assistant").last.inner_text()) == length

    page.keyboard.press("Control+k")
    assert page.locator(".message").count() == 0
    page.reload()
    page.wait_for_selector("#conversations li")
    page.locator("#conversations li button").first.click()
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    answer(page, "show MARKDOWN")
    picture(page, "page-dark.png")
    page.set_viewport_size({"width": 380, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing hangs over on a phone"
    picture(page, "page-phone.png")
    page.click("#menu")
    assert page.locator("#conversations li").first.is_visible()
    assert not outside, outside
    assert not problems, problems
    browser.close()
print("all well")
