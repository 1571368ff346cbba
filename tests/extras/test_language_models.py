"""Language models whose code is on the Hub (LLaDA, Dream): tiny random ones in their place."""

import pytest
import tokenizers
import torch
import transformers
from pages import run_page
from torch import nn

import unmask
from unmask.backbones import from_transformers


class Full(nn.Module):
    """A Qwen2 in which every position sees every other, as Dream's, and LLaDA's but for biases."""

    def __init__(self, rows):
        super().__init__()
        torch.manual_seed(0)
        config = transformers.Qwen2Config(
            vocab_size=rows, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, initializer_range=0.5,
        )  # fmt: skip
        self.inner = transformers.Qwen2ForCausalLM(config).eval()

    def forward(self, ids, attention_mask=None):
        b, length = ids.shape
        hidden = torch.zeros(b, 1, 1, length)
        if attention_mask is not None:
            hidden = hidden.masked_fill(attention_mask[:, None, None] == 0, -1e9)
        return self.inner(input_ids=ids, attention_mask=hidden.expand(-1, -1, length, -1))


@pytest.fixture
def tokenizer():
    """Seven words, two marks and a mask in the middle; the network has rows that nobody uses."""
    words = {word: i for i, word in enumerate(["a", "b", "c", "[END]", "[M]", "d", "e", "f", "g"])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="a"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, eos_token="[END]")


@pytest.mark.parametrize("shift", [False, True])
def test_mask_allowed_and_shift(tokenizer, shift):
    inner = Full(12)
    network = from_transformers(inner, tokenizer, mask=4, marks=(None, None), shift=shift)
    units = unmask.Subtokenizer(network.vocab_size)
    schedule = unmask.schedules.Linear()
    model = unmask.MaskedDiffusion(network, schedule, units, allowed=network.allowed).eval()
    assert network.allowed.tolist() == [i not in (3, 4) for i in range(9)]
    z = torch.tensor([[0, 9, 5, 9], [9, 9, 9, 9]])
    rows = torch.where(z == 9, 4, z)  # the mask's own row there
    with torch.no_grad():
        logits = inner(rows).logits
        found = model.predict(z).exp()
    if shift:
        logits = logits[:, [0, 0, 1, 2]]
    kept = [0, 1, 2, 5, 6, 7, 8]
    expected = torch.zeros(2, 4, 9)
    expected[..., kept] = logits[..., kept].softmax(-1)
    masked = z == 9
    torch.testing.assert_close(found[masked], expected[masked])
    assert torch.equal(found[0, 2], nn.functional.one_hot(torch.tensor(5), 9).float())
    drawn = unmask.sample(model, num=4, length=5)
    assert not bool(((drawn == 3) | (drawn == 4)).any())


def test_the_page_says_how(tokenizer, tmp_path):
    """With the tokens of the small one."""
    swaps = {"mask=126336": "mask=4", "mask=151666": "mask=4"}
    names = {"llada": Full(12), "dream": Full(12), "tokenizer": tokenizer, "unmask": unmask}
    names["done"] = done = []
    swaps |= {"allowed=network.allowed,\n)": "allowed=network.allowed,\n)\ndone.append(model)"}
    run_page("coming-from.md", tmp_path, swaps, only="python", **names)
    (model,) = done
    assert model.backbone.shift and unmask.sample(model, num=2, length=4).shape == (2, 4)


def test_a_known_family_has_no_shift(tokenizer):
    config = transformers.BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1,
                                     num_attention_heads=1, intermediate_size=8)  # fmt: skip
    with pytest.raises(ValueError, match="says at each position what stands there"):
        bert = transformers.BertForMaskedLM(config)
        from_transformers(bert, tokenizer, mask=4, marks=(None, None), shift=True)
