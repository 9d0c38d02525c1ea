"""The first notebook in real JupyterLab in a real browser; skipped where there is none."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium and Chromium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
ROOT = Path(__file__).resolve().parents[2]
NAME = "00_start_here.ipynb"
# a traceback has this type in JupyterLab too, not that of an error
BROKEN = "[data-mime-type='application/vnd.jupyter.stderr']"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]
# every cell stays in the page, also those far below; the dark theme shows what is illegible on it
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/themes": {"theme": "JupyterLab Dark"},
}
OPTIONS = {"ServerApp.port_retries": 0, "IdentityProvider.token": ""}
# what `make lab` starts with
RECIPE = (ROOT / "Makefile").read_text(encoding="utf-8")
LAB = re.findall(r'(?<=[ "])--LabApp\.[^"\s]+', RECIPE)
NEWS = re.search(r"echo '(\{.*\})' > \$\(LAB_SETTINGS\)", RECIPE)[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks without outputs; its address."""
    folder = tmp_path_factory.mktemp("lab")
    book = nbformat.read(ROOT / "notebooks" / NAME, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (folder / "notebooks").mkdir()
    nbformat.write(book, folder / "notebooks" / NAME)
    for name, content in SETTINGS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    (folder / "jupyter" / "labconfig").mkdir(parents=True)
    (folder / "jupyter" / "labconfig" / "default_setting_overrides.json").write_text(NEWS)
    (folder / "README.md").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"ServerApp.port": port, "ServerApp.root_dir": folder}
    places |= {"LabApp.user_settings_dir": folder / "settings"}
    places |= {"LabApp.workspaces_dir": folder / "workspaces"}
    options = LAB + [f"--{name}={value}" for name, value in (OPTIONS | places).items()]
    # what the notebook writes stays in the folder too, its kernel finds this package and its models
    (folder / "data" / "flipbook").mkdir(parents=True)
    (folder / "data" / "flipbook" / "models").symlink_to(ROOT / "data" / "flipbook" / "models")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    about = {"PYTHONPATH": paths, "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    about |= {"NUMPRO_ROOT": str(folder), "JUPYTER_CONFIG_PATH": str(folder / "jupyter")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stderr=log, env=os.environ | about)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(60)


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless, as wide as a laptop."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{option}")
    options.add_argument("--window-size=1400,1800")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait(found, seconds=300):
    """Return what `found` gives once it gives something; a page that changes is asked again."""
    end = time.monotonic() + seconds
    while True:
        try:
            if got := found():
                return got
        except webdriver.remote.errorhandler.WebDriverException as error:
            if time.monotonic() >= end:
                raise AssertionError(f"waited in vain: {error.msg}") from error
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def page(lab, browser):
    """The notebook in JupyterLab after Run All, whatever came of it."""

    def all_of(selector):
        return browser.find_elements("css selector", selector)

    def choose(selector, text):
        """Click the one whose text begins so; true once it is there to be clicked."""
        one = next((e for e in all_of(selector) if e.text.strip().startswith(text)), None)
        return one is not None and (one.click() or True)

    def opened():
        browser.get(lab)
        return True

    book = nbformat.read(ROOT / "notebooks" / NAME, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    wait(opened)
    wait(lambda: len(all_of(".jp-Notebook .jp-CodeCell")) == len(code))
    # a menu that is used before the kernel is there asks for a kernel
    wait(lambda: "| Idle" in browser.find_element("id", "jp-main-statusbar").text)
    wait(lambda: choose(".lm-MenuBar-item", "Run"))
    wait(lambda: choose(".lm-Menu-item", "Run All Cells"))

    def prompts():
        """Return the numbers of the cells that were run; a folded cell shows none."""
        prompts = [e.get_attribute("textContent") for e in all_of(".jp-CodeCell .jp-InputPrompt")]
        return [text for text in prompts if text]

    folded = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in code]
    done = [f"[{number}]:" for number, hidden in enumerate(folded, 1) if not hidden]
    wait(lambda: all_of(BROKEN) or prompts() == done, 600)

    def last_output():
        return all_of(".jp-CodeCell")[-1].find_elements("css selector", ".jp-OutputArea-output")

    wait(lambda: all_of(BROKEN) or last_output(), 600)
    return browser


def test_run_all_without_an_error_and_a_control_that_moves(page):
    def all_of(selector):
        return page.find_elements("css selector", selector)

    assert [e.text for e in all_of(BROKEN)] == []
    assert page.execute_script("return document.body.dataset.jpThemeLight") == "false"

    slider = wait(lambda: all_of(".widget-slider .noUi-handle"))[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    picture = wait(lambda: all_of("img.widget-image"))[0]
    before = picture.get_attribute("src")
    slider.send_keys(webdriver.Keys.ARROW_RIGHT * 3)
    wait(lambda: picture.get_attribute("src") != before)


def test_the_whole_project_is_in_the_file_browser_and_no_news_asks_for_attention(page):
    names = {e.text for e in page.find_elements("css selector", ".jp-DirListing-itemText")}
    assert {"README.md", "data", "notebooks"} <= names
    assert page.find_elements("css selector", ".Toastify__toast") == []


# the widget's file input is in no page: it is put there when the button would open its dialog
SHOW_UPLOAD = """
const click = HTMLInputElement.prototype.click;
HTMLInputElement.prototype.click = function () {
  if (this.type !== "file") return click.call(this);
  this.id = "upload"; this.style.display = "block"; document.body.append(this);
};
arguments[0].click();
"""


def test_a_film_that_was_uploaded_is_asked_about(page, films):
    def one(selector):
        return wait(lambda: page.find_element("css selector", selector))

    film = films[0]
    page.execute_script(SHOW_UPLOAD, one(".widget-upload"))
    one("#upload").send_keys(str(film.path))
    panel = one(".widget-vbox:has(> .widget-hbox .widget-upload)")
    path, query = panel.find_elements("css selector", ".widget-text input")
    wait(lambda: path.get_attribute("value").endswith(f"/{film.path.name}"))
    query.send_keys(film.queries[0].text + webdriver.Keys.TAB)
    panel.find_element("css selector", "button.mod-primary").click()
    seconds = r"\d+\.\d\d s to \d+\.\d\d s"
    wait(lambda: re.search(seconds, panel.text))
    shown = wait(lambda: panel.find_element("css selector", "img.widget-image"))
    wait(lambda: shown.is_displayed() and shown.size["width"] > 300)
    clip = wait(lambda: panel.find_element("css selector", "video"))
    wait(lambda: page.execute_script("return arguments[0].duration > 0", clip))
