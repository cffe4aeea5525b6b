"""The τ explorer as one HTML file: `python -m scope_lab.page --out FILE.html`. It needs no kernel and no network.

The page computes and draws itself (page.html); here its data is chosen: prompts of recorded rollouts, with each
response and the mean negative log-probability that weighs it.
"""

import json
import sys
from pathlib import Path

import numpy as np

from .commands.flags import Parser
from .errors import InputError
from .explore import paths
from .models import DATA
from .rollouts import Rollouts

TEMPLATE = Path(__file__).with_name("page.html")
PROMPTS = 48


def choose_prompts(correct_P: np.ndarray, wrong_P: np.ndarray, n: int) -> list[int]:
    """At most n prompts, those with several rollouts on both paths first; a sixth are groups in which a path is short.

    A path is short where it is empty or has a lone rollout: those groups are where the weights have nothing to say.
    """
    shorter_P = np.minimum(correct_P, wrong_P)
    kinds = [
        np.flatnonzero((shorter_P == 0) & (wrong_P > 0)),
        np.flatnonzero((shorter_P == 0) & (correct_P > 0)),
        np.flatnonzero(shorter_P == 1),
    ]
    short = [group for kind in kinds for group in kind[: n // 18]]
    both = sorted(np.flatnonzero(shorter_P > 1), key=lambda group: -min(shorter_P[group], 5))
    return [int(group) for group in [*both[: n - len(short)], *short]]


def task_data(rollouts: Rollouts, n: int = PROMPTS) -> dict:
    """What the page holds of one task: prompts with their rollouts on both paths, from low to high perplexity.

    A rollout is its response and its mean negative log-probability in nats per token, in digits that give the same
    float32 back. Raises ValueError as `paths` does.
    """
    both = paths(rollouts)
    prompts = []
    for group in choose_prompts(both[0].size_P, both[1].size_P, n):
        prompt: dict = {"text": rollouts.problems[group].prompt}
        for path in both:
            nll_B = path.nll_B.float().numpy()
            prompt[path.name] = [[rollouts.responses[row], float(str(nll_B[row]))] for row in path.members(group)]
        prompts.append(prompt)
    if not prompts:
        raise InputError("rollouts: found no prompt with a verdict, accepted one or more")
    said = (
        f"Rollouts of {rollouts.student or 'a student'} at temperature {rollouts.sampling.temperature:g}, "
        f"wrong ones scored by {rollouts.teacher or 'a teacher'}."
    )
    return {
        "name": rollouts.task,
        "said": said,
        "total": len(rollouts.problems),
        "powers": [path.power for path in both],
        "start": 0,
        "prompts": prompts,
    }


def page(tasks: list[dict]) -> str:
    """The whole page with the data of these tasks in it."""
    # "<" could end the script element, or open a comment in it.
    data = json.dumps({"tasks": tasks}, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", data)


def recorded() -> list[Path]:
    """The clone's recordings, by name."""
    return sorted((DATA / "rollouts").glob("*.parquet"))


def read(file: Path) -> Rollouts:
    if not file.is_file():
        raise InputError(f"rollouts: found no file {file}, accepted rollouts as `scope-lab rollout` writes them")
    try:
        return Rollouts.load(file)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"rollouts: {file} cannot be read as rollouts: {error}") from error


def write(out: Path, files: list[Path], n: int) -> None:
    """Write the page on these recordings to `out`."""
    if n < 1:
        raise InputError(f"prompts: found {n}, accepted 1 or more")
    if not files:
        raise InputError("rollouts: found none in data/rollouts, accepted files by --rollouts")
    tasks = []
    for file in files:
        try:
            tasks.append(task_data(read(file), n))
        except ValueError as error:
            raise InputError(f"{file}: {error}" if str(file) not in str(error) else str(error)) from error
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(tasks), encoding="utf-8")
    except OSError as error:
        raise InputError(f"out: {out} cannot be written: {error.strerror}") from error
    rollouts = sum(len(prompt["student"]) + len(prompt["teacher"]) for task in tasks for prompt in task["prompts"])
    names = ", ".join(task["name"] for task in tasks)
    print(f"{out}: {rollouts} rollouts of {names}, {out.stat().st_size / 1e3:.0f} kB")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m scope_lab.page", description="The τ explorer as one HTML file that needs nothing.")
    parser.add_argument("--out", metavar="FILE.html", type=Path, required=True)
    parser.add_argument(
        "--rollouts", metavar="FILE.parquet", type=Path, nargs="+", help="default: those of the clone's data/rollouts"
    )
    parser.add_argument("--prompts", metavar="N", type=int, default=PROMPTS, help=f"of each task [{PROMPTS}]")
    try:
        parsed = parser.parse_args(arguments)
        write(parsed.out, recorded() if parsed.rollouts is None else parsed.rollouts, parsed.prompts)
    except InputError as error:
        print(f"scope-lab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
