"""Draws docs/pictures/serve.png, the page of `charrnn serve`: make_write_page_picture.py MODEL

    python docs/make_write_page_picture.py checkpoints/shakespeare

It serves the model, types a beginning, lets the model go on, and shows what it expected at one
character. Needs chromium; run it in the repository's folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from charrnn.config.serve import ServeConfig
from charrnn.server.server import Server
from tests.web.browser import Browser

PICTURE = Path("docs", "pictures", "serve.png")
BEGINNING = "ROMEO:\nWhat light through yonder window breaks?\n"
SEED, LENGTH, SHOWN = 42, 330, 140  # the character whose likeliest are shown


def draw(model: str, path: Path) -> None:
    """Write the picture of a page on which a model has gone on with the beginning."""
    with Server([model], ServeConfig(port=0)) as server, Browser() as browser:
        page = browser.visit(f"{server.url}/#seed={SEED}&length={LENGTH}", 1100, 720)
        page.wait_for("charrnn.page.isReady")
        page.write(BEGINNING)
        page.press("Control+Enter")
        page.wait_for("!charrnn.page.isBusy && !charrnn.page.history.costs.includes(null)")
        page.evaluate(f"document.getElementById('text').setSelectionRange({SHOWN}, {SHOWN})")
        page.press("ArrowRight")
        page.wait_for("!document.getElementById('guess').hidden")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path)


if __name__ == "__main__":
    draw(sys.argv[1], PICTURE)
