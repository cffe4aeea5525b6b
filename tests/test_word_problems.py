"""Word problems: every story reads right, its answer is recomputed from its words, and no split leaks into another."""

import random
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice

import pytest

from scope_lab import load_task
from scope_lab.tasks import SPLITS, Verdict, WordProblems
from scope_lab.tasks.word_problems import DIFFICULTIES, INSTRUCTION, PLAIN, TEMPLATES, as_problem, held_out
from scope_lab.tasks.word_stories import PEOPLE, THINGS, draw_story, plural, read_templates

ALL = (*TEMPLATES["train"], *TEMPLATES["test"])
TASK = WordProblems()
AMOUNT = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
SUM = re.compile(r"(?<![\d.])(\d+(?:\.\d\d)?) ([-+*/]) (\d+(?:\.\d\d)?) = (\d+(?:\.\d\d)?)")
SMALL_CONSTANTS = {Fraction(2), Fraction(4)}  # twice, half, a cow's legs


def stories(template, n=40, seed=0):
    """n fillings of each wording of a template."""
    rng = random.Random(f"{template.name} {seed}")
    return [draw_story(replace(template, wordings=(w,)), rng) for w in template.wordings for _ in range(n)]


def amounts(text):
    return [Fraction(found) for found in AMOUNT.findall(text)]


every_template = pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)


# Templates


def test_there_are_enough_templates_of_every_length_and_operation():
    assert len(ALL) >= 40 and len(TEMPLATES["train"]) >= 32 and len(TEMPLATES["test"]) >= 8
    assert len({t.name for t in ALL}) == len(ALL)
    for split in ("train", "test"):
        assert {len(t.steps) for t in TEMPLATES[split]} == {1, 2, 3, 4}
        assert {step.operation for t in TEMPLATES[split] for step in t.steps} == set("+-*/")
        assert sum(bool(t.distractors) for t in TEMPLATES[split]) >= 1
    wordings = [w for t in ALL for w in t.wordings]
    assert len(set(wordings)) == len(wordings)
    assert any("$" in w for w in wordings) and any("hour" in w for w in wordings) and any("more" in w for w in wordings)


def test_no_template_is_a_copy_of_another_with_the_nouns_changed():
    """Of stories with the same operations, no two share most of the words that stand outside braces."""
    bags = {w: set(re.sub(r"\{[^}]*\}|[^\w\s]", " ", w).lower().split()) for t in ALL for w in t.wordings}
    owner = {w: ([step.operation for step in t.steps], t.name) for t in ALL for w in t.wordings}
    for a in bags:
        for b in bags:
            if owner[a][0] == owner[b][0] and owner[a][1] != owner[b][1]:
                assert len(bags[a] & bags[b]) <= 0.65 * len(bags[a] | bags[b]), (a, b)


@every_template
def test_every_wording_gives_the_same_numbers_and_the_steps_use_them(template):
    assert len(template.wordings) >= 2
    for wording in template.wordings:
        assert replace(template, wordings=(wording,)).numbers == template.numbers, wording
    names = set(template.numbers)
    for step in template.steps:
        for side in (step.left, step.right):
            assert side in names or Fraction(side) in SMALL_CONSTANTS
        names.add(step.result)
    assert len(names) == len(template.numbers) + len(template.steps), "a result hides another number"
    used = {side for step in template.steps for side in (step.left, step.right)}
    assert all(step.result in used for step in template.steps[:-1]), "a step leads nowhere"


