"""What the recorded runs of a sweep say, read from its folder: see data/results/PROTOCOL.md."""

import re
from pathlib import Path

import pandas as pd
import yaml

from .checkpoint import evaluation_file
from .errors import InputError
from .evaluation import Evaluation

RATE_RUN = re.compile(r"(?P<family>.+)-learning_rate-(?P<rate>[^-]+(-\d+)?)-seed\d+")
TIE = 0.001  # rates whose Avg@k is this near the best count as equal


def validation_scores(folder: str | Path) -> pd.DataFrame:
    """Avg@k on the validation split, of each finished run of a sweep over learning rates: rows families, columns rates.

    Raises InputError where the folder holds no such run.
    """
    rows = []
    for path in sorted(Path(folder).glob("*-learning_rate-*")):
        name = RATE_RUN.fullmatch(path.name)
        if not name or not (path / "config.yaml").is_file():
            continue
        settings = yaml.safe_load((path / "config.yaml").read_text())
        last = evaluation_file(path, settings["steps"])
        if last.is_file():
            found = Evaluation.load(last)
            score = found.metrics()[f"avg@{found.n_samples}"].mean()
            rows.append({"family": name["family"], "rate": settings["learning_rate"], "score": score})
    if not rows:
        raise InputError(f"learning rates: {folder} holds no finished run named FAMILY-learning_rate-RATE-seedN")
    return pd.DataFrame(rows).pivot_table(index="family", columns="rate", values="score", sort=True)


def chosen_rates(folder: str | Path) -> dict[str, float]:
    """The protocol's rule: each family's rate with the highest score; of rates within TIE of it, the lowest."""
    chosen = {}
    for family, scores in validation_scores(folder).iterrows():
        good = scores[scores >= scores.max() - TIE - 1e-9]
        chosen[str(family)] = float(min(good.index))
    return chosen
