"""The report's page in a real browser: no violation of WCAG 2 A or AA that axe-core finds, and nothing wider than the window.

`make test-page` installs Chromium and fetches axe-core (see axe.py).
"""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.page.axe import SCRIPT
from tests.program import ROOT

SIZES = {"wide": (1280, 900), "phone": (390, 844)}
RUN = """
<script>%s</script>
<script>
const drawn = new Promise(done => setTimeout(done, 3000));  // the charts
drawn.then(() => axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})).then(found => {
  parent.postMessage(JSON.stringify({
    violations: found.violations.map(v => [v.id, v.help, v.nodes.slice(0, 5).map(n => n.html.slice(0, 200))]),
    passes: found.passes.length, width: document.documentElement.scrollWidth, window: window.innerWidth,
    charts: [document.querySelectorAll(".vega").length, document.querySelectorAll(".vega svg").length],
    images: [...document.images].map(i => [i.naturalWidth, i.complete]),
  }), "*");
});
</script>
"""
# A window of Chromium is 500 wide at least; a frame may be narrower.
FRAME = """<!DOCTYPE html><html><body><iframe src="%s" width="%d" height="%d" style="border: 0"></iframe><script>
addEventListener("message", said => {
  const told = document.createElement("pre");
  told.id = "axe";
  told.textContent = said.data;
  document.body.append(told);
});
</script></body></html>"""


@pytest.fixture(scope="module")
def axe() -> str:
    return SCRIPT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report that `make report` makes."""
    folder = tmp_path_factory.mktemp("page") / "report"
    command = [ROOT / ".venv/bin/python", "-m", "analysis.report", "results/paper", "-o", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "index.html"


def seen(page: Path, axe: str, size: tuple[int, int], dark: bool) -> dict:
    """What axe-core finds on the page in a frame of this size, with every part of it unfolded."""
    copy, frame = page.with_name("with_axe.html"), page.with_name("frame.html")
    text = page.read_text(encoding="utf-8").replace("<details", "<details open")
    before, body, after = text.rpartition("</body>")  # the last one: the charts' library has others in its own words
    copy.write_text(before + RUN % axe.replace("</script>", "<\\/script>") + body + after, encoding="utf-8")
    frame.write_text(FRAME % (copy.name, *size), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--window-size=1400,1000"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        ["chromium", *flags, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    copy.unlink()
    frame.unlink()
    told = re.search(r'<pre id="axe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, f"axe-core told nothing: {done.stderr[-2000:]}"
    return json.loads(unescape(told.group(1)))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_violations_and_nothing_too_wide(page, axe, size, dark):
    found = seen(page, axe, SIZES[size], dark)
    assert found["violations"] == []
    assert found["passes"] > 10
    assert found["window"] == SIZES[size][0]
    assert found["width"] <= found["window"], "something sticks out of the window"
    there, drawn = found["charts"]
    assert there == drawn > 0
    assert found["images"]
    assert all(width > 0 and complete for width, complete in found["images"])


def test_a_violation_is_found(page, axe, tmp_path):
    """A picture without words for it, text that can hardly be seen, and a line that is too wide."""
    bad = tmp_path / "index.html"
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    body = f'<img src="{pixel}"><p style="color: #ccc">faint</p><p style="width: 3000px">wide</p>'
    bad.write_text(f'<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><main>{body}</main></body></html>')
    found = seen(bad, axe, SIZES["phone"], False)
    assert {"image-alt", "color-contrast"} <= {name for name, *_ in found["violations"]}
    assert found["width"] > found["window"]
