"""How a problem's text becomes a prompt: the tokenizer's own chat template, another one, or none."""

import copy
import re
from pathlib import Path

from .errors import InputError, shown

PLAIN = "plain"  # not "none", which as a setting means its default
WORDS = {"true": "true", "false": "false", "none": "none"}


def with_chat_template(tokenizer, template: str | None = None, kwargs: str = ""):
    """A copy of the tokenizer with this chat template, or itself where nothing is asked for.

    template  a Jinja file, or "plain": the text alone, with the tokenizer's BOS; None: its own template
    kwargs    variables of the template, as NAME=VALUE,… (`enable_thinking=false`): true, false, none, numbers or text

    The variables become the template's first lines, so that they are saved with the tokenizer and a trained model is
    prompted as it was in training, whoever uses it. Raises InputError for a file that cannot be read and for variables
    that the template does not read.
    """
    if template is None and not kwargs:
        return tokenizer
    tokenizer = copy.deepcopy(tokenizer)
    if template == PLAIN:
        tokenizer.chat_template = None
    elif template is not None:
        try:
            tokenizer.chat_template = Path(template).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"chat_template: {template} cannot be read ({error}), accepted a file or plain") from None
    if kwargs:
        if tokenizer.chat_template is None:
            raise InputError("chat_template_kwargs: the tokenizer has no chat template that could read them")
        text = tokenizer.get_chat_template()
        lines = [_set(pair, text) for pair in kwargs.split(",")]
        tokenizer.chat_template = "".join(lines) + text
    return tokenizer


def _set(pair: str, template: str) -> str:
    """NAME=VALUE as Jinja's `set`."""
    name, equals, value = (piece.strip() for piece in pair.partition("="))
    if not equals or not name.isidentifier():
        raise InputError(f"chat_template_kwargs: found {shown(pair)}, accepted NAME=VALUE, separated by commas")
    if not re.search(rf"\b{name}\b", template):
        raise InputError(f"chat_template_kwargs: found {name}, which the chat template does not read")
    number = re.fullmatch(r"-?\d+(\.\d+)?", value)
    literal = WORDS.get(value.lower()) or (value if number else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'")
    return f"{{%- set {name} = {literal} %}}\n"
