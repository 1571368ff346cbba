"""The masked language models of transformers that are known here: one literal table.

Their configurations come from files.  So the class is looked up in this table and nowhere else, and
only fields that are listed here, held against a form, ever reach it.  Names of fields, modules and
classes are those of transformers 5 (Apache-2.0).
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from unmask.backbones.shapes import no_weights
from unmask.documents import Test, misfit, one_of, whole

INSTALL = "pip install 'unmask[huggingface]'"
SIZE, COUNT = whole(1, 2**20), whole(1, 1000)
SHARE = Test(lambda v: type(v) in (int, float) and 0 <= v < 1, "a number from 0 to 1")
SMALL = Test(lambda v: type(v) is float and 0 < v < 1, "a number between 0 and 1")
BASE = Test(lambda v: type(v) in (int, float) and 1 <= v < 1e12, "a number from 1")
ACTIVATION = one_of("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh")
ROPE = {"rope_type": one_of("default"), "rope_theta": BASE}

SHARED = {
    "vocab_size": whole(2, 2**24), "max_position_embeddings": whole(4, 2**20),
    "pad_token_id": whole(0), "tie_word_embeddings": bool,
}  # fmt: skip
BERT = SHARED | {
    "hidden_size": SIZE, "num_hidden_layers": COUNT, "num_attention_heads": COUNT,
    "intermediate_size": SIZE, "hidden_act": ACTIVATION, "hidden_dropout_prob": SHARE,
    "attention_probs_dropout_prob": SHARE, "type_vocab_size": whole(1, 2**16),
    "layer_norm_eps": SMALL,
}  # fmt: skip
ESM = {name: form for name, form in BERT.items() if name not in ("hidden_act", "type_vocab_size")}
ESM |= {
    "position_embedding_type": one_of("absolute", "rotary"), "rope_theta": BASE,
    "emb_layer_norm_before": bool,
}  # fmt: skip
DISTILBERT = SHARED | {
    "n_layers": COUNT, "n_heads": COUNT, "dim": SIZE, "hidden_dim": SIZE, "dropout": SHARE,
    "attention_dropout": SHARE, "activation": ACTIVATION, "sinusoidal_pos_embds": bool,
}  # fmt: skip
MODERNBERT = SHARED | {
    "hidden_size": SIZE, "num_hidden_layers": COUNT, "num_attention_heads": COUNT,
    "intermediate_size": SIZE, "hidden_activation": ACTIVATION, "norm_eps": SMALL,
    "norm_bias": bool, "attention_bias": bool, "attention_dropout": SHARE,
    "embedding_dropout": SHARE, "mlp_bias": bool, "mlp_dropout": SHARE, "decoder_bias": bool,
    "classifier_bias": bool, "classifier_activation": ACTIVATION,
    "local_attention": whole(2, 2**20),
    "layer_types": [one_of("full_attention", "sliding_attention")],
    "rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE},
}  # fmt: skip


# what older versions call some of them, which transformers translates
FORMER = ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers")
# ids of marks, which networks do not look at; defaults are beyond the rows of a small vocabulary
MARKS = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
# fields that do not change what logits are
ELSEWHERE = {
    "architectures", "dtype", "id2label", "label2id", "problem_type", "output_hidden_states",
    "output_attentions", "return_dict", "initializer_range", "initializer_cutoff_factor",
    "use_cache", "classifier_dropout", "classifier_pooling", *MARKS, "mask_token_id",
    "transformers_version", "_name_or_path", "summary_type", "summary_use_proj",
    "summary_activation", "summary_last_dropout",
    "qa_dropout", "seq_classif_dropout", "vocab_list", "deterministic_flash_attn",
    "sparse_prediction", "sparse_pred_ignore_index", "chunk_size_feed_forward",
    "token_dropout",  # see huggingface.without_token_dropout
}  # fmt: skip


class Family(NamedTuple):
    """Networks of one class."""

    name: str  # of the class in transformers, without "ForMaskedLM"
    encoder: str  # the part that makes features
    head: tuple[str, ...]  # the parts that make logits of features, one after the other
    fields: dict[str, Any]  # of its configuration, and their forms
    # the first position has the number after that of padding, so that there are fewer
    after_padding: bool = False

    @property
    def config(self) -> Any:
        """The class of its configurations.  ValueError without transformers."""
        return class_of(f"{self.name}Config")

    @property
    def network(self) -> Any:
        return class_of(f"{self.name}ForMaskedLM")

    def positions(self, fields: dict) -> int:
        """How many tokens a sequence can have, marks included."""
        spare = fields["pad_token_id"] + 1 if self.after_padding else 0
        return fields["max_position_embeddings"] - spare


ROBERTA = "roberta", ("lm_head",), BERT, True
FAMILIES = {
    "bert": Family("Bert", "bert", ("cls",), BERT),
    "roberta": Family("Roberta", *ROBERTA),
    "xlm-roberta": Family("XLMRoberta", *ROBERTA),
    "camembert": Family("Camembert", *ROBERTA),
    "esm": Family("Esm", "esm", ("lm_head",), ESM, True),
    "modernbert": Family("ModernBert", "model", ("head", "decoder"), MODERNBERT),
    "distilbert": Family(
        "DistilBert", "distilbert",
        ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"), DISTILBERT,
    ),
    "electra": Family(
        "Electra", "electra", ("generator_predictions", "generator_lm_head"),
        BERT | {"embedding_size": SIZE},
    ),
}  # fmt: skip


def class_of(name: str) -> Any:
    """A class of transformers, by a name of the table above."""
    try:
        with torch.device("cpu"):  # where constants of its modules belong
            import transformers

            return getattr(transformers, name)
    except ImportError:
        raise ValueError(
            f"this is a network of the package transformers, which is not installed: {INSTALL}"
        ) from None


def family_of(name: Any) -> Family:
    """ValueError for a model_type that is not known here."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(
            f"model_type {name!r} is no masked language model that is known here: "
            f"known are {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def build(family: Family, fields: dict[str, Any]) -> nn.Module:
    """The network of a configuration, its weights without memory, to be read into.

    ValueError for fields that do not fit.
    """
    check_fields(family, fields)
    config = make_config(family, fields)
    config._attn_implementation = "sdpa"
    if "sinusoidal_pos_embds" in fields:
        config.sinusoidal_pos_embds = False  # they are read, not computed, number by number
    made = family.network
    with no_weights():
        try:
            network = made(config).eval()
        except (ValueError, RuntimeError, IndexError, AssertionError, ZeroDivisionError) as error:
            said = " ".join(str(error).split())[:200]
            raise ValueError(f"no {family.name} network has this configuration: {said}") from None
    for name, weights in network.named_parameters():
        if "contact_head" in name:  # of ESM; logits are not made with it
            weights.requires_grad_(False)
    return network


