"""How well and how fast the verifier of `math` judges: references, rewritings, near misses, hostile strings, numbers.

`python tests/bench/verifiers.py [--benchmarks FOLDER] [--out data/bench/verifiers.json]`. FOLDER holds the eight sets
as JSONL files with id, problem, answer (by default the folder shared/benchmarks beside the clone); nothing of them is
written but counts. Everything goes through `Verifier` with two workers, as in a training.

- references   every reference answer in a box, verified against itself
- formulas_plus_zero  the sets' formulas, but lone letters, in brackets and plus 0, so that math-verify must decide
- rewritings   300 answers, half of them numbers, in twelve or more other spellings each (tests/math_rewrites.py)
- near_misses  300 wrong answers, one for each of 300 references
- hostile      500 strings made to hang or explode, against three references; seconds of each call
- numeric      verifications a second of numeric answers in responses of 2,000 characters
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from math_rewrites import hostile_answers, same_answers, wrong_answers

from scope_lab.hardware import describe
from scope_lab.tasks import Problem, Verdict
from scope_lab.tasks.math import Math
from scope_lab.tasks.math_answers import Formula, read
from scope_lab.tasks.quantities import Quantity
from scope_lab.tasks.verification import Verifier

BENCHMARKS = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
FILES = {
    "aime24": "aime24", "aime25": "aime25", "amc23": "amc23", "math500": "math500", "minerva": "minerva",
    "olympiadbench": "olympiadbench", "deepmath": "deepmath_train", "gsm8k": "gsm8k_test",
}  # fmt: skip


def references(folder: Path) -> dict[str, list[str]]:
    """The sets' reference answers, as they stand in the files."""
    return {
        name: [json.loads(line)["answer"] for line in (folder / f"{file}.jsonl").read_text().splitlines()]
        for name, file in FILES.items()
    }


