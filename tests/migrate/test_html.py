"""The page: it stands alone, escapes everything, and looks right in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from compat.migrate import Finding, Remark, Report, Unreadable, check
from compat.migrate.findings import EFFORTS, STATUSES, Mention, Place
from compat.migrate.html import as_html
from tests.migrate.reading import write

NASTY = "<script>alert('1')</script>&\"\x00\x1b\udcff"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Measured where every browser can tell: by a page that holds the report in a frame of a given width.
FRAME = """<!DOCTYPE html><iframe src="report.html" style="width: {width}px; height: 900px"></iframe>
<script>onload = () => {{
  const page = frames[0].document.documentElement;
  const wide = [...page.querySelectorAll("body *")].filter(
    part => part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== "auto" && part.clientWidth);
  document.body.dataset.result = [page.clientWidth, page.scrollWidth, ...wide.map(part => part.className)].join();
}}</script>"""


class Page(HTMLParser):
    """Notes the elements of a page, and whether each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [value for value in [given.get("id")] if value]
        self.links += [value for key in ("href", "src") if (value := given.get(key))]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def findings(count: int = 1, path: str = "src/train.py") -> tuple[Finding, ...]:
    long = "aitoolbox." + "very_long_name." * 12 + "End"
    return tuple(
        Finding(
            Place(path, 0, number + 1, 1), "member", long, long, STATUSES[number % 5], "It differs. " * 20, ("Q01",),
            "lightning.pytorch." + "x" * 150, code=f"x{'=' * 180}",
        )
        for number in range(count)
    )  # fmt: skip


REPORT = Report(
    ("src", "x" * 300),
    12,
    1,
    (*findings(7), *findings(3, "src/" + "deep_folder/" * 20 + "b.py")),
    (Remark(Place("src/train.py", 0, 1, 1), "Look " + "y" * 300),),
    (Unreadable("src/" + "z" * 300, "not Python 3", 2, (Mention(3, "import aitoolbox" + " " * 9 + "w" * 200),)),),
    ("src/train.py",),
)


def test_the_page_stands_alone() -> None:
    page = Page(as_html(REPORT))
    assert "script" not in page.tags
    assert [link for link in page.links if not link.startswith("#")] == ["data:,"]
    assert not re.search(r"https?:|@import|url\(", as_html(REPORT))
    assert "default-src 'none'" in as_html(REPORT)


def test_links_lead_somewhere_and_ids_are_unique() -> None:
    page = Page(as_html(REPORT))
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_everything_is_escaped() -> None:
    place = Place(NASTY, 1, 1, 1)
    found = Finding(place, "import", NASTY, NASTY, "unknown", NASTY, (NASTY,), NASTY, (NASTY,), NASTY, NASTY)
    report = Report(
        (NASTY,),
        1,
        0,
        (found,),
        (Remark(place, NASTY),),
        (Unreadable(NASTY, NASTY, 1, (Mention(1, NASTY),)),),
        (NASTY,),
    )
    text = as_html(report)
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)
    assert text.count("&lt;script&gt;") >= 12
    assert "script" not in Page(text).tags


def test_totals_files_and_equivalents_are_shown() -> None:
    text = as_html(REPORT)
    for effort, count in REPORT.efforts.items():
        assert f"<dt>{effort}</dt><dd>{count}</dd>" in text
    for path in REPORT.by_file:
        assert text.count(f"<code>{path}</code>") == 2
    assert text.count('class="native"') == text.count('class="code"') == len(REPORT.findings)


def test_what_is_to_be_said_of_a_name_is_said_once_a_file() -> None:
    text = as_html(Report((), 1, 0, findings(5)))
    assert text.count("It differs. It differs.") == 10
    assert text.count("As at <a") == 4


def test_a_clean_report() -> None:
    text = as_html(Report(("src",), 4))
    assert "No use of AIToolbox was found." in text
    assert "4 files read" in text
    assert "details" not in Page(text).tags


def test_the_page_of_a_real_check(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "from aitoolbox import TrainLoop\nTrainLoop(1).fit(1)\n")
    text = as_html(check([str(tmp_path)]))
    assert "lightning.pytorch.Trainer" in text
    assert "TrainLoop(1).fit(1)" in text
    Page(text)


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def browse(folder: Path, *options: str, page: str = "report.html") -> subprocess.CompletedProcess[str]:
    """Open a page in a browser without a window and without a network."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--proxy-server=127.0.0.1:9", "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={folder / 'profile'}", *options, (folder / page).as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "report.html").write_text(as_html(REPORT), encoding="utf-8")
    return tmp_path


@needs_browser
def test_a_browser_shows_totals_and_files(page: Path) -> None:
    done = browse(page, "--dump-dom")
    for effort in EFFORTS:
        assert f"<dt>{effort}</dt><dd>{REPORT.efforts[effort]}</dd>" in done.stdout
    for path in REPORT.by_file:
        assert path in done.stdout
    assert "10 uses in 2 files" in done.stdout
    assert "CONSOLE" not in done.stderr


@needs_browser
def test_control_errors_of_a_page_are_seen(page: Path) -> None:
    (page / "report.html").write_text("<script>nothing()</script>", encoding="utf-8")
    assert "CONSOLE" in browse(page, "--dump-dom").stderr


@needs_browser
@pytest.mark.parametrize("width", [400, 1300])
def test_nothing_overflows(width: int, page: Path) -> None:
    assert measured(page, width) == [str(width), str(width)]


@needs_browser
def test_control_an_overflow_is_seen(page: Path) -> None:
    text = as_html(REPORT).replace("</main>", '<p class="wide" style="width: 2000px">x</p></main>')
    (page / "report.html").write_text(text, encoding="utf-8")
    width, scrolled, *_ = measured(page, 400)
    assert int(scrolled) > int(width)


def measured(page: Path, width: int) -> list[str]:
    """Return the width of the page in a frame, how far it can be scrolled, and the parts that stick out."""
    (page / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    done = browse(page, "--dump-dom", "--virtual-time-budget=5000", page="frame.html")
    found = re.search('data-result="([^"]*)"', done.stdout)
    assert found, done.stderr
    return found[1].split(",")


@needs_browser
@pytest.mark.parametrize("width", [500, 1300])
def test_a_picture_can_be_taken(width: int, page: Path) -> None:
    browse(page, f"--window-size={width},1200", f"--screenshot={page / 'shot.png'}")
    data = (page / "shot.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20]) == width
    assert len(data) > 20_000
