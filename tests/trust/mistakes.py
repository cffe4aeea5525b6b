"""The mistakes of test_bad_input.py: a name, what makes the file (None: nothing), the command, a part of its line.

`{}` in a command stands for the file that was made.
"""

from collections.abc import Callable
from pathlib import Path

import broken
from broken import cell, changed_line, column, evaluation, json_file, plan, problems, recipe, rollouts, text, weights

TRAIN = (
    "train --pair countdown --steps 1 --prompts-per-step 2 --rollouts-per-prompt 2 --eval-problems 2 --eval-samples 2 "
    "--train-problems 4 --device cpu --out run"
)
TASK = f"{TRAIN} --max-new-tokens 8 --task"
EVALUATE = "evaluate --pair countdown --problems 2 --samples 2 --device cpu"
ROLLOUT = "rollout --pair countdown --problems 2 --samples 2 --device cpu --out out.parquet"
RECOVER = "recover --rollouts {} --device cpu --out recovery"

Make = Callable[[Path], object] | None

SETTINGS: list[tuple[str, Make, str, str]] = [
    ("unknown key", recipe("taau: 1"), "train --out run --recipe {}", "unknown setting 'taau' (did you mean tau?)"),
    ("broken YAML", recipe("tau: [1"), "train --out run --recipe {}", "mine.yaml is not YAML"),
    ("list, not settings", recipe("- 1"), "train --out run --recipe {}", "holds no settings"),
    ("empty file", recipe(""), "train --out run --recipe {}", "holds no settings"),
    ("number alone", recipe("5"), "train --out run --recipe {}", "holds no settings"),
    ("fraction", recipe("steps: 1.5"), "train --out run --recipe {}", "steps: found 1.5, accepted a whole number"),
    ("negative steps", recipe("steps: -3"), TRAIN + " --recipe {} --steps -3", "steps: found -3, accepted above 0"),
    ("tau 0", recipe("{pair: countdown, tau: 0}"), "train --out run --recipe {}", "tau: found 0.0, accepted above 0"),
    ("NaN", recipe("{pair: countdown, tau: .nan}"), "train --out run --recipe {}", "tau: found nan"),
    ("NaN as text", recipe("{pair: countdown, top_p: nan}"), "train --out run --recipe {}", "top_p: found nan"),
    ("infinite rate", recipe("{pair: countdown, learning_rate: .inf}"), "train --out run --recipe {}", "found inf"),
    ("infinite count", recipe("{pair: countdown, steps: .inf}"), "train --out run --recipe {}", "steps: found inf"),
    ("twice", recipe("tau: 1\nsteps: 2\ntau: 3"), "train --out run --recipe {}", "'tau' stands twice"),
    ("nested", recipe("optimizer: {learning_rate: 1}"), "train --out run --recipe {}", "unknown setting 'optimizer'"),
    ("mapping", recipe("tau: {a: 1}"), "train --out run --recipe {}", "tau: found {'a': 1}, accepted a number"),
    ("list for one", recipe("method: [scope]"), "train --out run --recipe {}", "method: found ['scope']"),
    ("true for count", recipe("steps: true"), "train --out run --recipe {}", "steps: found True"),
    ("count for true", recipe("allow_mismatch: 3"), "train --out run --recipe {}", "accepted true or false"),
    ("date", recipe("steps: 2020-01-01"), "train --out run --recipe {}", "steps: found datetime.date"),
    ("impossible date", recipe("steps: 2020-13-45"), "train --out run --recipe {}", "mine.yaml is not YAML"),
    ("key that is no word", recipe("1: 2"), "train --out run --recipe {}", "unknown setting '1'"),
    ("python tag", recipe("tau: !!python/object/apply:os.getcwd []"), "train --out run --recipe {}", "is not YAML"),
    ("control character", recipe("tau: \0"), "train --out run --recipe {}", "is not YAML"),
    ("bad UTF-8", recipe(b"task: \xff\xfe"), "train --out run --recipe {}", "is not YAML"),
    ("UTF-16", recipe("tau: 1".encode("utf-16")), "train --out run --recipe {}", "is not YAML"),
    ("deep nesting", recipe("[" * 5000), "train --out run --recipe {}", "is not YAML"),
    ("number of 5000 digits", recipe("seed: " + "9" * 5000), "train --out run --recipe {}", "is not YAML"),
    (
        "lists of lists",
        recipe(
            "a: &a [x, x]\n"
            + "\n".join(
                f"{n}: &{n} [*{p}, *{p}]" for p, n in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
            )
            + "\ntau: *t"
        ),
        "train --out run --recipe {}",
        "unknown setting 'a'",
    ),
    ("endless value", recipe("tau: " + "x" * 100_000), "train --out run --recipe {}", "tau: found 'xxx"),
    ("folder as recipe", broken.folder("mine"), "train --out run --recipe {}", "is neither a file nor one of"),
    ("recipe misspelt", None, "train --out run --recipe demoo", "did you mean demo?"),
    ("choice misspelt", None, TRAIN + " --precision bf-16", "precision: found 'bf-16', accepted auto, fp32, bf16 (did"),
    ("flag misspelt", None, TRAIN + " --learning-rat 0.1", "--learning-rat"),
    ("flag with underscore", None, TRAIN + " --learning_rate 0.1", "did you mean --learning-rate?"),
    ("flag without value", None, TRAIN + " --tau", "expected one argument"),
    ("command misspelt", None, "trian --pair countdown", "did you mean train?"),
    ("no command", None, "", "COMMAND"),
    ("stray word", None, TRAIN + " countdown", "unrecognized arguments: countdown"),
    ("ess without auto", None, TRAIN + " --ess-fraction 0.3", "has no effect without tau=auto"),
    ("tau without weights", None, TRAIN + " --method opd --tau 2", "has no effect with method opd"),
    ("alpha without adapter", None, TRAIN + " --lora-alpha 8", "lora_alpha: has no effect without lora_rank"),
    ("cosine too warm", None, TRAIN + " --schedule cosine --warmup-steps 5", "warmup_steps: found 5"),
    ("no pair", None, "train --steps 1 --out run", "pair: set pair, or both student and teacher"),
    ("no teacher", None, "train --student countdown-student --task countdown --out run", "pair: set pair, or both"),
    ("no task", None, "train --student countdown-student --teacher countdown-teacher --out run", "task: set one"),
    ("no out", None, "train --pair countdown --steps 1", "out: found nothing"),
    ("empty out", None, TRAIN + " --out=", "out: found ''"),
    ("null byte in out", None, TRAIN + " --out a\0b", "out: "),
    ("GPU that is not there", None, TRAIN + " --device cuda", "sees no CUDA device"),
    ("seed below 0", None, TRAIN + " --seed -1", "seed: found -1, accepted 0 or more"),
    ("warm-up below 0", None, TRAIN + " --warmup-steps -1", "warmup_steps: found -1, accepted 0 or more"),
    ("too much of a top", None, TRAIN + " --eval-top-p 2", "eval_top_p: found 2.0"),
    ("tracker", None, TRAIN + " --trackers tensorbord", "trackers: found tensorbord"),
    ("credentials", None, TRAIN + " --teacher http://me:secret@host/model", "credentials"),
]

