r"""What a response puts in its last `\boxed{…}`, and one spelling for the many that LaTeX has for the same thing.

Every function is linear in the text, or works on a text that is cut to MAX_ANSWER characters first.
"""

import re

MAX_ANSWER = 2_000  # characters of an answer; longer ones are not read
LOOKED_AT = 4 * MAX_ANSWER  # of a response, back from the last box

BOX = re.compile(r"\\f?boxed\s{0,4}(\{|[^\s{$]{1,40})|\\fbox\s{0,4}(\{)")
BRACE = re.compile(r"\\.|[{}]", re.S)
BETWEEN_BOXES = re.compile(r"[\s$,;.\\()\[\]]{0,8}(?:\b(?:and|or)\b)?[\s$,;.\\()\[\]]{0,8}")

UNICODE = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "±": r"\pm ", "π": r"\pi ", "∞": r"\infty ",
    "√": r"\sqrt ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "≤": r"\leq ", "≥": r"\geq ",
    "≠": r"\neq ", "°": r"^\circ ", "²": "^2", "³": "^3", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "θ": r"\theta ",
    "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "“": '"', "”": '"', "’": "'", "，": ",", "（": "(", "）": ")",
    "\xa0": " ", "\u2009": " ", "\u202f": " ",
}  # fmt: skip
SPELLINGS = [
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|boldsymbol|ensuremath|mathstrut)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<=\d)\s?\\[,!;: ]\s?(?=\d{3}(?!\d))|(?<=\d)\{,\}(?=\d{3}(?!\d))"), ","),  # 1\,000 and 1{,}000
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<!\\)\\[,;: >]|~|\\q?quad(?![a-zA-Z])|\\hspace\*?\{[^{}]{0,20}\}"), " "),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (re.compile(r"\\(?:text(?:rm|bf|it|normal|up)|math(?:rm|bf|it)|[mh]box|rm|bf)(?=\s?\{)"), r"\\text"),
    (re.compile(r"\\leq(?:slant)?(?![a-zA-Z])|\\le(?![a-zA-Z])"), r"\\leq "),
    (re.compile(r"\\geq(?:slant)?(?![a-zA-Z])|\\ge(?![a-zA-Z])"), r"\\geq "),
    (re.compile(r"\\ne(?:q)?(?![a-zA-Z])"), r"\\neq "),
    (re.compile(r"\\varnothing(?![a-zA-Z])|\\\{\s?\\\}"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\[lr]vert(?![a-zA-Z])|\\[lr]?vert(?![a-zA-Z])"), "|"),
    (re.compile(r"\^\s?\{\s?\\circ\s?\}|\^\s?\\circ(?![a-zA-Z])|\\degrees?(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"\\(frac|binom)\s?(\d|[a-zA-Z])\s?(\d|[a-zA-Z])(?![a-zA-Z])"), r"\\\1{\2}{\3}"),  # \frac12, \frac 59
    (re.compile(r"\\(frac|binom)\s?(\d|[a-zA-Z])\s?\{"), r"\\\1{\2}{"),
    (re.compile(r"\\(frac|binom)\s?(\{[^{}]{0,80}\})\s?(\d|[a-zA-Z])(?![a-zA-Z])"), r"\\\1\2{\3}"),
    (re.compile(r"\\sqrt\s?(\d|[a-zA-Z])(?![a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\s+"), " "),
]  # fmt: skip


def boxed(response: str) -> str | None:
    r"""The content of the last complete `\boxed{…}`; of several that follow on one another, all, with commas.

    None where there is none. Braces are balanced; `\{` and `\}` are not counted.
    """
    end = response.rfind("\\boxed")
    end = max(end, response.rfind("\\fbox"))
    if end < 0:
        return None
    text = response[max(0, end - LOOKED_AT) : end + LOOKED_AT]
    found: list[tuple[int, int, str]] = []
    for match in list(BOX.finditer(text))[-10:]:
        if match[1] and match[1] != "{":
            found.append((match.start(), match.end(), match[1]))
        elif close := closing_brace(text, match.end()):
            found.append((match.start(), close, text[match.end() : close - 1]))
    if not found:
        return None
    start, _, content = found.pop()
    while found and found[-1][1] <= start and BETWEEN_BOXES.fullmatch(text[found[-1][1] : start]):
        start, _, before = found.pop()
        content = f"{before}, {content}"
    return content


def closing_brace(text: str, start: int) -> int | None:
    """Where the group that was opened before `start` ends (behind its brace); None where it never does."""
    depth = 1
    for match in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return None


def tidy(text: str) -> str:
    """One spelling: no math delimiters, no spacing commands, `\\frac` for all of its kin, ASCII for Unicode."""
    for character, command in UNICODE.items():
        if character in text:
            text = text.replace(character, command)
    text = re.sub(r"\\[()\[\]]|(?<!\\)\$", "", text)
    for pattern, replacement in SPELLINGS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    while text and (text[-1] in ".,;:" or text.endswith("\\\\") or text.endswith("\\ ")):
        text = text[:-1].rstrip().removesuffix("\\")
    return text


def key(text: str) -> str:
    """A tidy text without what means nothing: spaces, and braces round a single character."""
    text = re.sub(r"\s", "", text)
    return re.sub(r"(?<=[_^])\{(.)\}", r"\1", text)


def unwrapped(text: str) -> str:
    """Without braces, `\\text{…}` or the like that hold the whole of it."""
    while True:
        match = re.match(r"\{|\\text\s?\{", text)
        if not match or closing_brace(text, match.end()) != len(text):
            return text
        text = text[match.end() : -1].strip()


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Pieces between separators that stand outside of any bracket."""
    pieces, depth, start = [], 0, 0
    for match in re.finditer(rf"{separator.pattern}|\\[{{}}]|\\begin|\\end|\\.|[()\[\]{{}}]", text, separator.flags):
        token = match[0]
        if token in ("(", "[", "{", "\\{", "\\begin"):
            depth += 1
        elif token in (")", "]", "}", "\\}", "\\end"):
            depth -= 1
        elif depth == 0 and separator.fullmatch(token):
            pieces.append(text[start : match.start()].strip())
            start = match.end()
    return [*pieces, text[start:].strip()]
