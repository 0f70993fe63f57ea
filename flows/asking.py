"""The command `generate`: what a person may ask of a checkpoint, and how it is told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import show


class Output(StrEnum):
    """What may come out."""

    text = "text"
    image = "image"
    mixed = "mixed"


def generate(
    prompt: Annotated[
        str, typer.Argument(help="A caption to draw, a question about --image, or a text.")
    ] = "",
    image: Annotated[list[Path] | None, typer.Option(help="A picture to go by; may be given again.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write a drawn picture.")] = Path(
        "drawn.png"
    ),
    modalities: Annotated[
        Output | None,
        typer.Option(
            help="What may come out: text (usual with --image), image (usual without), or both mixed."
        ),
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the answer.")] = "en",
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="0 takes the likeliest (usual for text); 1 is usual for pictures."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Only the likeliest tokens that make up this share.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Weight of the words in pictures; usually evaluate.guidance.")
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Drawings of the words, the best read of which is kept; usually evaluate.candidates.",
        ),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most new tokens of a text.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends the text; may be given again.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    checkpoint: Annotated[str, typer.Option(help="Id of a checkpoint.")] = "latest",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds draw equal pictures.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Describes pictures, answers a question about them, draws one from words, or writes text with pictures in it.

    Examples: millrace generate --image cat.png
              millrace generate --image cat.png "what colour is the star?"
              millrace generate --image cat.png --image dog.png "which is larger?" --stop . --top-p 0.9
              millrace generate "two red circles above a blue star on a grey background" -o out.png --candidates 4
              millrace generate "a star, and then" --modalities mixed --seed 7
    """
    from flows import say

    wish = say.Wish(
        prompt=prompt,
        images=image or (),
        output=output,
        lang=lang,
        modalities=modalities.value if modalities else None,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
        candidates=candidates,
        max_tokens=max_tokens,
        stop=stop or (),
        seed=seed,
    )
    told = say.generate(config, checkpoint, wish)
    if "parts" not in told or as_json:
        show(told, as_json)
        return
    show([{"": kind, " ": value} for part in told["parts"] for kind, value in part.items()], False)
