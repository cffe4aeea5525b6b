r"""The same answer in other words, wrong answers that look like it, and strings that hurt: to test verifiers on.

Each of the first two takes a reference answer and gives (rule, text) pairs; every text goes into a `\boxed{…}`.
"""

import random
import re
from fractions import Fraction

from scope_lab.tasks.latex import split, tidy
from scope_lab.tasks.math_answers import Formula, Many, Words, read
from scope_lab.tasks.quantities import Quantity, read_quantity

PLAIN_INTEGER = re.compile(r"-?\d+")
FRACTION = re.compile(r"\\frac\{(\d+)\}\{(\d+)\}")
SIMPLE_SUM = re.compile(r"([\w\\{}^ ]+) ([+-]) ([\w\\{}^ ]+)")
UNITS = ("\\text{ units}", "\\text{ cm}", "\\ \\mathrm{meters}", " \\text{ square inches}", "\\text{ apples}")


def same_answers(reference: str) -> list[tuple[str, str]]:
    """At least twelve other spellings of an answer, each of which a person would accept."""
    text = reference.strip()
    bare = text.strip("$") if text.count("$") == 2 else text
    found = [
        ("spaces", f"  {bare}  "),
        ("line break", f"\n{bare}\n"),
        ("dollars", f"${bare}$" if "$" not in bare else f" {bare}"),
        ("full stop", f"{bare}."),
        ("display style", f"\\displaystyle {bare}"),
        ("thin space in front", f"\\,{bare}\\,"),
        ("braces", f"{{{bare}}}" if "$" not in bare else bare),
        ("no space at commas", re.sub(r", +", ",", bare)),
        (
            "space at operators",
            re.sub(r"(?<=[\w})])\s*([+=])\s*(?=[\w\\({])", r" \1 ", re.sub(r"(?<=\de)\+", "", bare)),
        ),
        ("big brackets", bracketed(bare)),
        ("fractions of another size", re.sub(r"\\[dt]?frac(?![a-z])", r"\\tfrac", bare)),
        ("display fractions", re.sub(r"\\[dt]?frac(?![a-z])", r"\\dfrac", bare)),
        ("braces at powers", re.sub(r"([_^])([\da-zA-Z])(?![\w{])", r"\1{\2}", bare)),
    ]
    content = read(text).content
    if isinstance(content, Quantity):
        found += of_quantity(text, content)
    elif isinstance(content, Words):
        found += of_words(bare, content)
    elif isinstance(content, Many):
        found += of_many(bare, content)
    else:
        found += of_formula(bare)
    if (
        not isinstance(content, Words)
        and "=" not in text
        and "<" not in text
        and ">" not in text
        and "\\in" not in text
    ):
        found += [("named", f"x = {bare}"), ("called the answer", f"\\text{{Answer}} = {bare}")]
    return list(dict.fromkeys(found))


def bracketed(text: str) -> str:
    return (
        re.sub(r"(?<!\\left)\(", r"\\left(", re.sub(r"(?<!\\right)\)", r"\\right)", text)) if balanced(text) else text
    )


def balanced(text: str) -> bool:
    return text.count("(") == text.count(")") and "[" not in text and "]" not in text and "\\left" not in text


