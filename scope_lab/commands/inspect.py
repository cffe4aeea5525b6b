"""`scope-lab inspect`: a rollouts file checked, and its data card."""

from ..durable import check_writable
from .flags import add_command


def add_inspect(commands) -> None:
    parser = add_command(
        commands, "inspect", "check a rollouts file, and say what is in it: its data card", run_inspect
    )
    parser.add_argument("rollouts", metavar="FILE.parquet")
    parser.add_argument("--figure", metavar="FILE.png", help="also draw accuracy, length and perplexity")


def run_inspect(parsed) -> None:
    from ..data_card import card_text
    from ..diagnosis import findings
    from ..rollouts import Rollouts

    if parsed.figure:
        check_writable(parsed.figure, "figure")
    rollouts = Rollouts.load(parsed.rollouts)
    print(card_text(rollouts))
    for line in findings(parsed.rollouts):
        print(f"look: {line}")
    if parsed.figure:
        from ..plots import plot_data_card
        from ..style import write_png

        write_png(plot_data_card(rollouts), parsed.figure)
        print(f"figure: {parsed.figure}")
