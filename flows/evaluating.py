"""`millrace evaluate` and `compare`: how good a checkpoint is, and which of two answerers is better."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import server
from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import print_rows, print_scores, show
from flows.quiet import checked

TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", help="A task to be measured by its own metrics, such as vqa; may be given again."),
]


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    checkpoint: Annotated[str, typer.Option(help="Id of a checkpoint.")] = "latest",
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scores a checkpoint on the held-out rows, beside a pixel nearest neighbour; or single tasks, each beside its baseline.

    Tasks: caption, vqa, translate, qa, summarize, title, text_to_image, retrieval, classify, perplexity, memorisation, safety,
    bias.

    Examples: millrace evaluate --checkpoint latest --json
              millrace evaluate --task vqa --task translate
    """
    checked(config, store=True)
    with server.api():
        if task:
            from flows import tasks

            made = tasks.start(str(config), checkpoint, task)
            show(made if as_json else tasks.side_by_side(made), as_json)
            return
        from flows import evaluate as flow
        from flows import tasks
        from flows.config import read

        done, single = flow.start(str(config), checkpoint), []
        if names := read(config).evaluate.tasks:
            done["tasks"] = tasks.start(str(config), done["checkpoint"], names)
            single = [row for row in tasks.side_by_side(done["tasks"]) if row["subset"] == "all"]
    if as_json:
        show(done, True)
        return
    if done["scores"]:
        print_scores(done["scores"], flow.BASELINE)
        print_rows(done["examples"])
    if single:
        print_rows(single)
    print(f"drawn pictures: {done['pictures']}; next: millrace report --config {config}")


def compare(
    checkpoint: Annotated[str, typer.Option(help="Id of a checkpoint.")] = "latest",
    other: Annotated[str, typer.Option("--with", help="Another checkpoint that is asked the same.")] = "",
    openai_base_url: Annotated[
        str, typer.Option(help="An OpenAI-compatible endpoint that is asked the same, up to and with /v1.")
    ] = "",
    model: Annotated[str, typer.Option(help="Name of the endpoint's model.")] = "",
    api_key_env: Annotated[
        str,
        typer.Option(help="The environment variable that holds the endpoint's key, never the key itself."),
    ] = "OPENAI_API_KEY",
    task: TaskOption = None,
    most: Annotated[int, typer.Option(min=1, help="Items of each task and language.")] = 100,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Asks a checkpoint and another one, or any OpenAI-compatible endpoint, the same held-out items; a paired test says
    which is better.

    Examples: millrace compare --checkpoint 3f2a9c --with 81bb04
              millrace compare --openai-base-url http://127.0.0.1:8000/v1 --model gpt --task caption --json
    """
    checked(config, store=True)
    from flows import comparing

    asked = comparing.Wish(checkpoint, other, openai_base_url, model, api_key_env, task or (), most)
    done = comparing.run(config, asked)
    show(done if as_json else done["rows"], as_json)
    if done["unanswered"] and not as_json:
        print(f"{done['theirs']} did not answer {done['unanswered']:,} items, which count as empty answers")