OUTPUTS: list[tuple[str, Make, str, str]] = [
    ("out is a file", text("mine", "run"), TRAIN, "out: run is a file, accepted a folder"),
    ("out below a file", text("mine", "file"), TRAIN + " --out file/run", "out: file/run cannot be written"),
    ("out not writable", None, TRAIN + " --out /proc/scope-lab-run", "out: /proc/scope-lab-run cannot be written"),
    ("out of another's", lambda place: (place / "run").mkdir() or text("mine", "run/notes")(place), TRAIN, "not empty"),
    ("nothing to resume", None, TRAIN + " --resume", "holds no run to go on with"),
    (
        "config of a run broken",
        lambda place: (place / "run").mkdir() or text("tau: [", "run/config.yaml")(place),
        TRAIN + " --resume",
        "is not YAML",
    ),
    (
        "config of a run empty",
        lambda place: (place / "run").mkdir() or text("", "run/config.yaml")(place),
        TRAIN + " --resume",
        "holds no settings",
    ),
    ("evaluation into a folder", broken.folder("mine"), EVALUATE + " --out {}", "mine"),
    ("evaluation below a file", text("", "mine"), EVALUATE + " --out {}/out.json", "mine"),
    ("rollouts into a folder", broken.folder("mine"), ROLLOUT + " --out {}", "mine"),
    (
        "figure into a folder",
        broken.folder("fig"),
        f"inspect {broken.DATA}/rollouts/countdown.parquet --figure fig",
        "fig",
    ),
    (
        "figure below a file",
        text("", "mine"),
        f"compare {broken.DATA}/results/smollm2-student.json --figure {{}}/x.png",
        "figure: mine/x.png",
    ),
]

