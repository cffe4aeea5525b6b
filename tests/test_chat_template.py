"""Chat templates: variables, another template, none; in training, in what is saved, and on the command line."""

import pytest
from transformers import AutoTokenizer

from scope_lab.chat_template import with_chat_template
from scope_lab.cli import main
from scope_lab.errors import InputError
from scope_lab.models import load_tokenizer
from scope_lab.rollouts import Rollouts, encode_prompts
from scope_lab.settings import build_config
from scope_lab.tasks import load_task
from scope_lab.trainer import ScopeTrainer

PROBLEM = load_task("countdown").problems("train", 1)
# As Qwen3's: a variable that may be absent, and read in the end.
TEMPLATE = """{%- for message in messages %}
{{- message.content }}
{%- endfor %}
{%- if sign is defined and sign is false %}
{{- "+" }}
{%- elif sign is defined %}
{{- sign }}
{%- endif %}"""


@pytest.fixture
def template(tmp_path) -> str:
    path = tmp_path / "mine.jinja"
    path.write_text(TEMPLATE)
    return str(path)


def prompt_of(tokenizer) -> str:
    return tokenizer.decode(encode_prompts(tokenizer, PROBLEM)[0])


@pytest.mark.parametrize(
    "kwargs, ending", [("", ""), ("sign=false", "+"), ("sign=-", "-"), ("sign=12", "12"), (" sign = False ", "+")]
)
def test_variables_reach_the_template_and_what_is_saved(tokenizer, template, tmp_path, kwargs, ending):
    ours = with_chat_template(tokenizer, template, kwargs)
    assert prompt_of(ours) == PROBLEM[0].prompt + ending
    ours.save_pretrained(tmp_path / "saved")
    assert prompt_of(AutoTokenizer.from_pretrained(tmp_path / "saved")) == PROBLEM[0].prompt + ending


def test_text_is_text_whatever_is_in_it(tokenizer, template):
    value = r"it's {{ 7 * 6 }} %} \n"
    ours = with_chat_template(tokenizer, template, f"sign={value}")
    assert ours.apply_chat_template([{"content": "a"}], tokenize=False) == "a" + value


def test_the_tokenizer_that_it_is_given_stays_as_it_was(tokenizer, template):
    before = tokenizer.chat_template
    assert with_chat_template(tokenizer) is tokenizer
    assert with_chat_template(tokenizer, template).chat_template == TEMPLATE
    assert with_chat_template(with_chat_template(tokenizer, template), "plain").chat_template is None
    assert tokenizer.chat_template == before


@pytest.mark.parametrize(
    "chosen, kwargs, complaint",
    [
        ("nowhere.jinja", "", "chat_template: nowhere.jinja cannot be read"),
        (None, "sign=1", "the tokenizer has no chat template"),
        ("plain", "sign=1", "the tokenizer has no chat template"),
        ("mine", "sing=1", "found sing, which the chat template does not read"),
        ("mine", "sign", "found 'sign', accepted NAME=VALUE"),
        ("mine", "si gn=1", "accepted NAME=VALUE"),
        ("mine", "sign=1,", "found '', accepted NAME=VALUE"),
    ],
)
def test_one_clear_line(tokenizer, template, chosen, kwargs, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        with_chat_template(tokenizer, template if chosen == "mine" else chosen, kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word, kept", [("plain", "plain"), ("none", None), ("mine.jinja", "mine.jinja")])
def test_as_a_setting(word, kept):
    assert build_config(None, {"pair": "countdown", "chat_template": word}).chat_template == kept


def test_a_run_trains_saves_and_evaluates_with_it(template, tmp_path, capsys):
    out = tmp_path / "run"
    small = {"steps": 1, "prompts_per_step": 2, "rollouts_per_prompt": 2, "eval_problems": 0, "pair": "countdown"}
    settings = {**small, "out": out, "chat_template": template, "chat_template_kwargs": "sign=false"}
    run = ScopeTrainer(build_config(None, settings), progress=False)
    run.train()
    prompted = encode_prompts(load_tokenizer(str(out / "model")), run.step_problems())
    assert prompted == encode_prompts(run.tokenizer, run.step_problems())
    assert all(run.tokenizer.decode(tokens).endswith("+") for tokens in prompted)
    assert prompted != encode_prompts(load_tokenizer("countdown-student"), run.step_problems())

    rollouts = tmp_path / "rollouts.parquet"
    flags = ["--chat-template", template, "--chat-template-kwargs", "sign=false"]
    words = ["rollout", "--pair", "countdown", "--problems", "2", "--samples", "2", "--out", str(rollouts), *flags]
    assert main(words) == 0 and len(Rollouts.load(rollouts)) == 4
    assert main(["evaluate", "--pair", "countdown", "--problems", "2", "--samples", "2", *flags]) == 0
    assert main(["recover", "--rollouts", str(rollouts), "--out", str(tmp_path / "r"), *flags[:-1], "sing=1"]) == 2
    assert "found sing" in capsys.readouterr().err