def chosen_answers(answers: dict[str, list[str]], n: int, seed: int = 0) -> list[str]:
    """n different answers, half of them numbers, as evenly from the sets as these allow."""
    rng = random.Random(seed)
    chosen: list[str] = []
    for numeric, wanted in ((True, n // 2), (False, n - n // 2)):
        kinds = [
            sorted({a for a in found if isinstance(read(a).content, Quantity) == numeric and a not in chosen})
            for found in answers.values()
        ]
        for kind in kinds:
            rng.shuffle(kind)
        part: dict[str, None] = {}
        while len(part) < wanted and any(kinds):
            part |= dict.fromkeys(kind.pop() for kind in kinds if kind)
        chosen += list(part)[:wanted]
    return chosen


def mixed(answers: list[str]) -> list[str]:
    """Numbers and others mixed, so that the first 300 hold both alike."""
    half = len(answers) // 2
    return [answer for pair in zip(answers[:half], answers[half:], strict=True) for answer in pair]


def judge(verifier: Verifier, pairs: list[tuple[str, str]]) -> list:
    """Verifications of (reference, text in the box) pairs."""
    problems = [Problem("", "", reference) for reference, _ in pairs]
    return verifier.verify(problems, [f"So the answer is \\boxed{{{text}}}." for _, text in pairs])


def of_references(verifier: Verifier, answers: dict[str, list[str]]) -> dict:
    result = {}
    for name, found in answers.items():
        verdicts = judge(verifier, [(answer, answer) for answer in found])
        result[name] = share(sum(v.verdict == Verdict.CORRECT for v in verdicts), len(found))
    return result


def of_formulas(verifier: Verifier, answers: dict[str, list[str]]) -> dict:
    """References that are formulas against themselves, turned so that no comparison of texts can help."""
    formulas = [read(a).content for found in answers.values() for a in dict.fromkeys(found)]
    latex = [
        f.latex
        for f in formulas
        if isinstance(f, Formula)
        and not re.fullmatch(r"\\?[a-zA-Z]+", f.latex)
        and not re.search(r"[=<>,_|']|\\(?!frac|sqrt|pi|cdot|ln|sin|cos|left|right|alpha|beta|theta)", f.latex)
    ]
    verdicts = judge(verifier, [(text, f"{{({text})}} + 0") for text in latex])
    known = [v for v in verdicts if v.verdict != Verdict.UNKNOWN]
    result = share(sum(v.verdict == Verdict.CORRECT for v in known), len(known))
    return {**result, "unknown": dict(Counter(v.reason for v in verdicts if v.verdict == Verdict.UNKNOWN))}


def of_rewritings(verifier: Verifier, chosen: list[str]) -> tuple[dict, list]:
    cases = [(reference, text, rule) for reference in chosen for rule, text in same_answers(reference)]
    verdicts = judge(verifier, [(reference, text) for reference, text, _ in cases])
    missed = [(*case, v.verdict, v.reason) for case, v in zip(cases, verdicts, strict=True) if v.verdict != "correct"]
    counts = Counter(reference for reference, *_ in cases)
    result = share(len(cases) - len(missed), len(cases))
    return {**result, "answers": len(chosen), "fewest_each": min(counts.values())}, missed


def of_near_misses(verifier: Verifier, chosen: list[str], seed: int = 0) -> tuple[dict, list]:
    rng = random.Random(seed)
    cases = []
    for reference in chosen:
        if len(cases) < 300 and (found := wrong_answers(reference, rng)):
            rule, text = rng.choice(found)
            cases.append((reference, text, rule))
    verdicts = judge(verifier, [(reference, text) for reference, text, _ in cases])
    passed = [(*case, v.reason) for case, v in zip(cases, verdicts, strict=True) if v.verdict == "correct"]
    return share(len(cases) - len(passed), len(cases)), passed


def of_hostile(verifier: Verifier, n: int) -> dict:
    """As many calls at a time as there are workers, so that each call's own time is known."""
    texts = hostile_answers(n)

    def call(i: int) -> tuple[float, str]:
        reference = ("5", "x^2+1", "\\frac{\\sqrt{3}}{2}")[i % 3]
        started = time.perf_counter()
        found = judge(verifier, [(reference, texts[i])])[0]
        return time.perf_counter() - started, f"{found.verdict}: {found.reason}"

    with ThreadPoolExecutor(verifier.workers) as pool:
        seconds, verdicts = zip(*pool.map(call, range(n)), strict=True)
    slowest, total = round(max(seconds), 2), round(sum(seconds), 1)
    return {"strings": n, "slowest_seconds": slowest, "seconds": total, "verdicts": dict(Counter(verdicts))}


def of_numeric(verifier: Verifier, answers: dict[str, list[str]], n: int = 20_000) -> dict:
    numbers = [a for found in answers.values() for a in found if isinstance(read(a).content, Quantity)]
    rng = random.Random(0)
    problems = [Problem("", "", rng.choice(numbers)) for _ in range(n)]
    thinking = "We add and multiply and find that this is not yet all. " * 36
    responses = [f"{thinking}\\boxed{{{rng.choice((p.reference, rng.choice(numbers)))}}}" for p in problems]
    started = time.perf_counter()
    verifier.verify(problems, responses)
    return {"verifications": n, "a_second": round(n / (time.perf_counter() - started))}


def share(part: int, whole: int) -> dict:
    return {"of": whole, "count": part, "percent": round(100 * part / whole, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=Path, default=BENCHMARKS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", action="store_true", help="print what was judged wrongly")
    parsed = parser.parse_args()
    if not parsed.benchmarks.is_dir():
        print(f"verifiers: no folder {parsed.benchmarks}, nothing measured")
        return
    answers = references(parsed.benchmarks)
    chosen = chosen_answers(answers, 300)
    with Verifier(Math("gsm8k"), workers=2) as verifier:
        rewritings, missed = of_rewritings(verifier, chosen)
        near_misses, passed = of_near_misses(verifier, mixed(chosen_answers(answers, 360, seed=1)))
        result = {
            "references": of_references(verifier, answers),
            "formulas_plus_zero": of_formulas(verifier, answers),
            "rewritings": rewritings,
            "near_misses": near_misses,
            "numeric": of_numeric(verifier, answers),
            "hostile": of_hostile(verifier, 500),
            "environment": describe(),
        }
    if parsed.show:
        print(*missed, *passed, sep="\n")
    print(json.dumps(result, indent=1))
    if parsed.out:
        parsed.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
