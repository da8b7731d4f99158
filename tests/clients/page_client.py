"""The web page in headless Chromium: conversations kept by the server, editing, stopping, hostile answers, keys, themes, a phone.

    page_client.py PORT [FOLDER_FOR_PICTURES]"""
import json
import pathlib
import shutil
import sys
import urllib.request

from playwright.sync_api import sync_playwright

URL = f"http://127.0.0.1:{sys.argv[1]}/"
PICTURES = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
ANSWER = "Hello, here I am. 🙂 naïve 日本"


def done(page):
    page.wait_for_selector(".message.assistant:last-child:not(.writing)")
    return page.locator(".message.assistant").last


def answer(page, text):
    page.fill("#input", text)
    page.press("#input", "Enter")
    return done(page)


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


def kept(path=""):
    with urllib.request.urlopen(f"{URL}conversations{path}") as r:
        return json.load(r)


def until_kept(page, n_turns):
    for _ in range(300):
        listed = kept()["data"]
        if listed and listed[0]["n_turns"] == n_turns:
            return kept("/" + listed[0]["id"])
        page.wait_for_timeout(20)
    raise AssertionError(f"{n_turns} turns expected: {listed}")


def tool(page, who, name, which="last"):
    message = getattr(page.locator(f".message.{who}"), which)
    message.hover()
    message.get_by_role("button", name=name).click()


