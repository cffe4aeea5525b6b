"""Settings as files and command lines give them: recipes, a run's config.yaml, flags."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from .config import ScopeConfig, setting_types, type_name
from .errors import InputError, did_you_mean, one_line, shown
from .methods import METHODS
from .models import PAIRS

RECIPES = Path(__file__).resolve().parent / "recipes"


def read_value(name: str, value: Any) -> Any:
    """A setting's value from YAML or a command line in the type its field has. Raises ValueError naming the setting."""
    if name not in setting_types():
        raise InputError(f"unknown setting {shown(name)}{did_you_mean(name, setting_types())}")
    options = setting_types()[name]
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        if type(None) in options:
            return None
        raise InputError(f"{name}: found nothing, accepted {type_name(options)}")
    for kind in options:
        if kind is bool:
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if str(value).lower() in words:
                return words[str(value).lower()]
        elif kind in (int, float) and not isinstance(value, bool):
            try:
                number = float(str(value).replace("_", ""))
            except ValueError:  # a word, or a number of thousands of digits
                continue
            if kind is float or number.is_integer():
                return kind(number)
        elif kind is str and isinstance(value, str | os.PathLike):
            return os.fspath(value)
    raise InputError(f"{name}: found {shown(value)}, accepted {type_name(options)}")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes no key twice: plain YAML keeps the last one in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> Any:
    """A YAML file's content. Raises InputError that calls it `what`."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    # A date that is none, a number of thousands of digits, brackets in brackets: not every mistake is a YAMLError.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{what}: {path} is not YAML ({one_line(error)})") from None


def read_recipe(name: str) -> dict[str, Any]:
    """Settings from a YAML file, or a recipe of the package by name. Raises ValueError naming file and problem."""
    path, content = _open_recipe(name)
    return _typed({key: value for key, value in content.items() if key != "plan"}, "recipe", path)


def read_run(folder: Path) -> dict[str, Any]:
    """Every setting of the run in a folder: those that are newer than it have their defaults.

    Raises InputError naming its config.yaml and the problem.
    """
    path = folder / "config.yaml"
    return asdict(ScopeConfig()) | _typed(_mapping(path, "run"), "run", path)


def _mapping(path: Path, what: str) -> Mapping:
    content = read_yaml(path, what)
    if not isinstance(content, Mapping):
        raise InputError(f"{what}: {path} holds no settings; accepted lines like `tau: 1.0`")
    return content


def _typed(content: Mapping, what: str, path: Path) -> dict[str, Any]:
    try:
        return {str(key): read_value(str(key), value) for key, value in content.items()}
    except ValueError as error:
        raise InputError(f"{what}: {path}: {error}") from None


def read_plan(name: str) -> dict[str, Any]:
    """A recipe's `plan:`, on how many devices it is meant to run: no setting of a run, for a launcher says that."""
    path, content = _open_recipe(name)
    found, accepted = content.get("plan", {}), {"devices": int, "teacher_at": str, "teacher_devices": int}
    if not isinstance(found, Mapping) or any(type(value) is not accepted.get(key) for key, value in found.items()):
        raise InputError(
            f"recipe: {path}: plan: found {shown(found)}, accepted {', '.join(accepted)}, each with a value"
        )
    return dict(found)


def _open_recipe(name: str) -> tuple[Path, Mapping]:
    path = Path(name)
    if not path.is_file():
        path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.yaml"))
        raise InputError(f"recipe: {name} is neither a file nor one of {', '.join(known)}{did_you_mean(name, known)}")
    return path, _mapping(path, "recipe")


def build_config(recipe: str | None, overrides: Mapping[str, Any]) -> ScopeConfig:
    """Defaults, then the pair's own recipe (recipes/PAIR.yaml), then `recipe`, then overrides; validated.

    recipe  a YAML file, or a recipe of the package by name. Raises InputError, as `ScopeConfig.validate` does.
    """
    chosen = read_recipe(recipe) if recipe else {}
    overrides = {name: read_value(name, value) for name, value in overrides.items()}
    pair = overrides.get("pair", chosen.get("pair"))
    base = read_recipe(pair) if pair in PAIRS and (RECIPES / f"{pair}.yaml").is_file() else {}
    merged = {**base, **chosen, **overrides}
    while overrides and merged.get("method", "scope") in METHODS:
        # What an override has switched off, a recipe's lines about it go with it.
        idle = {name for name, _ in ScopeConfig(**merged).without_effect()} - overrides.keys()
        if not idle & merged.keys():
            break
        merged = {name: value for name, value in merged.items() if name not in idle}
    return ScopeConfig(**merged).validate()
