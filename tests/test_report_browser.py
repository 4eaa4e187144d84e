"""The report in a browser: nothing is asked of the network, nothing is complained of, and it fits narrow and wide."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixtura import GaussianMixture
from mixtura.apps.report import Fitted, page, pictures

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="SKIPPED: Chromium is not installed"),
]

EVIL = "<script>document.title = 'evil'</script><img src=http://127.0.0.1/x onerror=alert(1)>"

MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
  const out = [...document.body.querySelectorAll("*")].filter(e => !e.closest(".scroll") && !e.matches(".skip")
    && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + " " + e.textContent.slice(0, 40));
  const pairs = [...document.body.querySelectorAll("*")].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
      let at = e;
      while (at && getComputedStyle(at).backgroundColor === "rgba(0, 0, 0, 0)") at = at.parentElement;
      const back = at ? getComputedStyle(at).backgroundColor : "rgb(255, 255, 255)";
      return getComputedStyle(e).color + "|" + back;
    });
  const told = {inner: innerWidth, wide: root.scrollWidth, broken, out, colours: [...new Set(pairs)],
    title: document.title, hidden: [...document.querySelectorAll("h2, h3")].filter(e => !e.offsetHeight).length,
    scrolling: [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth).length};
  parent.postMessage(told, "*");
});
</script>"""
"""What is measured in a copy of the page; the page itself has no script."""

FRAME = """<!DOCTYPE html><body style="margin:0"><script>
addEventListener("message", m => { document.body.dataset.told = JSON.stringify(m.data); });
</script><iframe src="copy.html" style="width:%dpx;height:900px;border:0"></iframe>"""


@pytest.fixture(scope="module")
def text() -> str:
    """A page with wide tables, long and hostile names, and every kind of block."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 14)) + 6 * draw.integers(2, size=(300, 1))
    model = GaussianMixture(2, covariance_type="tied", init_params="kmeans", random_state=0).fit(x)
    names = [EVIL, "A" * 60, *(f"channel {j}" for j in range(12))]
    table = {
        "covariance_type": ["tied"] * 3,
        "n_components": [1, 2, 3],
        "loglik": [-9.0, -5.0, -4.0],
        "n_parameters": [3, 5, 7],
        "bic": [30.0, 21.0, 25.0],
        "aic": [28.0, 20.0, 24.0],
        "icl": [30.0, 21.5, 29.0],
        "status": ["converged"] * 3,
    }
    told = {
        "columns": names,
        "columns_left_out": [EVIL],
        "steps": [{"name": "asinh", "cofactor": 5.0, "columns": names}],
        "counts": np.bincount(model.predict(x)).tolist(),
        "bic": model.bic(x),
        "input": {"file": "a_very_long_file_name_" * 5 + ".csv", "sha256": "0f" * 32},
        "selection": {"criterion": "bic", "best": 1, "table": table},
        "findings": [{"kind": "grid", "component": 0, "message": "Component 0 is narrow."}],
        "call": "mixtura fit " + "x" * 200,
    }
    fit = Fitted("Cells", model, told, x, model.predict(x), len(x), ["B" * 80], "Data: nobody")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "FEATURES", 3)
        return page(EVIL, [fit])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[dict[str, str], list[str], str]]:
    """Pages by path, the paths that were asked for, and the address."""
    pages: dict[str, str] = {}
    asked: list[str] = []

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = pages.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield pages, asked, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def chromium(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    # No name is resolved, so that a request to anywhere else fails and is told; the console goes to stderr.
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *quiet, rules]
    command += [profile, "--enable-logging=stderr", "--log-level=0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


def test_the_browser_would_tell(served: tuple[dict[str, str], list[str], str], tmp_path: Path) -> None:
    """What the test below looks for is seen where it is there."""
    pages, asked, address = served
    pages["/bad.html"] = "<html><body><img src='/lost.png'><script>console.error('loud')</script></body></html>"
    lines = console(chromium(tmp_path, "--dump-dom", f"{address}/bad.html"))
    assert any("loud" in line for line in lines)
    assert asked[:2] == ["/bad.html", "/lost.png"]
    asked.clear()


def console(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_loads_nothing_and_complains_of_nothing(
    text: str, served: tuple[dict[str, str], list[str], str], tmp_path: Path
) -> None:
    pages, asked, address = served
    pages["/page.html"] = text
    done = chromium(tmp_path, "--dump-dom", f"{address}/page.html")
    assert "To reproduce it" in done.stdout
    assert "<title>evil" not in done.stdout
    assert console(done) == []
    assert asked == ["/page.html"]


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_narrow_and_wide(
    text: str, width: int, served: tuple[dict[str, str], list[str], str], tmp_path: Path
) -> None:
    pages, _, address = served
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy
    pages["/copy.html"] = text.replace(policy.group(), "").replace("</body>", f"{MEASURE}</body>")
    pages["/frame.html"] = FRAME % width
    done = chromium(
        tmp_path, "--window-size=1400,1000", "--virtual-time-budget=3000", "--dump-dom", f"{address}/frame.html"
    )
    found = re.search(r'data-told="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    told = json.loads(
        found.group(1).replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert told["inner"] == width
    assert told["wide"] <= width, told["out"]
    assert told["out"] == []
    assert told["broken"] == told["hidden"] == 0
    assert told["scrolling"] >= 1, "the table of fourteen features is wider than the page"
    assert told["title"] == EVIL
    assert len(told["colours"]) > 3
    for pair in told["colours"]:
        assert contrast(*pair.split("|")) >= 4.5, pair


def test_what_is_folded_is_printed(text: str, tmp_path: Path) -> None:
    """Folded parts that are a metre long take pages of their own on paper."""
    tall = text.replace("</style>", "details > div { height: 1000mm }</style>")
    folded = text.count("<details>")
    assert folded > 2
    assert sheets(tall, tmp_path) >= sheets(text, tmp_path) + 2 * folded


def sheets(text: str, tmp_path: Path) -> int:
    """How many pages a print has."""
    source, target = tmp_path / "page.html", tmp_path / "page.pdf"
    source.write_text(text, encoding="utf-8")
    chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", source.as_uri())
    return target.read_bytes().count(b"/Type /Page\n")


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2, success criterion 1.4.3)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
