"""Word problems: small-number arithmetic told as short stories, in the words of a chat user.

    prompt    Mia has 9 plums. She gives 4 of them to Tom. How many plums does Mia have left? Show the sum in one short
              sentence.
    solution  Mia has 9 - 4 = 5 plums left.

Splits. `train` and `validation` share their story templates, `test` has templates of its own. The numbers of a story
(as a bag, distractors included) are assigned by a hash: 60 % of all bags are for `train`, the others for `validation`
and `test`. So validation problems have new numbers, and test problems new templates as well as new numbers.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ..errors import InputError
from .answers import verify_answer
from .base import Problem, Verification, check_split, different_problems
from .word_heldout import TEST
from .word_plain import PLAIN_TEST, PLAIN_TRAIN
from .word_stories import DEFAULT_RANGE, Story, Template, draw_story, write_number
from .word_templates import TRAIN

# The end of every prompt. Without it small instruct models ramble: at temperature 0.6, SmolLM2-135M-Instruct took some
# 85 tokens a response, 28 % of them unfinished after 128; with it some 25, and it was right more often. Of the four
# wordings tried, this one gave the most correct and the fewest unfinished responses.
INSTRUCTION = "Show the sum in one short sentence."

PLAIN: dict[str, tuple[Template, ...]] = {"train": PLAIN_TRAIN, "validation": PLAIN_TRAIN, "test": PLAIN_TEST}
OTHERS: dict[str, tuple[Template, ...]] = {"train": TRAIN, "validation": TRAIN, "test": TEST}
TEMPLATES = {split: PLAIN[split] + OTHERS[split] for split in PLAIN}


@dataclass(frozen=True)
class Mixture:
    """What share of the problems takes 1, 2, 3, 4 steps; the largest number of a story that sets no own range; and
    what share of the one-step problems is told in the plainest words (see `word_plain`)."""

    steps: tuple[float, float, float, float]
    max_number: int = DEFAULT_RANGE[1]
    plain: float = 0.3


DIFFICULTIES = {
    # For SmolLM2-135M-Instruct. Avg@8 at temperature 0.6 on 64 problems: validation 0.28, test 0.31, with three groups
    # of 8 in four mixed; 2 to 3 % of the responses unfinished. Of `hard`, it solves next to nothing.
    "standard": Mixture((0.86, 0.08, 0.04, 0.02), max_number=9, plain=0.85),
    "easy": Mixture((1, 0, 0, 0), max_number=9, plain=1),
    "hard": Mixture((0, 0.2, 0.4, 0.4)),
    "one_step": Mixture((1, 0, 0, 0)),
    "two_steps": Mixture((0, 1, 0, 0)),
}


def held_out(numbers: tuple[Fraction, ...]) -> bool:
    """Whether these numbers, in any order, belong to validation and test: four bags of numbers in ten do."""
    bag = ",".join(map(str, sorted(numbers)))
    return hashlib.sha256(f"word_problems {bag}".encode()).digest()[0] < 0.4 * 256


class WordProblems:
    """The task. `difficulty` is a name of DIFFICULTIES."""

    max_new_tokens = 96  # the longest worked solutions take some 75 tokens, usual responses of small models 30
    finite = False

    def __init__(self, difficulty: str = "standard"):
        if difficulty not in DIFFICULTIES:
            raise InputError(f"word_problems difficulty: found {difficulty!r}, accepted {', '.join(DIFFICULTIES)}")
        self.mixture = DIFFICULTIES[difficulty]
        self.name = "word_problems" if difficulty == "standard" else f"word_problems:{difficulty}"

    def stories(self, split: str, seed: int) -> Iterator[Story]:
        """An endless stream of filled-in templates from one split; stories may repeat."""
        check_split(split)
        rng = random.Random(f"word_problems {split} {seed}")
        kinds = [PLAIN[split], *(tuple(t for t in OTHERS[split] if len(t.steps) == n) for n in (1, 2, 3, 4))]
        one_step, *longer = self.mixture.steps
        shares = (one_step * self.mixture.plain, one_step * (1 - self.mixture.plain), *longer)
        while True:
            template = rng.choice(rng.choices(kinds, shares)[0])
            story = draw_story(template, rng, self.mixture.max_number)
            while held_out(story.numbers) == (split == "train"):
                story = draw_story(template, rng, self.mixture.max_number)
            yield story

    def solutions(self, split: str, seed: int) -> Iterator[tuple[Problem, str]]:
        """An endless stream of (problem, worked solution in words) from one split; problems may repeat.

        A solution is a sentence a step with its sum, as the instruction asks, and correct by `verify`.
        """
        for story in self.stories(split, seed):
            yield as_problem(story), story.solution

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n (default 1,000) different problems of a split, in the order that `seed` gives."""
        check_split(split, n)
        return different_problems(self, split, self.solutions(split, seed), n)

    def verify(self, problem: Problem, response: str) -> Verification:
        """Compare the response's final number with the reference (see `answers`)."""
        return verify_answer(problem.reference, response)


def as_problem(story: Story) -> Problem:
    """The id names the template and a hash of the story, so it does not depend on seed, split or difficulty."""
    digest = hashlib.sha256(story.prompt.encode()).hexdigest()[:12]
    return Problem(f"{story.template.name}-{digest}", f"{story.prompt} {INSTRUCTION}", write_number(story.answer))
