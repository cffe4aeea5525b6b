"""The cost calculator: a pair, a device and the lengths in; seconds of a step, memory and the same in words out."""

from collections.abc import Mapping

import ipywidgets

from ..architectures import architecture
from ..cost import Setup, Work
from ..devices import DEVICES, Device
from ..plots.cost import CostFigure, words_cost
from .panel import Panel

LONGEST = tuple(2**n for n in range(5, 15))
SHARES = tuple(n / 10 for n in range(11))
STUDENTS = ("qwen3-1.7b", "qwen3-0.6b", "qwen3-4b", "r1-distill-qwen-1.5b")
TEACHERS = ("qwen3-8b", "qwen3-4b", "qwen3-1.7b", "r1-distill-qwen-7b")


class CostCalculator(Panel):
    """Choose a pair, a device, lengths and savings: seconds of a GRPO, OPD and SCOPE step by stage, memory by part.

    students, teachers  names for `architecture`; whether two read the same tokens is another question
    devices             by name; by default those of data sheets

    `student`, `teacher`, `device`, `prompts`, `longest`, `wrong`, `rows` (sequences generated at a time), `saving`
    (check boxes by name) and `reset` are its controls. A prompt has 8 rollouts; the mean response is half the longest.
    """

    def __init__(self, students=STUDENTS, teachers=TEACHERS, devices: Mapping[str, Device] = DEVICES):
        self.models = {name: architecture(name) for name in (*students, *teachers)}
        self.devices, self.figure = dict(devices), CostFigure()
        # Buttons, not menus: JupyterLab keeps the up and down arrows for itself.
        self.student = self._buttons("student", students, "which model trains")
        self.teacher = self._buttons("teacher", teachers, "which model scores the wrong rollouts")
        self.device = self._buttons("device", self.devices, "what it runs on")
        sizes = [(f"{n:,}", n) for n in (8, 16, 32, 64, 128, 256)]
        self.prompts = self._slider("prompts", sizes, 32, "prompts in a step, of 8 rollouts each: arrow keys move it")
        self.longest = self._slider("longest", [(f"{n:,}", n) for n in LONGEST], 2048, "tokens of the longest response")
        self.wrong = self._slider("wrong", [(f"{s:.0%}", s) for s in SHARES], 0.5, "share of wrong rollouts")
        self.rows = self._slider(
            "at a time", [(str(2**n), 2**n) for n in range(9)], 64, "sequences generated at a time"
        )
        self.saving = {
            name: ipywidgets.Checkbox(value=on, description=name, indent=False, tooltip=tip)
            for name, on, tip in (
                ("checkpointing", True, "compute the forward pass twice, and keep less of it"),
                ("LoRA, rank 16", False, "train an adapter alone"),
                ("teacher elsewhere", False, "the teacher has a device of its own"),
            )
        }
        for box in self.saving.values():
            box.layout.width = "150px"
        self.reset = ipywidgets.Button(description="Reset", tooltip="back to where it began")
        self.reset.layout.width = "80px"
        self.controls = [self.student, self.teacher, self.device, self.prompts, self.longest, self.wrong, self.rows]
        self.controls += self.saving.values()
        self._start = [control.value for control in self.controls]
        for control in self.controls:
            control.observe(self._update, "value")
        self.reset.on_click(self._back)
        rows = [
            [self.student],
            [self.teacher],
            [self.device],
            [self.prompts, self.longest],
            [self.wrong, self.rows],
            [*self.saving.values(), self.reset],
        ]
        super().__init__(ipywidgets.VBox([ipywidgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]))
        self._update()

    @staticmethod
    def _buttons(name: str, options, tooltip: str) -> ipywidgets.ToggleButtons:
        style = {"description_width": "60px", "button_width": "auto"}
        return ipywidgets.ToggleButtons(options=list(options), description=name, tooltip=tooltip, style=style)

    @staticmethod
    def _slider(name: str, options: list, value, tooltip: str) -> ipywidgets.SelectionSlider:
        layout, style = ipywidgets.Layout(width="400px"), {"description_width": "70px"}
        return ipywidgets.SelectionSlider(
            options=options, value=value, description=name, tooltip=tooltip, layout=layout, style=style
        )

    @property
    def setup(self) -> Setup:
        """What the controls say, for `scope_lab.cost` and `scope_lab.memory`."""
        checkpointing, lora, elsewhere = (box.value for box in self.saving.values())
        on = self.devices[self.device.value]
        return Setup(
            self.models[self.student.value],
            self.models[self.teacher.value],
            on,
            lora_rank=16 if lora else 0,
            mixed=on.kind == "cuda",
            gradient_checkpointing=checkpointing,
            teacher_at="elsewhere" if elsewhere else "here",
            sequences_per_batch=self.rows.value,
        )

    @property
    def work(self) -> Work:
        longest = self.longest.value
        return Work("scope", self.prompts.value, response_tokens=longest / 2, longest=longest, wrong=self.wrong.value)

    def _back(self, _=None) -> None:
        with self.one_picture():
            for control, value in zip(self.controls, self._start, strict=True):
                control.value = value

    def update(self) -> None:
        state = tuple(control.value for control in self.controls)
        self.show(*self.frames.get(state, self._draw))

    def _draw(self) -> tuple[bytes, str]:
        setup, work = self.setup, self.work
        return self.figure.frame(*self.figure.state_of(setup, work)), words_cost(setup, work)
