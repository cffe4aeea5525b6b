"""`scope-lab recover`: the recovery experiment of the paper's Table 7."""

import json
import time
from pathlib import Path

from ..durable import check_writable
from ..errors import InputError
from .flags import (
    add_chat_template,
    add_command,
    add_device,
    add_unsafe,
    batch_bar,
    prompting_tokenizer,
    recipe_of_pair,
)

EXAMPLE = """examples:
  scope-lab recover --rollouts data/rollouts/countdown.parquet --out runs/recovery-countdown
  scope-lab recover --pair smollm2 --problems 120 --samples 8 --out runs/recovery-smollm2
"""


def add_recover(commands) -> None:
    summary = "whether the teacher recovers from wrong prefixes, by its perplexity (Table 7)"
    parser = add_command(commands, "recover", summary, run_recover, epilog=EXAMPLE)
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
    add_chat_template(parser)
    add_device(parser)
    add_unsafe(parser)
    parser.add_argument("--batch-size", type=int, help="sequences at a time [what the pair's recipe says, else 256]")
    parser.add_argument("--out", metavar="NAME", required=True, help="writes NAME.json, NAME.parquet and NAME.png")


def run_recover(parsed) -> None:
    from ..engines.finished import FinishedBatches
    from ..models import PAIRS, load_model
    from ..recovery import FRACTIONS, WANTED, check_sampling, choose_wrong, recover, score_missing
    from ..recovery_table import summarise, table_text
    from ..rollouts import Rollouts
    from ..tasks import load_task
    from ..teachers import LocalTeacher

    started = time.time()
    recipe = recipe_of_pair(parsed.pair)
    for count, least in (("problems", 1), ("samples", 1), ("wrong", 4), ("completions", 1)):
        if getattr(parsed, count) < least:
            raise InputError(f"{count}: found {getattr(parsed, count)}, accepted {least} or more")
    check_sampling(parsed.cut, parsed.completions, parsed.temperature)
    check_writable(f"{parsed.out}.json", "out")
    if not parsed.pair and not parsed.rollouts:
        raise InputError("recover: set --rollouts, or --pair to sample from")
    batch_size = parsed.batch_size or recipe.get("sequences_per_batch", 256)
    finished = FinishedBatches(parsed.out)

    if parsed.rollouts:
        rollouts = Rollouts.load(parsed.rollouts)
        teacher_name = parsed.teacher or (PAIRS[parsed.pair][1] if parsed.pair else rollouts.teacher)
    else:
        rollouts = _sample(parsed, recipe, batch_size, batch_bar("sample"), finished)
        teacher_name = parsed.teacher or PAIRS[parsed.pair][1]
    if not teacher_name:
        raise InputError("teacher: the rollouts name none; set --teacher")
    model = load_model(teacher_name, device=parsed.device, dtype=parsed.dtype)
    tokenizer = prompting_tokenizer(teacher_name, parsed)
    wrong = with_prompts(choose_wrong(rollouts, parsed.wrong, parsed.seed), tokenizer)
    if wrong.teacher != teacher_name:
        wrong.teacher_logp_BT = wrong.teacher_logp_BT * float("nan")
    score_missing(wrong, LocalTeacher(model, teacher_name, progress=batch_bar("score")))
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
        progress=batch_bar("recover"),
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
    from ..engines.transformers import sample
    from ..models import PAIRS, load_model
    from ..rollouts import Sampling
    from ..tasks import load_task

    name, _, task_name = PAIRS[parsed.pair]
    task = load_task(task_name)
    limit = recipe.get("max_new_tokens") or task.max_new_tokens
    sampling = Sampling(recipe.get("temperature", 0.6), max_new_tokens=limit, seed=parsed.seed)
    rollouts = sample(
        load_model(name, device=parsed.device, dtype=parsed.dtype),
        prompting_tokenizer(name, parsed),
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
    from ..recovery import content_lengths
    from ..rollouts import encode_prompts

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
        from ..plots.recovery import plot_recovery
        from ..style import png
    except ImportError:
        print("no figure: matplotlib is not installed (pip install 'scope-lab[lab]')")
        return files[:2]
    files[2].write_bytes(png(plot_recovery(summary)))
    return files
