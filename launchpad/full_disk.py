"""What to do where a disk is full."""

import errno

FREE_DISK_MB = 200
"""Below this much disk [MB] nothing is begun."""

FREE_IT = "free space there, then run the same command again"


def is_full(error: OSError) -> bool:
    """Whether an error is that of a full disk, or of a quota that is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def what_to_do(error: OSError, otherwise: str = "") -> str:
    """The end of a sentence that says what to do about a file that could not be written."""
    advice = FREE_IT if is_full(error) else otherwise
    return f"; {advice}" if advice else ""
