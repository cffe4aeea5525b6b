"""The cost calculator set from Python: its words agree with the model, Reset restores pixels, nothing stays open."""

import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from scope_lab.architectures import architecture
from scope_lab.cost import Setup, Work, compared
from scope_lab.devices import DEVICES, GIB
from scope_lab.estimate import number, setup_from, size, work_from
from scope_lab.memory import memory, peak
from scope_lab.plots.cost import MORE_PARTS, CostFigure, alt_cost, plot_cost
from scope_lab.settings import build_config, read_plan
from scope_lab.style import canvas_of
from scope_lab.widgets import CostCalculator, Frames


@pytest.fixture
def calculator() -> CostCalculator:
    return CostCalculator()


def pixels(calculator: CostCalculator) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(calculator._png)))


def said(calculator: CostCalculator) -> str:
    return calculator.status.value


def test_the_words_are_the_models_numbers(calculator):
    calculator.student.value, calculator.device.value, calculator.longest.value = "qwen3-0.6b", "l4", 512
    setup = Setup(architecture("qwen3-0.6b"), architecture("qwen3-8b"), DEVICES["l4"], gradient_checkpointing=True)
    setup = replace(setup, sequences_per_batch=64)
    work = Work(prompts=32, response_tokens=256, longest=512)
    assert (calculator.setup, calculator.work) == (setup, work)
    scope = compared(setup, work)["scope"]
    assert f"SCOPE {number(scope['total'])} s a step" in said(calculator)
    moment, fullest = peak(memory(setup, work))
    assert f"Fullest in {moment}: {size(fullest)} of 24.0 GiB" in said(calculator)


def test_each_control_changes_the_words_in_its_direction(calculator):
    def scope() -> float:
        found = re.search(r"SCOPE ([\d,.]+) s a step", said(calculator))
        assert found
        return float(found.group(1).replace(",", ""))

    at_start, words = scope(), said(calculator)
    calculator.longest.value = 4096
    assert scope() > at_start and "does not fit" in said(calculator)
    calculator.longest.value, calculator.wrong.value = 2048, 1.0
    assert scope() > at_start
    calculator.wrong.value, calculator.rows.value = 0.5, 8
    assert scope() > at_start and said(calculator) != words
    calculator.reset.click()
    calculator.prompts.value = 256
    assert scope() == pytest.approx(8 * at_start, rel=0.1)


def test_savings_are_seen_in_memory(calculator):
    def fullest() -> float:
        return float(re.search(r"Fullest in \w+: ([\d.]+) GiB", said(calculator)).group(1))  # type: ignore[union-attr]

    start = fullest()
    calculator.saving["checkpointing"].value = False
    assert fullest() > start and "the largest part activations" in said(calculator)
    calculator.saving["checkpointing"].value = True
    for name in ("LoRA, rank 16", "teacher elsewhere"):
        before = fullest()
        calculator.saving[name].value = True
        assert fullest() < before


def test_reset_brings_back_the_same_pixels(calculator):
    start, words = calculator._png, said(calculator)
    calculator.device.value, calculator.longest.value, calculator.teacher.value = "laptop", 8192, "qwen3-4b"
    calculator.saving["LoRA, rank 16"].value = True
    assert (pixels(calculator) != np.asarray(Image.open(io.BytesIO(start)))).any()
    calculator.frames = Frames()  # so that the picture is drawn again, not remembered
    calculator.reset.click()
    assert calculator._png == start and said(calculator) == words


def test_the_picture_does_not_depend_on_the_way_to_it(calculator):
    for longest, device in ((32, "l4"), (16384, "h100"), (512, "laptop")):
        calculator.longest.value, calculator.device.value = longest, device
    straight = CostCalculator()
    straight.device.value, straight.longest.value = "laptop", 512
    assert calculator._png == straight._png


def test_words_are_alt_text_and_controls_have_names(calculator):
    alt = re.search(r'alt="([^"]+)"', calculator.picture.value)
    assert alt and alt.group(1) in said(calculator) and 'role="status"' in said(calculator)
    for control in (*calculator.controls, calculator.reset):
        assert control.description and control.tooltip


def test_a_static_reader_gets_the_same_picture(calculator):
    data, metadata = calculator._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert data["text/plain"] in alt_cost(calculator.setup, calculator.work)
    figure = plot_cost(calculator.setup, calculator.work)
    canvas = canvas_of(figure)
    figure.set_dpi(100)
    canvas.draw()
    still = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    moving = np.asarray(Image.open(io.BytesIO(calculator._png)).convert("RGB")).astype(int)
    assert np.abs(still - moving).mean() < 1


def test_three_hundred_moves_leave_no_figure_open(calculator):
    rng = np.random.default_rng(0)
    calculator.frames = Frames(size=16)
    for _ in range(100):
        calculator.longest.value = int(rng.choice([256, 512, 1024, 2048]))
        calculator.prompts.value = int(rng.choice([8, 64, 256]))
        calculator.device.value = str(rng.choice(list(DEVICES)))
    assert not _pylab_helpers.Gcf.figs and len(calculator.frames) == 16


def test_a_move_is_quick(calculator):
    first, again = [], []
    for times in (first, again):
        for name, longest in [(n, k) for n in ("h100", "l4", "rtx-4090") for k in (256, 512, 1024)]:
            calculator.device.value = name
            start = time.process_time()
            calculator.longest.value = longest
            times.append(time.process_time() - start)
    # Five times what a free core needs: this finds a figure drawn from new.
    assert np.median(first) < 0.2 and np.median(again) < 0.01


def test_a_device_of_huge_memory_does_not_hide_the_bars():
    setup = Setup(architecture("countdown-student"), architecture("countdown-teacher"), DEVICES["laptop"], mixed=False)
    work = Work(prompts=32, prompt_tokens=12, response_tokens=22, longest=30)
    figure = CostFigure()
    (_, _, top), _ = figure.state_of(setup, work)
    assert top < 1  # GiB; the laptop has 16


@pytest.mark.parametrize("recipe", ["one_gpu", "eight_gpus", "several_nodes"])
def test_every_part_of_the_memory_is_in_the_figure(recipe):
    config = build_config(recipe, {"task": "math:aime24"})
    setup, work = setup_from(config, DEVICES["h100"], **read_plan(recipe)), work_from(config)
    figure = CostFigure(tuple(memory(setup, work)), tuple(MORE_PARTS))
    figure.still(*figure.state_of(setup, work))
    ends = [path.vertices[:, 0].max() * figure.held.top * GIB for path in figure.held.bars.get_paths()]
    totals = [sum(parts.values()) for parts in memory(setup, work).values()]
    assert all(min(abs(end - total) for end in ends) < 1e-6 * total for total in totals)
    legend = [text.get_text()[2:] for text in plot_cost(setup, work).axes[1].get_legend().get_texts()]
    assert {part for parts in memory(setup, work).values() for part in parts} <= set(legend)


def test_without_a_teacher_only_grpo_is_drawn():
    setup = Setup(architecture("qwen3-1.7b"), None, DEVICES["h100"])
    said = alt_cost(setup, Work(method="grpo", longest=512, response_tokens=256))
    assert "GRPO" in said and "SCOPE" not in said and "taught" not in said
