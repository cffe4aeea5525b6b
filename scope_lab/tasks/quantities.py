r"""A single number as an answer states it: exact, with how far it was rounded, and its unit.

`12`, `1,234`, `-3.50`, `.5`, `2/3`, `\frac{2}{3}`, `137 \frac{1}{2}`, `6.02 \times 10^{23}`, `3.61e2`, `50\%`, `\$18`,
`45^\circ`, `9 \text{ cm}^2`, `5 apples`. Whatever is not this is not read: it is left to math-verify.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

DIGITS = r"(?:\d{1,3}(?:,\d{3}){1,20}|\d{1,400})"
DECIMAL = rf"(?:{DIGITS}(?:\.\d{{0,400}})?|\.\d{{1,400}})"
SIGN = r"(?:[-+]\s?)?"
NUMBER = re.compile(
    rf"""(?P<sign>{SIGN})(?:\\\$|[$€£])?\s?(?P<inner>{SIGN})(?:
      \\frac\s?\{{\s?(?P<top>{SIGN}{DIGITS})\s?\}}\s?\{{\s?(?P<bottom>{SIGN}{DIGITS})\s?\}}
    | (?P<whole>{DIGITS})\s?\\frac\s?\{{\s?(?P<part>{DIGITS})\s?\}}\s?\{{\s?(?P<parts>{DIGITS})\s?\}}
    | (?P<numerator>{DIGITS})\s?/\s?(?P<denominator>{DIGITS})
    | (?P<mixed>\d{{1,9}})\s(?P<mixed_top>\d{{1,9}})\s?/\s?(?P<mixed_bottom>\d{{1,9}})
    | 10\s?(?:\^|\*\*)\s?\{{?\s?(?P<power>[-+]?\d{{1,3}})\s?\}}?(?!\d)
    | (?P<decimal>{DECIMAL})(?:\s?[eE](?P<e>[-+]?\d{{1,3}})
        | \s?(?:\\times|\\cdot|\*|x)\s?10\s?(?:\^|\*\*)\s?\{{?\s?(?P<ten>[-+]?\d{{1,3}})\s?\}}?)?
    )""",
    re.X,
)
PERCENT = re.compile(r"\\?%|percent(?:age)?|per cent|\\text\s?\{\s?(?:\\?%|percent|per cent)\s?\}")
EXPONENT = r"(?:\s?\^\s?\{?\s?-?\d\s?\}?)?"
WORD = r"[A-Za-z][A-Za-z'-]{0,20}"
UNIT = re.compile(
    rf"""(?:\^\\circ\s?[CF]?|°[CF]?|\\%|
    (?:\\text\s?\{{[^{{}}\d]{{1,60}}\}}{EXPONENT}\s?[/\\cdot]{{0,5}}\s?){{1,4}}
    |(?:{WORD}{EXPONENT}(?:\s|/|\\cdot\s?|$)?){{1,4}})""",
    re.X,
)
NO_UNIT = re.compile(r"\b(?:or|and|to|by|if|plus|minus|times|over|mod|pi|sqrt|where|for|when|as)\b", re.I)

# One name for the many of a unit; only units that both are known here are ever compared.
UNITS = {
    name: unit
    for unit, names in {
        "mm": "mm millimeter millimetre", "cm": "cm centimeter centimetre", "m": "m meter metre",
        "km": "km kilometer kilometre", "in": "in inch", "ft": "ft foot feet", "yd": "yd yard", "mi": "mi mile",
        "s": "s sec second", "min": "min minute", "h": "h hr hour", "day": "day", "week": "week", "month": "month",
        "year": "year yr", "g": "g gram", "kg": "kg kilogram", "dollar": "dollar usd", "cent": "cent",
        "degree": "degree deg", "radian": "radian rad",
    }.items()
    for name in names.split()
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """`value`, exactly as written; `step`, the worth of one unit in the last place of a decimal, None where the number
    is exact; `digits`, significant ones of that decimal; `percent`: it may also mean its hundredth; `unit`: one of
    UNITS with its exponent, or ""."""

    value: Fraction
    step: Fraction | None = None
    digits: int = 0
    percent: bool = False
    unit: str = ""

    @property
    def values(self) -> tuple[Fraction, ...]:
        return (self.value, self.value / 100) if self.percent else (self.value,)


def read_quantity(text: str) -> Quantity | None:
    """The number that a tidy text is, with or without a unit; None where it is anything else."""
    match = NUMBER.match(text)
    if match is None:
        return None
    apart, rest = text[match.end() :].startswith(" "), text[match.end() :].strip()
    percent = bool(PERCENT.fullmatch(rest))
    if rest and not percent and (not UNIT.fullmatch(rest) or NO_UNIT.search(rest) or _are_symbols(rest, apart)):
        return None
    found = _value(match)
    if found is None:
        return None
    value, step, digits = found
    if (match["sign"].strip() == "-") != (match["inner"].strip() == "-"):
        value = -value
    return Quantity(value, step, digits, percent, _unit(rest) if rest and not percent else "")


def _are_symbols(rest: str, apart: bool) -> bool:
    """`3x`, `2 n` and `2ab` are products; a bare word is a unit where it is known, or is long and stands apart."""
    first = re.match(r"[A-Za-z]+", rest)
    return first is not None and (len(first[0]) == 1 or (_known(first[0]) == "" and (len(first[0]) < 3 or not apart)))


def _value(match: re.Match) -> tuple[Fraction, Fraction | None, int] | None:
    def whole(name: str) -> int:
        return int(re.sub(r"[\s,+]", "", match[name]))

    for top, bottom, before in (
        ("top", "bottom", None),
        ("part", "parts", "whole"),
        ("numerator", "denominator", None),
        ("mixed_top", "mixed_bottom", "mixed"),
    ):
        if match[top] is not None:
            if whole(bottom) == 0:
                return None
            return Fraction(whole(top), whole(bottom)) + (whole(before) if before else 0), None, 0
    if match["power"] is not None:
        return Fraction(10) ** int(match["power"]), None, 0
    integer, point, decimals = match["decimal"].replace(",", "").partition(".")
    exponent = int(match["e"] or match["ten"] or 0)
    value = Fraction(int((integer + decimals) or "0"), 10 ** len(decimals)) * Fraction(10) ** exponent
    rounded = bool(point and decimals) or exponent != 0
    return value, Fraction(10) ** (exponent - len(decimals)) if rounded else None, len((integer + decimals).lstrip("0"))


def _unit(rest: str) -> str:
    if "circ" in rest or "°" in rest:
        return "degree"
    words = re.findall(r"[A-Za-z]+", re.sub(r"\\[a-z]+", " ", rest).lower())
    squared = {"square": "2", "sq": "2", "cubic": "3"}
    power = re.search(r"\^\s?\{?\s?(\d)", rest)
    exponent = next((squared[word] for word in words if word in squared), power[1] if power else "")
    names = [word for word in words if word not in squared]
    if len(names) != 1:
        return ""
    name = _known(names[0])
    return f"{name}{exponent}" if name else ""


def _known(word: str) -> str:
    word = word.lower()
    return UNITS.get(word) or UNITS.get(word.removesuffix("s")) or UNITS.get(word.removesuffix("es")) or ""


def same_quantity(reference: Quantity, answer: Quantity) -> bool:
    """Equal, or rounded from one another.

    A decimal answer also equals an exact fraction that it comes from by rounding or cutting off, given three decimal
    figures or more; and a decimal reference of three figures or more equals a finer answer that rounds to it. An
    integer is met exactly. Units count where both are known and differ.
    """
    if reference.unit and answer.unit and reference.unit != answer.unit:
        return False
    if {reference.unit, answer.unit} & {"cent"} and reference.unit != answer.unit:
        return reference.value == answer.value / 100 if answer.unit == "cent" else reference.value == answer.value
    if set(reference.values) & set(answer.values):
        return True
    return any(
        near(wanted, reference.step, reference.digits, given, answer.step, answer.digits)
        for wanted in reference.values
        for given in answer.values
    )


def near(
    wanted: Fraction, wanted_step: Fraction | None, wanted_digits: int,
    given: Fraction, given_step: Fraction | None, given_digits: int,
) -> bool:  # fmt: skip
    """The rounding half of `same_quantity`."""
    if wanted_step is not None:
        finer = given_step is None or given_step < wanted_step
        return finer and wanted_digits >= 3 and given != 0 and abs(wanted - given) * 2 <= wanted_step
    if given_step is None or wanted.denominator == 1:
        return False
    return given_digits >= 3 and given_step <= Fraction(1, 100) and abs(wanted - given) < given_step
