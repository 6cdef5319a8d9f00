"""Formgrader, nbgrader's web interface, shows our grades, and its autograde button takes our path."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from autograde.grading.attacks import target
from autograde.grading.instructor import reports, session
from autograde.grading.running.settings import gradebook_url

pytestmark = [pytest.mark.browser, pytest.mark.sandbox, pytest.mark.slow]
CONFIG = "c = get_config()\nc.ServerApp.jpserver_extensions = {'nbgrader.server_extensions.formgrader': True}\n"


@pytest.fixture
def server(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("Chromium is not installed (apt-get install chromium), so formgrader was not tried in a browser")
    target.write_course(tmp_path)
    for name, answers in {
        "right": target.right(),
        "wrong": target.right() | {"double": "def double(x): return 0"},
    }.items():
        target.write_submission(tmp_path, name, answers)
    session.run(tmp_path, "07", session.Options(students=["right"]), quiet=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    private = {n: str(tmp_path / n.lower()) for n in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    private["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    options = [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--no-browser", "--allow-root"]
    (tmp_path / "jupyter_server_config.py").write_text(CONFIG)
    options += ["--IdentityProvider.token=", f"--config={tmp_path / 'jupyter_server_config.py'}"]
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *options],
        stdout=log,
        stderr=log,
        env=os.environ | private,
        cwd=tmp_path,
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{url}/api", timeout=5).close()
            break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "server.log").read_text()[-2000:]
            time.sleep(0.3)
    yield tmp_path, url, chromium
    process.terminate()
    process.wait(20)
    log.close()


def test_formgrader_shows_our_grades_and_its_button_grades_in_the_sandbox(server):
    root, url, chromium = server
    from playwright.sync_api import sync_playwright

    pictures = os.environ.get("AUTOGRADE_PICTURES", str(root))
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.goto(f"{url}/formgrader/manage_submissions/{target.CHAPTER}")
        page.wait_for_selector("td.autograde >> nth=1", timeout=60_000)
        row = page.locator("tr", has=page.locator("td.student-id", has_text="wrong"))
        assert "needs autograding" in row.inner_text()
        row.locator("td.autograde a").click()
        page.wait_for_selector(".modal-body", timeout=180_000)
        page.wait_for_timeout(500)
        said = page.locator(".modal").first.inner_text()
        page.screenshot(path=f"{pictures}/formgrader-autograded.png")
        assert "Success" in said, said
        page.goto(f"{url}/formgrader/gradebook/{target.CHAPTER}/{target.NOTEBOOK}")
        page.wait_for_selector("text=/10/", timeout=60_000)
        page.goto(f"{url}/formgrader/manage_submissions/{target.CHAPTER}")
        page.wait_for_selector("td.autograde >> nth=1", timeout=60_000)
        page.wait_for_timeout(500)
        page.screenshot(path=f"{pictures}/formgrader.png")
        table = page.locator("table").first.inner_text()
        browser.close()
    assert "10 / 10" in table and "8 / 10" in table
    marks = reports.marks(session.planning.load("07", root), gradebook_url(root, None))
    assert marks["wrong"]["double_check"][0] == 0 and marks["wrong"]["facts_check"][0] == 2
    assert session.why(root, "wrong", "07")[0].tests[0].points == 0  # it came through our cache, not through a kernel
