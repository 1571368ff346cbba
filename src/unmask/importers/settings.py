"""What a project's own configuration says, where it decides whether and how a network is read."""

from collections.abc import Callable
from typing import Any

from unmask.importers.weights import Weights

UNIFORM = ("duo", "udlm", "uniform")  # how names of those begin that replace tokens, and mask none
PREDICT = ("mdlm", "mdm-prime")  # whose configurations say what the network predicts
KNOWN = ("mdlm", "sedd", "radd", "mdm-prime", "md4")


def check_absorbing(weights: Weights, name: str) -> None:
    """ValueError for a model whose configuration says that it is no masked diffusion, or another
    project's than `name`."""
    settings, path = weights.settings, weights.path
    model = setting(settings, "model_type", of=str)
    algorithm = setting(settings, "algo", "name", of=str)
    graph = setting(settings, "graph", "type", of=str)
    diffusion = setting(settings, "diffusion", of=str)
    for said in (model, algorithm, graph, diffusion):
        if said and said.lower().startswith(UNIFORM):
            raise ValueError(
                f"{path} is a {said} model: uniform diffusion replaces tokens and masks none, so "
                f"it is no model of this package; import one of {', '.join(KNOWN)}"
            )
    predicts = setting(settings, "parameterization", of=str)
    predicts = setting(settings, "algo", "parameterization", of=str) or predicts
    if name in PREDICT and model is None and predicts is None:
        raise ValueError(
            f"{path} says neither parameterization nor model_type, and other models have the same "
            "tensors: put the config.json that goes with it beside it"
        )
    causal = setting(settings, "algo", "causal_attention", of=bool)
    for what, said, known in (
        ("model_type", model, name),
        ("algo.name", algorithm, name),
        ("graph.type", graph, "absorb"),
        ("diffusion", diffusion, "absorbing_state"),
        ("parameterization", predicts, "subs"),
        ("algo.causal_attention", causal, False),
    ):
        if said not in (None, known):
            raise ValueError(
                f"{path} says {what} {said!r}, and of {name} {known!r} is read: known are "
                f"{', '.join(KNOWN)}"
            )


def time_of(weights: Weights) -> bool:
    """Whether a network of MDLM's code is told the time.  ValueError where nothing says it."""
    settings = weights.settings
    said = setting(settings, "time_conditioning", of=bool)
    if said is None:
        said = setting(settings, "algo", "time_conditioning", of=bool)
    if said is None:
        raise ValueError(
            f"{weights.path} does not say time_conditioning, true or false: put the config.json "
            "that goes with it beside it"
        )
    return said


def check_log_linear(weights: Weights) -> None:
    """ValueError for a network that is told sigma(t) of another schedule than the log-linear."""
    said = setting(weights.settings, "noise", "type", of=str)
    if said not in (None, "loglinear", "log-linear"):
        raise ValueError(
            f"{weights.path} was trained with the noise {said!r}, and its network looks at sigma: "
            "of those loglinear is read, and of SEDD geometric"
        )


def length_of(weights: Weights, length: int) -> int:
    """Tokens a sequence: as given or, with 0, as the configuration says."""
    if length < 0:
        raise ValueError(f"length must be at least 1, not {length}")
    said: Any = setting(weights.settings, "model_length")
    said = said or setting(weights.settings, "model", "length")
    if not (length or said):
        raise ValueError(
            f"{weights.path} does not say at which length it was trained: give --length "
            "(published models: 1024)"
        )
    return length or said


def dropout_of(weights: Weights) -> float:
    """The share of what each block adds that is dropped in training; 0 where nothing says it."""
    said = setting(weights.settings, "dropout", of=is_share)
    said = setting(weights.settings, "model", "dropout", of=is_share) if said is None else said
    return 0.0 if said is None else float(said)


def is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def setting(settings: dict, *names: str, of: Callable[[Any], Any] = int) -> Any:
    """A value in nested settings, or None where it is not there.  ValueError for one of another
    type."""
    value: Any = settings
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    right = isinstance(value, of) if isinstance(of, type) else of(value)
    if not right or (of is int and isinstance(value, bool)):
        raise ValueError(f"the setting {'.'.join(names)} is {value!r}: give its true value")
    return value