MODELS: list[tuple[str, Make, str, str]] = [
    ("folder without model", broken.folder("mine"), EVALUATE + " --model ./{}", "has no config.json"),
    ("file for a folder", text("", "mine"), EVALUATE + " --model ./{}", "is not a folder"),
    ("config broken", broken.model(lambda f: (f / "config.json").write_text("{")), EVALUATE + " --model {}", "model"),
    ("config a list", json_file("config.json", lambda _: [1]), EVALUATE + " --model {}", "model"),
    (
        "unknown kind",
        json_file("config.json", lambda c: c.update(model_type="gpt9")),
        EVALUATE + " --model {}",
        "could not be loaded",
    ),
    ("no weights", broken.model(lambda f: (f / "model.safetensors").unlink()), EVALUATE + " --model {}", "safetensors"),
    ("pickle alone", broken.model(broken.pickled), EVALUATE + " --model {}", "safetensors"),
    (
        "weights cut off",
        broken.model(lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9999])),
        EVALUATE + " --model {}",
        "could not be loaded",
    ),
    (
        "weights empty",
        broken.model(lambda f: (f / "model.safetensors").write_bytes(b"")),
        EVALUATE + " --model {}",
        "could not be loaded",
    ),
    ("tensor missing", weights(lambda s: s.pop("model.norm.weight")), EVALUATE + " --model {}", "model.norm.weight"),
    (
        "tensor of another shape",
        weights(lambda s: s.update({"model.norm.weight": s["model.norm.weight"][:-1].clone()})),
        EVALUATE + " --model {}",
        "could not be loaded",
    ),
    (
        "weight not a number",
        weights(lambda s: s["model.norm.weight"].fill_(float("nan"))),
        EVALUATE + " --model {}",
        "model.norm.weight",
    ),
    ("own code", broken.model(broken.with_code), EVALUATE + " --model {}", "could not be loaded"),
    (
        "no tokenizer",
        broken.model(lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")]),
        EVALUATE + " --model {}",
        "tokenizer: ",
    ),
    (
        "tokenizer cut off",
        broken.model(lambda f: (f / "tokenizer.json").write_bytes((f / "tokenizer.json").read_bytes()[:500])),
        EVALUATE + " --model {}",
        "tokenizer: ",
    ),
    (
        "adapter of nothing",
        broken.model(lambda f: (f / "adapter_config.json").write_text("{}")),
        EVALUATE + " --model {}",
        "base_model",
    ),
    (
        "adapter of a missing base",
        broken.model(broken.adapter_without_base),
        EVALUATE + " --model {}",
        "./gone is not a folder",
    ),
    (
        "too few embeddings",
        weights(lambda s: s.update({"model.embed_tokens.weight": s["model.embed_tokens.weight"][:8].clone()})),
        TRAIN + " --student {}",
        "could not be loaded",
    ),
    (
        "EOS that differs",
        json_file("generation_config.json", lambda c: c.update(eos_token_id=[3])),
        TRAIN + " --teacher {}",
        "EOS tokens differ",
    ),
    (
        "chat template on one side",
        json_file("tokenizer_config.json", lambda c: c.update(chat_template="{{ messages[0].content }}")),
        TRAIN + " --teacher {}",
        "chat templates of student and teacher differ",
    ),
    ("merges in another order", broken.swapped_merge, TRAIN + " --student ./model --teacher ./other", "merge 1"),
    (
        "bad chat template",
        json_file("tokenizer_config.json", lambda c: c.update(chat_template="{% if")),
        EVALUATE + " --model {}",
        "chat template",
    ),
    ("dtype", None, EVALUATE + " --dtype float99", "dtype: found 'float99'"),
    ("dtype of whole numbers", None, EVALUATE + " --dtype int8", "dtype: found 'int8'"),
]

