"""One side of the benchmark `collect`: `collect_once.py ours|img2dataset LIST OUT`, by its own interpreter.

Only `ours` imports anything of this project.
"""

from __future__ import annotations

import sys

SIDE, QUALITY, PROCESSES, AT_ONCE = 256, 90, 2, 64


def ours(urls: str, out: str) -> None:
    """Into a store: pictures, rows, ledger and consents committed."""
    from pipeline.collect import Origin
    from pipeline.sources.url_list import UrlList
    from pipeline.web import intake
    from pipeline.web.settings import FetchSettings
    from storage.limits import Limits
    from storage.store import Store

    settings = FetchSettings(
        allow=("127.0.0.0/8",), per_host=AT_ONCE, concurrency=AT_ONCE, decoders=PROCESSES
    )
    limits = Limits(max_side=SIDE, format="jpeg", quality=QUALITY)
    intake.run(Store.open(out), Origin("list", UrlList(path=urls)), limits, settings)


def img2dataset(urls: str, out: str) -> None:
    """Into tars, as its documentation shows it."""
    from img2dataset import download

    download(
        url_list=urls, input_format="csv", url_col="url", caption_col="text", output_folder=out,
        output_format="webdataset", image_size=SIDE, resize_mode="keep_ratio_largest",
        encode_quality=QUALITY, processes_count=PROCESSES, thread_count=AT_ONCE, enable_wandb=False,
        number_sample_per_shard=1000,
    )  # fmt: skip


if __name__ == "__main__":
    {"ours": ours, "img2dataset": img2dataset}[sys.argv[1]](*sys.argv[2:])