def of_quantity(text: str, quantity: Quantity) -> list[tuple[str, str]]:
    value, found = quantity.value, []
    sign, size = "-" if value < 0 else "", abs(value)
    if not quantity.unit and not quantity.percent:
        found += [(f"unit {unit.strip()}", f"{text.strip('$')}{unit}") for unit in UNITS]
    if value.denominator == 1 and size < 10**12 and quantity.step is None:
        found += [
            ("decimal", f"{value}.0"),
            ("over one", f"\\frac{{{value}}}{{1}}"),
            ("leading zero", f"{sign}0{size}"),
        ]
        if size >= 1000:
            found += [("commas", f"{int(value):,}"), ("thin spaces", f"{int(value):,}".replace(",", "\\,")),
                      ("braced commas", f"{int(value):,}".replace(",", "{,}"))]  # fmt: skip
        if quantity.unit == "":
            found += [("money", f"{sign}\\${size}"), ("dollars in words", f"{value} \\text{{ dollars}}")]
    elif quantity.step is None:
        found += [
            ("slash", f"{value.numerator}/{value.denominator}"),
            ("not reduced", f"\\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}"),
            ("sign in front", f"{sign}\\dfrac{{{size.numerator}}}{{{size.denominator}}}"),
            ("sign below", f"\\frac{{{-value.numerator}}}{{{-value.denominator}}}"),
            ("sign on top", f"\\frac{{{value.numerator}}}{{{value.denominator}}}"),
            ("six decimals", f"{float(value):.6f}") if 1e-3 < size < 1e6 else ("slash", f"{value}"),
        ]
        if size > 1:
            whole, rest = divmod(size.numerator, size.denominator)
            found.append(("mixed", f"{sign}{whole}\\frac{{{rest}}}{{{size.denominator}}}"))
    elif re.fullmatch(r"-?\d*\.\d+", text):
        found += [
            ("one zero more", text + "0"),
            ("exact fraction", f"\\frac{{{value.numerator}}}{{{value.denominator}}}"),
        ]
    elif match := re.fullmatch(r"(-?[\d.]+)e(-?\d+)", text):
        found += [
            ("times ten to", f"{match[1]} \\times 10^{{{match[2]}}}"),
            ("dot ten to", f"{match[1]} \\cdot 10^{{{match[2]}}}"),
            ("capital E", f"{match[1]}E{match[2]}"),
        ]
    return found


def of_words(text: str, words: Words) -> list[tuple[str, str]]:
    plain = re.sub(r"\\text(?:bf|rm)?\{([^{}]*)\}", r"\1", text).strip()
    found = [
        ("in text", f"\\text{{{plain}}}"),
        ("in bold", f"\\textbf{{{plain}}}"),
        ("in roman", f"\\mathrm{{{plain}}}"),
        ("bare", plain),
    ]
    if words.text in ("yes", "no"):
        found += [("and why", f"\\text{{{plain}, it does}}"), ("as truth", {"yes": "True", "no": "False"}[words.text])]
    if len(words.text) > 1:
        found += [("capitals", f"\\text{{{plain.upper()}}}"), ("small", f"\\text{{{plain.lower()}}}")]
    if words.choice:
        letter = words.choice
        found += [
            ("in brackets", f"({letter})"),
            ("text in brackets", f"\\text{{({letter})}}"),
            ("with a stop", f"{letter}."),
        ]
    return found


def of_many(text: str, many: Many) -> list[tuple[str, str]]:
    found = []
    pieces = split(tidy(text), re.compile(r"[,;]"))
    if many.kind == "list" and len(pieces) == len(many.pieces):
        found += [
            ("the other order", ", ".join(reversed(pieces))),
            ("sorted by text", ", ".join(sorted(pieces))),
            ("as a set", f"\\{{{', '.join(pieces)}\\}}"),
            ("with and", f"{', '.join(pieces[:-1])} \\text{{ and }} {pieces[-1]}"),
            ("with or", f"{', '.join(pieces[:-1])} or {pieces[-1]}"),
            ("semicolons", "; ".join(pieces)),
            ("in a set", f"x \\in \\{{{', '.join(pieces)}\\}}"),
        ]
    elif many.kind == "union":
        sides = split(tidy(text), re.compile(r"\\cup"))
        found += [("the other order", " \\cup ".join(reversed(sides))), ("Unicode", "∪".join(sides))]
        found += [("plus infinity", text.replace(",\\infty", ",+\\infty").replace(", \\infty", ",+\\infty"))]
    elif many.kind in ("()", "(]", "[)", "[]"):
        found += [("spaces inside", re.sub(r",\s*", " , ", text)), ("Unicode infinity", text.replace("\\infty", "∞"))]
        found += [("a name for all", f"(x, y) = {text}")] if many.kind == "()" else [("in", f"x \\in {text}")]
    elif many.kind == "matrix":
        found += [("other brackets", text.replace("pmatrix", "bmatrix")), ("spaces in cells", text.replace("&", " & "))]
        rows = text.replace("\\begin{pmatrix}", "").replace("\\end{pmatrix}", "")
        found += [("an array", f"\\left[\\begin{{array}}{{cc}}{rows}\\end{{array}}\\right]")] if rows != text else []
    return found