TASKS: list[tuple[str, Make, str, str]] = [
    ("not there", None, TASK + " gone.jsonl", "gone.jsonl is not a file"),
    ("folder", broken.folder("mine.jsonl"), TASK + " {}", "mine.jsonl is not a file"),
    ("empty", problems(""), TASK + " {}", "holds no problem"),
    ("line cut off", problems(broken.PROBLEMS[:-20]), TASK + " {}", "line 40: not JSON"),
    ("bad UTF-8", problems(broken.PROBLEMS.encode() + b'{"id": "\xff"}'), TASK + " {}", "line 41: not JSON in UTF-8"),
    ("UTF-16", problems(broken.PROBLEMS.encode("utf-16")), TASK + " {}", "line 1: not JSON in UTF-8"),
    ("list a line", problems("[1, 2]\n"), TASK + " {}", "line 1: missing answer, id, problem"),
    ("answer missing", problems('{"id": 1, "problem": "x"}\n'), TASK + " {}", "missing answer"),
    ("answer null", changed_line(answer=None), TASK + " {}", "line 2: id or answer: found None"),
    ("answer a list", changed_line(answer=[1, 2]), TASK + " {}", "line 2: id or answer: found [1, 2]"),
    ("problem a number", changed_line(problem=5), TASK + " {}", "line 2: problem: found 5"),
    ("half a character", changed_line(problem="8,3\ud800"), TASK + " {}", "half a character"),
    ("deep nesting", problems("[" * 100_000), TASK + " {}", "line 1: not JSON"),
    ("number of 5000 digits", problems('{"id": ' + "1" * 5000 + "}"), TASK + " {}", "line 1: not JSON"),
    ("problem empty", changed_line(problem=" "), TASK + " {}", "line 2: problem is empty"),
    ("id twice", changed_line(id="1"), TASK + " {}", "stands on an earlier line too"),
    ("huge line", changed_line(problem="7" * 3_000_000), TASK + " {}", "mine.jsonl"),
    ("unreadable problem", changed_line(problem="what is 2 + 2?"), TASK + " countdown:{}", "cannot read problem"),
    ("nothing held out", problems(broken.PROBLEMS.splitlines()[0]), TASK + " {}", "problems"),
    ("too few to train on", problems(broken.PROBLEMS), TASK + " {} --train-problems 1000", "1000 asked for"),
    ("too few to evaluate", problems(broken.PROBLEMS), TASK + " {} --eval-problems 500", "500 asked for"),
    ("no such task", None, TASK + " coutdown", "did you mean countdown"),
    ("no such difficulty", None, TASK + " countdown:extreme", "task: found 'countdown:extreme'"),
]

