"""Numbers as people and models write them, read exactly: money, units, fractions, LaTeX, typeset signs, words."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 40

TYPESET = str.maketrans(
    {"−": "-", "–": "-", "﹣": "-", "－": "-", "‐": "-", "‑": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "}
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅕": " 1/5", "⁄": "/", "＝": "=", "≈": "="}
    | {"`": "", "’": "'", "€": "$", "£": "$", "¥": "$", "₹": "$"}
)
LATEX = [
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[dtc]?frac\s?\{\s?(-?\d{1,40})\s?\}\s?\{\s?(\d{1,40})\s?\}"), r" \1/\2 "),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)(?!\d)"), r" \1/\2 "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s?\{([^{}]{0,80})\}"), r"\1"),
    (re.compile(r"\\([$%#])"), r"\1"),
    (re.compile(r"\\[,;:! ]|\\(?:quad|left|right)\b|~"), " "),
    (re.compile(r"\\[()\[\]]|\$\$"), " "),
    (re.compile(r"\\(?:times|cdot)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\(?:approx|Rightarrow|implies)\b"), "="),
    (re.compile(r"\^\s?\\circ|\^\s?\{\s?\\circ\s?\}"), "°"),
]
PROSE = [
    (re.compile(r"\b(?:USD|EUR|GBP|Rs)\.?\s?(?=\d)"), "$"),
    (re.compile(r"\bnegative\s(?=\$?\d)", re.I), "-"),
    (re.compile(r"=\s?-\s(?=\$?\d)"), "= -"),
    (re.compile(r"(?<!\w)_{1,2}(?=[$\d-])|(?<=\d)_{1,2}(?!\w)"), ""),
    (re.compile(r"\$?(?<![\d.,])(\d{1,9}) ?(?:dollars?)? and (\d\d) cents?\b"), r"$\1.\2"),
]
NUMBER = re.compile(
    r"""(?<!\w)(?<!\d\.)
    (?:(?P<whole>\d{1,3})[ -](?P<part>\d{1,3}/\d{1,3})(?![\d/])           # 1 1/2
      |(?P<plain>\d{1,3}(?>(?:,\d{3})+)(?!\d)(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)
       (?P<more>(?:[/:]\d++)*+))                                           # 3/4, and what is no number: 4:30, 1/2/24
    (?P<glued>[^\W\d]++)?""",
    re.VERBOSE | re.ASCII,
)
SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "k": 1_000}
UNIT = re.compile(r"\s?(%|¢|(?:percent|cents?|dollars?|hundred|thousand|million|billion|dozens?)\b)", re.I)
NEGATIVE = re.compile(r"(?:^|[=(:\[*\"',]|[^\s\d)\]%]\s)\s?\$?-\$?$")
OPERATOR_AHEAD = re.compile(r"\s?(?:[*×÷+/x]|-|plus|minus|times|divided by|multiplied by)\s?[($]?\d", re.I)
OPERATOR_BEHIND = re.compile(
    r"(?:[\d)]\s?(?:[*×÷+/x]|-)|\b(?:plus|minus|times|divided by|multiplied by))\s?[($]?$", re.I
)
NOT_AN_ANSWER = re.compile(r"(?:step|problem|question|part|option|example|equation|line|figure|case)\s?#?\s?$", re.I)

ONES = "one|two|three|four|five|six|seven|eight|nine"
TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
WORD_VALUES = {word: value for value, word in enumerate(f"zero|{ONES}|{TEENS}".split("|"))}
WORD_VALUES |= {word: 10 * value for value, word in enumerate(TENS.split("|"), start=2)}
NUMBER_WORD = re.compile(
    rf"\b(?:({TENS})(?:[ -]({ONES}))?|(zero|{ONES}|{TEENS}))\b"
    r"(?![ -](?:hundred|thousand|million|billion|dozen|half|third|quarter|of the|of these))"
    r"(?!(?: short| simple| single)? (?:sentence|line)s?\b)",  # "The answer is in one short sentence."
    re.I,
)


@dataclass(frozen=True)
class Number:
    """A number of a text. `values`: what it may stand for, as written first (50 % is 50 or 1/2); none: unreadable."""

    values: tuple[Fraction, ...]
    start: int
    end: int
    money: bool = False
    operand: bool = False


def normalise(text: str) -> str:
    """One way of writing for typeset signs, LaTeX and currencies."""
    text = text.translate(TYPESET)
    for pattern, replacement in (LATEX if "\\" in text or "{,}" in text else []) + PROSE:
        text = pattern.sub(replacement, text)
    return re.sub(r"[^\S\n]+", " ", text)


def numbers_in(text: str) -> list[Number]:
    """Every number that could be an answer, in order."""
    return [number for match in NUMBER.finditer(text) if (number := read_match(match)) is not None]


def read_match(match: re.Match) -> Number | None:
    text, glued = match.string, (match["glued"] or "").lower()
    before = text[max(0, match.start() - 16) : match.start()]
    if glued in ("st", "nd", "rd", "th") or NOT_AN_ANSWER.search(before):
        return None
    value = value_of(match)
    if value is None:
        return Number((), match.start(), match.end())
    unit = None if glued else UNIT.match(text, match.end())
    word = unit[1].lower().rstrip("s") if unit else glued
    value = (-value if NEGATIVE.search(before) else value) * SCALES.get(word, 1)
    values = {"%": (value, value / 100), "dozen": (value, value * 12)}
    values |= dict.fromkeys(("percent", "cent", "¢"), values["%"])
    return Number(
        values.get(word, (value,)),
        match.start(),
        unit.end() if unit else match.end() - len(glued) * (word not in SCALES),
        money=before.rstrip().endswith("$") or word == "dollar",
        operand=bool(OPERATOR_AHEAD.match(text, match.end()) or OPERATOR_BEHIND.search(before)),
    )


def value_of(match: re.Match) -> Fraction | None:
    """The number without its sign; None for clock times, dates, division by zero, and what is too long to be meant."""
    if len(match[0]) > MAX_DIGITS or re.fullmatch(r"[eE]\d*", match["glued"] or ""):
        return None
    try:
        if match["whole"]:
            return int(match["whole"]) + Fraction(match["part"])
        if match["more"].startswith(":"):
            return Fraction(match["plain"]) if match["more"] == ":00" else None
        return Fraction(match["plain"].replace(",", "") + match["more"])
    except (ValueError, ZeroDivisionError):
        return None


def number_words_in(text: str) -> list[Number]:
    found = []
    for match in NUMBER_WORD.finditer(text):
        value = sum(WORD_VALUES[word.lower()] for word in match.groups() if word)
        found.append(Number((Fraction(value),), match.start(), match.end()))
    return found
