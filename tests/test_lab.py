"""The first notebook in real JupyterLab in a real browser; skipped where there is none."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium and Chromium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, without a token; its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
    ]
    options += [f"--ServerApp.root_dir={folder / 'notebooks'}", "--no-browser", "--allow-root"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=log)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless, as wide as a laptop."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1400,1800"):
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait(found, seconds=120):
    """Return what `found` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (got := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)
    return got


def test_run_all_without_an_error_and_a_control_that_moves(lab, browser):
    def all_of(selector):
        return browser.find_elements("css selector", selector)

    def pick(selector, text):
        return next((e for e in all_of(selector) if e.text.strip().startswith(text)), None)

    def opened():
        try:
            browser.get(f"{lab}/lab/tree/00_start_here.ipynb")
        except webdriver.remote.errorhandler.WebDriverException:  # the server is not up yet
            return False
        return wait(lambda: all_of(".jp-Notebook .jp-Cell"), 60)

    wait(opened)
    wait(lambda: pick(".lm-MenuBar-item", "Run")).click()
    wait(lambda: pick(".lm-Menu-item", "Run All Cells")).click()
    time.sleep(5)
    wait(lambda: not any("*" in e.text for e in all_of(".jp-InputPrompt")), 240)
    wrong = all_of("[data-mime-type='application/vnd.jupyter.error']")
    assert [e.text for e in wrong] == []

    slider = wait(lambda: all_of(".widget-slider .noUi-handle"))[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    picture = wait(lambda: all_of("img.widget-image"))[0]
    before = picture.get_attribute("src")
    slider.send_keys(webdriver.Keys.ARROW_RIGHT * 3)
    wait(lambda: picture.get_attribute("src") != before, 30)
