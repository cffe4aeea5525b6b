"""A plan of many trainings as one YAML file: what they share, how they differ, and which seeds."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .config import ScopeConfig
from .errors import InputError, did_you_mean, shown
from .settings import RECIPES, build_config, read_value, read_yaml

PLANS = RECIPES / "plans"
KEYS = {
    "out": "folder of the run folders",
    "seeds": "list of whole numbers",
    "defaults": "settings of every run",
    "variants": "NAME: settings, in the order in which they run",
    "grid": "SETTING: values; every variant once for each combination",
    "keep_model": "names of runs whose trained weights stay",
}


@dataclass(frozen=True)
class PlannedRun:
    """One training: `name` is VARIANT-seedN, and the folder's name too; `variant` has the grid's values in it."""

    name: str
    variant: str
    folder: Path
    config: ScopeConfig
    keep_model: bool = False


def read_plan(name: str, out: str | None = None, only: str | None = None) -> list[PlannedRun]:
    """The runs of a plan file, or of a plan of the package by name, in the order in which they should run.

    The seed changes slowest, so that whatever is finished holds every variant equally often. Keys: see KEYS.

    out   instead of the plan's own folder; only  a pattern that runs' names must match, like `scope*-seed0`
    Raises InputError naming file, variant and setting.
    """
    path = Path(name) if Path(name).is_file() else PLANS / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"plan: {name} is neither a file nor one of {', '.join(p.stem for p in _package_plans())}")
    content = _read(path)
    folder = Path(out or content["out"])
    defaults, grid = content.get("defaults") or {}, content.get("grid") or {}
    kept = content.get("keep_model") or []
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    runs = []
    for seed in content["seeds"]:
        for (variant, settings), point in itertools.product(content["variants"].items(), points):
            variant = "-".join([str(variant), *(f"{key}-{value:g}" for key, value in point.items())])
            run = f"{variant}-seed{seed}"
            chosen = {**defaults, **(settings or {}), **point, "seed": seed, "out": str(folder / run)}
            try:
                config = build_config(None, chosen)
            except InputError as error:
                raise InputError(f"plan: {path}: {variant}: {error}") from None
            runs.append(PlannedRun(run, variant, folder / run, config, run in kept))
    if len({run.name for run in runs}) < len(runs):
        raise InputError(f"plan: {path}: seeds: found one twice")
    if unknown := set(kept) - {run.name for run in runs}:
        raise InputError(f"plan: {path}: keep_model: found {', '.join(sorted(unknown))}, accepted names of its runs")
    chosen_runs = [run for run in runs if only is None or fnmatchcase(run.name, only)]
    if not chosen_runs:
        raise InputError(f"only: {only!r} fits none of the plan's {len(runs)} runs, like {runs[0].name}")
    return chosen_runs


def _package_plans() -> list[Path]:
    return sorted(PLANS.glob("*.yaml"))


def _read(path: Path) -> dict[str, Any]:
    """The file's content, every key of the kind that KEYS says."""
    content = read_yaml(path, "plan")
    if not isinstance(content, Mapping):
        raise InputError(f"plan: {path} holds no plan; accepted the keys {', '.join(KEYS)}")

    def demand(right: bool, key: str) -> None:
        if not right:
            raise InputError(f"plan: {path}: {key}: found {shown(content.get(key))}, accepted {KEYS[key]}")

    if unknown := [str(key) for key in content if key not in KEYS]:
        hint = did_you_mean(unknown[0], KEYS)
        raise InputError(f"plan: {path}: unknown key {shown(unknown[0])}{hint}, accepted {', '.join(KEYS)}")
    seeds: Any = content.get("seeds")
    variants: Any = content.get("variants")
    grid: Any = content.get("grid") or {}
    demand(isinstance(content.get("out"), str), "out")
    demand(isinstance(seeds, list) and bool(seeds) and all(type(seed) is int for seed in seeds), "seeds")
    demand(isinstance(content.get("defaults") or {}, Mapping), "defaults")
    demand(isinstance(variants, Mapping) and bool(variants), "variants")
    demand(all(isinstance(settings or {}, Mapping) for settings in variants.values()), "variants")
    demand(isinstance(grid, Mapping) and all(isinstance(v, list) and v for v in grid.values()), "grid")
    kept: Any = content.get("keep_model") or []
    demand(isinstance(kept, list) and all(isinstance(name, str) for name in kept), "keep_model")
    try:
        grid = {str(key): [read_value(str(key), value) for value in values] for key, values in grid.items()}
    except InputError as error:
        raise InputError(f"plan: {path}: grid: {error}") from None
    demand(all(isinstance(value, float | int) for values in grid.values() for value in values), "grid")
    return {**content, "grid": grid}
