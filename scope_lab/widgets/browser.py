"""The rollout browser of lesson 01: one rollout at a time, every token coloured, and what each method pushes on it.

Tokens are cells of a table, not pixels: a screen reader finds them, and a move costs no drawing.
"""

import html
from pathlib import Path

import ipywidgets
import numpy as np

from ..explore import brief
from ..explore_routing import KINDS, Recording, group_kinds
from ..plots.routing import (
    METHODS,
    TokenRow,
    all_pushes,
    ink_on,
    plot_pushes,
    rollout_words,
    short,
    token_label,
    token_rows,
)
from ..style import png
from .panel import Panel

COLOUR_BY = {"student": "student's log-prob", "teacher": "teacher's log-prob", "difference": "difference"}
MARKS = {"correct": "✓", "incorrect": "✗", "unknown": "?"}
# A line of the table holds so many characters, at five or more a cell.
LINE = 140
LIST = "list-style:none;margin:4px 0 8px;padding:0;font:12px monospace;line-height:1.45;white-space:pre"
HEAD = "text-align:right;padding:1px 6px 1px 0;font-size:12px;font-weight:400;line-height:1.35"
CELL = "padding:1px 0;text-align:center;border:1px solid white;min-width:29px;line-height:1.35;font-size:11px"


def table_lines(texts: list[str]) -> list[slice]:
    """Cut a response into lines that fit the page."""
    lines, start, width = [], 0, 0
    for t, text in enumerate(texts):
        width += max(5, len(text))
        if width > LINE and t > start:
            lines.append(slice(start, t))
            start, width = t, max(5, len(text))
    return [*lines, slice(start, len(texts))]


def table_html(texts: list[str], rows: list[TokenRow], caption: str) -> str:
    """Tokens side by side, a row for each number; every cell says its number, so colour is never alone."""
    parts = []
    for line in table_lines(texts):
        cells = "".join(
            f'<th scope="col" style="{CELL};font:600 14px monospace;white-space:pre">{html.escape(label)}</th>'
            for label in map(token_label, texts[line])
        )
        body = [f'<tr><th scope="row" style="{HEAD}">token</th>{cells}</tr>']
        for row in rows:
            head = f'<th scope="row" style="{HEAD}">{row.label}</th>'
            filled = "".join(
                f'<td style="{CELL};background:{_rgb(colour)};color:{ink_on(colour)}">{short(value)}</td>'
                for value, colour in zip(row.values[line], row.colours()[line], strict=True)
            )
            body.append(f"<tr>{head}{filled}</tr>")
        parts.append(
            f'<table style="border-collapse:collapse;margin:2px 0 8px;white-space:nowrap">{"".join(body)}</table>'
        )
    said = html.escape(caption, quote=True)
    return f'<div role="group" aria-label="{said}" style="overflow-x:auto">{"".join(parts)}</div>'


def _rgb(colour: np.ndarray) -> str:
    return "rgb({},{},{})".format(*(round(255 * float(x)) for x in colour[:3]))


