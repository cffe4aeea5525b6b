"""Whether two formulas are the same: math-verify parses both with sympy, which is slow and has no end of its own."""

import logging
import re
from fractions import Fraction
from functools import lru_cache

from .quantities import near, read_quantity

for library in ("math_verify", "latex2sympy2_extended"):
    logging.getLogger(library).setLevel(logging.CRITICAL)  # that its own clock is off, that an answer cannot be parsed


def by_math_verify(wanted: str, given: str) -> bool | None:
    """Two formulas, parsed and compared by math-verify; None where it cannot parse `wanted`. May take for ever."""
    wanted, given = cases_apart(wanted, given)
    reference, answer = parsed(wanted), parsed(given)
    if reference is None:
        return None
    if answer is None:
        return False
    from math_verify import verify

    if (exact := constant(reference)) is not None and (number := read_quantity(given)) and number.step:
        return any(near(exact, None, 0, value, number.step, number.digits) for value in number.values)
    if (exact := constant(answer)) is not None and (number := read_quantity(wanted)) and number.step:
        return near(number.value, number.step, number.digits, exact, None, 0)
    return bool(verify(reference, answer, timeout_seconds=None, allow_set_relation_comp=True))


def cases_apart(*formulas: str) -> tuple[str, ...]:
    """The formulas with another letter for each capital whose small letter occurs too: math-verify drops the case, so
    that R² - r² would be 0."""
    token = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
    letters = {letter for formula in formulas for letter in token.findall(formula) if len(letter) == 1}
    free = [letter for letter in "abcfghjklmnopqrstuvwxyz" if letter not in letters and letter.upper() not in letters]
    clashes = sorted(letter for letter in letters if letter.isupper() and letter.lower() in letters)
    other = dict(zip(clashes, free, strict=False))
    if not other:
        return formulas
    return tuple(token.sub(lambda match: other.get(match[0], match[0]), formula) for formula in formulas)


@lru_cache(maxsize=512)
def parsed(latex: str):
    """The formula as sympy has it; None where math-verify cannot read it. Units are gone already, and a lone h is a
    variable: math-verify would drop it as hours."""
    from math_verify import parse
    from math_verify.parser import LatexExtractionConfig, NormalizationConfig

    latex = re.sub(r"(?<=[\d}])i(?![a-zA-Z])", " i", latex)  # 2i is complex to math-verify only as 2 i
    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    found = parse(
        f"${latex}$",
        [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=spelling)],
        fallback_mode="no_fallback",
        parsing_timeout=None,  # the clock is the process's
    )
    return found[0] if found else None


def constant(expression) -> Fraction | None:
    """The value of a real number without variables that is not rational, to 30 digits."""
    from sympy import Expr

    if not isinstance(expression, Expr) or expression.free_symbols or not expression.is_real:
        return None
    value = expression.evalf(30)
    return Fraction(str(value)) if value.is_Float and abs(value) < 1e30 else None
