"""Serves one exported model: `serve_worker.py ours|naive FOLDER`. Says its port, and ends when standard input does.

`naive` is what a first server looks like: transformers' generate behind a lock, one request at a time, of the same folder.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any


def ours(folder: Path) -> tuple[Any, Any]:
    """Our application, and what ends it."""
    from model.generate import Model
    from model.hub import GPT4ForConditionalGeneration, GPT4Processor
    from model.serving.answering import Answering
    from model.serving.app import create_app
    from model.serving.engine import Engine
    from model.tokenizers import Tokenizers

    network = GPT4ForConditionalGeneration.from_pretrained(folder)
    processor = GPT4Processor.from_pretrained(folder)
    loop: Model = network.loop()
    words = Tokenizers(processor.tokenizer.backend_tokenizer, processor.images)
    engine = Engine(Answering("exported", loop, words), settings())
    return create_app(engine, settings()), engine.stop


def naive(folder: Path) -> tuple[Any, Any]:
    """transformers' generate behind a lock."""
    import base64
    import io

    import torch
    from fastapi import FastAPI
    from PIL import Image

    from model.hub import GPT4ForConditionalGeneration, GPT4Processor

    model = GPT4ForConditionalGeneration.from_pretrained(folder).eval()
    processor = GPT4Processor.from_pretrained(folder)
    app, alone = FastAPI(), threading.Lock()

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> dict[str, Any]:
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        with alone, torch.inference_mode():
            read = processor(images=picture, text="")
            made = model.generate(**read, max_new_tokens=body["max_tokens"], do_sample=False)
        text = processor.decode(made[0][read["input_ids"].shape[1] :], skip_special_tokens=True)
        return {"choices": [{"message": {"content": text}}]}

    return app, lambda: None


def settings() -> Any:
    from model.serving.settings import ServeConfig

    return ServeConfig()


def main(kind: str, folder: str) -> None:
    import torch
    import uvicorn

    torch.set_num_threads(1)
    app, stop = {"ours": ours, "naive": naive}[kind](Path(folder))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, loop="uvloop", ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    sys.stdin.read()
    server.should_exit = True
    thread.join()
    stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
