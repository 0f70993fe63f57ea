"""Checkpoints of spread weights: every worker writes its own part, and the parts are put together on disk.

What is left is the ordinary checkpoint, safetensors and no pickle, that any number of workers goes on from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from model import checkpoint
from model.checkpoint import Checkpoint
from storage.errors import StoreFull


def write(
    group: dist.ProcessGroup,
    root: Path,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    *,
    meta: Mapping[str, Any],
) -> Checkpoint:
    """Saves one under `root/<step>` as `checkpoint.write` does; all workers of the group call it.

    Raises:
        StoreFull: no room; nothing of it is left, and earlier ones stay.
    """
    folder = root / f"{step:08d}"
    with checkpoint.room_for(folder):
        _by_first(group, lambda: checkpoint.begin(root, step))
        for name, tensors in (("model", weights), ("optimizer", optimizer)):
            parts = folder / name
            writer = HuggingFaceStorageWriter(str(parts), save_distributed=True, enable_consolidation=True)
            # the parts of a tensor without dimensions would be put together as 0
            there = {key: tensor if tensor.dim() else tensor[None] for key, tensor in tensors.items()}
            _save(there, writer, group)
            _by_first(group, partial(_take, parts, folder / f"{name}.safetensors"))
        _by_first(group, lambda: checkpoint.finish(folder, step, meta))
    return checkpoint.read(folder)


def _save(tensors: Mapping[str, Tensor], writer: HuggingFaceStorageWriter, group: dist.ProcessGroup) -> None:
    """All workers save; what one of them could not, all raise."""
    try:
        dcp.save(dict(tensors), storage_writer=writer, process_group=group)
    except CheckpointException as error:  # no Exception, and it hides the one that tells
        [(found, _), *_] = error.failures.values()
        raise found from error


def _take(parts: Path, file: Path) -> None:
    """Moves the one file of consolidated parts to its place."""
    [whole] = parts.glob("*.safetensors")
    whole.replace(file)
    shutil.rmtree(parts)


def _by_first(group: dist.ProcessGroup, work: Callable[[], object]) -> None:
    """The first worker does it while the others wait; if it fails, all raise its error."""
    failed: list[BaseException | None] = [None]
    if dist.get_rank(group) == 0:
        try:
            work()
        except Exception as error:
            failed = [error]
    wrong = torch.tensor(float(failed[0] is not None))
    dist.all_reduce(wrong, group=group)
    if failed[0] is not None:
        raise failed[0]
    if wrong:
        raise StoreFull("the first worker could not write the checkpoint: its words say why")
