"""Pictures of the report and the live pages of a store, as the README shows them: `make screenshots` after `make demo`.

python -m tests.dashboards.shots demo/millrace.toml docs
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dashboards import report
from dashboards.app import PAGES
from flows.dashboard import mill
from flows.store_admin import planted_truth
from tests.dashboards.browser import page as opened
from tests.dashboards.pages_served import serving

MOVED = 6
"""Steps of a tenth by which the threshold is moved for its picture."""


def shoot(config: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Writes report.png and images/<page>.png of these pages; returns the paths."""
    looked_at = mill(config)
    written = report.write(
        looked_at.store, looked_at.store.folder("reports") / "report.html", truth=planted_truth(config)
    )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    made = []
    with serving(looked_at) as client, opened() as page:
        page.goto(written.as_uri())
        made.append(kept(page.screenshot(), folder / "report.png"))
        for one in PAGES:
            if one.name in names:
                page.goto(str(client.base_url) + one.path)
                page.wait_for_load_state("networkidle")
                if one.name == "thresholds" and (slider := page.locator("input[type=range]")).count():
                    for _ in range(MOVED):
                        slider.press("PageUp")
                    page.wait_for_url("**.to=*")
                    page.wait_for_load_state("networkidle")
                made.append(kept(page.screenshot(), folder / "images" / f"{one.name}.png"))
    return made


def kept(picture: bytes, path: Path) -> Path:
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").save(path, optimize=True)
    return path


if __name__ == "__main__":
    config, folder, *names = sys.argv[1:]
    for path in shoot(Path(config), Path(folder), names or [one.name for one in PAGES]):
        print(path)
