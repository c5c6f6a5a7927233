"""Numbers with their nouns, for texts that people read."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """The number with its noun, in the plural unless it is one: ``1 line``, ``1,200 lines``.

    For nouns whose plural ends in ``s``, or in ``ies`` for those that end in ``y``.
    """
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count:,} {noun}"
