"""What a user can cause, told in a line or two without a traceback; MILLRACE_TRACEBACK=1 shows it all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

F = TypeVar("F", bound=Callable[..., Any])

USER_ERRORS = {
    "flows.config": ["ConfigError"],
    "flows.server": ["ServerError"],
    "flows.demo": ["DemoError"],
    "flows.cluster": ["ClusterError"],
    "flows.runners": ["WorkerDied"],
    "pipeline.records": ["SourceError"],
    "pipeline.collect": ["SourceIdentityError"],
    "pipeline.decoders": ["DecoderError"],
    "model.config": ["ConfigError"],
    "model.corpus": ["CorpusError"],
    "model.tasks.task": ["TaskError"],
    "flows.endpoint": ["EndpointError"],
    "model.batches": ["BatchError"],
    "model.sequences": ["PromptError"],
    "model.train": ["TrainError"],
    "model.image_tokenizer": ["GateFailed", "TokenizerError"],
    "model.checkpoint": ["CheckpointError"],
    "model.hub_tokenizer": ["HubError"],
    "model.clip": ["ImageTextModelMissing"],
    "model.clip_train": ["FitError"],
    "storage.faces": ["NoFaceDetector"],
    "duckdb": ["Error"],
    "httpx": ["TransportError"],
}
"""Errors by module; a module that nobody has imported has raised nothing."""
RESUMED = ("ingest", "train", "retrain", "recheck", "maintain", "forget")
"""Commands that keep what they have done when they are stopped."""


def user_errors() -> tuple[type[BaseException], ...]:
    """All that a user can cause; OSError is a path that is not there, a full disk, a missing permission."""
    from pipeline.step import StepError
    from storage.errors import StoreError

    found: list[type[BaseException]] = [StepError, StoreError, OSError]
    for name, errors in USER_ERRORS.items():
        if name in sys.modules:
            found += [
                getattr(sys.modules[name], error) for error in errors if hasattr(sys.modules[name], error)
            ]
    return tuple(found)


def guarded(function: F) -> F:
    """A command whose user errors end in a message and exit status 1."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            said = "the same command goes on from here" if function.__name__ in RESUMED else ""
            Console(stderr=True).print(f"stopped{said and '; '}{said}")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise typer.Exit(130) from None
        except Exception as error:
            if not isinstance(error, user_errors()) or os.environ.get("MILLRACE_TRACEBACK"):
                raise
            Console(stderr=True).print(
                f"[bold red]error:[/] {escape(message(error))}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(1) from None

    return run  # type: ignore[return-value]


def message(error: BaseException) -> str:
    """What an error says; one of the system names its file first, as everywhere else."""
    from storage.errors import unreachable

    error = unreachable(error) or error
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        name = error.filename.decode() if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}"
    httpx = sys.modules.get("httpx")
    if httpx and isinstance(error, httpx.TransportError):
        return (
            f"the Prefect API does not answer any more ({error}); what was committed is kept: start it again"
        )
    return str(error).strip() or type(error).__name__
