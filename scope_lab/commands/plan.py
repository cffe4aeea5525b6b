"""`scope-lab plan`: what a run will cost, from the settings that it would be started with."""

from ..architectures import CONFIGS
from ..config import ScopeConfig
from ..cost import TEACHER_PLACES, VERIFY_SECONDS, Setup, Work
from ..devices import DEVICES, device
from ..settings import build_config, read_plan
from .flags import add_command, add_settings

EXAMPLE = """examples:
  scope-lab plan --recipe paper-qwen3-1.7b --on h100 --response-tokens 6000
  scope-lab plan --student qwen3-1.7b --teacher qwen3-8b --max-new-tokens 2048 --gradient-checkpointing --on a100-80
  scope-lab plan --recipe eight_gpus --on h100 --devices 4
  scope-lab plan --pair countdown --response-tokens 22 --wrong 0.85 --on here
"""


def add_plan(commands) -> None:
    parser = add_command(commands, "plan", "seconds and memory of a run before it starts", run_plan, epilog=EXAMPLE)
    parser.usage = "scope-lab plan [--recipe NAME | --student NAME --teacher NAME] [--on DEVICE] [--SETTING VALUE ...]"
    parser.add_argument("--recipe", metavar="NAME|FILE", help="settings from a recipe of the package or a YAML file")
    assumed = parser.add_argument_group("plan", f"models may also be {', '.join(CONFIGS)}: sizes alone are needed")
    devices = ", ".join(DEVICES)
    assumed.add_argument("--on", default="here", metavar="DEVICE", help=f"{devices}; cpu, cuda, here: measured [here]")
    assumed.add_argument(
        "--prompt-tokens", type=float, help=f"mean [what a pair's task has, else {Work.prompt_tokens}]"
    )
    assumed.add_argument("--response-tokens", type=float, help="mean [half of max_new_tokens]")
    assumed.add_argument("--wrong", type=float, default=Work.wrong, help=f"share of rollouts [{Work.wrong}]")
    assumed.add_argument("--verify-seconds", type=float, help=f"of a verdict [a pair's, else {VERIFY_SECONDS:.2g}]")
    assumed.add_argument("--devices", type=int, metavar="N", help="that train together [the recipe's, else 1]")
    assumed.add_argument("--teacher-at", choices=TEACHER_PLACES, help="where it sits [where the trainer puts it]")
    assumed.add_argument(
        "--teacher-devices", type=int, metavar="N", help="that serve it elsewhere [the servers, else 1]"
    )
    add_settings(parser)


def plan_of(parsed) -> tuple[Setup, Work, ScopeConfig]:
    """What a parsed command line asks about."""
    from ..estimate import NO_TASK, setup_from, work_from

    overrides = {name[4:]: value for name, value in vars(parsed).items() if name.startswith("set_")}
    if not parsed.recipe and not overrides.get("pair"):
        overrides.setdefault("task", NO_TASK)
    config = build_config(parsed.recipe, overrides)
    assumed = {name: getattr(parsed, name) for name in ("prompt_tokens", "response_tokens", "wrong", "verify_seconds")}
    work = work_from(config, **{name: value for name, value in assumed.items() if value is not None})
    machines = read_plan(parsed.recipe) if parsed.recipe else {}
    if config.teacher_servers:
        machines.pop("teacher_devices", None)  # they are counted
    given = {name: getattr(parsed, name) for name in ("devices", "teacher_at", "teacher_devices")}
    machines |= {name: value for name, value in given.items() if value is not None}
    return setup_from(config, device(parsed.on), **machines), work, config


def run_plan(parsed) -> None:
    from ..estimate import plan_text

    setup, work, config = plan_of(parsed)
    print(plan_text(setup, work, config.steps))