def asks_and_shows(page):
    page.goto(URL + "?q=hi")
    until(page, "document.querySelector('#model').value === 'scripted'")
    assert page.locator(".message").count() == 0, "nothing is sent by an address"
    first = answer(page, "hi")
    assert first.locator(".body").inner_text().strip() == ANSWER
    thinking = first.locator("details.thinking")
    assert not thinking.evaluate("d => d.open") and "Nothing to do." in thinking.evaluate("d => d.textContent")
    assert "45 tokens" in page.inner_text("#status") and page.locator("#meter").is_visible(), page.inner_text("#status")
    assert page.locator("#meter").evaluate("m => m.value > 0 && m.max === 262144")
    until_kept(page, 2)

    shown = answer(page, "show MARKDOWN")
    assert shown.locator("h2").inner_text() == "Title" and shown.locator("li").count() == 3 and shown.locator("table td").count() == 2
    assert shown.locator("pre .k").first.inner_text() == "int" and shown.locator("strong").inner_text() == "bold"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.locator(".block button").click()
    until(page, "document.querySelector('.block button').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == "int main(void) { return 0; } // done"
    page.wait_for_timeout(100)
    picture(page, "page-light.png")

    hostile = answer(page, "show HOSTILE")
    assert hostile.locator("img, script, iframe, object, style").count() == 0 and hostile.locator(".body svg").count() == 0
    assert hostile.locator("a").evaluate_all("links => links.every(a => /^https?:/.test(a.href))")
    assert "<img src=x" in hostile.inner_text()
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned === undefined")
    until_kept(page, 6)


HOSTILE = ["<img src=x onerror=P>", "<script>P</script>", "<svg onload=P>", "<iframe srcdoc='<script>P</script>'>", "<a href=javascript:P>x</a>", "<style>*{x:y}</style>",
           "<object data=http://evil.test>", "<base href=http://evil.test>", "<meta http-equiv=refresh content='0;url=http://evil.test'>", "<form action=http://evil.test>",
           "<math><mtext></p><img src=x onerror=P>", "![x](http://evil.test/x.png)", "[x](javascript:P)", "[x](JaVaScRiPt:P)", "[x](\x01javascript:P)", "[x](data:text/html,P)",
           "[x](vbscript:P)", "[x](//evil.test)", "[x](https://e.test\"onmouseover=P)", "<javascript:P>", "&lt;script&gt;P&lt;/script&gt;", "[x]: javascript:P"]
AROUND = ["{}", "**{}**", "*{}*", "`{}`", "``` {}\n{}\n```", "> {}", "- {}\n  - {}", "# {}", "| {} | b |\n|---|---|\n| {} | {} |", "[{}](https://a.test)", "~~{}~~ [{}]({})",
          "```html\n{}", "1. {}\n\n{}", "{} https://a.test/{}"]


def texts_of_the_model_stay_text(page):
    """Every payload in every kind of block, into the page's own document and under its policy."""
    payloads = [a.replace("{}", h.replace("P", "window.pwned=1")) for h in HOSTILE for a in AROUND]
    assert len(payloads) >= 300
    found = page.evaluate("""async (payloads) => {
        const {show} = await import("./markdown.js"), bad = [];
        for (const p of payloads) {
            const e = document.createElement("div");
            document.body.append(e);
            for (let n = 1; n < p.length + 7; n += 7) show(e, p.slice(0, n)); // as it comes
            const whole = document.createElement("div");
            show(whole, p);
            const names = [...e.querySelectorAll("*")].map((x) => x.localName), attributes = [...e.querySelectorAll("*")].flatMap((x) => x.getAttributeNames());
            if (whole.innerHTML !== e.innerHTML) bad.push("pieces: " + p);
            if (names.some((n) => !/^(p|br|hr|h[2-6]|ul|ol|li|strong|em|del|code|pre|span|a|div|button|table|tr|th|td|blockquote)$/.test(n))) bad.push(p);
            if (attributes.some((n) => !/^(href|rel|target|title|class|type|tabindex|start)$/.test(n))) bad.push(p);
            if ([...e.querySelectorAll("a")].some((x) => !/^(https?|mailto):$/.test(x.protocol))) bad.push(p);
            for (const x of e.querySelectorAll("*")) x.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
            e.remove();
        }
        return bad;
    }""", payloads)
    assert not found and page.evaluate("window.pwned === undefined"), found[:5]


def edits_and_retries_keep_what_was_said(page):
    tool(page, "user", "Edit", "first")
    assert page.input_value(".editor textarea") == "hi"
    page.press(".editor textarea", "Escape")
    assert page.locator(".editor").count() == 0 and page.locator(".message").count() == 6, "Escape leaves all as it was"
    tool(page, "user", "Edit", "first")
    page.fill(".editor textarea", "hi again")
    page.press(".editor textarea", "Control+Enter")
    done(page)
    assert page.locator(".message").count() == 2 and page.locator(".message.user .body").inner_text() == "hi again"
    tree = until_kept(page, 8)
    assert [t["parent"] for t in tree["turns"]] == [0, 1, 2, 3, 4, 5, 0, 7] and tree["head"] == 8, tree
    tool(page, "assistant", "Retry")
    done(page)
    assert page.locator(".message.assistant .place").inner_text() == "2 / 2"
    tree = until_kept(page, 9)
    assert tree["turns"][8]["parent"] == 7 and tree["turns"][8]["content"] == ANSWER and tree["turns"][8]["finish"] == "stop", tree
    tool(page, "user", "The one before")
    assert page.locator(".message").count() == 6 and page.locator(".message.user .body").first.inner_text() == "hi"
    tool(page, "assistant", "Edit", "first")
    page.fill(".editor textarea", "my own words")
    page.locator(".editor button").first.click()
    until_kept(page, 10)
    assert page.locator(".message").count() == 2 and page.locator(".message.assistant .body").inner_text().strip() == "my own words"
    page.reload()
    page.wait_for_selector("#conversations li")
    page.locator("#conversations li button").first.click()
    page.wait_for_selector(".message.assistant")
    assert page.locator(".message.assistant .body").inner_text().strip() == "my own words", "as it was left"


def stops(page):
    page.fill("#input", "a LONG one")
    page.press("#input", "Enter")
    until(page, "document.querySelector('.message.assistant.writing .body')?.textContent.length > 20")
    until(page, "document.querySelector('#rate').textContent.includes('tokens/s')")
    assert page.locator("#stop").is_visible() and not page.locator("#send").is_visible()
    page.press("#input", "Escape")
    done(page)
    assert page.locator("#send").is_visible() and "Stopped." in page.locator(".message.assistant").last.inner_text()
    text = page.locator(".message.assistant .body").last.inner_text()
    tree = until_kept(page, 12)
    assert tree["turns"][-1]["finish"] == "stopped" and tree["turns"][-1]["content"].strip() == text.strip()
    page.wait_for_timeout(300)
    assert page.locator(".message.assistant .body").last.inner_text() == text


def answers_go_on_behind_another_conversation(page):
    page.keyboard.press("Control+k")
    assert page.locator(".message").count() == 0 and page.evaluate("document.activeElement.id") == "input"
    page.fill("#input", "a LONG two")
    page.press("#input", "Enter")
    until(page, "document.querySelector('.message.assistant.writing .body')?.textContent.length > 20")
    page.keyboard.press("Control+k")
    assert answer(page, "beside it").locator(".body").inner_text().strip() == ANSWER
    page.wait_for_timeout(100)
    assert page.locator("#conversations .dot").count() == 1, "the other one is still being answered"
    page.locator("#conversations li", has_text="a LONG two").locator("button").first.click()
    page.wait_for_selector(".message.assistant.writing")
    page.click("#stop")
    done(page)


def settings_belong_to_the_conversation(page):
    page.keyboard.press("Control+k")
    page.click("#settings")
    assert page.evaluate("document.activeElement.id") == "system" and page.get_attribute("#settings", "aria-expanded") == "true"
    page.fill("#system", "Say SYSTEM.")
    page.fill("#temperature", "0.3")
    page.select_option("#think", "none")
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible() and page.evaluate("document.activeElement.id") == "settings"
    asked = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/chat/completions") else None)
    answer(page, "with settings")
    assert asked[0]["messages"][0] == {"role": "system", "content": "Say SYSTEM."} and asked[0]["temperature"] == 0.3, asked
    assert asked[0]["reasoning_effort"] == "none" and "top_p" not in asked[0], asked
    assert until_kept(page, 2)["settings"]["temperature"] == "0.3"
    page.locator("#conversations li button").nth(2).click()
    until(page, "document.querySelector('#system').value === ''")
    page.click("#settings")
    page.evaluate("localStorage.clear()")
    page.keyboard.press("Escape")


def titles_and_files(page):
    page.locator("#conversations li").first.locator("[aria-haspopup]").click()
    page.keyboard.press("Enter")  # the first of the menu
    page.fill("#conversations li input", "A better title")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#conversations li button').textContent === 'A better title'")
    page.locator("#conversations li").first.locator("[aria-haspopup]").click()
    page.keyboard.press("ArrowDown")
    with page.expect_download() as d:
        page.keyboard.press("Enter")
    assert d.value.suggested_filename == "A better title.md" and "## You\n\nwith settings" in d.value.path().read_text()
    page.locator("#conversations li").first.locator("[aria-haspopup]").click()
    with page.expect_download() as d:
        page.get_by_role("menuitem", name="Export as JSON").click()
    exported = d.value.path()
    n = page.locator("#conversations li").count()
    page.locator("#conversations li").first.locator("[aria-haspopup]").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    until(page, f"document.querySelectorAll('#conversations li').length === {n - 1}")
    assert all(c["title"] != "A better title" for c in kept()["data"])
    page.set_input_files("#file", exported, strict=True)
    until(page, f"document.querySelectorAll('#conversations li').length === {n}")
    until(page, "document.querySelector('#title').textContent === 'A better title'")
    assert page.locator(".message").count() == 2
    page.fill("#search", "better")
    assert page.locator("#conversations li").count() == 1
    page.fill("#search", "")


def works_by_keys_alone(page):
    page.keyboard.press("Control+k")
    answer(page, "by keys")
    page.press("#input", "ArrowUp")
    assert page.evaluate("document.activeElement.closest('.editor') !== null")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "input"
    order = []
    page.focus(".skip")
    for _ in range(40):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id"))
        if order[-1] == "send":
            break
    seen = [x for i, x in enumerate(order) if x not in order[:i]]
    assert [x for x in seen if x in ("menu", "settings", "new", "search", "conversations", "messages", "input", "send")] == [
        "menu", "settings", "new", "search", "conversations", "messages", "input", "send"], order
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "input"
    unnamed = page.evaluate("""[...document.querySelectorAll('button, input, textarea, select')].filter(e => e.offsetParent &&
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).map(e => e.outerHTML)""")
    assert not unnamed, unnamed


def says_what_is_wrong(page):
    page.route("**/conversations/*/turns", lambda route: route.fulfill(status=503, json={"error": {"message": "the disk is full"}}))
    page.fill("#input", "will not be kept")
    page.press("#input", "Enter")
    until(page, "document.querySelector('#notice').textContent.includes('Not saved: the disk is full')")
    done(page)
    page.wait_for_timeout(200)
    page.unroute("**/conversations/*/turns")
    page.locator("#notice").get_by_text("Save again").click()
    assert until_kept(page, 4)["turns"][2]["content"] == "will not be kept"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, json={"error": {"message": "the queue is full"}}))
    page.fill("#input", "not now")
    page.press("#input", "Enter")
    until(page, "document.querySelector('#notice').textContent.includes('the queue is full')")
    page.unroute("**/v1/chat/completions")
    page.locator("#notice").get_by_text("Try again").click()
    assert done(page).locator(".body").inner_text().strip() == ANSWER
    until_kept(page, 6)


