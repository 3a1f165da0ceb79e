"""report.html as somebody sees it who opens it from the disk."""

import pytest
import torch

from tests.support.programs import succeeds
from tests.support.servers.browser import browser
from tests.support.shards import make_split
from tests.tools.test_evaluate import SMALL, save_network, tiny_network
from tools.evaluate import main

pytestmark = pytest.mark.slow

NAME = "a_network_whose_name_is_long_wide_WWWWWWWW_and_still_has_to_be_read"
OUTSIDE = """
return [...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text, rect, path, polyline')].filter(part => {
    const box = part.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 4
      || box.bottom > frame.bottom + 4;
  }).map(part => part.outerHTML);
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser that shows the report of two checkpoints, one of which has a long name."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("page")
    for name in ("b", NAME):
        save_network(folder / f"{name}.pth", tiny_network(len(name)))
    split = make_split(folder / "split", records=3)
    checkpoints = (folder / "b.pth", folder / f"{NAME}.pth")
    succeeds(main, "--checkpoint", *checkpoints, "-i", split, "-o", folder, *SMALL)
    with browser(folder / "profile") as driver:
        driver.get((folder / "report.html").as_uri())
        yield driver


def test_every_letter_and_line_of_a_plot_lies_inside_it(page):
    assert page.execute_script("return document.querySelectorAll('svg text').length") > 20
    assert page.execute_script(OUTSIDE) == []


def test_every_picture_is_shown_and_none_is_larger_than_its_frame(page):
    sizes = page.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.width])")
    assert len(sizes) > 10 and all(complete and natural > 0 and width == 224 for complete, natural, width in sizes)


def test_images_of_a_row_are_aligned(page):
    tops = page.execute_script("return [...document.images].map(i => i.getBoundingClientRect().top)")
    assert len(set(tops)) < len(tops) / 2


def test_the_page_does_not_scroll_sideways_and_the_console_is_empty(page):
    root = "document.documentElement"
    assert page.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert page.get_log("browser") == []
