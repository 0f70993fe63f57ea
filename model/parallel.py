"""Several processes train one network: DDP, or FSDP2 where its weights do not fit on one device.

torchrun's elastic launcher starts them and tells each its rank. All make the same batch and each takes its own rows
of it, so that the data does not depend on how many there are; their gradients are added up, and only the last bits
of the sums differ (where a step has no target in a modality, AdamW also goes on along the last gradients of its weights; alone,
it leaves them as they are). The network knows nothing of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from model.batches import Batch
from model.config import ConfigError, TrainConfig
from model.lanes import Lanes
from model.losses import weighted
from model.objectives import Shares
from model.transformer import Transformer

Piece = tuple[Batch, Shares]
"""Some rows of a batch, and some items for the objectives; either may be none."""
Losses = Callable[[Piece], list[Tensor]]
"""The losses of a piece, as their part in the mean over the whole step."""


class Workers:
    """The processes that train together, seen from one of them; alone, it computes in lanes."""

    def __init__(self, config: TrainConfig, rank: int = 0, number: int = 1, device: str = "") -> None:
        self.config, self.rank, self.number, self.device = config, rank, number, device or config.device
        self.lanes = Lanes()
        self.group: Any = None
        """For what a thread has to say while the main one computes."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes tables, checkpoints and logs."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether weights are spread over the workers."""
        return self.number > 1 and self.config.parallel == "fsdp"

    @property
    def here(self) -> int:
        """Workers on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.number > 1 else 1

    def spread(self, threads: int) -> None:
        """Uses so many threads of the machine, all workers on it together."""
        if self.number > 1:
            torch.set_num_threads(max(1, threads // self.here))
        elif self.device == "cpu":
            self.lanes = Lanes(threads)

    @property
    def pieces(self) -> int:
        """Pieces that a step is cut into: so many for each worker, part after part, and lane by lane."""
        return self.number * self.config.accumulate * self.lanes.number

    def prepare(
        self, network: Transformer
    ) -> Callable[[Losses, Sequence[Piece], Sequence[float]], list[Tensor]]:
        """Wraps the network; returns what adds the gradients of a step's pieces and gives their losses."""
        if self.number == 1:
            return partial(self._alone, network)
        for layer in network.layers:
            layer.together = True  # type: ignore[assignment]
        if self.sharded:
            shard(network)
        step = _Step(network)
        return partial(self._together, step, None if self.sharded else DistributedDataParallel(step))

    def _alone(
        self, network: Transformer, losses: Losses, pieces: Sequence[Piece], weights: Sequence[float]
    ) -> list[Tensor]:
        found, lanes = [], self.lanes.number
        for first in range(0, len(pieces), lanes):
            part = [piece for piece in pieces[first : first + lanes] if len(piece[0].ids) or any(piece[1])]
            if part:
                shares = [partial(losses, piece) for piece in part]
                found.append(self.lanes.backward(network, shares, weights))
        return _added(found)

    def _together(
        self,
        step: _Step,
        ddp: DistributedDataParallel | None,
        losses: Losses,
        pieces: Sequence[Piece],
        weights: Sequence[float],
    ) -> list[Tensor]:
        parts, found = self.config.accumulate, []
        for number, piece in enumerate(pieces[self.rank * parts : (self.rank + 1) * parts], 1):
            quiet = ddp.no_sync() if ddp and number < parts else nullcontext()
            with quiet:  # the workers' mean of n times the loss is the sum of their parts
                total, each = (ddp or step)(losses, piece, weights)
                (total * self.number).backward()
            found.append(each)
        together = torch.stack(_added(found))
        dist.all_reduce(together)
        return list(together)

    def same(self, value: float) -> float:
        """The first worker's value."""
        return value if self.number == 1 else self._agreed(value if self.first else 0.0, dist.ReduceOp.SUM)

    def any(self, value: bool) -> bool:
        """Whether any worker says so."""
        return value if self.number == 1 else self._agreed(float(value), dist.ReduceOp.MAX) > 0

    def _agreed(self, value: float, how: Any) -> float:
        told = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(told, how)
        return float(told)


@contextmanager
def joined(config: TrainConfig) -> Iterator[Workers]:
    """Joins the workers that torchrun started with this one; without it, or for one alone, there is nothing to join.

    Raises:
        ConfigError: a batch has too few rows for so many workers, or FSDP2 would spoil an objective's precision.
    """
    number, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if number == 1:
        yield Workers(config)
        return
    if config.batch.rows < number * config.accumulate:
        raise ConfigError(
            f"[train.batch] rows = {config.batch.rows}: {number} workers with accumulate = {config.accumulate} "
            f"need at least {number * config.accumulate}"
        )
    if config.parallel == "fsdp" and config.objectives.adversarial.weight and config.precision != "fp32":
        raise ConfigError(
            '[train.objectives.adversarial] is computed in float32, and parallel = "fsdp" casts what it gathers: use '
            '"ddp", or precision = "fp32"'
        )
    device = config.device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    store, _, _ = next(dist.rendezvous("env://"))
    # after a restart the agent's store still has the addresses of those that died
    attempt = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=number)
    try:
        workers = Workers(config, rank, number, device)
        workers.group = dist.new_group(backend="gloo")
        yield workers
    finally:
        dist.destroy_process_group()


def threads_each(config: TrainConfig, workers: int) -> int:
    """Threads of each of so many workers on this machine."""
    return max(1, (config.threads or torch.get_num_threads()) // workers)


class _Step(nn.Module):
    """Losses as a forward call, which is what DDP wraps."""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, losses: Losses, piece: Piece, weights: Sequence[float]) -> tuple[Tensor, list[Tensor]]:
        found = losses(piece)
        total = weighted(found, weights)
        for name, weight in self.network.named_parameters():
            if not name.startswith("layers."):  # what these rows have no use for has a gradient too, of zero
                total = total + 0.0 * weight.flatten()[:1].sum()
        return total, [loss.detach() for loss in found]


def shard(network: Transformer) -> None:
    """Spreads a network's weights over all workers (FSDP2): each layer's are gathered when it computes."""
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if network.bf16 else None, reduce_dtype=torch.float32
    )
    for layer in network.layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(network)
    for name in ("targets", "forward", "classify", "projected", "embedded"):
        register_fsdp_forward_method(network, name)


def _added(found: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [cast(Tensor, sum(parts[1:], parts[0])) for parts in zip(*found, strict=True)]