def looks_right_in_the_dark_and_on_a_phone(page):
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        until(page, f"document.documentElement.dataset.theme === '{scheme}'")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    answer(page, "show MARKDOWN")
    page.wait_for_timeout(100)
    picture(page, "page-dark.png")
    page.set_viewport_size({"width": 380, "height": 720})
    page.wait_for_timeout(250)
    assert not page.locator("#conversations li").first.is_visible()
    page.evaluate("document.getElementById('tokens').textContent = '1,000,000 of 1,048,576 tokens'")
    wide = page.evaluate("""[...document.querySelectorAll('body, header *, main, main .message, footer *')]
        .filter(e => e.getBoundingClientRect().right > 381).map(e => e.outerHTML.slice(0, 80))""")
    assert not wide, f"hangs over on a phone: {wide}"
    until(page, "document.documentElement.scrollWidth <= innerWidth")
    picture(page, "page-phone.png")
    page.click("#menu")
    assert page.locator("#conversations li").first.is_visible()
    page.wait_for_timeout(250)
    picture(page, "page-phone-list.png")
    page.keyboard.press("Escape")
    page.wait_for_timeout(250)
    assert not page.locator("#conversations li").first.is_visible() and page.evaluate("document.activeElement.id") == "menu"


with sync_playwright() as p:
    chromium = shutil.which("chromium")
    browser = p.chromium.launch(executable_path=chromium) if chromium else p.chromium.launch()
    context = browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme="light")
    tab = context.new_page()
    outside, problems, dialogs = [], [], []
    tab.on("request", lambda r: outside.append(r.url) if not r.url.startswith((URL, "blob:" + URL)) else None)
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" and "status of" not in m.text else None)
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
    for part in (asks_and_shows, texts_of_the_model_stay_text, edits_and_retries_keep_what_was_said, stops, answers_go_on_behind_another_conversation,
                 settings_belong_to_the_conversation, titles_and_files, works_by_keys_alone, says_what_is_wrong,
                 looks_right_in_the_dark_and_on_a_phone):
        try:
            part(tab)
        except Exception as e:
            picture(tab, "page-failed.png")
            raise AssertionError(f"{part.__name__}: {e}; {problems}") from e
        assert not outside and not problems and not dialogs, (part.__name__, outside, problems, dialogs)
    browser.close()
print("all well")
