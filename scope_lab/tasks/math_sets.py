"""Sets of mathematical problems on the hub: the ready ones by name, or any other.

The fields of a ready set are those of the hub's dataset; its licence is the one that its card states.
"""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .base import Problem
from .latex import boxed
from .problem_file import text_or_number

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."


@dataclass(frozen=True)
class MathSet:
    """A dataset on the hub.

    problem, answer   columns; an answer that is a whole solution is read from its last box or from behind "####"
    split             what is read: the whole of a fixed set, of a training set what train and validation come from
    test_split        of a training set that has a test part of its own; else a tenth of it is kept for tests
    fixed             a benchmark: it has a test split and no other
    rule              what the answer is, in words; `math_answers` says when two are the same
    instruction       what a prompt ends with, after the problem
    max_new_tokens    enough for a response that thinks aloud
    """

    dataset: str
    problem: str
    answer: str
    split: str
    licence: str
    source: str
    rule: str
    config: str | None = None
    test_split: str | None = None
    fixed: bool = True
    instruction: str = INSTRUCTION
    max_new_tokens: int = 12_288


SETS = {
    "aime24": MathSet(
        "math-ai/aime24", "problem", "solution", "test", "Apache-2.0",
        "AIME I and II of 2024 (Mathematical Association of America), 30 problems", "an integer from 0 to 999",
    ),
    "aime25": MathSet(
        "math-ai/aime25", "problem", "answer", "test", "Apache-2.0",
        "AIME I and II of 2025 (Mathematical Association of America), 30 problems", "an integer from 0 to 999",
    ),
    "amc23": MathSet(
        "AI-MO/aimo-validation-amc", "problem", "answer", "train", "Apache-2.0",
        "AMC 12 of 2022 and 2023 (Mathematical Association of America), 83 problems restated without choices",
        "a number",
    ),
    "math500": MathSet(
        "HuggingFaceH4/MATH-500", "problem", "answer", "test", "none stated; PRM800K and MATH, its sources, are MIT",
        "500 of MATH's test problems (Hendrycks et al. 2021; Lightman et al. 2023)", "an expression, exactly",
    ),
    "minerva": MathSet(
        "math-ai/minervamath", "question", "answer", "test", "none stated; the courses are CC BY-NC-SA 4.0",
        "272 questions of MIT OpenCourseWare (Lewkowycz et al. 2022)",
        "a number to the figures that the reference gives, or an expression; units do not count",
    ),
    "olympiadbench": MathSet(
        "Hothan/OlympiadBench", "question", "final_answer", "train", "Apache-2.0",
        "English competition mathematics without pictures of OlympiadBench (He et al. 2024), 674 problems",
        "every value, in any order", config="OE_TO_maths_en_COMP",
    ),
    "deepmath": MathSet(
        "zwhe99/DeepMath-103K", "question", "final_answer", "train", "MIT",
        "DeepMath-103K (He et al. 2025), 103,110 problems; what the paper trains on", "an expression, or Yes or No",
        fixed=False,
    ),
    "gsm8k": MathSet(
        "openai/gsm8k", "question", "answer", "train", "MIT",
        "GSM8K (Cobbe et al. 2021), 7,473 word problems to train on and 1,319 to test", "a number",
        config="main", test_split="test", fixed=False, max_new_tokens=2_048,
    ),
}  # fmt: skip


def load_hub(name: str, chosen: MathSet, split: str) -> list[Problem]:
    """The problems of one of a dataset's own splits. InputError, in one line, where it cannot be loaded."""
    instead = (
        f"a file works too: {'math' if name.startswith('hub') else f'math:{name}'}:FILE.jsonl with id, problem, answer"
    )
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"task: math:{name} needs the package datasets (pip install 'scope-lab[tasks]'); {instead}"
        ) from None
    try:
        loaded = datasets.load_dataset(chosen.dataset, chosen.config, split=split)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"task: math:{name} cannot load {chosen.dataset} from the hub ({reason[0]}); {instead}"
        ) from None
    missing = {chosen.problem, chosen.answer} - set(loaded.column_names)
    if missing:
        raise InputError(
            f"task: {chosen.dataset} has no column {', '.join(sorted(missing))}; "
            f"found {', '.join(loaded.column_names)}; accepted math:hub:{chosen.dataset},problem=COLUMN,answer=COLUMN"
        )
    columns = loaded.select_columns([chosen.problem, chosen.answer])  # some solutions are megabytes
    return [
        Problem(f"{name}-{number}", str(row[chosen.problem]), reference_of(row[chosen.answer]))
        for number, row in enumerate(columns)
    ]


def reference_of(answer: Any) -> str:
    """A reference answer from what a column holds: a value, several, or a solution that ends in one.

    Raises InputError for what is neither text nor a number.
    """
    if hasattr(answer, "tolist"):  # parquet's lists and numbers come as arrays and scalars
        answer = answer.tolist()
    if isinstance(answer, list | tuple):
        return ", ".join(reference_of(value) for value in answer)
    text = text_or_number(answer).strip()
    if "####" in text:
        return text.rpartition("####")[2].strip()
    return boxed(text) or text


def parse_hub(detail: str) -> MathSet:
    """`OWNER/NAME[,config=…][,problem=…][,answer=…][,split=…][,test_split=…]` as a set."""
    dataset, *pairs = detail.split(",")
    settings = {"config": "", "problem": "problem", "answer": "answer", "split": "train", "test_split": ""}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in settings or not value:
            raise InputError(f"task: math:hub: found {pair!r}, accepted {', '.join(f'{key}=…' for key in settings)}")
        settings[key] = value
    if not dataset:
        raise InputError("task: math:hub: found no dataset, accepted math:hub:OWNER/NAME,problem=COLUMN,answer=COLUMN")
    return MathSet(
        dataset, settings["problem"], settings["answer"], settings["split"], "see its card", dataset, "an expression",
        config=settings["config"] or None, test_split=settings["test_split"] or None, fixed=settings["split"] == "test",
    )  # fmt: skip
