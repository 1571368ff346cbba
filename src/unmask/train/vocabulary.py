"""A model as one of other tokens: its network's body stays, and the rows of values in both."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unmask import schedules
from unmask.backbones import Transformer, UNet
from unmask.backbones.traits import without_traits
from unmask.diffusion import MaskedDiffusion
from unmask.kinds.kind import Kind
from unmask.schedules import Schedule
from unmask.subtokens import Subtokenizer
from unmask.train.build import restrictions

# tensors of a network with a `vocab_size`, by values along their first axis, channel by channel;
# an embedding's last row is the mask's
OF_VALUES, OF_PLACES = ("embed.weight", "head.weight", "head.bias"), "place.weight"
LISTED = 5  # values that begin anew and are named


def with_tokens(
    model: MaskedDiffusion, ours: Kind, theirs: Kind, seed: int
) -> tuple[MaskedDiffusion, str]:
    """The model, whose tokens are `ours`, as one of `theirs`; and a sentence on what begins anew.

    Values that are written the same are the same (`Kind.meanings`), and so are places of one name.
    Rows of others are those of an untrained network (`seed`), but for the head and a learned
    schedule: there a new value has the mean of the known ones, and is neither sure nor impossible.
    Digits of other tokens mean other things: no row of theirs is kept.  ValueError for a network
    that is not made for a number of values.
    """
    network: Any = model.backbone
    if isinstance(network, Transformer | UNet):  # what is known of values is in their rows then
        network = without_traits(network)
    before = getattr(network, "config", {})
    if "vocab_size" not in before:
        raise ValueError(f"{type(network).__name__} has the tokens that it was made with")
    names, layout, digits = theirs.meanings, theirs.layout, model.subtokenizer.length
    shape, other = before.get("shape"), layout.shape
    if shape and other and shape[2] != other[2]:
        raise ValueError(f"its pictures have {shape[2]} channels, and these {other[2]}")
    size, same = len(names), matched(ours.meanings, names)
    old = same
    if digits > 1:
        old = torch.full_like(old, -1)
    elif model.codes is not None:
        old = torch.where(old < 0, old, model.codes[old.clamp(min=0)])
    now = {"vocab_size": size, "places": layout.places, "shape": layout.shape}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = type(network)(**before | {name: now[name] for name in now.keys() & before.keys()})
        codes = torch.randperm(size) if digits > 1 and model.codes is not None else None
    places = matched(ours.place_names, theirs.place_names)
    made.load_state_dict(carried(network, made.state_dict(), old, places, digits))
    units = Subtokenizer(size, digits, codes)
    curves = size if model.masking == "token" else units.base
    schedule = with_curves(model.schedule, curves, old)
    how: dict[str, Any] = {"objective": model.objective, "masking": model.masking}
    how |= restrictions(layout) | {"meta": model.meta}
    if how["allowed"] is None and model.allowed is not None and model.allowed.ndim == 1:
        # a mask among the tokens, say, is never drawn by its name
        kept = model.allowed.cpu()[same.clamp(min=0)]
        how["allowed"] = torch.where(same >= 0, kept, True)
    made_of = type(model)(made, schedule, units, **how, **model.own)
    return made_of, said(names, old, digits, places)


def matched(ours: Sequence[str], theirs: Sequence[str]) -> Tensor:
    """(theirs,) the number among `ours` of what has the same name, the first of them; -1: none."""
    number = {name: i for i, name in reversed(list(enumerate(ours)))}
    return torch.tensor([number.get(name, -1) for name in theirs], dtype=torch.long)


def carried(
    network: Any, made: dict[str, Tensor], old: Tensor, places: Tensor, digits: int
) -> dict[str, Tensor]:
    """The tensors of `network` for the network that has those of `made`: of value j what value
    old[j] has there, and of a place likewise."""
    found, size = {}, network.config["vocab_size"]
    for name, there in network.state_dict().items():
        now = made[name]
        if name in OF_VALUES:
            if digits == 1:
                masks = int(name.startswith("embed"))
                rows = there.unflatten(0, (-1, size + masks))
                now = now.unflatten(0, (-1, len(old) + masks)).clone()
                now[:, : len(old)] = filled(rows, now[:, : len(old)], old, mean=not masks)
                now[:, len(old) :] = rows[:, size:]
                now = now.flatten(0, 1)
        elif name == OF_PLACES and (len(there) != len(now) or len(places)):
            now = filled(there[None], now[None], places)[0]
        elif there.shape == now.shape:
            now = there
        else:
            sizes = f"{tuple(there.shape)}, and would be {tuple(now.shape)}"
            raise ValueError(f"{name} of the model is {sizes}")
        found[name] = now
    return found


def filled(rows: Tensor, blank: Tensor, old: Tensor, mean: bool = False) -> Tensor:
    """(C, V', ...): rows[:, old] of rows (C, V, ...); where old (V',) is -1 what `blank`
    (C, V', ...) has, or the mean of those that are known."""
    known = old >= 0
    found = blank.clone()
    found[:, known] = rows[:, old[known]].to(found)
    if mean and bool(known.any()):
        found[:, ~known] = found[:, known].mean(1, keepdim=True)
    return found


def with_curves(schedule: Schedule, curves: int, old: Tensor) -> Schedule:
    """The schedule, of so many curves if it has more than one: those of the values `old`."""
    if schedule.num_values == 1:
        return schedule
    made = schedules.from_config(schedule.config | {"num_values": curves})
    if len(old) == curves:
        with torch.no_grad():
            for ours, theirs in zip(schedule.parameters(), made.parameters(), strict=True):
                theirs.copy_(filled(ours[None], theirs[None], old, mean=True)[0])
    return made


def said(names: Sequence[str], old: Tensor, digits: int, places: Tensor) -> str:
    """What is kept of a model, in words."""
    if digits > 1:
        return (
            "digits of other tokens mean other things: embedding and head begin anew, and the "
            "body of the network stays"
        )
    missing = [names[i] for i in (old < 0).nonzero().flatten().tolist()]
    listed = ", ".join(missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
    words = f"{len(old) - len(missing):,} of {len(old):,} values are values of the model"
    if len(places):
        words += f", {int((places >= 0).sum()):,} of {len(places):,} places its places"
    if missing:
        words += f"; rows of others ({listed}) begin anew in embedding and head"
    return f"{words}; the body of the network stays"
