"""What depends on the machine: how freed memory is kept, and whether bfloat16 pays."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.config import ConfigError


def keep_freed_memory() -> None:
    """Tells glibc to keep what tensors free for the next ones: handing pages back and faulting them in again
    made element-wise operations two to four times slower. Elsewhere than on glibc it does nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    mallopt(arena_max, 1)  # the arenas of other threads hand their pages back whatever is said
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


def check_device(device: str) -> None:
    """Raises ConfigError unless this machine has the device."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device has its own way to say that it is not there
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(f'[train] device = "{device}": {said}; choose "cpu"') from error


def use_bf16(precision: str, device: str = "cpu") -> bool:
    """Whether to compute in bfloat16: as asked, and for "auto" if the device multiplies it faster."""
    if precision != "auto":
        return precision == "bf16"
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Each operation on one CPU thread meanwhile, also in threads that are started meanwhile: for work that is spread
    otherwise, and for sums that must not differ in their last bits from one machine to another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