def of_formula(text: str) -> list[tuple[str, str]]:
    found = [
        (f"as {name}", printed)
        for name, printed in sympy_prints(text)
        if not set(r"=<>|\\_'") & set(text.replace("\\", ""))
    ]
    found += (
        [("with a unit", f"{text} \\text{{ cm}}")] if re.fullmatch(r"[\d\\{}a-z]*(sqrt|pi)[\d\\{}a-z]*", text) else []
    )
    found += [("spaced by commands", re.sub(r"(?<=[\w}]) (?=[\w\\])", r"\\ ", text))]
    if match := SIMPLE_SUM.fullmatch(text):
        first, sign, second = match.groups()
        if not first.startswith("-"):
            found.append(("sum turned", f"{second} + {first}" if sign == "+" else f"-{second} + {first}"))
    if match := re.fullmatch(r"(\d+)\s*\\sqrt\{(\d+)\}", text):
        found += [
            ("with a dot", f"{match[1]} \\cdot \\sqrt{{{match[2]}}}"),
            ("root first", f"\\sqrt{{{match[2]}}} \\cdot {match[1]}"),
            ("under the root", f"\\sqrt{{{int(match[1]) ** 2 * int(match[2])}}}"),
            ("as a power", f"{match[1]} \\cdot {match[2]}^{{1/2}}"),
            ("Unicode root", f"{match[1]}√{{{match[2]}}}"),
            ("decimals", f"{int(match[1]) * int(match[2]) ** 0.5:.7f}"),
        ]
    if match := re.fullmatch(r"\\sqrt\{(\d+)\}", text):
        found += [("as a power", f"{match[1]}^{{\\frac{{1}}{{2}}}}"), ("decimals", f"{int(match[1]) ** 0.5:.6f}")]
    if match := re.fullmatch(r"(\d+)\s*\\pi", text):
        found += [
            ("with a dot", f"{match[1]} \\cdot \\pi"),
            ("pi first", f"\\pi \\cdot {match[1]}"),
            ("Unicode", f"{match[1]}π"),
        ]
    if match := re.fullmatch(r"\\[dt]?frac\{(\w+|\\pi|\\sqrt\{\d+\})\}\{(\d+)\}", text):
        found += [("slash", f"{match[1]}/{match[2]}"), ("factor", f"\\frac{{1}}{{{match[2]}}} {match[1]}")]
    return found


def sympy_prints(text: str) -> list[tuple[str, str]]:
    """A formula as sympy prints it: as it stands, expanded, factored, over one denominator."""
    import sympy

    from scope_lab.tasks.formulas import parsed

    expression = parsed(tidy(text))
    if not isinstance(expression, sympy.Expr) or expression.has(sympy.Integral, sympy.Sum, sympy.Limit, sympy.Float):
        return []
    if any(
        symbol.name.lower() != symbol.name or len(symbol.name) > 1 for symbol in expression.free_symbols
    ) or re.search(r"(?<![a-zA-Z\\\\])[A-Z]|text|log|ln|\\dots|\\mathbb|mathcal", text):
        return []  # math-verify drops the case of letters
    ways = {
        "sympy": expression,
        "expanded": expression.expand(),
        "factored": expression.factor(),
        "together": expression.together(),
    }
    return [(name, sympy.latex(found)) for name, found in ways.items()]


