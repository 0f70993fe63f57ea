"""Tensors that are spread over several workers (DTensor): each worker's part, the whole, and matrices one by one.

Everything here leaves an ordinary tensor as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard


def local(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All of each tensor, on every worker; all workers must ask at once."""
    return {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}


@torch.no_grad()
def load(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copies whole tensors into those of a network or an optimizer, each worker its own part."""
    for name, tensor in into.items():
        value = tensors[name].reshape(tensor.shape)
        local(tensor).copy_(part_of(value, tensor) if isinstance(tensor, DTensor) else value)


def part_of(value: Tensor, like: DTensor) -> Tensor:
    """The part of a whole tensor that belongs to this worker, cut as FSDP2 cuts."""
    [placement] = like.placements
    assert isinstance(placement, Shard)
    mesh, dim = like.device_mesh, placement.dim
    rank, parts = mesh.get_local_rank(), value.chunk(mesh.size(), dim)
    return parts[rank] if rank < len(parts) else value.narrow(dim, 0, 0)


def norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """The norm of each tensor over all workers, 0 for None: float32 `[tensors]`."""
    there = [tensor for tensor in tensors if tensor is not None]
    device = there[0].device if there else "cpu"
    none = torch.zeros((), device=device)
    each = [none if t is None else torch.linalg.vector_norm(local(t), dtype=torch.float32) for t in tensors]
    found = torch.stack(each) if each else torch.zeros(0)
    if any(isinstance(tensor, DTensor) for tensor in there):
        squares = found.square()
        dist.all_reduce(squares)
        found = squares.sqrt()
    return found


def stacked(group: Sequence[Tensor]) -> Tensor:
    """Zeros in the shape of so many matrices of one shape, spread as they are."""
    zeros = torch.stack([torch.zeros_like(local(one), requires_grad=False) for one in group])
    return _spread(zeros, group[0], len(group))


def each_matrix(stack: Tensor, like: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Maps matrices `[n, rows, columns]`, of which this worker has some rows if `like` is spread: each worker is sent
    some of the n whole, changes them, and sends the rows back."""
    if not isinstance(like, DTensor):
        return change(stack)
    spread = _spread(stack, like, len(stack))
    assert isinstance(spread, DTensor)
    mesh, shape = like.device_mesh, spread.shape
    mine = spread.redistribute(placements=[Shard(0)]).to_local()
    changed = DTensor.from_local(
        change(mine) if len(mine) else mine,
        mesh,
        [Shard(0)],
        run_check=False,
        shape=shape,
        stride=spread.stride(),
    )
    return changed.redistribute(placements=[Shard(1)]).to_local()


def _spread(stack: Tensor, like: Tensor, number: int) -> Tensor:
    """A stack of this worker's rows of matrices as a tensor over all workers."""
    if not isinstance(like, DTensor):
        return stack
    shape = torch.Size((number, *like.shape))
    stride = (like.shape[0] * like.shape[1], like.shape[1], 1)
    return DTensor.from_local(
        stack, like.device_mesh, [Shard(1)], run_check=False, shape=shape, stride=stride
    )
