"""Checkpoints of spread weights: every worker writes its own part, and the parts are put together on disk.

What is left is the ordinary checkpoint, safetensors and no pickle, that any number of workers goes on from.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from model import checkpoint
from model.checkpoint import Checkpoint


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
    first = dist.get_rank(group) == 0
    folder = checkpoint.begin(root, step) if first else root / f"{step:08d}"
    dist.barrier(group)
    with checkpoint.room_for(folder):
        for name, tensors in (("model", weights), ("optimizer", optimizer)):
            parts = folder / name
            writer = HuggingFaceStorageWriter(str(parts), save_distributed=True, enable_consolidation=True)
            # the parts of a tensor without dimensions would be put together as 0
            there = {key: tensor if tensor.dim() else tensor[None] for key, tensor in tensors.items()}
            dcp.save(there, storage_writer=writer, process_group=group)
            if first:
                [file] = parts.glob("*.safetensors")
                file.replace(folder / f"{name}.safetensors")
                shutil.rmtree(parts)
        if first:
            checkpoint.finish(folder, step, meta)
        dist.barrier(group)
    return checkpoint.read(folder)
