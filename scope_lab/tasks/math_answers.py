r"""Whether two mathematical answers say the same: structure first, then numbers and words, then math-verify.

An answer is read as a quantity, words, a collection (list, set, tuple or interval, union, matrix) of answers, or a
formula. Collections are compared piece by piece; formulas by math-verify, which parses both with sympy. That is the
only slow part, and the only one that can hang: `scope_lab.tasks.verification` puts it into a process with a clock.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .base import Verdict, Verification
from .formulas import by_math_verify
from .latex import MAX_ANSWER, boxed, key, split, tidy, unwrapped
from .quantities import Quantity, read_quantity, same_quantity

MAX_PIECES, MAX_DEPTH = 60, 6

COMMA = re.compile(r"[,;]|\\text\s?\{\s?,?\s?(?:and|or)\s?\}|,?\s(?:and|or)\s", re.I)
UNION = re.compile(r"\\cup(?![a-zA-Z])")
EQUALS = re.compile(r"=")
NAME = re.compile(r"[A-Za-z]{1,2}|\\[a-zA-Z]{2,10}|(?:\\text\s?\{[^{}]{1,40}\})")
FULL_NAME = re.compile(
    rf"(?:{NAME.pattern})\s?'{{0,3}}(?:_\s?(?:\w|\{{[^{{}}]{{1,20}}\}}))?(?:\^\s?\{{?\s?[*'\\-]\S{{0,8}}\s?\}}?)?"
    r"(?:\s?\([A-Za-z0-9,\s\\_]{1,20}\))?|[A-Za-z][A-Za-z' ]{2,40}"
)
MATRIX = re.compile(r"\\begin\s?\{([pbBvV]?matrix|array)\}(?:\s?\{[lcr| ]{1,20}\})?(.*)\\end\s?\{\1\}", re.S)
CHOICE = re.compile(r"\(?\s?([A-Za-z])\s?(?:\)|[.:](?=\s|$|\\)).{0,200}|\(\s?([A-Za-z])\s?\)", re.S)
WORDS = re.compile(r"[A-Za-zÀ-ž][A-Za-zÀ-ž' ,.-]*")
TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
LEADING_TEXT = re.compile(r"\\text\s?\{[^{}]{2,80}\}\s?(?:[:=]|\\colon)?\s?(?=[-\d\\(\[{a-zA-Z.])")
TRAILING_TEXT = re.compile(r"\\text\s?\{[^{}]{1,80}\}(?:\s?\^\s?\{?\s?-?\d\s?\}?)?$")
TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


@dataclass(frozen=True)
class Words:
    """`text` in lower case without punctuation; `choice`: the letter where it is one of (A), (B), …"""

    text: str
    choice: str = ""


@dataclass(frozen=True)
class Formula:
    latex: str


@dataclass(frozen=True)
class Many:
    """`kind`: list, set, union (their order does not count), matrix, row, or the brackets of a tuple or interval."""

    kind: str
    pieces: tuple["Answer", ...]

    @property
    def ordered(self) -> bool:
        return self.kind not in ("list", "set", "union")


@dataclass(frozen=True)
class Answer:
    """`latex`: the whole, tidy; `name`: what it is said to be the value of, the x of `x = 5`."""

    latex: str
    content: "Content"
    name: str = ""


Content = Quantity | Words | Formula | Many


@lru_cache(maxsize=4096)
def read(text: str) -> Answer:
    """An answer's structure. Any text has one; what is nothing else is a formula."""
    return _read(tidy(text[:MAX_ANSWER]), MAX_DEPTH)


def _read(text: str, depth: int) -> Answer:
    whole, latex, name = text, unwrapped(text), ""
    sides = split(latex, EQUALS)
    if len(sides) > 1 and all(sides) and FULL_NAME.fullmatch(sides[0]) and not re.search(r"[<>!]$", sides[0]):
        name, text = sides[0], unwrapped(sides[-1])
    elif (inside := re.fullmatch(rf"({NAME.pattern})\s?\\in(?![a-zA-Z])\s?(.+)", latex, re.S)) and depth:
        name, text = inside[1], inside[2].strip()
    else:
        text = latex
    quantity = read_quantity(text)
    content: Content | None = quantity or _collection(text, depth) or _words(text, whole != latex)
    if content is None:
        shorter = TRAILING_TEXT.sub("", LEADING_TEXT.sub("", text, count=1)).strip()
        if shorter and shorter != text and depth:
            return Answer(latex, _read(shorter, depth - 1).content, name)
        content = Formula(text)
    return Answer(latex, content, name)


