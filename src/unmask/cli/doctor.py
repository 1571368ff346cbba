"""unmask doctor."""

from dataclasses import dataclass

from unmask.cli.flags import Machine, parse
from unmask.cli.runtime import Runtime, write_record
from unmask.doctor import Fact, machine, packages, speed, without_home
from unmask.kinds.output import check_out


@dataclass(frozen=True, kw_only=True)
class Doctor(Machine):
    seconds: float = 5.0
    """Of steps of training, whose speed is measured; 0: none are made."""


def doctor(argv: list[str]) -> None:
    """Say what a report of a fault needs: versions, device, precision, memory, speed, extras.

    The lines can be pasted as they are: they name no folder, and no variable of the environment
    but three that change results.
    """
    args = parse(Doctor, "doctor", argv, doctor.__doc__)
    if args.seconds < 0:
        raise ValueError(f"--seconds must not be negative, not {args.seconds}")
    check_out(args.json)
    facts = list(map(say, packages()))
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        said = " ".join(str(error).split())
        facts.append(say(Fact("torch", f"cannot be loaded: {without_home(said)}")))
        write_record(args.json, facts=dict(facts), tokens_a_second=None)
        return
    from unmask.device import choose_dtype

    runtime = Runtime(args)
    dtype, why = choose_dtype(args.dtype, runtime.device)
    facts += map(say, machine(runtime.device, dtype, why))
    rate = None
    if args.seconds:
        rate, steps = speed(runtime.device, dtype, args.seconds)
        made = f"{steps} steps of training, of 16 sequences of 256 tokens (4 layers, width 256)"
        facts.append(say(Fact("speed", f"{rate:,.0f} tokens a second, in {made}")))
    runtime.record(facts=dict(facts), tokens_a_second=rate)


def say(fact: Fact) -> Fact:
    """Print it, indented as Markdown wants text that is to stay as it is."""
    print(f"    {fact.name:22} {fact.value}", flush=True)
    return fact
