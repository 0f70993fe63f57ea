"""How the process holds on to memory."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> None:
    """Tells glibc to keep what tensors free for the next ones: handing pages back and faulting them in again
    made element-wise operations two to four times slower. Elsewhere than on glibc it does nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
