"""Checkpoints are written by a thread, from a copy, while training goes on; there is never more than one under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor
from torch.distributed.tensor import DTensor

from model.checkpoint import Checkpoint

Write = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Checkpoint]
"""Writes weights and optimizer."""


class Saver:
    """Leaving it waits for what is being written."""

    def __init__(self, done: Callable[[Checkpoint], None]) -> None:
        """`done` is called in the caller's own thread with each checkpoint that is complete."""
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="save")
        self.done = done
        self.writing: Future[Checkpoint] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.wait()
        except Exception as other:
            if error is None:
                raise
            error.add_note(f"and the checkpoint under way could not be written: {other}")
        finally:
            self.pool.shutdown()

    def save(self, write: Write, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        """Copies the tensors and starts to write them, once the last checkpoint is whole.

        Raises:
            StoreFull: there was no room for the last one.
        """
        self.wait()
        copies = [{name: _copy(tensor) for name, tensor in part.items()} for part in (weights, optimizer)]
        self.writing = self.pool.submit(write, *copies)

    def look(self) -> None:
        """Reports the checkpoint under way if it is complete."""
        if self.writing and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Waits for the checkpoint under way, and reports it.

        Raises:
            StoreFull: there was no room for it.
        """
        if self.writing:
            writing, self.writing = self.writing, None
            self.done(writing.result())


def _copy(tensor: Tensor) -> Tensor:
    """Where there is room for it: beside the weights on a GPU there may be none. What is spread stays where it is."""
    plain = tensor.detach()
    return plain.clone() if plain.device.type == "cpu" or isinstance(plain, DTensor) else plain.cpu()