ROLLOUTS: list[tuple[str, Make, str, str]] = [
    ("not there", None, "inspect gone.parquet", "gone.parquet is not a file"),
    ("folder", broken.folder("mine.parquet"), "inspect {}", "is not a file"),
    ("empty", text("", "mine.parquet"), "inspect {}", "cannot be read as parquet"),
    ("text", text("hello\n" * 50, "mine.parquet"), "inspect {}", "cannot be read as parquet"),
    ("cut off", broken.truncated_rollouts, "inspect {}", "cannot be read as parquet"),
    ("no rows", rollouts(lambda frame: frame.head(0)), "inspect {}", "found no rows"),
    ("columns missing", rollouts(lambda frame: frame.drop(columns=["verdict", "step"])), "inspect {}", "verdict, step"),
    (
        "other columns",
        rollouts(lambda frame: frame[["prompt"]].rename(columns={"prompt": "x"})),
        "inspect {}",
        "missing",
    ),
    ("verdict of another kind", column("verdict", "maybe"), "inspect {}", "verdict: found 'maybe'"),
    ("verdict a number", column("verdict", 1), "inspect {}", "verdict: found"),
    ("tokens as text", column("token_ids", "12 5"), "inspect {}", "token_ids"),
    ("tokens that are fractions", column("token_ids", [1.5, 2.5]), "inspect {}", "token_ids"),
    ("tokens below 0", cell("token_ids", [-1, 2]), "inspect {}", "token_ids"),
    ("no tokens", cell("token_ids", []), "inspect {}", "token_ids"),
    ("log-probs as text", column("student_logp", "low"), "inspect {}", "student_logp"),
    ("log-probs too few", rollouts(broken.short_logp), "inspect {}", "student_logp of prompt"),
    ("step as text", column("step", "third"), "inspect {}", "step"),
    ("temperature as text", column("sampling_temperature", "warm"), "inspect {}", "sampling_temperature"),
    ("temperature 0", column("logprob_temperature", 0.0), "inspect {}", "logprob_temperature"),
    ("response a number", column("response", 5), "inspect {}", "response"),
    ("finish reason", column("finish_reason", "tired"), "inspect {}", "finish_reason: found 'tired'"),
    ("cell empty", cell("prompt", None), "inspect {}", "prompt: found an empty cell"),
    ("two tasks", cell("task", "chess"), "inspect {}", "task: found"),
    ("one prompt id, two prompts", cell("prompt", "1,2=3:"), "inspect {}", "prompt"),
    ("nothing wrong to recover", column("verdict", "correct"), RECOVER, "wrong rollouts"),
    ("task of nobody", column("task", "chess"), RECOVER, "task: found 'chess'"),
    ("teacher of nobody", column("teacher", "./gone"), RECOVER, "./gone is not a folder"),
]

