"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from conftest import REPOSITORY
from serving import knowledge, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.network, pytest.mark.xdist_group("browser")]

NASTY = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
MILL = f"# Mill 🌾 {NASTY}\n\nThe wheel turns slowly.\n\nThe mill is serviced in August {NASTY}.\n\nIn September its stones are dressed."
SCREENSHOT = os.environ.get("LLMKIT_SCREENSHOT")


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'llmkit[dev]'")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium must be there in CI: make tools")
        pytest.skip("needs Debian's chromium: make tools")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: page.problems.append(f"dialog {dialog.message}"))
    yield page
    context.close()


def opened(page, url):
    page.goto(url)
    page.wait_for_selector("body[data-ready]")


def bring(page, *files):
    page.set_input_files("#picker", [str(file) for file in files])
    page.locator(".file.ready").nth(len(files) - 1).wait_for(state="attached")


def ask(page, text):
    before = page.locator(".answer .actions").count()
    page.fill("#question", text)
    page.keyboard.press("Enter")
    page.locator(".answer .actions").nth(before).wait_for(state="attached")


def test_from_an_upload_to_the_passage_and_over_a_reload(page, tmp_path):
    file = tmp_path / f"mill {NASTY.replace('/', '-')[:60]}.md"
    file.write_text(MILL)
    knowledge(tmp_path / "kb", {NASTY: "Of no matter."}, source=NASTY)
    with running(tmp_path, f"The mill is serviced in August [1]. {NASTY} **{NASTY}** `{NASTY}`") as served:
        opened(page, served.url)
        page.set_input_files("#picker", str(file))
        page.locator(".file.ready").nth(1).wait_for(state="attached")
        names = page.locator(".file .entry").all_inner_texts()
        assert NASTY in names  # an id is shown as it is; a file's name is made fit for any disk
        assert "mill _img src=x onerror=%22document.title='hacked'%22__script_documen.md" in names

        ask(page, "When is the mill serviced?")
        chip = page.locator(".text .chip").first
        assert chip.inner_text() == "1"
        chip.click()
        page.wait_for_selector("#passage")
        assert page.inner_text("#passage").startswith("The mill is serviced in August <img")
        assert page.evaluate("() => document.activeElement.id") == "passage"
        box, panel = page.locator("#passage").bounding_box(), page.locator("#panel-body").bounding_box()
        assert panel["y"] <= box["y"] <= panel["y"] + panel["height"]
        assert page.inner_text(".document").replace("\n", "").startswith(f"# Mill 🌾 {NASTY}")
        page.keyboard.press("Escape")
        assert page.locator("#panel").is_hidden()
        assert page.evaluate("() => document.activeElement.className") == "chip"

        page.select_option("#pipeline", "write")
        ask(page, f"What? {NASTY}")
        said = page.locator(".answer .text").last.inner_text()
        assert said.count(NASTY) == 3
        page.locator(".why").last.click()
        page.wait_for_selector(".steps")
        assert "answer" in page.inner_text(".steps")
        assert "tokens" in page.inner_text(".steps")
        page.locator("summary", has_text="Prompt of answer").click()
        assert NASTY in page.inner_text("#panel-body")

        page.locator('[aria-label="Good answer"]').last.click()
        page.locator('[aria-label="Good answer"][aria-pressed="true"]').wait_for(state="attached")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".question").count() == 2
        assert page.locator(".answer .text").last.inner_text() == said
        assert page.locator('[aria-label="Good answer"][aria-pressed="true"]').count() == 1
        assert page.locator("#history li").count() == 1
        (row,) = served.service.stores.for_caller(_local()).feedback.rows()
        assert (row["rating"], row["question"]) == ("up", f"What? {NASTY}")

        page.locator("#history .plain").click()
        assert page.locator("#history li").count() == 1
        page.locator('#history [data-sure="yes"]').click()
        page.locator("#history .hint").wait_for()
        assert page.locator(".question").count() == 0
        page.locator('[aria-label^="Delete mill"]').click()
        page.locator('.file [data-sure="yes"]').click()
        page.locator("#file-list li").nth(1).wait_for(state="detached")
        assert page.locator("#app img:not([src='/page/icon.svg'])").count() == 0
        assert page.locator("#app script").count() == 0
        assert page.title() == "llmkit"
        assert page.problems == []


def _local():
    from llmkit.serve.auth.principal import LOCAL_PRINCIPAL

    return LOCAL_PRINCIPAL


def test_stop_ends_the_model_and_keeps_no_turn(page, tmp_path, monkeypatch):
    file = tmp_path / "mill.md"
    file.write_text(MILL)
    hold = threading.Event()
    with running(tmp_path, "word " * 20_000) as served:
        stream = type(served.model)._stream
        spoken = []

        def slow(self, *args, **kwargs):
            for chunk in stream(self, *args, **kwargs):
                spoken.append(chunk)
                hold.wait(0.01)
                yield chunk

        monkeypatch.setattr(type(served.model), "_stream", slow)
        opened(page, served.url)
        assert "Add your documents" in page.inner_text("#talk")
        bring(page, file)
        page.select_option("#pipeline", "write")
        page.fill("#question", "When is the mill serviced?")
        page.keyboard.press("Enter")
        page.locator(".draft p").wait_for(state="attached")
        page.click("#stop")
        page.locator("article .hint", has_text="Stopped. This turn is not stored.").wait_for()
        served.until(lambda: served.service.runner.admission.busy == 0)
        count = len(spoken)
        hold.wait(0.1)
        assert len(spoken) == count < 20_000
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".question").count() == 0
        assert page.problems == []


