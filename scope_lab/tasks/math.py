r"""Mathematics: problems whose answer a response puts into its last `\boxed{…}`, judged by `math_answers`.

math:aime24, math:gsm8k, …            a ready set from the hub (math_sets.SETS)
math:aime24:FILE.jsonl                the same set, from a file
math:FILE.jsonl, math:FILE.parquet    a set of one's own with id, problem, answer
math:hub:OWNER/NAME,problem=COLUMN    any set on the hub
"""

from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .base import ALL, Problem, Verification, check_split, first_problems, split_of
from .math_answers import verify_math
from .math_sets import SETS, load_hub, parse_hub, reference_of
from .problem_file import is_problem_file, read_problems


def _trouble(problem: Problem) -> str:
    return "" if problem.reference.strip() else "answer is empty"


class Math:
    """A set of mathematical problems. `name` is what follows `math:`; `fixed` overrides what the set says of itself.

    A fixed set (a benchmark) has a test split alone. Of the others a hash of the problem's text gives train, validation
    and test; where the hub has a test split of its own, that is the test split, else `all` is the whole set. Problems
    are loaded when they are first asked for.
    """

    runs = "processes"
    timeout = 1.0  # CPU seconds; comparisons of real answers take milliseconds
    finite = True

    def __init__(self, name: str, fixed: bool | None = None):
        ready, _, path = name.partition(":")
        if ready in SETS and (not path or is_problem_file(path)):
            self.set = SETS[ready]
        elif ready == "hub":
            self.set, path = parse_hub(path), ""
        elif is_problem_file(name):
            self.set, path = replace(SETS["deepmath"], dataset=name, source="a file"), name
        else:
            sets = ", ".join(f"math:{ready}" for ready in SETS)
            raise InputError(
                f"task: found 'math:{name}', accepted {sets}, each with :FILE.jsonl behind it too, math:FILE.jsonl, "
                "math:FILE.parquet, math:hub:OWNER/NAME,problem=COLUMN,answer=COLUMN"
            )
        self.name, self.ready = f"math:{name}", ready
        self.fixed = self.set.fixed if fixed is None else fixed
        self.max_new_tokens = self.set.max_new_tokens
        self._loaded: dict[str, list[Problem]] = {}
        if path:
            self._loaded[""] = read_problems(Path(path), reference_of, _trouble)

    def problems(self, split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first n problems of a split in the order that `seed` gives (0: the set's order); all by default."""
        own_test = "" not in self._loaded and self.set.test_split
        check_split(split, n, whole=not own_test)
        if self.fixed and split not in ("test", ALL):
            raise InputError(f"{self.name}: found split {split!r}, accepted test: it is a benchmark")
        if own_test and split == "test":
            whole = chosen = self._load(own_test)
        else:
            whole = self._load(self.set.split)
            wanted = {split, "test"} if own_test and split == "train" else {split}
            chosen = [problem for problem in whole if self.fixed or wanted & {ALL, split_of(problem.prompt)}]
        asked = [replace(problem, prompt=f"{problem.prompt}\n\n{self.set.instruction}") for problem in chosen]
        return first_problems(self.name, asked, split, n, seed, len(whole))

    def _load(self, split: str) -> list[Problem]:
        if "" in self._loaded:
            return self._loaded[""]
        if split not in self._loaded:
            self._loaded[split] = load_hub(self.ready, self.set, split)
        return self._loaded[split]

    def verify(self, problem: Problem, response: str) -> Verification:
        """May take long on a hostile answer: `verification.Verifier` gives each call a clock."""
        found = verify_math(problem.reference, response)
        assert found is not None
        return found

    def quick(self, problem: Problem, response: str) -> Verification | None:
        """The verdict where neither answer is a formula; in microseconds."""
        return verify_math(problem.reference, response, quickly=True)

    def prepare(self) -> None:
        """Load math-verify, in a process that is about to verify."""
        self.verify(Problem("", "", "x+1"), r"\boxed{1+x}")

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_loaded": {}}  # a process that verifies needs no problems
