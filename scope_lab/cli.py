"""The command `scope-lab`, also `python -m scope_lab`.

Exit codes: 0 done, 2 bad usage or input (one line on stderr), 1 anything else (one line where a run had to stop).
"""

import errno
import os
import sys
import warnings

from . import sandbox
from .commands.compare import add_compare
from .commands.evaluate import add_evaluate, add_rollout
from .commands.flags import Parser
from .commands.inspect import add_inspect
from .commands.models import add_models
from .commands.plan import add_plan
from .commands.recover import add_recover
from .commands.sweep import add_results, add_sweep
from .commands.train import add_train
from .errors import InputError, RunStopped, one_line


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Idle threads of torch sleep instead of spinning: a busy machine then slows a small model by half, not tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = build_parser().parse_args(arguments)
        parsed.arguments = arguments
        quiet_libraries()
        if getattr(parsed, "unsafe_no_sandbox", False):
            sandbox.do_without()
        return parsed.run(parsed) or 0
    except (InputError, RunStopped) as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes on a machine one says it
            print(f"scope-lab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("scope-lab: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if error.filename is None and not full:
            raise
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        what = f"cannot be written ({reason})" if full else reason
        print(f"scope-lab: {error.filename or 'output'}: {what}", file=sys.stderr)
        return 1 if full else 2


def quiet_libraries() -> None:
    """Keep other libraries' bars and notices out of ours."""
    import logging

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # peft still reads the old name of a property that transformers renamed
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)


def build_parser() -> Parser:
    parser = Parser(prog="scope-lab", description="SCOPE: signal-calibrated on-policy distillation.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for add in (
        add_train,
        add_evaluate,
        add_rollout,
        add_compare,
        add_sweep,
        add_results,
        add_plan,
        add_inspect,
        add_recover,
        add_models,
    ):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
