"""A batch's rows spread over the cores: each lane takes a share of them through the network on one thread.

Small networks gain little from many threads inside one operation, and lose much when one of those threads has to
wait for a core. Gradients are added in the order of the lanes, so the same number of lanes gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from model.losses import weighted

Share = Callable[[], list[Tensor]]
"""Computes the losses of some rows."""


class Lanes:
    """So many threads, each computing alone, while this is entered; with none, everything is left to torch."""

    def __init__(self, threads: int = 0) -> None:
        self.threads, self.number = threads, max(1, threads)
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.before = torch.get_num_threads()

    def __enter__(self) -> Lanes:
        if self.threads:
            torch.set_num_threads(1)  # for the whole run: going back and forth costs more than it gains
        return self

    def __exit__(self, *args: object) -> None:
        torch.set_num_threads(self.before)
        if self.pool:
            self.pool.shutdown()

    def each(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        """The work on each piece, side by side, in the order of the pieces."""
        return self.pool.map(_without_gradient(work), pieces) if self.pool else map(work, pieces)

    def backward(
        self,
        network: nn.Module,
        shares: Sequence[Share],
        weights: Sequence[float],
    ) -> list[Tensor]:
        """Adds the gradients of the weighted sum of all shares' losses (none for a weight that none of them used);
        returns each loss, added up."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        each = self.pool.map if self.pool else map
        made = list(each(lambda share: _gradients(share, parameters, weights), shares))
        for i, parameter in enumerate(parameters):
            parts = [part for gradients, _ in made if (part := gradients[i]) is not None]
            before = [] if parameter.grad is None else [parameter.grad]
            parts = before + parts
            parameter.grad = _added(parts) if parts else None
        return [_added([losses[m] for _, losses in made]) for m in range(len(weights))]


def _gradients(
    share: Share, parameters: Sequence[Tensor], weights: Sequence[float]
) -> tuple[tuple[Tensor | None, ...], list[Tensor]]:
    losses = share()
    gradients = torch.autograd.grad(weighted(losses, weights), parameters, allow_unused=True)
    return gradients, [loss.detach() for loss in losses]


def _without_gradient(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Whether gradients are recorded is each thread's own affair."""

    def quiet(piece: Any) -> Any:
        with torch.no_grad():
            return work(piece)

    return quiet


def _added(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