def _collection(text: str, depth: int) -> Many | None:
    if not depth or len(text) < 2:
        return None
    if matrix := MATRIX.fullmatch(text):
        kind = "determinant" if matrix[1] in ("vmatrix", "Vmatrix") else "matrix"
        rows = [row for row in re.split(r"\\\\(?:\[[^\]]{0,10}\])?", matrix[2]) if row.strip()][:MAX_PIECES]
        cells = [tuple(_read(cell.strip(), depth - 1) for cell in row.split("&")) for row in rows]
        return Many(
            kind, tuple(Answer(row, Many("row", row_cells)) for row, row_cells in zip(rows, cells, strict=True))
        )
    if len(pieces := split(text, UNION)) > 1:
        return _many("union", pieces, depth)
    if len(pieces := [piece for piece in split(text, COMMA) if piece]) > 1:
        return _many("list", pieces, depth)
    if r"\pm" in text and text.count(r"\pm") == 1 and "=" not in text:
        both = [text.replace(r"\pm", sign).strip().removeprefix("+").strip() for sign in ("+", "-")]
        return _many("list", both, depth)
    opening = text[:2] if text.startswith("\\{") else text[0]
    closing = text[-2:] if text.endswith("\\}") else text[-1]
    if opening in ("(", "[", "\\{") and closing in (")", "]", "\\}") and _encloses(text):
        inner = text[len(opening) : -len(closing)].strip()
        pieces = [piece for piece in split(inner, re.compile(r"[,;]")) if piece]
        if opening == "\\{":
            return _many("set", pieces, depth) if not re.search(r"\\mid|\||:", inner) else None
        if len(pieces) > 1:
            return _many(opening + closing, pieces, depth)
        if opening == "(" and closing == ")":
            only = _read(inner, depth - 1).content
            return only if isinstance(only, Many) else None
    return None


def _many(kind: str, pieces: list[str], depth: int) -> Many | None:
    if len(pieces) > MAX_PIECES:
        return None
    return Many(kind, tuple(_read(piece, depth - 1) for piece in pieces))


def _encloses(text: str) -> bool:
    """Whether the bracket that opens the text is closed by its last one."""
    depth = 0
    tokens = list(re.finditer(r"\\[{}]|\\.|[()\[\]{}]", text))
    for i, match in enumerate(tokens):
        depth += (match[0] in ("(", "[", "{", "\\{")) - (match[0] in (")", "]", "}", "\\}"))
        if depth == 0 and match[0] not in ("\\,",):
            return i == len(tokens) - 1
    return False


def _words(text: str, wrapped: bool) -> Words | None:
    plain = re.sub(r"\s+", " ", TEXT.sub(r" \1 ", text)).strip()
    if choice := CHOICE.fullmatch(plain):
        letter = choice[1] or choice[2]
        return Words(letter.lower(), letter.upper())
    if not WORDS.fullmatch(plain):
        return None
    words = re.sub(r"[^\w ]", "", plain.lower()).strip()
    if TEXT.search(text) or wrapped:
        return Words(words, plain.upper() if len(plain) == 1 else "")
    if (len(words) > 3 and max(map(len, words.split())) > 2) or words in TRUTH:  # `k n` is a product
        return Words(words)
    return None


def same(reference: Answer, answer: Answer, formulas: Callable[[str, str], bool | None]) -> bool | None:
    """Whether both say the same; None where the reference is a formula that cannot be read."""
    if key(reference.latex) == key(answer.latex):
        return True
    wanted, given = reference.content, answer.content
    if reference.name and answer.name and _differ(reference.name, answer.name):
        return False
    if isinstance(wanted, Quantity) and isinstance(given, Quantity):
        return same_quantity(wanted, given)
    if isinstance(wanted, Formula) and isinstance(given, Formula) and key(wanted.latex) == key(given.latex):
        return True
    if isinstance(wanted, Words) or isinstance(given, Words):
        return _same_words(reference, answer)
    if isinstance(wanted, Many) or isinstance(given, Many):
        known = _same_pieces(wanted, given, formulas)
        if known is not None or not isinstance(wanted, Formula | Many):
            return bool(known)
    return formulas(_side(reference, answer), _side(answer, reference))


def _side(one: Answer, other: Answer) -> str:
    """What to compare: the whole where both are equations, else the value alone."""
    if one.name and other.name and "=" in one.latex and "=" in other.latex:
        return one.latex
    if one.name and isinstance(one.content, Formula):
        return one.content.latex
    return one.latex if not isinstance(one.content, Formula) else one.content.latex


def _differ(a: str, b: str) -> bool:
    """Two variables are different ones; what functions are called does not matter."""
    return len(a) == 1 and len(b) == 1 and a != b