COMMANDS: list[tuple[str, Make, str, str]] = [
    ("no problems", None, EVALUATE + " --problems 0", "problems: found 0, accepted 1 or more"),
    ("samples below 0", None, EVALUATE + " --samples -1", "samples: found -1"),
    ("temperature 0", None, EVALUATE + " --temperature 0", "temperature: found 0.0"),
    ("temperature NaN", None, EVALUATE + " --temperature nan", "temperature: found nan"),
    ("temperature infinite", None, EVALUATE + " --temperature inf", "temperature: found inf"),
    ("top-p 0", None, EVALUATE + " --top-p 0", "top_p: found 0.0"),
    ("top-p NaN", None, EVALUATE + " --top-p nan", "top_p: found nan"),
    ("top-k below 0", None, EVALUATE + " --top-k -1", "top_k: found -1"),
    ("split", None, EVALUATE + " --split dev", "split: found 'dev'"),
    ("no tokens", None, EVALUATE + " --max-new-tokens 0", "max_new_tokens: found 0"),
    ("tokens below 0", None, EVALUATE + " --max-new-tokens -5", "max_new_tokens: found -5"),
    ("tokens beyond the context", None, EVALUATE + " --max-new-tokens 5000", "max_new_tokens: found 5000"),
    ("pair", None, "evaluate --pair romeo", "pair: found 'romeo'"),
    ("device", None, EVALUATE + " --device tpu", "device: found 'tpu'"),
    ("batch 0", None, EVALUATE + " --batch-size 0", "batch_size: found 0"),
    ("problems of another kind", None, EVALUATE + " --problems many", "invalid int value"),
    ("no model", None, "evaluate --task countdown", "model: set --pair"),
    ("teacher of nobody", None, ROLLOUT + " --teacher ./gone", "./gone is not a folder"),
    ("compare nothing", None, "compare gone", "neither an evaluation file nor a run folder"),
    ("compare broken JSON", text("{", "mine.json"), "compare {}", "cannot be read"),
    ("compare a list", text("[]", "mine.json"), "compare {}", "cannot be read"),
    ("compare an empty file", text("", "mine.json"), "compare {}", "cannot be read"),
    ("compare bytes", text(b"\xff\xfe\x00", "mine.json"), "compare {}", "cannot be read"),
    ("compare another JSON", text('{"label": "x"}', "mine.json"), "compare {}", "cannot be read"),
    ("compare lists of two lengths", evaluation(n_correct=[1, 2]), "compare {}", "cannot be read"),
    ("compare impossible counts", evaluation(n_samples=0), "compare {}", "cannot be read"),
    ("compare counts that are text", evaluation(n_correct="many"), "compare {}", "cannot be read"),
    ("compare without settings", evaluation(settings=None), "compare {}", "cannot be read"),
    ("sweep nothing", None, "sweep gone", "plan: gone is neither"),
    ("sweep a folder", broken.folder("mine"), "sweep {}", "plan: mine is neither"),
    ("sweep with a key of its own", plan(seed=[1]), "sweep {}", "unknown key 'seed' (did you mean seeds?)"),
    ("sweep without runs", plan(variants={}), "sweep {}", "variants: found {}"),
    ("sweep without out", plan(out=None), "sweep {}", "out: found None"),
    ("sweep with a seed in words", plan(seeds=["one"]), "sweep {}", "seeds: found ['one']"),
    ("sweep twice the same", plan(seeds=[1, 1]), "sweep {}", "seeds: found one twice"),
    ("sweep with a bad setting", plan(defaults={"tau": -1}), "sweep {}", "scope: tau: found -1.0"),
    ("sweep of none", plan(), "sweep {} --only zzz*", "fits none"),
    ("sweep with no jobs", plan(), "sweep {} --jobs 0", "jobs: found 0"),
    ("sweep with an empty grid", plan(grid={"tau": []}), "sweep {}", "grid: found"),
    ("sweep with a key twice", recipe("out: a\nout: b"), "sweep {}", "'out' stands twice"),
    ("results of nothing", None, "results gone", "plan: gone is neither"),
    ("plan on a toaster", None, "plan --pair countdown --on toaster", "toaster"),
    ("plan with a share above 1", None, "plan --pair countdown --wrong 3", "wrong: found 3.0"),
    ("fetch of nobody", None, "models fetch gpt9", "invalid choice: 'gpt9'"),
    ("build of nobody", None, "models build chess", "invalid choice: 'chess'"),
    ("recover nothing", None, "recover --out x", "recover: set --rollouts"),
    ("recover with no completions", None, "recover --pair countdown --completions 0 --out x", "completions: found 0"),
    ("recover at another cut", None, "recover --pair countdown --cut word --problems 1 --out x", "cut: found 'word'"),
    ("recover cold", None, "recover --pair countdown --temperature 0 --out x", "temperature: found 4, 0.0"),
]

ALL = {
    "settings": SETTINGS,
    "outputs": OUTPUTS,
    "models": MODELS,
    "tasks": TASKS,
    "rollouts": ROLLOUTS,
    "commands": COMMANDS,
}
