"""`scope-lab evaluate --suite NAME`."""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ..durable import check_writable, write_text
from ..errors import InputError
from .flags import check_sampling_flags, prompting_tokenizer


def add_suite(parser) -> None:
    parser.add_argument("--suite", metavar="NAME", help="several benchmarks, like paper-math; --out is a folder")
    parser.add_argument("--suite-folder", metavar="FOLDER", help="its sets as SET.jsonl in a folder, not from the hub")


def run_suite(parsed) -> None:
    """What `evaluate` does with --suite; its own flags, where given, override the suite's sampling."""
    from tqdm import tqdm

    from ..models import load_model
    from ..rollouts import Sampling
    from ..suites import SUITES, chosen, evaluate_set, in_words, suite_tasks, suite_text

    if parsed.suite not in SUITES:
        raise InputError(f"suite: found {parsed.suite!r}, accepted {', '.join(SUITES)}")
    for flag in ("pair", "task", "verifier"):
        if getattr(parsed, flag) is not None:
            raise InputError(f"{flag}: has no effect with --suite; leave it out")
    if not parsed.model or not parsed.out:
        raise InputError("suite: set --model and --out FOLDER")
    changes = {
        name: getattr(parsed, name)
        for name in ("samples", "temperature", "top_p", "top_k", "max_new_tokens")
        if getattr(parsed, name) is not None
    }
    check_sampling_flags(parsed)
    suite = replace(SUITES[parsed.suite], **changes)
    sampling = Sampling(suite.temperature, suite.top_p, suite.top_k, suite.max_new_tokens, parsed.seed)
    tasks = suite_tasks(suite, parsed.suite_folder)
    problems = {heading: chosen(task, parsed.problems, parsed.problem_seed) for heading, task in tasks.items()}
    folder = Path(parsed.out)
    check_writable(folder / "table.md", "out")
    model = load_model(parsed.model, device=parsed.device, dtype=parsed.dtype)
    tokenizer = prompting_tokenizer(parsed.model, parsed)
    found = {}
    for heading, task in tasks.items():
        found[heading] = evaluate_set(
            model,
            tokenizer,
            task,
            problems[heading],
            sampling,
            suite.samples,
            label=parsed.model,
            out=folder / f"{suite.sets[heading]}.json",
            batch_size=parsed.batch_size or 256,
            progress=partial(tqdm, desc=heading, unit="batch"),
        )
        print(f"{heading}: {in_words(found[heading])}")
    text = suite_text(parsed.suite, suite, parsed.model, found)
    write_text(folder / "table.md", text + "\n")
    settings = {"suite": parsed.suite, "model": parsed.model, "seed": parsed.seed, **asdict(suite)}
    write_text(folder / "suite.json", json.dumps(settings) + "\n")
    print(text, f"\n{folder / 'table.md'}", sep="\n")