def wrong_answers(reference: str, rng: random.Random) -> list[tuple[str, str]]:
    """Answers that differ from the reference by little, each of which a person would refuse."""
    text = tidy(reference)
    content = read(reference).content
    found: list[tuple[str, str]] = []
    if isinstance(content, Quantity):
        value = content.value
        if value.denominator == 1 and content.step is None:
            found += [("one more", str(value + 1)), ("one less", str(value - 1)), ("ten times", str(value * 10 or 10))]
            found += [("other sign", str(-value))] if value else []
            found += [("a little more", f"{value}.01"), ("digits swapped", swapped(str(value)))]
            found += [("over two", f"\\frac{{{value}}}{{2}}"), ("root", f"\\sqrt{{{value}}}")] if value > 1 else []
        elif content.step is None:
            n, d = value.numerator, value.denominator
            found += [("numerator", f"\\frac{{{n + 1}}}{{{d}}}"), ("denominator", f"\\frac{{{n}}}{{{d + 1}}}")]
            found += [("upside down", f"\\frac{{{d}}}{{{n}}}"), ("other sign", f"\\frac{{{-n}}}{{{d}}}")]
            found += [
                ("two decimals", f"{float(value) + 0.02:.2f}"),
                ("another decimal", f"{float(value) * 1.002:.4f}"),
            ]
        else:
            step = content.step
            found += [("last place", decimal(value + step)), ("last place down", decimal(value - step))]
            found += [
                ("ten times", decimal(value * 10)),
                ("other sign", decimal(-value)),
                ("tenth", decimal(value / 10)),
            ]
    elif isinstance(content, Words):
        others = {"yes": "No", "no": "Yes", "true": "False", "false": "True"}
        if content.choice:
            found += [("another letter", "ABCD"[("ABCD".find(content.choice) + 1) % 4])]
            found += [("another in brackets", f"({'BCDA'['ABCD'.find(content.choice)]})")]
        elif content.text in others:
            found += [("opposite", others[content.text]), ("opposite in text", f"\\text{{{others[content.text]}}}")]
        else:
            found += [("not", f"\\text{{not {content.text}}}"), ("another word", "\\text{George}"), ("a number", "1")]
    elif isinstance(content, Many):
        pieces = split(text.strip("()[]") if content.kind in ("()", "(]", "[)", "[]") else text, re.compile(r"[,;]"))
        if content.kind == "list" and len(pieces) == len(content.pieces) and len(set(pieces)) == len(pieces):
            found += [("one missing", ", ".join(pieces[:-1])), ("one too many", ", ".join([*pieces, "98765"]))]
            found += [("one changed", ", ".join([*pieces[:-1], "98765"]))]
        elif content.kind in ("()", "(]", "[)", "[]") and len(pieces) == 2:
            other = {"(": "[", "[": "("}[content.kind[0]]
            found += [("other bracket", f"{other}{pieces[0]}, {pieces[1]}{content.kind[1]}")]
            found += [("ends turned", f"{content.kind[0]}{pieces[1]}, {pieces[0]}{content.kind[1]}")]
            found += [("end changed", f"{content.kind[0]}{pieces[0]}, 98765{content.kind[1]}")]
        found += [("a digit changed", changed) for changed in digit_changed(text, rng)]
    elif isinstance(content, Formula):
        found += [("a digit changed", changed) for changed in digit_changed(text, rng)]
        if "=" not in text and "\\in" not in text and "<" not in text and not re.search(r"\\[lg]eq|\\text|[_|]", text):
            found += [("plus one", f"{text} + 1"), ("twice", f"2 \\cdot ({text})"), ("other sign", f"-({text})")]
        if " + " in text and "(" not in text and "=" not in text:
            found.append(("sign inside", text.replace(" + ", " - ", 1)))
    return [
        (rule, wrong)
        for rule, wrong in dict.fromkeys(found)
        if wrong and tidy(wrong) != text and not equal(wrong, content)
    ]


