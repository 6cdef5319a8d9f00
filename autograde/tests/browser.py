"""JupyterLab on a copy of the course in headless Chromium: what a student sees."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


PANEL = "const panel = window.jupyterapp.shell.currentWidget, cells = [...panel.content.model.cells];"
COUNT = f"() => {{ {PANEL} return Math.max(0, ...cells.map(c => c.executionCount || 0)); }}"
CODE_CELLS = f"([a, b]) => {{ {PANEL} return cells.slice(a, b).filter(c => c.type === 'code').length; }}"
FINISHED = f"""([a, b, before, codes]) => {{ {PANEL}
    const idle = panel.sessionContext.session.kernel.status === 'idle';
    const ran = cells.slice(a, b).filter(c => c.type === 'code' && c.executionCount > before);
    const failed = ran.some(c => c.toJSON().outputs.some(o => o.output_type === 'error'));
    return idle && (failed || ran.length === codes); }}"""


class Lab:
    """A JupyterLab of its own (settings, runtime files, a free port), and one page in it."""

    def __init__(self, course: Path, scratch: Path):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            pytest.skip("Chromium is not installed (apt-get install chromium), so nothing was tried in a browser")
        pytest.importorskip("playwright", reason="playwright is not installed, so nothing was tried in a browser")
        self.chromium, self.scratch = chromium, scratch
        self.folder = scratch / "course"
        shutil.copytree(course, self.folder)

    def __enter__(self) -> Lab:
        from playwright.sync_api import sync_playwright

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        private = {
            name: str(self.scratch / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")
        }
        private["JUPYTERLAB_WORKSPACES_DIR"] = str(self.scratch / "workspaces")
        options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--no-browser", "--expose-app-in-browser"]
        options += ["--IdentityProvider.token=", f"--ServerApp.root_dir={self.folder}", "--allow-root"]
        quiet = self.scratch / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True)
        (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self.log = (self.scratch / "jupyterlab.log").open("wb")
        self.server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", *options],
            stdout=self.log, stderr=self.log, env=os.environ | private, cwd=self.folder,
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        self._wait(120)
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=self.chromium, args=FLAGS)
        self.page = self.browser.new_page(viewport={"width": 1280, "height": 1000})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "browser"):
            self.browser.close()
            self.playwright.stop()
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.log.close()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/api", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                assert self.server.poll() is None, Path(self.log.name).read_text()[-3000:]
                time.sleep(0.3)
        raise AssertionError("JupyterLab did not start:\n" + Path(self.log.name).read_text()[-3000:])

    def open(self, path: str) -> None:
        """Open a notebook as by a double click, and wait for its kernel."""
        self.page.goto(f"{self.url}/lab/tree/{path}?reset")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
        self.page.wait_for_function(
            "() => { const p = window.jupyterapp.shell.currentWidget;"
            " return p?.sessionContext?.session?.kernel?.status === 'idle'; }",
            timeout=90_000,
        )

    def parameters(self, code: str) -> None:
        """Add a line to the parameters cell, as a student in a hurry does."""
        self.page.evaluate(
            """(code) => { const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
            for (const cell of cells)
                if ((cell.getMetadata('tags') || []).includes('parameters'))
                    cell.sharedModel.setSource(cell.sharedModel.getSource() + '\\n' + code); }""",
            code,
        )

    def write(self, index: int, source: str) -> None:
        """Replace the content of a cell."""
        self.page.evaluate(
            """([i, source]) => window.jupyterapp.shell.currentWidget.content.model.cells.get(i)
            .sharedModel.setSource(source)""",
            [index, source],
        )

    def run_cells(self, start: int, stop: int, limit: float) -> list[dict]:
        """Press Shift+Enter on each of these cells and wait until all have run; returns every cell with its outputs.

        A cell that fails ends the queue, as it does for a student.
        """
        self.show(start)
        before = self.page.evaluate(COUNT)
        codes = self.page.evaluate(CODE_CELLS, [start, stop])
        self.page.keyboard.press("Escape")
        for _ in range(start, stop):
            self.page.keyboard.press("Shift+Enter")
            self.page.wait_for_timeout(50)
        self.page.wait_for_function(FINISHED, arg=[start, stop, before, codes], timeout=limit * 1000)
        return self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")

    def show(self, index: int) -> None:
        """Select a cell and bring it into view."""
        self.page.evaluate(
            """async (i) => { const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = i; panel.content.mode = 'command'; panel.activate();
            await panel.content.scrollToItem(i, 'start'); panel.content.node.focus(); }""",
            index,
        )
        self.page.wait_for_timeout(500)

    def picture(self, path: Path) -> None:
        """What is on the screen now."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
