r"""The final number of a free-text response, and whether it equals a reference. Exact, and linear in the text's length.

Where the answer is looked for, the first place that holds a number wins:

1. the last `\boxed{…}`;
2. the text after the last `####`;
3. the last answer phrase ("The answer is …", "Final answer: …") that has a number behind it, in its sentence: the one
   after the last "=", else the first one. Number words count here ("The answer is five.");
4. the last sentence that has a number and is no question. In it, a number at the start of bold type; else, reading
   backwards, a number behind "=", "total of", "left with" and the like is the answer, an operand ("3 + 4") and one that
   only sets the scene (behind in, for, after, with, from, by, than …) are passed over, any other is the answer. If all
   are passed over, the sentence's last number. So "She has 14 apples left in 3 boxes", "14 - 3 = 11 in 2 days" and
   "Giving 3 to Sam leaves 14" say 14, 11 and 14;
5. only where a response has no digit at all: number words, by rule 4.

Never an answer: ordinals, list markers, "Step 2", numbers glued to the end of letters (x2, H2O).
"""

import re

from .base import Verdict, Verification
from .numerals import Number, normalise, number_words_in, numbers_in

# Bounds on the work, counted from the end: characters of a response, of a reference, of a sentence; places of one rule.
MAX_CHARACTERS, MAX_REFERENCE, MAX_SENTENCE, MAX_PLACES = 8_000, 2_000, 500, 10

LIST_MARKER = re.compile(r"^[ \t]{0,8}(?:\d{1,2}[.)]|[-+•])[ \t]{1,4}(?=\S)", re.M)
RESULT = re.compile(
    r"(?:=[\s$*(-]{0,4}"
    r"|\b(?:(?:total|sum) of|(?:left|up) with|(?:equal|comes?|up|amounts?) to)[\s$*:]{1,4})$",
    re.I,
)
SCENE = re.compile(
    r"\b(?:in|into|for|after|before|from|to|by|with|at|per|of|on|over|between|among|than|within|if|since|every|during)"
    r"(?:\s(?:the|his|her|their|its|a|each|all|every|these|those|of|about|only|other|first|last|\w{2,12}ing)){0,3}\s\$?$",
    re.I,
)
BOXED = re.compile(r"\\f?boxed\s?\{{1,2}([^{}]{0,200})\}")
PHRASE = re.compile(
    r"(?<!to )\banswers?\b(?![^.\n:=]{0,20}\?)[^.?!\n\d:=]{0,60}?(?:[:=]|\b(?:is|are|was|be|equals?)\b(?:\s?:)?)", re.I
)
SENTENCE_END = re.compile(r"\n|[.!?](?=[\s*)\"']|$)")
REFERENCE_UNIT = re.compile(r"(?:%|°|¢|[A-Za-z]{2,20}(?:[ /-][A-Za-z]{2,20}){0,3})?\.?", re.ASCII)
NO_UNIT = re.compile(r"\b(?:or|and|to|pi|by|if|sqrt|plus|minus|times|over|mod|sin|cos|tan|log|ln)\b", re.I)


def verify_answer(reference: str, response: str) -> Verification:
    """Correct where the response's final number equals the reference, as exact fractions; units are not compared.

    A percentage also equals its hundredth, and cents the dollars they make. Unknown where the reference is not one
    number; incorrect where the response has none. `answer` is the number as a fraction in lowest terms, so 14, 14.0
    and $14 are one answer. Never raises.
    """
    wanted = read_reference(reference)
    if wanted is None:
        return Verification(Verdict.UNKNOWN, "unreadable reference")
    where, found = final_number(response)
    if found is None:
        return Verification(Verdict.INCORRECT, "no number in response")
    if not found.values:
        return Verification(Verdict.INCORRECT, f"{where} unreadable")
    values = found.values
    if wanted.money and len(values) > 1 and not found.money:  # dollars are asked for, and cents are given
        values = values[1:]
    if set(values) & set(wanted.values):
        return Verification(Verdict.CORRECT, f"{where} equals", str(wanted.values[0]))
    return Verification(Verdict.INCORRECT, f"{where} differs", str(values[0]))