def equal(wrong: str, content) -> bool:
    """Whether a change hit on the same number after all: 1/1 upside down, 33 with its digits swapped."""
    quantity = read_quantity(tidy(wrong))
    return isinstance(content, Quantity) and quantity is not None and quantity.value == content.value


def swapped(digits: str) -> str:
    return digits[:-2] + digits[-1] + digits[-2] if len(digits.lstrip("-")) > 1 else digits


def decimal(value: Fraction) -> str:
    exponent = 0
    size = abs(value)
    if size and (size >= 10**7 or size < Fraction(1, 10**6)):
        exponent = len(str(int(size))) - 1 if size >= 1 else -len(str(int(1 / size)))
    mantissa = float(value / Fraction(10) ** exponent)
    return f"{mantissa:.10g}" + (f" \\times 10^{{{exponent}}}" if exponent else "")


def digit_changed(text: str, rng: random.Random) -> list[str]:
    """With one number of the text, not of a name or a size, one higher."""
    places = list(re.finditer(r"(?<![\d.\w\\])\d+(?![\d.])|(?<=\{)\d+(?=\})|(?<=\^)\d", text))
    places = [place for place in places if not re.search(r"_\{?$", text[: place.start()])]
    if not places:
        return []
    chosen = rng.sample(places, min(2, len(places)))
    return [text[: place.start()] + str(int(place[0]) + 1) + text[place.end() :] for place in chosen]


def hostile_answers(n: int, seed: int = 0) -> list[str]:
    """Strings for a box that are made to hang, to explode or to overflow whoever evaluates or parses them."""
    rng = random.Random(seed)
    kinds = [
        lambda k: "^{".join(["9"] * k) + "}" * (k - 1),
        lambda k: f"{k}^{{{k}^{{{k * 1000}}}}}",
        lambda k: f"{10**k}!",
        lambda k: f"{k}" + "!" * 6,
        lambda k: f"({10**k}!)! / ({10**k}!)",
        lambda k: "(" * (50 * k) + "1" + ")" * (50 * k),
        lambda k: "\\frac{1}{" * (40 * k) + "2" + "}" * (40 * k),
        lambda k: "\\sqrt{" * (60 * k) + "2",
        lambda k: "{" * (100 * k),
        lambda k: "\\left(" * (30 * k),
        lambda k: "7" * (200 * k),
        lambda k: "0." + "3" * (150 * k),
        lambda k: f"\\sum_{{i=1}}^{{{10**k}}} \\frac{{1}}{{i^{{{k}}}}}",
        lambda k: f"\\int_0^{{{10**k}}} e^{{-x^{{{k}}}}} \\sin(x^{{{k}}}) \\, dx",
        lambda k: f"\\prod_{{i=1}}^{{{10**k}}} (i+x)",
        lambda k: f"(x+y+z)^{{{k * 200}}} - (x+y+z)^{{{k * 200 - 1}}}(x+y+z)",
        lambda k: f"\\binom{{{10**k}}}{{{10**k // 2}}}",
        lambda k: "\\sin(" * (20 * k) + "x" + ")" * (20 * k),
        lambda k: ", ".join(f"x_{{{i}}}" for i in range(40 * k)),
        lambda k: " + ".join(f"\\sqrt{{{i}}}" for i in range(2, 6 + 10 * k)),
        lambda k: "\\begin{pmatrix}" + " & ".join(["1"] * 20 * k) + "\\\\" + "\\end{pmatrix}",
        lambda k: f"\\lim_{{x \\to \\infty}} \\left(1+\\frac{{1}}{{x}}\\right)^{{x^{{{k}}}}}",
        lambda k: f"2^{{{10**k}}} \\mod {10**k + 7}",
        lambda k: "\\" * (100 * k),
        lambda k: "1" + "e9" * k,
        lambda k: "-" * (100 * k) + "1",
        lambda k: "|" * (50 * k + 1),
        lambda k: f"\\log_{{2}} {k}^{{{10**k}}}",
    ]
    return [kinds[i % len(kinds)](rng.randint(2, 12)) for i in range(n)]