def test_a_person_decides_on_the_calls_of_an_agent(page, tmp_path):
    def wants(path):
        arguments = {"path": path, "text": NASTY}
        return {"tool_calls": [{"name": "write_file", "args": arguments, "id": path, "type": "tool_call"}]}

    outputs = [wants("a.txt"), wants("b.txt"), "Two files.", wants("c.txt"), "No file."]
    step = {
        "type": "agent",
        "tools": [{"type": "write_file", "root": str(tmp_path / "out")}],
        "approve": ["write_file"],
    }
    with running(tmp_path, outputs, {"do": {"model": "scripted:x", "steps": [step]}}) as served:
        opened(page, served.url)
        page.fill("#question", f"Write it. {NASTY}")
        page.keyboard.press("Enter")
        page.locator(".call").wait_for()
        assert page.inner_text(".call legend") == "write_file wants to be called"
        assert json.loads(page.inner_text(".call pre")) == {"path": "a.txt", "text": NASTY}
        assert not (tmp_path / "out" / "a.txt").exists()
        page.reload()  # it waits still
        page.locator(".call .approve").click()
        page.locator(".call pre", has_text="b.txt").wait_for()
        assert (tmp_path / "out" / "a.txt").read_text() == NASTY
        page.locator(".call button", has_text="Change").click()
        page.fill(".call textarea", "nothing")
        page.locator(".call .approve").click()
        assert page.inner_text(".call .wrong").startswith("Not JSON")
        page.fill(".call textarea", '{"path": "d.txt", "text": "changed"}')
        page.locator(".call .approve").click()
        page.locator(".answer .text", has_text="Two files.").wait_for()
        assert {one.name: one.read_text() for one in (tmp_path / "out").iterdir()} == {
            "a.txt": NASTY,
            "d.txt": "changed",
        }
        page.fill("#question", "Once more.")
        page.keyboard.press("Enter")
        page.fill(".call input", "enough now")
        page.locator(".call button", has_text="Reject").click()
        page.locator(".answer .text", has_text="No file.").wait_for()
        assert "enough now" in str(served.model.calls[-1])
        assert not (tmp_path / "out" / "c.txt").exists()
        assert page.locator(".question").count() == 2
        assert page.locator("#app img:not([src='/page/icon.svg'])").count() == 0
        assert page.title() == "llmkit"
        assert page.problems == []


def test_the_page_asks_for_a_key_and_uses_it(page, tmp_path):
    from llmkit.serve.auth.api_keys import KeyStore

    _, text = KeyStore(tmp_path / "serve").add("me", ["ask"])
    with running(tmp_path, keys=True) as served:
        page.goto(served.url)
        page.locator("#key-text").fill("llmkit-wrong")
        page.keyboard.press("Enter")
        page.locator("#key-wrong", has_text="API key is needed").wait_for(state="attached")
        page.locator("#key-text").fill(text)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#add").is_hidden()  # the key may not ingest


def test_narrow_dark_and_by_keyboard_alone(page, tmp_path):
    file = tmp_path / "mill.md"
    file.write_text(MILL)
    with running(tmp_path) as served:
        page.set_viewport_size({"width": 360, "height": 740})
        page.emulate_media(color_scheme="dark")
        opened(page, served.url)
        bring(page, file)
        ask(page, "When is the mill serviced?")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert max(int(n) for n in re.findall(r"\d+", ground)) < 60
        page.focus("#question")
        for _ in range(12):
            page.keyboard.press("Shift+Tab")
            if page.evaluate("() => document.activeElement.classList.contains('chip')"):
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("#passage")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, select, textarea, input:not([hidden])")].filter(
                (one) => !one.textContent.trim() && !one.ariaLabel && !one.labels?.length).length"""
        )
        assert nameless == 0
        assert page.problems == []


@pytest.mark.skipif(SCREENSHOT is None, reason="set LLMKIT_SCREENSHOT to the file the picture goes to")
def test_the_picture_of_the_documentation(page, tmp_path, weights_home):
    from llmkit.pipeline.pipeline import load_pipeline

    chat = load_pipeline("chat")
    with running(tmp_path, pipelines={"chat": chat.config()}, encoder="local") as served:
        page.set_viewport_size({"width": 1200, "height": 720})
        opened(page, served.url)
        docs = [REPOSITORY / "docs" / name for name in ("chat.md", "knowledge.md", "retrieval.md", "refuses.md")]
        bring(page, *docs)
        ask(page, "What happens to a turn that was stopped?")
        page.locator(".text .chip").first.click()
        page.wait_for_selector("#passage")
        page.screenshot(path=SCREENSHOT)
        assert Path(SCREENSHOT).stat().st_size <= 150_000


DROP = """() => {
  const file = (path, text) => ({
    isFile: true, fullPath: path, file: (done) => done(new File([text], path.split("/").pop())),
  });
  const folder = (...entries) => ({
    isDirectory: true,
    createReader: () => ({ readEntries: (done) => done(entries.splice(0, 1)) }), // a portion at a time
  });
  const entries = [folder(file("/a/readme.md", "The alpha mill."), folder(file("/a/b/readme.md", "The beta mill."))),
    file("/note.md", "The gamma mill.")];
  const event = new Event("drop", { cancelable: true });
  event.dataTransfer = {
    types: ["Files"], files: [], items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })),
  };
  document.dispatchEvent(event);
}"""


def test_a_dropped_folder_keeps_its_paths(page, tmp_path):
    with running(tmp_path) as served:
        opened(page, served.url)
        page.evaluate(DROP)
        page.locator(".file.ready").nth(2).wait_for(state="attached")
        names = page.locator(".file .entry").all_inner_texts()
        assert sorted(names) == ["a/b/readme.md", "a/readme.md", "note.md"]
        assert {file["status"] for file in served.files()} == {"parsed"}
        assert page.problems == []