def read_reference(text: str) -> Number | None:
    """The one number that a reference answer is, with or without a unit; None where it is anything else.

    A solution that ends in `#### 18` is read from there. Several values, formulas and clock times are not read.
    """
    text = normalise(text[-MAX_REFERENCE:]).rpartition("####")[2].strip()
    boxed = BOXED.fullmatch(text)
    text = (boxed[1] if boxed else text).strip()
    if text.startswith("$") and text.endswith("$"):
        text = text[1:-1].strip()
    numbers = numbers_in(text)
    if len(numbers) != 1 or not numbers[0].values:
        return None
    before, after = text[: numbers[0].start], text[numbers[0].end :].strip()
    plain_before = re.fullmatch(r"(?:[a-zA-Z]\s?=)?\s?[-$\s]{0,4}", before)
    if not plain_before or not REFERENCE_UNIT.fullmatch(after) or NO_UNIT.search(after):
        return None
    return numbers[0]


def final_number(response: str) -> tuple[str, Number | None]:
    """Where the answer was found (a short fixed phrase) and the number; None where there is none."""
    text = normalise(response[-MAX_CHARACTERS:])[-MAX_CHARACTERS:]
    for match in list(BOXED.finditer(text))[: -MAX_PLACES - 1 : -1]:
        if number := stated(match[1]):
            return "boxed number", number
    if "####" in text and (number := stated(first_sentence(text.rpartition("####")[2]))):
        return "stated answer", number
    for match in list(PHRASE.finditer(text))[: -MAX_PLACES - 1 : -1]:
        if number := stated(first_sentence(text[match.end() :])):
            return "stated answer", number
    for number in (concluding(LIST_MARKER.sub("", text)), concluding(text)):  # "7. Done": the marker was the answer
        if number:
            return "final number", number
    if re.search(r"\d", text) is None:
        for sentence in reversed(SENTENCE_END.split(text)):
            if words := number_words_in(sentence[-MAX_SENTENCE:]):
                return "final number", conclusion(sentence[-MAX_SENTENCE:], words)
    return "final number", None


def first_sentence(text: str) -> str:
    return SENTENCE_END.split(text[:MAX_SENTENCE].lstrip(" \n*:$[("), maxsplit=1)[0]


def stated(text: str) -> Number | None:
    """The number of a text that is known to state an answer: after the last "=", else the first, in digits or words."""
    numbers = numbers_in(text)
    results = [n for n in numbers if not n.operand and text[: n.start].rstrip(" $-*").endswith("=")]
    first = min(numbers + number_words_in(text), key=lambda number: number.start, default=None)
    return results[-1] if results else first


def conclusion(sentence: str, numbers: list[Number]) -> Number:
    """Rule 4 within one sentence that holds `numbers`."""
    for number in reversed(numbers):
        if sentence[: number.start].rstrip("$-").endswith("**") and "=" not in sentence[number.end :]:
            return number
    for number in reversed(numbers):
        before = sentence[max(0, number.start - 50) : number.start]
        if RESULT.search(before) and not number.operand:
            return number
        if not number.operand and (number.money or not SCENE.search(before)):
            return number
    return numbers[-1]


def concluding(text: str) -> Number | None:
    """Rule 4: the number of the last sentence that has one."""
    sentences: list[tuple[str, bool]] = []  # and whether it asks
    start = 0
    for match in SENTENCE_END.finditer(text):
        sentences.append((text[max(start, match.start() - MAX_SENTENCE) : match.start()], match[0] == "?"))
        start = match.end()
    sentences.append((text[start:][-MAX_SENTENCE:], False))
    fallback = None
    for sentence, question in reversed(sentences):
        if numbers := numbers_in(sentence):
            if not question:
                return conclusion(sentence, numbers)
            fallback = fallback or conclusion(sentence, numbers)
    return fallback
