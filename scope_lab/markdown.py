"""Numbers and tables as Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np

NOTHING = "–"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table's lines; columns that are empty in every row are left out."""
    columns = [column for column in zip(heads, *rows, strict=True) if not rows or any(column[1:])]
    lined = zip(*[(head, "---", *cells) for head, *cells in columns], strict=True)
    return [f"| {' | '.join(cells)} |" for cells in lined] + [""]


def with_ends(row: Mapping, digits: int, prefix: str = "") -> str:
    """ "+1.20 [+0.50, +1.90]"; the mean alone where its interval is not known."""
    names = (f"{prefix}low", f"{prefix}high")
    mean, low, high = (row[name] for name in (prefix.rstrip("_") or "mean", *names))
    if not np.isfinite(mean):
        return NOTHING
    return f"{mean:+.{digits}f}" + (f" [{low:+.{digits}f}, {high:+.{digits}f}]" if np.isfinite(low) else "")


def chance(p: float) -> str:
    return NOTHING if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