def check_fields(family: Family, fields: dict[str, Any]) -> None:
    """ValueError for a field that is missing, not known or of another form."""
    if strange := sorted(set(fields) - set(family.fields)):
        raise ValueError(f"the configuration of {family.name} has no {strange[0]!r}")
    if wrong := misfit(fields, family.fields):
        raise ValueError(f"the configuration of {family.name} is not known here: {wrong}")
    if fields["pad_token_id"] >= fields["vocab_size"]:
        padding, rows = fields["pad_token_id"], fields["vocab_size"]
        raise ValueError(f"pad_token_id {padding} is none of the {rows} rows of the vocabulary")


def fields_of(family: Family, said: dict[str, Any]) -> dict[str, Any]:
    """The fields of a family in a configuration as transformers writes it, defaults filled in.

    Fields that are about something else, such as how weights begin, are left out.  ValueError for
    any other that is not as by default: it may change what the network computes.
    """
    if said.get("quantization_config") is not None:
        raise ValueError("quantization_config: give the weights as they were before")
    positions = said.get("position_embedding_type", "absolute")
    if "position_embedding_type" not in family.fields and positions != "absolute":
        raise ValueError(f"position_embedding_type {positions!r}: only 'absolute' is known here")
    known = {*family.config().to_dict(), *FORMER}
    whole = make_config(family, {name: said[name] for name in known if name in said}).to_dict()
    fields = {name: whole.get(name) for name in family.fields}
    if "emb_layer_norm_before" in fields:  # it may be None
        fields["emb_layer_norm_before"] = bool(fields["emb_layer_norm_before"])
    check_fields(family, fields)
    ours = make_config(family, fields).to_dict()
    for name in sorted(set(ours) - {*fields, *ELSEWHERE}):
        if whole[name] != ours[name]:
            raise ValueError(f"{name} {whole[name]!r}: only {ours[name]!r} is known here")
    return fields


def make_config(family: Family, fields: dict[str, Any]) -> Any:
    """A configuration; it checks types with an exception of its own."""
    try:
        return family.config(**dict.fromkeys(MARKS) | fields)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"transformers refuses this configuration: {said}") from None
