"""Log-probabilities: the shift by one token, temperature, chunks, masks, and what padding must not change."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import linear
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from scope_lab import perplexity, vocabulary
from scope_lab.logprobs import masked_mean, response_logprobs, response_mask, sequence_nll, token_logprobs

V = 5


class BigramModel:
    """Fixed logits that depend on the last token read alone, so that reading one token off cannot go unseen."""

    def __init__(self, dtype=torch.float32):
        self.table_VV = torch.randn(V, V, generator=torch.Generator().manual_seed(3)).to(dtype)

    def __call__(self, input_ids, attention_mask, position_ids, past_key_values, use_cache, logits_to_keep):
        assert input_ids.shape == attention_mask.shape == position_ids.shape and past_key_values is None
        self.position_ids = position_ids
        return SimpleNamespace(logits=self.table_VV[input_ids][:, -logits_to_keep:])


PROMPT, RESPONSE = [1, 4, 2], [0, 3, 3, 1]
TOKENS_BL = torch.tensor([PROMPT + RESPONSE])
ATTENTION_BL = torch.ones_like(TOKENS_BL, dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_each_token_is_scored_by_the_logits_of_the_token_before_it(temperature):
    model = BigramModel()
    logp_BT = response_logprobs(model, TOKENS_BL, ATTENTION_BL, len(RESPONSE), temperature)
    before = [PROMPT[-1], *RESPONSE[:-1]]
    expected = []
    for last, token in zip(before, RESPONSE, strict=True):
        scores = [math.exp(float(logit) / temperature) for logit in model.table_VV[last]]
        expected.append(math.log(scores[token] / sum(scores)))
    assert logp_BT[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_positions_count_from_the_first_real_token():
    model = BigramModel()
    tokens_BL = torch.tensor([[0, 0, 1, 4, 2, 0], [3, 1, 4, 2, 3, 3]])
    attention_BL = torch.tensor([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()
    response_logprobs(model, tokens_BL, attention_BL, 2)
    assert model.position_ids[0, 2:5].tolist() == [0, 1, 2]
    assert model.position_ids[1].tolist() == [0, 1, 2, 3, 4], "the last token scores nothing, so it is not read"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_scored_in_single_precision(dtype):
    model = BigramModel(dtype)
    exact = torch.log_softmax(model.table_VV.double() / 0.6, -1)
    logits_BTV, tokens_BT = model.table_VV[None], torch.tensor([[0, 1, 2, 3, 4]])
    logp_BT = token_logprobs(logits_BTV, tokens_BT, 0.6)
    assert logp_BT.dtype == torch.float32
    torch.testing.assert_close(logp_BT[0].double(), exact.diagonal(), atol=1e-5, rtol=0)
    assert response_logprobs(model, TOKENS_BL, ATTENTION_BL, 4, 0.6).dtype == torch.float32


def test_double_precision_stays_double():
    logp_BT = token_logprobs(torch.zeros(1, 2, V, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.long))
    assert logp_BT.dtype == torch.float64
    assert logp_BT.tolist() == [[pytest.approx(-math.log(V))] * 2]


@pytest.mark.parametrize("left, right", [(0, 9), (9, 0), (5, 7)])
def test_padding_moves_no_logprob_and_no_gradient_of_the_student(student, rollouts, left, right):
    model = copy.deepcopy(student)
    inputs = rollouts.model_input(range(0, len(rollouts), 7))
    n = len(inputs.tokens_BL)

    def score(tokens_BL, attention_BL, n_response, mask_BT):
        model.zero_grad()
        logp_BT = response_logprobs(model, tokens_BL, attention_BL, n_response, 0.7)
        masked_mean(logp_BT, mask_BT, 1.0).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        return logp_BT.detach()[mask_BT], gradient

    plain = score(inputs.tokens_BL, inputs.attention_BL, inputs.n_response, inputs.mask_BT)
    # garbage tokens, so that a padded slot that is read would show
    before, after = torch.full((n, left), 9), torch.full((n, right), 12)
    padded = score(
        torch.cat([before, inputs.tokens_BL, after], 1),
        torch.cat([before == 0, inputs.attention_BL, after == 0], 1),
        inputs.n_response + right,
        torch.cat([inputs.mask_BT, after == 0], 1),
    )
    torch.testing.assert_close(padded[0], plain[0], atol=2e-5, rtol=0)
    assert (padded[1] - plain[1]).norm() < 1e-5 * plain[1].norm()


def scored(model, rollouts, chunked: bool):
    """Log-probs of some rollouts and their gradient, through chunks of the vocabulary's scores or from whole logits."""
    head = model.get_output_embeddings()
    if not chunked:
        head._scope_change = None
    inputs = rollouts.model_input(range(0, len(rollouts), 5))
    model.zero_grad()
    logp_BT = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response, 0.7)
    masked_mean(logp_BT, inputs.mask_BT, 1.0).backward()
    del head._scope_change
    return logp_BT.detach()[inputs.mask_BT], torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("entries_at_a_time", [4, 1_000])
