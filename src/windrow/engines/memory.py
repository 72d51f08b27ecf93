"""How the C library's allocator is to treat the memory of pages.

The parser's tree of a page takes and gives back ten times the page's size. As it comes, glibc returns such a block to
the kernel at once, and the next page gets it anew, page by page of 4 kB, each cleared and faulted in: a fifth of what
unpacking and parsing cost. glibc learns better by itself as soon as a program frees one large block; until then it
must be told.
"""

from __future__ import annotations

import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 64 * 2**20
"""Bytes of free memory that a process may keep for its next pages: the most that glibc would come to by itself."""
_OWN_MAPPING = 8 * 2**20
"""Blocks from this size on are the kernel's, and go back to it when they are freed."""


@cache
def keep_memory_of_pages() -> None:
    """Once per process; does nothing where the C library is another one or the user has tuned it."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_TRIM_THRESHOLD, _KEPT)
        tune(_MMAP_THRESHOLD, _OWN_MAPPING)
