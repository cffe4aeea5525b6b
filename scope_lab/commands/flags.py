"""The parser of `scope-lab`, and the flags that several subcommands have."""

import argparse
import math
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ..errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse's, with mistakes as InputError and a suggestion; a flag is written out, never cut short."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            flags = getattr(parsed, "flags", []) if name.startswith("-") else []
            self.prog = getattr(parsed, "prog", self.prog)
            self.error(f"unrecognized arguments: {' '.join(unknown)[:200]}{flag_meant(name, flags)}")
        return parsed

    def error(self, message: str):
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += did_you_mean(found[1], re.findall(r"[^', ]+", found[2]))
        raise InputError(f"{message}; see `{self.prog} --help`")


def flag_meant(name: str, flags: Iterable[str]) -> str:
    """Which flags have `name` as their words' initials (--lr, --bs), else which one is near; in words."""
    initials = [flag for flag in flags if "--" + "".join(word[0] for word in flag[2:].split("-") if word) == name]
    return f" (did you mean {' or '.join(initials)}?)" if initials else did_you_mean(name, flags)


def add_command(commands, name: str, summary: str, run, epilog: str | None = None) -> argparse.ArgumentParser:
    """A subcommand that calls run(parsed); its flags are known to `Parser` for suggestions."""
    parser = commands.add_parser(
        name,
        help=summary.replace("%", "%%"),
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, flags=parser._option_string_actions, prog=parser.prog)
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of ScopeConfig, in its sections; values are read by the config, not by argparse."""
    from ..config import ScopeConfig

    groups: dict[str, Any] = {}
    for item in fields(ScopeConfig):
        section = item.metadata["section"]
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        choices = item.metadata["choices"]
        accepted = f": {', '.join(choices)}" if choices else ""
        default = "" if item.default is None or item.default == "" else f" [{item.default}]"
        groups[section].add_argument(
            "--" + item.name.replace("_", "-"),
            dest="set_" + item.name,
            metavar="VALUE",
            default=argparse.SUPPRESS,
            nargs="?" if isinstance(item.default, bool) else None,
            const="true" if isinstance(item.default, bool) else None,
            help=(item.metadata["help"] + accepted + default).replace("%", "%%"),
        )


def add_device(parser) -> None:
    """Where a command's models are, and in which precision."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda [auto]")
    parser.add_argument(
        "--dtype", default="auto", help="of the weights; auto: float32 on a CPU, bfloat16 on a GPU [auto]"
    )


def add_chat_template(parser) -> None:
    """How problems become prompts; a trained model's folder knows it by itself."""
    parser.add_argument("--chat-template", metavar="FILE", help="a Jinja file, or plain: the text alone")
    parser.add_argument("--chat-template-kwargs", metavar="NAME=VALUE,…", default="", help="its variables")


def prompting_tokenizer(name: str, parsed):
    """The tokenizer of a model, with the chat template that the flags ask for."""
    from ..chat_template import with_chat_template
    from ..models import load_tokenizer

    return with_chat_template(load_tokenizer(name), parsed.chat_template, parsed.chat_template_kwargs)


def add_unsafe(parser) -> None:
    """Leave to run what a model wrote where it cannot be isolated."""
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="code tasks, where there is no bubblewrap: run what the model wrote with your rights, files and network",
    )


def check_sampling_flags(parsed) -> None:
    """InputError naming a flag of `evaluate` or `rollout` whose number is out of range; those not given are None."""
    for name in ("problems", "samples", "batch_size", "max_new_tokens"):
        value = getattr(parsed, name)
        if value is not None and value < 1:
            raise InputError(f"{name}: found {value}, accepted 1 or more")
    if parsed.temperature is not None and not 0 < parsed.temperature < math.inf:
        raise InputError(f"temperature: found {parsed.temperature}, accepted above 0 and finite")
    if parsed.top_p is not None and not 0 < parsed.top_p <= 1:
        raise InputError(f"top_p: found {parsed.top_p}, accepted above 0 and at most 1")
    if parsed.top_k is not None and parsed.top_k < 0:
        raise InputError(f"top_k: found {parsed.top_k}, accepted 0 or more")


def recipe_of_pair(name: str | None) -> dict[str, Any]:
    """The settings that suit a named pair, {} without a name. Raises InputError for one that there is not."""
    from ..models import PAIRS
    from ..settings import read_recipe

    if name is None:
        return {}
    if name not in PAIRS:
        raise InputError(f"pair: found {name!r}, accepted {', '.join(PAIRS)}")
    return read_recipe(name)


def batch_bar(description: str):
    """A bar over batches, as samplers and teachers take one."""
    from tqdm import tqdm

    return lambda batches: tqdm(batches, desc=description, unit="batch")
