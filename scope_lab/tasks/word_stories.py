"""Stories in words: a small notation for word problems, and how one is filled with names, things and numbers.

    [give_away] thing=food a=4..12
    ? {P} has {a thing}. {He} gives {b} of them to {Q}. How many {things} does {P} have left?
    = left = a - b; {P} has {= thing} left.

`?` lines are wordings of the same story, `=` lines the steps of its solution, one operation each, the last one the
answer. Within braces: P, Q, R people; He he him his of P; thing, things what the story is about; a to h numbers, `$a`
as money, `a thing` or `a hour` counted; `=` in a step is its sum written out. Indented lines go on with the line above.
"""

import random
import re
from dataclasses import dataclass
from fractions import Fraction

PEOPLE = {
    "he": "Ben Tom Sam Leo Max Omar Ravi Jack Noah Luke Adam Hugo Ivan Kofi Paul Diego",
    "she": "Anna Mia Zoe Lily Emma Nina Sara Ruby Maya Clara Aisha Mei Lucy Olga Rosa Ella",
}
PRONOUNS = {"he": {"he": "he", "him": "him", "his": "his"}, "she": {"he": "she", "him": "her", "his": "her"}}
THINGS = {
    "toys": "marble sticker pencil coin button stamp card bead crayon shell balloon pebble",
    "food": "apple orange cookie muffin peach cherry carrot sandwich egg plum strawberry pancake",
    "fruit": "apple orange peach cherry plum strawberry lemon pear mango tomato",
    "baked": "cookie muffin bun pretzel scone cupcake biscuit bagel pie roll",
    "goods": "notebook pen mug candle brush sandwich toy ticket scarf lunchbox puzzle poster",
}
PLURALS = {"child": "children", "person": "people", "fish": "fish", "tomato": "tomatoes", "shelf": "shelves"}
PLURALS |= {"loaf": "loaves", "scarf": "scarves"}
DEFAULT_RANGE = (2, 12)
SMALLEST, LARGEST = 2, 100  # of every result: no "1 apples", nothing that needs long arithmetic
SLOT = re.compile(r"\{([^{}]+)\}")
STEP = re.compile(r"(\w+) = (\w+) ([-+*/]) (\w+); (.+)")
RANGE = re.compile(r"([a-h])=(\d+(?:\.50)?)\.\.(\d+(?:\.50)?)")


@dataclass(frozen=True)
class Step:
    """One operation. `left` and `right` name a number of the story, an earlier result, or are whole numbers."""

    result: str
    left: str
    operation: str
    right: str
    sentence: str


@dataclass(frozen=True)
class Template:
    """A story whose numbers are open. `ranges` of those numbers that do not take the usual one."""

    name: str
    wordings: tuple[str, ...]
    steps: tuple[Step, ...]
    ranges: dict[str, tuple[Fraction, Fraction]]
    things: str

    @property
    def numbers(self) -> list[str]:
        """The letters of the numbers that a reader is given, distractors included."""
        slots = {slot.split()[0].lstrip("$") for slot in SLOT.findall(self.wordings[0])}
        return sorted(slot for slot in slots if re.fullmatch("[a-h]", slot))

    @property
    def distractors(self) -> set[str]:
        """Numbers of the story that no step uses."""
        return set(self.numbers) - {name for step in self.steps for name in (step.left, step.right)}


@dataclass(frozen=True)
class Story:
    """A template filled in. `numbers` are those given to the reader; `answer` is exact."""

    template: Template
    prompt: str
    solution: str
    numbers: tuple[Fraction, ...]
    answer: Fraction