@every_template
def test_solution_is_sound_arithmetic_on_numbers_that_the_prompt_gives(template):
    """Every sum is true, takes only numbers read before, and the last one is the answer."""
    for story in stories(template):
        known = Counter(amounts(story.prompt))
        assert not Counter(story.numbers) - known, story.prompt
        sums = SUM.findall(story.solution)
        assert len(sums) == len(template.steps)
        for left, operation, right, claimed in sums:
            a, b, c = Fraction(left), Fraction(right), Fraction(claimed)
            assert c == {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[operation], story.solution
            assert {a, b} <= set(known) | SMALL_CONSTANTS, story
            known[c] += 1
        assert c == story.answer >= 0
        assert story.answer.denominator in (1, 2)
        assert TASK.verify(as_problem(story), story.solution).verdict == Verdict.CORRECT
        assert TASK.verify(as_problem(story), f"{claimed}9").verdict == Verdict.INCORRECT


# What the first wording of a story asks, by hand from its numbers in the order in which they stand in the prompt.
BY_HAND = {
    "finds": lambda a, b: a + b,
    "both_have": lambda a, b: a + b,
    "eats_daily": lambda each, days: each * days,
    "boxes_each": lambda boxes, each: boxes * each,
    "flowers": lambda red, white: red + white,
    "twice": lambda a: 2 * a,
    "weekly_savings": lambda weekly, weeks: weekly * weeks,
    "games": lambda first, second: first + second,
    "trips": lambda miles, trips: miles * trips,
    "wheels": lambda cars, four: cars * four,
    "read_pages": lambda before, after: before + after,
    "pets": lambda cows, hens: cows + hens,
    "gain": lambda a, b: a + b,
    "give_away": lambda a, b: a - b,
    "bags": lambda a, b: a * b,
    "share": lambda a, b: a / b,
    "more_than": lambda a, b: a - b,
    "price_with_cents": lambda price, n: price * n,
    "concert_length": lambda start, end: end - start,
    "picked_in_a_day": lambda age, a, b: a + b,
    "times_as_many": lambda a, k: a * k,
    "at_first": lambda gave, left: gave + left,
    "gain_then_lose": lambda a, b, c: a + b - c,
    "boxes_broken": lambda a, b, c: a * b - c,
    "pay_with_bill": lambda n, price, paid: paid - n * price,
    "more_then_together": lambda a, b: 2 * a + b,
    "fewer_then_together": lambda a, b: 2 * a - b,
    "mixed_into_bags": lambda a, b, bags: (a + b) / bags,
    "pages_left": lambda pages, daily, days: pages - daily * days,
    "half_then_more": lambda a, b: a / 2 + b,
    "trays_in_oven": lambda heat, per_tray, minutes, trays: heat + minutes * trays,
    "eat_then_share": lambda a, eaten, friends: (a - eaten) / friends,
    "price_of_several": lambda n, cost, wanted: cost / n * wanted,
    "bus_stop": lambda bus, a, off, on: a - off + on,
    "fence": lambda a, b: 2 * (a + b),
    "two_kinds": lambda n, p, m, q: n * p + m * q,
    "weekend_pay": lambda a, b, wage, spent: (a + b) * wage - spent,
    "repack": lambda bags, each, loose, size: (bags * each + loose) / size,
    "ages": lambda a, older, years: 2 * (a + older) + years,
    "pages_twice": lambda pages, monday: pages - 3 * monday,
    "legs": lambda hens, two, cows, four: two * hens + four * cows,
    "whose_is_more": lambda a, b, c, d: a * b - c * d,
    "two_kinds_change": lambda n, p, m, q, paid: paid - n * p - m * q,
    "bakery_bags": lambda trays, rolls, burnt, size, price: (trays * rolls - burnt) / size * price,
    "savings": lambda weekly, weeks, gift, n, price: weekly * weeks + gift - n * price,
    "party_packs": lambda boys, girls, each, have, pack: ((boys + girls) * each - have) / pack,
    "three_people": lambda a, more: a + (a + more) * 3,
    "rope_pieces": lambda length, pieces: length / pieces,
    "elevator": lambda floor, up, down: floor + up - down,
    "zoo_tickets": lambda adults, children, price: (adults + children) * price,
    "candle": lambda tall, hourly, hours: tall - hourly * hours,
    "fill_the_tank": lambda room, held, rate: (room - held) / rate,
    "snow": lambda degrees, monday, more: 2 * monday + more,
    "juice_change": lambda price, n, paid: paid - price * n,
    "photo_album": lambda pages, each, new, out: pages * each + new - out,
    "free_seats": lambda buses, seats, students, teachers: buses * seats - students - teachers,
    "lemonade": lambda cups, price, lemons, sugar: cups * price - lemons - sugar,
    "workshop": lambda chairs, stools, days, sold, load: ((chairs + stools) * days - sold) / load,
    "berry_pickers": lambda a, b, c, d, price: (a * c + b * d) * price,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_answer_is_what_the_words_ask(name):
    template = next(t for t in ALL if t.name == name)
    for story in stories(replace(template, wordings=template.wordings[:1])):
        assert BY_HAND[name](*amounts(story.prompt)) == story.answer, story.prompt


# Language


@every_template
def test_text_reads_as_english(template):
    for story in stories(template, n=60, seed=1):
        for text in (story.prompt, story.solution):
            assert not re.search(r"[{}|=]|  |\s[.,?]|\n", re.sub(SUM, "sum", text)), text
            assert not re.search(r"(?<![\d.])1 (?!is|and|are)\w+s\b", text), text
            assert not re.search(r"\b[Aa] [aeiou](?!ne\b|ni)|\b[Aa]n [^aeiouh]", text), text
            assert text[0].isupper() or text[0].isdigit()
            assert all(part[0].isupper() or part[0].isdigit() for part in re.split(r"[.?!] ", text)), text
        assert story.prompt.endswith("?")


def test_plurals():
    singular = ["box", "baby", "toy", "child", "slice of pizza", "peach", "scarf", "tomato", "person", "brush", "glass"]
    assert [plural(noun) for noun in singular] == [
        *("boxes", "babies", "toys", "children", "slices of pizza", "peaches", "scarves", "tomatoes", "people"),
        *("brushes", "glasses"),
    ]
    assert all(noun.isalpha() and plural(noun) != noun for kind in THINGS.values() for noun in kind.split())


def test_people_of_a_story_differ_and_pronouns_fit_the_first():
    template = next(t for t in ALL if t.name == "gain")
    for story in stories(template):
        pronoun = re.search(r"gives (him|her)|(he|she) has now", story.prompt)
        assert pronoun is not None
        first = story.prompt.split()[0]
        assert (first in PEOPLE["he"]) == (pronoun[1] == "him" or pronoun[2] == "he")
        assert len(set(re.findall(r"\b[A-Z][a-z]+\b", story.prompt)) & set(" ".join(PEOPLE.values()).split())) == 2


# Splits


@cache
def drawn(split, n=3_000, difficulty="standard"):
    return list(islice(WordProblems(difficulty).stories(split, seed=3), n))


def test_splits_are_disjoint_by_template_and_by_numbers():
    names = {split: {s.template.name for s in drawn(split)} for split in SPLITS}
    bags = {split: {tuple(sorted(s.numbers)) for d in DIFFICULTIES for s in drawn(split, 700, d)} for split in SPLITS}
    assert not names["test"] & (names["train"] | names["validation"])
    assert names["train"] == names["validation"] == {t.name for t in TEMPLATES["train"]}
    assert names["test"] == {t.name for t in TEMPLATES["test"]}
    assert not bags["train"] & (bags["validation"] | bags["test"])
    prompts = {split: {s.prompt for s in drawn(split)} for split in SPLITS}
    assert not prompts["validation"] & prompts["test"]


def test_six_bags_of_numbers_in_ten_are_for_training_whatever_their_order():
    pairs = [(Fraction(a), Fraction(b)) for a in range(2, 40) for b in range(a, 40)]
    assert 0.35 < sum(map(held_out, pairs)) / len(pairs) < 0.45
    assert all(held_out((a, b)) == held_out((b, a)) for a, b in pairs)
    small = {len({s.numbers for s in drawn("test") if len(s.template.steps) == n}) for n in (1, 2, 3, 4)}
    assert min(small) > 40, "held-out problems have many different numbers"


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_decided_by_split_and_seed(split):
    first = TASK.problems(split, 60, seed=4)
    assert first == WordProblems().problems(split, 60, seed=4) and first[:20] == TASK.problems(split, 20, seed=4)
    assert {p.id for p in first} != {p.id for p in TASK.problems(split, 60, seed=5)}
    assert len({p.id for p in first}) == len({p.prompt for p in first}) == 60
    assert len(TASK.problems(split)) == 1_000 and TASK.problems(split, 0) == []


def test_id_belongs_to_the_text_and_not_to_seed_or_difficulty():
    by_prompt = {}
    for difficulty in ("standard", "easy", "one_step"):
        for problem in WordProblems(difficulty).problems("validation", 1_000, seed=len(difficulty)):
            assert by_prompt.setdefault(problem.prompt, problem) == problem
    assert len(by_prompt) < 3_000, "the same problem came up more than once"
    assert all(re.fullmatch(r"[a-z_]+-[0-9a-f]{12}", problem.id) for problem in by_prompt.values())


def test_solutions_are_an_endless_stream_of_correct_responses():
    for split in SPLITS:
        for problem, solution in islice(TASK.solutions(split, seed=1), 2_500):
            assert TASK.verify(problem, solution).verdict == Verdict.CORRECT, (problem, solution)
            stated = f"{solution} The answer is {problem.reference}."
            assert TASK.verify(problem, stated).reason == "stated answer equals", stated
            assert len(solution) < 3 * TASK.max_new_tokens


# The mixture


def test_mixture_has_the_shares_that_its_difficulty_names():
    for name, mixture in DIFFICULTIES.items():
        counts = Counter(len(s.template.steps) for s in drawn("train", 2_000, name))
        for steps, share in enumerate(mixture.steps, start=1):
            assert abs(counts[steps] / 2_000 - share) < 0.05, (name, steps)
        plain = sum(s.template in PLAIN["train"] for s in drawn("train", 2_000, name))
        assert abs(plain / 2_000 - mixture.plain * mixture.steps[0]) < 0.05, name
    assert sum(DIFFICULTIES["standard"].steps[:2]) > 0.5, "one or two steps for the most part"


@pytest.mark.parametrize("split", SPLITS)
def test_standard_has_some_of_everything(split):
    found = drawn(split)
    operations = Counter(step.operation for s in found for step in s.template.steps)
    assert min(operations[o] for o in "+-*/") > 0.02 * len(found)
    assert {len(s.template.steps) for s in found} == {1, 2, 3, 4}
    for word in (r"\$", "hour|minute|day|week", "more|fewer|times|lower|shorter"):
        assert sum(bool(re.search(word, s.prompt)) for s in found) > 0.02 * len(found), word
    assert sum(bool(s.template.distractors) for s in found) > 0.005 * len(found)


@every_template
def test_repeating_a_number_of_the_prompt_is_never_right(template):
    assert all(story.answer not in amounts(story.prompt) for story in stories(template, n=80, seed=2))


def test_every_prompt_ends_with_the_instruction_and_solutions_follow_it():
    for problem, solution in islice(TASK.solutions("validation", seed=2), 200):
        story, instruction = problem.prompt[: -len(INSTRUCTION)], problem.prompt[-len(INSTRUCTION) :]
        assert instruction == INSTRUCTION and story.endswith("? ")
        assert SUM.search(solution)


def test_plain_stories_are_of_one_step_and_held_out_like_the_others():
    assert all(len(t.steps) == 1 and not t.distractors for split in SPLITS for t in PLAIN[split])
    assert not {t.name for t in PLAIN["train"]} & {t.name for t in PLAIN["test"]}
    assert len(PLAIN["train"]) + len(PLAIN["test"]) >= 8


def test_numbers_are_small():
    given = [n for s in drawn("train") for n in s.numbers]
    assert min(given) >= Fraction(3, 2) and max(given) <= 90
    assert sum(n <= 12 for n in given) > 0.8 * len(given)
    assert all(2 <= s.answer <= 100 for s in drawn("test"))
    usual = {name for t in ALL for name in t.numbers if name not in t.ranges}
    easy = [s for s in drawn("train", 1_000, "easy") if not s.template.ranges]
    assert usual and easy and max(n for s in easy for n in s.numbers) == 9


@pytest.mark.parametrize("name", [d for d in DIFFICULTIES if d != "standard"])
def test_task_by_name(name):
    assert load_task(f"word_problems:{name}").name == f"word_problems:{name}"
    assert load_task("word_problems").name == load_task("word_problems:standard").name == "word_problems"


@pytest.mark.parametrize("name", ["word_problems:huge", "word_problems:", "word_problem"])
def test_unknown_difficulty_is_refused_with_the_choices(name):
    if name.endswith(":"):
        assert load_task(name).name == "word_problems"
        return
    with pytest.raises(ValueError, match=r"accepted countdown, .*word_problems, word_problems:easy.*FILE\.jsonl"):
        load_task(name)
    with pytest.raises(ValueError, match="word_problems difficulty: found 'huge', accepted standard, easy"):
        WordProblems("huge")


@pytest.mark.parametrize("text", ["gain\n? {P} has {a thing}.", "[gain]\n! no", "[gain]\n= c = a ^ b; no"])
def test_story_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=r"story.*found .*accepted"):
        read_templates(text)