@pytest.mark.parametrize("tokens_at_a_time", [1, 7, 10_000])
def test_chunks_give_the_logprobs_and_gradient_of_whole_logits(
    student, rollouts, monkeypatch, tokens_at_a_time, entries_at_a_time
):
    model = copy.deepcopy(student).double()
    n_logits = model.config.vocab_size
    monkeypatch.setitem(vocabulary.LOGITS_AT_A_TIME, "cpu", tokens_at_a_time * min(n_logits, entries_at_a_time))
    monkeypatch.setitem(vocabulary.ENTRIES_AT_A_TIME, "cpu", entries_at_a_time)
    whole = scored(model, rollouts, chunked=False)
    chunked = scored(model, rollouts, chunked=True)
    torch.testing.assert_close(chunked[0], whole[0], atol=1e-10, rtol=0)
    assert (chunked[1] - whole[1]).norm() < 1e-10 * whole[1].norm()


@pytest.mark.parametrize("layer", ["plain", "wrapped"])
def test_a_chunk_is_all_the_logits_there_are(student, rollouts, monkeypatch, layer):
    model, sizes = copy.deepcopy(student), []
    head = model.get_output_embeddings()

    def counted(function):
        return lambda *inputs: sizes.append(inputs[0].shape[:-1].numel()) or function(*inputs)

    if layer == "wrapped":
        head.forward = counted(head.forward)
    else:
        monkeypatch.setattr(vocabulary, "linear", counted(linear))
    stood_there = head.forward
    monkeypatch.setitem(vocabulary.LOGITS_AT_A_TIME, "cpu", 5 * model.config.vocab_size)
    inputs = rollouts.model_input(range(9))
    response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response).sum().backward()
    assert max(sizes) == 5 and sum(sizes) == 2 * int(inputs.mask_BT.sum())  # forward, and again going backward
    assert head.forward == stood_there


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 47, "intermediate_size": 48}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0}
FAMILIES = {
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **HEADS, final_logit_softcapping=0.5)),
    "scale": lambda: Cohere2ForCausalLM(Cohere2Config(**SIZES, **HEADS, logit_scale=0.25)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, **HEADS, logits_scaling=3.0)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=True)),
    "bias": lambda: with_bias(LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS))),
}


def with_bias(model):
    old = model.get_output_embeddings()
    model.set_output_embeddings(torch.nn.Linear(old.in_features, old.out_features))
    return model


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_model_does_to_its_logits_is_done_in_chunks_too(family, temperature, monkeypatch):
    torch.manual_seed(0)
    model = FAMILIES[family]().double().eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(std=1.0)
    tokens_BL = torch.randint(3, 47, (3, 9), generator=torch.Generator().manual_seed(1))
    attention_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    weight_BT = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def gradient(logp_BT):
        model.zero_grad()
        (logp_BT * weight_BT).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole_BT = token_logprobs(model(tokens_BL).logits[:, 3:-1], tokens_BL[:, 4:], temperature)
    expected = gradient(whole_BT)
    rows = []
    monkeypatch.setattr(vocabulary, "linear", lambda x, *layer: rows.append(len(x)) or linear(x, *layer))
    monkeypatch.setitem(vocabulary.ENTRIES_AT_A_TIME, "cpu", 10)
    monkeypatch.setitem(vocabulary.LOGITS_AT_A_TIME, "cpu", 4 * 10)
    logp_BT = response_logprobs(model, tokens_BL, attention_BL, 5, temperature)
    torch.testing.assert_close(logp_BT, whole_BT, atol=1e-12, rtol=0)
    assert (gradient(logp_BT) - expected).norm() < 1e-6 * expected.norm()  # their norms are in single precision
    assert max(rows) == 4, "the logits were whole"
    again_BT = token_logprobs(model(tokens_BL).logits[:, 3:-1], tokens_BL[:, 4:], temperature)
    assert torch.equal(again_BT, whole_BT), "the model is as it was"


def test_a_model_that_does_something_unknown_to_its_logits_is_scored_from_them_whole():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS)).eval()
    model.register_forward_hook(lambda module, inputs, output: setattr(output, "logits", output.logits**3))
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(std=1.0)
    tokens_BL = torch.randint(3, 47, (3, 9))
    attention_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    expected_BT = token_logprobs(model(tokens_BL).logits[:, 3:-1], tokens_BL[:, 4:])
    torch.testing.assert_close(response_logprobs(model, tokens_BL, attention_BL, 5), expected_BT)