def _same_words(reference: Answer, answer: Answer) -> bool:
    wanted, given = reference.content, answer.content
    if isinstance(wanted, Words) and isinstance(given, Words):
        if wanted.choice or given.choice:
            return wanted.text == given.text
        if truth := TRUTH.get(wanted.text):
            return TRUTH.get(given.text.split(" ")[0]) == truth
        return _bare(wanted.text) == _bare(given.text)
    other = answer if isinstance(wanted, Words) else reference
    words = wanted if isinstance(wanted, Words) else given
    assert isinstance(words, Words)
    if words.choice:
        return key(other.latex) == words.choice
    if isinstance(wanted, Words) and (truth := TRUTH.get(wanted.text)):
        said = re.match(r"[A-Za-z]+", TEXT.sub(r"\1", other.latex).strip())
        return said is not None and TRUTH.get(said[0].lower()) == truth
    return _bare(words.text).replace(" ", "") == re.sub(r"\\text|[^\w]", "", other.latex).lower()


def _bare(words: str) -> str:
    return re.sub(r"^(?:the|a|an) ", "", words)


def _same_pieces(wanted, given, formulas) -> bool | None:
    """Of two contents of which one is a collection; None: formulas may yet be the same."""
    if not isinstance(wanted, Many) or not isinstance(given, Many):
        many, one = (wanted, given) if isinstance(wanted, Many) else (given, wanted)
        if many.kind in ("list", "set") and len(many.pieces) == 1:
            only = many.pieces[0]
            other = Answer(_latex(one), one)
            return same(only, other, formulas) if many is wanted else same(other, only, formulas)
        return False if isinstance(one, Quantity) or many.kind == "list" else None
    kinds = {wanted.kind, given.kind}
    if len(wanted.pieces) != len(given.pieces):
        return None if "union" in kinds else False
    if len(kinds) > 1 and not _may_match(wanted, given):
        return None if "union" in kinds else False
    if wanted.ordered and (given.ordered or given.kind == "list"):
        return all_same(zip(wanted.pieces, given.pieces, strict=True), formulas)
    left = list(given.pieces)
    for piece in wanted.pieces:
        for i, candidate in enumerate(left):
            if same(piece, candidate, formulas):
                del left[i]
                break
        else:
            return None if "union" in kinds else False
    return True


def _latex(content) -> str:
    return content.latex if isinstance(content, Formula) else str(content)


def _may_match(wanted: Many, given: Many) -> bool:
    """Lists and sets are one; a list may stand for a tuple; brackets mean something on intervals, of two ends."""
    kinds = {wanted.kind, given.kind}
    if kinds == {"list", "set"} or (kinds & {"list"} and kinds & {"()"}):
        return True
    return kinds == {"()", "[]"} and len(wanted.pieces) > 2


def all_same(pairs, formulas) -> bool:
    return all(same(a, b, formulas) for a, b in pairs)


def _undecided(wanted: str, given: str) -> bool | None:
    raise LookupError


def verify_math(reference: str, response: str, quickly: bool = False) -> Verification | None:
    r"""Whether the last box of a response says what the reference does; units do not count, unless both are known.

    Unknown where the reference is a formula that math-verify cannot read (the very same text is correct all the same);
    incorrect without a box. `answer` is canonical: numbers as fractions in lowest terms, other answers without spaces;
    whatever is correct has the reference's. With `quickly`, None where only math-verify can tell.
    """
    content = boxed(response)
    if content is None:
        return Verification(Verdict.INCORRECT, "no boxed answer")
    if len(content) > MAX_ANSWER:
        return Verification(Verdict.INCORRECT, "boxed answer too long")
    if not content.strip():
        return Verification(Verdict.INCORRECT, "boxed answer empty")
    if not reference.strip():
        return Verification(Verdict.UNKNOWN, "unreadable reference")
    wanted, given = read(boxed(reference) or reference), read(content)
    try:
        found = same(wanted, given, _undecided if quickly else by_math_verify)
    except LookupError:
        if not quickly:
            raise
        return None
    if found is None:
        return Verification(Verdict.UNKNOWN, "unreadable reference", canonical(given))
    if found:
        return Verification(Verdict.CORRECT, "boxed answer equals", canonical(wanted))
    return Verification(Verdict.INCORRECT, "boxed answer differs", canonical(given))


def canonical(answer: Answer) -> str:
    if isinstance(answer.content, Quantity):
        return str(answer.content.value)
    if isinstance(answer.content, Words):
        return answer.content.text
    return key(answer.latex)
