"""`scope-lab sweep` and `scope-lab results`: a plan of many trainings, and what its runs say."""

from ..errors import InputError
from .flags import add_command


def add_sweep(commands) -> None:
    sweep = add_command(
        commands, "sweep", "a plan of many trainings, one process a core; goes on where it was cut off", run_sweep
    )
    sweep.add_argument(
        "plan", metavar="NAME|PLAN.yaml", help="a plan of the package or a YAML file (scope_lab/plan.py)"
    )
    sweep.add_argument("--jobs", type=int, metavar="N", help="processes at a time; default: physical cores, 1 on a GPU")
    sweep.add_argument("--only", metavar="PATTERN", help="runs whose name fits, like 'scope*-seed0'")
    sweep.add_argument("--out", metavar="FOLDER", help="of the run folders; default: what the plan says")
    sweep.add_argument("--list", action="store_true", help="say which runs are finished, begun or waiting, and end")


def run_sweep(parsed) -> int:
    from ..checkpoint import is_complete
    from ..plan import read_plan
    from ..sweep import default_jobs, run_plan, steps_done

    runs = read_plan(parsed.plan, parsed.out, parsed.only)
    if parsed.jobs is not None and parsed.jobs < 1:
        raise InputError(f"jobs: found {parsed.jobs}, accepted 1 or more")
    if parsed.list:
        for run in runs:
            done = steps_done(run)
            begun = f"step {done} of {run.config.steps}" if done else "waiting"
            print(f"{run.name:48}{'finished' if is_complete(run.folder, run.config) else begun}")
        return 0
    outcome = run_plan(runs, parsed.jobs or default_jobs())
    done = len(outcome.finished) + len(outcome.skipped)
    print(f"{done} of {len(runs)} runs are finished, {len(outcome.finished)} of them now, in {runs[0].folder.parent}")
    for line in outcome.failed:
        print(line)
    if outcome.interrupted:
        print("stopped; the same command goes on")
    return 1 if outcome.failed or outcome.interrupted else 0


def add_results(commands) -> None:
    parser = add_command(
        commands, "results", "what the runs of a plan say: tables, figures, a verdict a claim", run_results
    )
    parser.add_argument("plan", nargs="?", default="countdown", metavar="NAME|PLAN.yaml", help="[countdown]")
    parser.add_argument("--runs", metavar="FOLDER", help="of the run folders; default: what the plan says")
    parser.add_argument("--out", metavar="FOLDER", help="default: data/results of the clone")


def run_results(parsed) -> None:
    from ..models import DATA
    from ..report import make_results
    from ..verdicts import lines

    found, files = make_results(parsed.plan, parsed.runs, parsed.out or DATA / "results")
    print(f"{len(found.recorded.runs)} of {found.recorded.planned} runs of {found.plan} are recorded")
    for line in lines(found.primary).to_dict("records"):
        seeds = f"{line['seeds']:.0f} seeds" if line["seeds"] >= 0 else ""
        print(f"{line['claim']}  {line['line']:42}{line['verdict']:16}{seeds}")
    print(*files, sep="\n")
