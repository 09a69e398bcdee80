"""A process to one that has so many files open that the next ones have numbers above 1,023."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SELECTABLE = 1024  # a file of this number or a higher one cannot be waited for with `select`
MORE = 512


@contextmanager
def many_files() -> Iterator[None]:
    """No file that is opened within can be waited for with `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SELECTABLE + MORE
    with ExitStack() as ending:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            ending.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (fd := os.open(os.devnull, os.O_RDONLY)) < SELECTABLE:
            ending.callback(os.close, fd)
        os.close(fd)
        yield
