"""Two byte-pair tokenizers with one vocabulary: any merge that is missing or stands elsewhere is found."""

import copy
import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scope_lab.errors import InputError
from scope_lab.models import check_compatible

SENTENCES = ["the other one", "seven times three is then twenty-one", "another and another"]


@pytest.fixture(scope="module")
def learned() -> dict:
    """A tokenizer's state whose later merges no probe of `check_compatible` uses."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    return json.loads(bpe.to_str())


@pytest.fixture(scope="module")
def model():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 1, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, eos_token_id=0, **sizes))


def wrapped(state: dict) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<end>")


def test_a_copy_is_accepted(learned, model):
    check_compatible(wrapped(learned), wrapped(copy.deepcopy(learned)), model, model)


def test_every_missing_merge_is_found(learned, model):
    for place in range(len(learned["model"]["merges"])):
        changed = copy.deepcopy(learned)
        del changed["model"]["merges"][place]
        with pytest.raises(InputError, match="tokenizers differ"):
            check_compatible(wrapped(learned), wrapped(changed), model, model)


def test_every_merge_in_another_place_is_found_and_named(learned, model):
    merges = learned["model"]["merges"]
    for place in range(len(merges) - 1):
        changed = copy.deepcopy(learned)
        changed["model"]["merges"][place : place + 2] = [merges[place + 1], merges[place]]
        with pytest.raises(InputError, match="tokenizers differ") as error:
            check_compatible(wrapped(learned), wrapped(changed), model, model)
    assert f"merge {len(merges) - 1} is {merges[-2]} for the student, {merges[-1]}" in str(error.value)