def test_under_autocast_the_layer_computes_in_half_precision_and_sums_in_single(student, rollouts, monkeypatch):
    inputs, found = rollouts.model_input(range(20)), {}
    for tokens_at_a_time in (5, 10_000):
        model = copy.deepcopy(student)
        monkeypatch.setitem(vocabulary.LOGITS_AT_A_TIME, "cpu", tokens_at_a_time * model.config.vocab_size)
        for dtype in (torch.float32, torch.bfloat16):
            model.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
                logp_BT = response_logprobs(model, inputs.tokens_BL, inputs.attention_BL, inputs.n_response)
            assert logp_BT.dtype == torch.float32
            masked_mean(logp_BT, inputs.mask_BT, 1.0).backward()
            gradient = model.get_output_embeddings().weight.grad
            assert gradient.dtype == torch.float32
            found[tokens_at_a_time, dtype] = logp_BT.detach()[inputs.mask_BT], gradient.clone()
        exact, half = found[tokens_at_a_time, torch.float32], found[tokens_at_a_time, torch.bfloat16]
        assert 1e-4 < (half[0] - exact[0]).abs().mean() < 0.05
        assert (half[1] - exact[1]).norm() < 0.05 * exact[1].norm()
    assert torch.equal(found[5, torch.bfloat16][0], found[10_000, torch.bfloat16][0])


def test_a_frozen_layer_gets_no_gradient_and_passes_one_on(monkeypatch):
    monkeypatch.setitem(vocabulary.ENTRIES_AT_A_TIME, "cpu", 4)
    monkeypatch.setitem(vocabulary.LOGITS_AT_A_TIME, "cpu", 12)
    torch.manual_seed(0)
    hidden_NH = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    head = torch.nn.Linear(8, 11, dtype=torch.float64).requires_grad_(False)
    tokens_N, change = torch.randint(11, (7,)), vocabulary.LogitChange(1.5, 2.0)

    def score(hidden_NH):
        return vocabulary.ChunkedLogprobs.apply(hidden_NH, head.weight, head.bias, tokens_N, 0.7, change)

    assert torch.autograd.gradcheck(score, hidden_NH)
    assert head.weight.grad is None


def test_mask_ends_at_the_first_of_several_stop_tokens_and_includes_it():
    tokens_BT = torch.tensor([[5, 7, 2, 5, 9], [9, 2, 2, 2, 2], [5, 5, 5, 5, 5], [5, 5, 5, 5, 2]])
    mask = response_mask(tokens_BT, [2, 9])
    assert mask.tolist() == [
        [True, True, True, False, False],
        [True, False, False, False, False],
        [True, True, True, True, True],
        [True, True, True, True, True],
    ]
    assert response_mask(tokens_BT, [9])[0].tolist() == [True] * 5


def test_mask_keeps_the_first_eos_where_padding_is_eos():
    eos = 2
    tokens_BT = torch.tensor([[5, 6, eos, eos, eos], [eos, eos, eos, eos, eos]])
    assert response_mask(tokens_BT, [eos]).sum(-1).tolist() == [3, 1]


def test_perplexity_by_hand():
    logp_BT = torch.tensor([[math.log(0.5), math.log(0.125), math.nan], [0.0, 0.0, 0.0]])
    mask_BT = torch.tensor([[True, True, False], [True, True, True]])
    assert perplexity(logp_BT, mask_BT).tolist() == pytest.approx([4.0, 1.0])
    assert sequence_nll(logp_BT, mask_BT).tolist() == pytest.approx([math.log(4), 0])


def test_perplexity_of_an_empty_response_is_not_a_number():
    assert math.isnan(perplexity([[0.0, 0.0]], [[False, False]]).item())


def test_masked_mean_divides_by_what_the_caller_names():
    x = torch.tensor([1.0, math.nan, 3.0, math.inf], requires_grad=True)
    mask = torch.tensor([True, False, True, False])
    mean = masked_mean(x, mask, 8)
    mean.backward()
    assert mean.item() == 0.5
    assert x.grad.tolist() == [0.125, 0, 0.125, 0]


def test_many_rows_are_gone_through_in_pieces_with_the_same_result(monkeypatch):
    logp_BT, mask_BT = torch.randn(50, 7, requires_grad=True), torch.rand(50, 7) < 0.7
    whole_B = sequence_nll(logp_BT, mask_BT)
    (gradient_BT,) = torch.autograd.grad(whole_B.nansum(), logp_BT)
    monkeypatch.setattr("scope_lab.logprobs.IN_CACHE", 30)  # numbers: four rows
    pieces_B = sequence_nll(logp_BT, mask_BT)
    torch.testing.assert_close(pieces_B, whole_B, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(torch.autograd.grad(pieces_B.nansum(), logp_BT)[0], gradient_BT, rtol=0, atol=0)
