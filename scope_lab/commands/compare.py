"""`scope-lab compare`: evaluations on the same problems, paired."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ..durable import check_writable
from ..errors import InputError
from .flags import add_command


def add_compare(commands) -> None:
    compare = add_command(commands, "compare", "evaluations on the same problems, with paired intervals", run_compare)
    compare.add_argument("before", help="a run folder (its last evaluation) or an evaluation file")
    compare.add_argument("after", nargs="*", help="likewise, one or more; none: the run's first against its last")
    compare.add_argument("--figure", metavar="FILE.png", help="also draw Pass@k of all")


def run_compare(parsed) -> None:
    from ..checkpoint import evaluation_files
    from ..evaluation import Evaluation, compare, comparison_text

    def find(name: str, place: int = -1) -> Path:
        path = Path(name)
        if path.is_file():
            return path
        found = list(evaluation_files(path).values())
        if not found:
            raise InputError(f"compare: {name} is neither an evaluation file nor a run folder with evaluations")
        return found[place]

    if parsed.figure:
        check_writable(parsed.figure, "figure")
    names = [parsed.before, *(parsed.after or [parsed.before])]
    found = [Evaluation.load(find(names[0], -1 if parsed.after else 0)), *(Evaluation.load(find(n)) for n in names[1:])]
    alike = Counter(evaluation.label for evaluation in found)
    before, *afters = (
        replace(evaluation, label=f"{evaluation.label}, {name}") if alike[evaluation.label] > 1 else evaluation
        for name, evaluation in zip(names, found, strict=True)
    )
    print(f"before: {before.label}")
    for after in afters:
        print(f"\nafter:  {after.label}")
        print(comparison_text(before, after, compare(before, after)))
    if parsed.figure:
        from ..plots import plot_pass_at_k
        from ..style import write_png

        write_png(plot_pass_at_k([before, *afters]), parsed.figure)
        print(f"figure: {parsed.figure}")