def read_templates(text: str) -> tuple[Template, ...]:
    """Parse stories in the notation above. Raises ValueError on a line that fits none of it."""
    templates = []
    for block in text.strip().split("\n\n"):
        lines = re.sub(r"\n +", " ", block).splitlines()
        head = re.match(r"\[(\w+)\](?: thing=(\w+))?", lines[0])
        if head is None:
            raise ValueError(f"story: found {lines[0]!r}, accepted [name] thing=KIND a=LOW..HIGH")
        ranges = {name: (Fraction(low), Fraction(high)) for name, low, high in RANGE.findall(lines[0])}
        steps = []
        for line in lines[1:]:
            match = STEP.fullmatch(line.removeprefix("= "))
            if not line.startswith("? ") and match is None:
                raise ValueError(f"story {head[1]}: found {line!r}, accepted '? wording' or '= c = a + b; sentence'")
            if match is not None:
                steps.append(Step(*match.groups()))
        wordings = tuple(line[2:] for line in lines[1:] if line.startswith("? "))
        templates.append(Template(head[1], wordings, tuple(steps), ranges, head[2] or "toys"))
    return tuple(templates)


def plural(noun: str) -> str:
    """More than one of a thing: `box` -> `boxes`, `cup of flour` -> `cups of flour`."""
    head, of, rest = noun.partition(" of ")
    if head in PLURALS:
        head = PLURALS[head]
    elif head.endswith(("s", "x", "z", "ch", "sh")):
        head += "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "s"
    return head + of + rest


def write_number(value: Fraction) -> str:
    """Whole numbers plainly, amounts of money with their cents."""
    return str(value) if value.denominator == 1 else f"{float(value):.2f}"


def operate(left: Fraction, operation: str, right: Fraction) -> Fraction:
    match operation:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right else Fraction(-1)
    raise ValueError(f"operation: found {operation!r}, accepted + - * /")


def draw_numbers(template: Template, rng: random.Random, max_number: int) -> dict[str, Fraction] | None:
    """Random numbers and every result by name, or None where a result or answer is one that we do not want."""
    values = {}
    for name in template.numbers:
        low, high = template.ranges.get(name, (Fraction(DEFAULT_RANGE[0]), Fraction(max_number)))
        whole = rng.randint(int(low), int(high))
        values[name] = whole + low % 1  # a range from 1.5 holds 1.5, 2.5, ...
    whole_numbers = all(value.denominator == 1 for value in values.values())
    for step in template.steps:
        left, right = (values[name] if name in values else Fraction(name) for name in (step.left, step.right))
        result = operate(left, step.operation, right)
        if not SMALLEST <= result <= LARGEST or (whole_numbers and result.denominator > 1):
            return None
        values[step.result] = result
    answer = values[template.steps[-1].result]
    # A response that only repeats a number of the story must not be right by chance.
    return None if answer in {values[name] for name in template.numbers} else values


def draw_story(template: Template, rng: random.Random, max_number: int = DEFAULT_RANGE[1]) -> Story:
    """A random filling of a template, with numbers up to `max_number` where the template sets no range of its own."""
    values = None
    while values is None:
        values = draw_numbers(template, rng, max_number)
    gender = rng.choice(sorted(PEOPLE))
    others = " ".join(PEOPLE.values()).split()
    first = rng.choice(PEOPLE[gender].split())
    others.remove(first)
    words = dict(zip("PQR", (first, *rng.sample(others, 2)), strict=True)) | PRONOUNS[gender]
    words["thing"] = rng.choice(THINGS[template.things].split())
    words["things"] = plural(words["thing"])

    def fill(text: str, written_out: str = "", result: Fraction = Fraction(0)) -> str:
        def slot(match: re.Match) -> str:
            key, _, noun = match[1].partition(" ")
            if key in words:
                return words[key]
            if key == "He":
                return words["he"].capitalize()
            value = result if key == "=" else values[key.lstrip("$")]
            number = written_out if key == "=" else "$" * key.startswith("$") + write_number(value)
            if not noun:
                return number
            noun = words.get(noun, noun)
            return f"{number} {noun if value == 1 else plural(noun)}"

        filled = SLOT.sub(slot, text)
        return filled[0].upper() + filled[1:]

    lines = []
    for step in template.steps:
        operands = (write_number(values[name]) if name in values else name for name in (step.left, step.right))
        result = values[step.result]
        written_out = f" {step.operation} ".join(operands) + f" = {write_number(result)}"
        lines.append(fill(step.sentence, written_out, result))
    answer = values[template.steps[-1].result]
    prompt = fill(rng.choice(template.wordings))
    return Story(template, prompt, " ".join(lines), tuple(values[name] for name in template.numbers), answer)