class RolloutBrowser(Panel):
    """Walk through recorded rollouts: choose task, kind of group, prompt and rollout, and what colours the tokens.

    recordings  a Recording, or several by the name of their task; files are read when they are chosen
    tau         weight temperature of SCOPE's pushes

    `task`, `kind`, `prompt`, `rollout`, `colour` and `reset` are its controls: set `.value`, `.click()` the last.
    `prompt` counts the listed `groups` from 1, `rollout` the `rows` of the group; `group` and `row` are what is shown.
    """

    def __init__(self, recordings: Recording | dict[str, Recording | str | Path], tau: float = 1.0):
        named = {recordings.rollouts.task: recordings} if isinstance(recordings, Recording) else dict(recordings)
        if not named:
            raise ValueError("recordings: found none, accepted one or more")
        self.recordings, self.tau, self._quiet = named, tau, False
        self.groups: list[int] = []
        self.rows: list[int] = []
        # Buttons and sliders of numbers: JupyterLab takes arrow keys away from menus and lists, and a slider over
        # other options keeps its old range when they change.
        self.task = self._buttons("task", list(named), "whose recording")
        self.kind = self._buttons("groups", [""], "which kind of groups the prompts are from")
        self.prompt = self._slider("prompt", "whose group of rollouts: arrow keys move it")
        self.rollout = self._slider("rollout", "which rollout of the group: arrow keys move it")
        colours = [(label, name) for name, label in COLOUR_BY.items()]
        self.colour = self._buttons("colour by", colours, "what colours the first row of tokens")
        self.colour.value = "difference"
        self.reset = ipywidgets.Button(description="Reset", tooltip="back to the first mixed group")
        self.reset.layout.width = "80px"
        choosers = [self.task] if len(named) > 1 else []
        choosers += [
            self.kind,
            self.prompt,
            self.rollout,
            ipywidgets.HBox([self.colour, self.reset], layout={"align_items": "flex-end", "flex_flow": "row wrap"}),
        ]
        super().__init__(ipywidgets.VBox(choosers))
        self._open()
        for control, react in (
            (self.task, self._open),
            (self.kind, self._list_prompts),
            (self.prompt, self._list_rollouts),
            (self.rollout, self._update),
            (self.colour, self._update),
        ):
            control.observe(react, "value")
        self.reset.on_click(self._back)

    @staticmethod
    def _buttons(name: str, options: list, tooltip: str) -> ipywidgets.ToggleButtons:
        style = {"description_width": "60px", "button_width": "150px"}
        return ipywidgets.ToggleButtons(options=options, description=name, tooltip=tooltip, style=style)

    @staticmethod
    def _slider(name: str, tooltip: str) -> ipywidgets.IntSlider:
        layout, style = ipywidgets.Layout(width="520px", max_width="100%"), {"description_width": "60px"}
        return ipywidgets.IntSlider(1, 1, 2, description=name, tooltip=tooltip, layout=layout, style=style)

    @property
    def group(self) -> int:
        return self.groups[min(self.prompt.value, len(self.groups)) - 1]

    @property
    def row(self) -> int:
        return self.rows[min(self.rollout.value, len(self.rows)) - 1]

    @property
    def recording(self) -> Recording:
        """The chosen task's rollouts; a file is read when it is first chosen."""
        found = self.recordings[self.task.value]
        if not isinstance(found, Recording):
            found = self.recordings[self.task.value] = Recording.load(found, rollouts_per_prompt=8)
        return found

    def _place(self, slider: ipywidgets.IntSlider, n: int, at: int) -> None:
        """The slider over 1 to n, at a place counted from 0, without its listeners. No slider has a single place."""
        quiet, self._quiet = self._quiet, True
        with slider.hold_sync():
            slider.max, slider.value = max(n, 2), at + 1
        self._quiet = quiet

    def _open(self, _=None) -> None:
        if self._quiet:
            return
        recording = self.recording
        self.kinds = group_kinds(recording.rollouts)
        self.pushed = all_pushes(recording.rollouts, self.tau)
        kinds = [kind for kind in KINDS if (self.kinds.kind == kind).any()]
        options = [(f"{kind} ({(self.kinds.kind == kind).sum()})", kind) for kind in kinds]
        self._quiet = True
        with self.kind.hold_sync():
            self.kind.options = options
            self.kind.value = "mixed" if "mixed" in kinds else kinds[0]
        self._quiet = False
        self._list_prompts()

    def _list_prompts(self, _=None) -> None:
        if self._quiet:
            return
        groups = self.groups = np.flatnonzero(self.kinds.kind == self.kind.value).tolist()
        # Begin with a group that has several of both, where there is one.
        balance = self.kinds.loc[groups, ["correct", "wrong"]].min(axis=1)
        several = [i for i, group in enumerate(groups) if balance[group] >= min(3, balance.max())]
        self._place(self.prompt, len(groups), several[0])
        self._list_rollouts()

    def _name(self, group: int) -> str:
        prompt, row = self.recording.rollouts.problems[group].prompt, self.kinds.loc[group]
        unknown = f", {row.unknown} unknown" if row.unknown else ""
        return f"{prompt}  {row.correct} correct, {row.wrong} wrong{unknown}"

    def _list_rollouts(self, _=None) -> None:
        if self._quiet:
            return
        rollouts = self.recording.rollouts
        rows = self.rows = np.flatnonzero(rollouts.group_B.numpy() == self.group).tolist()
        wrong = [i for i, row in enumerate(rows) if rollouts.verdicts[row] == "incorrect"]
        self._place(self.rollout, len(rows), (wrong or [0])[0])
        self._update()

    def _back(self, _=None) -> None:
        self._quiet = True
        self.task.value, self.colour.value = next(iter(self.recordings)), "difference"
        self._quiet = False
        self._open()

    def _update(self, _=None) -> None:
        if self._quiet:
            return
        key = (self.task.value, self.row, self.colour.value)
        self.picture.value, self.status.value = self.frames.get(key, self._draw)

    def _group_html(self) -> str:
        """The whole group, a line a rollout, the chosen one marked."""
        rollouts, lines = self.recording.rollouts, []
        for i, row in enumerate(self.rows, 1):
            said = html.escape(f"{i:>2}  {MARKS[rollouts.verdicts[row]]}  {brief(rollouts.responses[row], 100)}")
            mark = ' aria-current="true" style="font-weight:700;background:#EDEDED"' if row == self.row else ""
            lines.append(f"<li{mark}>{'▸' if mark else ' '}{said}</li>")
        head = f"<b>prompt {html.escape(self._name(self.group))}</b>"
        return f'<div>{head}</div><ul aria-label="the group" style="{LIST}">{"".join(lines)}</ul>'

    def _draw(self) -> tuple[str, str]:
        recording, row = self.recording, self.row
        rows = token_rows(recording, row, self.pushed)
        shown = [rows[self.colour.value], *(rows[method] for method in METHODS)]
        words = f"{rollout_words(recording, row, self.pushed)} Coloured by {COLOUR_BY[self.colour.value]}."
        table = table_html(recording.tokens[row], shown, f"Tokens, {COLOUR_BY[self.colour.value]}")
        said = html.escape(words, quote=True)
        return self._group_html() + table, f'<div role="status" aria-live="polite" style="line-height:1.5">{said}</div>'

    def _repr_mimebundle_(self, **kwargs):
        """The live widget; for pages without a kernel the same as a figure, drawn now."""
        self._png = png(plot_pushes(self.recording, self.row, self.tau), dpi=110)
        self._words = html.unescape(self.status.value.split(">", 1)[1].rsplit("<", 1)[0])
        return super()._repr_mimebundle_(**kwargs)
