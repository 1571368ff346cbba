"""unmask completion: what a shell needs to complete verbs, flags and the choices of flags."""

import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from unmask.cli.flags import FLAGS, FlagsOf, parse
from unmask.importers.sources import SOURCES
from unmask.kinds.registry import kinds, presets

FOREIGN = {"lm-eval"}  # verbs whose flags are another project's
WORD = re.compile(r"[\w.+-]+")  # of a shell, whatever it is quoted by

Verbs = Mapping[str, Callable[[list[str]], int | None]]


@dataclass(frozen=True, kw_only=True)
class Completion:
    shell: Annotated[
        tyro.conf.Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="SHELL")
    ]
    """bash, zsh or fish: whose completion is to be printed."""


def completion(argv: list[str], verbs: Verbs) -> None:
    """Print what a shell has to read so that it completes verbs, flags and their choices.

    Write it to a file that the shell reads as it begins; of fish, that is
    ~/.config/fish/completions/unmask.fish.
    """
    args: Any = parse(Completion, "completion", argv, completion.__doc__)
    print(SHELLS[args.shell](verbs), end="")


# ---------------------------------------------------------------- what can be said


class Flag(NamedTuple):
    name: str  # with its dashes
    value: bool  # whether a value follows
    choices: Sequence[str]  # of the value; empty: it may be anything


class Place(NamedTuple):
    """Where flags stand: after a verb, or after a verb and its subject."""

    words: Sequence[str]
    flags: Sequence[Flag]


def subjects() -> dict[str, Sequence[str]]:
    """Of each verb that has subjects, such as a kind of data, their names."""
    return {"prepare": list(kinds()), "train": list(presets()), "import": list(SOURCES)}


def seconds() -> dict[str, Sequence[str]]:
    """By verb, what the word after it may be, where that is known."""
    return subjects() | {"completion": list(SHELLS)}


def places(verbs: Verbs) -> Iterator[Place]:
    """Of every verb, and of its subjects if they have flags of their own."""
    named = subjects()
    for verb, run in verbs.items():
        if verb in FOREIGN:
            continue
        if verb == "train":  # presets differ in values, not in flags
            yield Place([verb], flags_of(run, [*named[verb][:1]]))
            continue
        for subject in [[one] for one in named.get(verb, [])] or [[]]:
            yield Place([verb, *subject], flags_of(run, subject))


def flags_of(run: Callable, subject: list[str]) -> list[Flag]:
    """The flags of a verb, as tyro names them."""
    try:
        run([*subject, FLAGS])
    except FlagsOf as found:
        kind = found.kind
    else:
        raise AssertionError("a verb reads its flags by unmask.cli.flags.parse")
    flags = [Flag("--help", False, ())]
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        if tyro.conf.Positional in marks:
            continue
        renamed = [one.name for one in marks if getattr(one, "name", None)]
        name = (renamed or [field.name.replace("_", "-")])[0]
        flags.append(Flag(f"--{name}", hint is not bool, choices(hint)))
        if hint is bool:
            flags.append(Flag(f"--no-{name}", False, ()))
    return flags


def choices(hint: Any) -> Sequence[str]:
    """What a value may be, if that is said."""
    inside = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    found = typing.get_args(inside) if typing.get_origin(inside) is Literal else ()
    return [str(one) for one in found]


# ---------------------------------------------------------------- the shells


def listed(said: Iterable[str]) -> str:
    """For a list between quotes; what a shell would not read as one word is left out."""
    return " ".join(one for one in said if WORD.fullmatch(one))


def bash(verbs: Verbs) -> str:
    """A function and its registration; where it has nothing to say, files are completed."""
    own = "|".join(one for one in subjects() if one != "train")
    after_verb, after_flag, flags = [], [], []
    for verb, some in seconds().items():
        after_verb.append(f"      {verb}) list='{listed(some)}' ;;")
    for place in places(verbs):
        where = " ".join(place.words)
        flags.append(f"      '{where}') list='{listed(one.name for one in place.flags)}' ;;")
        for flag in place.flags:
            if flag.choices:
                said = listed(flag.choices)
                after_flag.append(f"      '{where} {flag.name}') list='{said}' ;;")
    return BASH.format(
        verbs=listed([*verbs, "--help", "--version"]),
        own=own,
        after_verb="\n".join(after_verb),
        after_flag="\n".join(after_flag),
        flags="\n".join(flags),
    )


BASH = """\
# completes the command unmask; printed by unmask completion
_unmask() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local place="${{COMP_WORDS[1]}}" list=""
  # bash takes --flag=value for three words
  if [ "$word" = "=" ]; then word=""; fi
  if [ "$before" = "=" ]; then before="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  if [ "$COMP_CWORD" = 1 ]; then
    list='{verbs}'
  elif [ "$COMP_CWORD" = 2 ]; then
    case "$place" in
{after_verb}
    esac
  fi
  case "$place" in
    {own}) place="$place ${{COMP_WORDS[2]}}" ;;
  esac
  if [ -z "$list" ]; then
    case "$place $before" in
{after_flag}
    esac
  fi
  if [ -z "$list" ] && [ "${{word#-}}" != "$word" ]; then
    case "$place" in
{flags}
    esac
  fi
  COMPREPLY=()
  if [ -n "$list" ]; then
    COMPREPLY=($(compgen -W "$list" -- "$word"))
  fi
}}
complete -o default -F _unmask unmask
"""


def zsh(verbs: Verbs) -> str:
    """That of bash, for which zsh has a reader."""
    return ZSH + bash(verbs)


ZSH = """\
if ! whence compdef > /dev/null; then autoload -U compinit && compinit; fi
autoload -U bashcompinit && bashcompinit
"""


def fish(verbs: Verbs) -> str:
    """A line for each flag; where none of them fits, files are completed."""
    lines = [FISH, f"complete -c unmask -n __unmask_at -f -a '{listed(verbs)}'"]
    for verb, some in seconds().items():
        lines.append(f"complete -c unmask -n '__unmask_at {verb}' -f -a '{listed(some)}'")
    for place in places(verbs):
        start = f"complete -c unmask -n '__unmask_after {' '.join(place.words)}'"
        for flag in place.flags:
            value = " -r" if flag.value else ""
            if flag.choices:
                value = f" -x -a '{listed(flag.choices)}'"
            lines.append(f"{start} -l {flag.name[2:]}{value}")
    return "\n".join(lines) + "\n"


FISH = """\
# completes the command unmask; printed by unmask completion
function __unmask_after
    set -l said (commandline -opc)[2..-1]
    set -l last (count $argv)
    test (count $said) -ge $last; and test "$said[1..$last]" = "$argv"
end
function __unmask_at
    test (count (commandline -opc)) -eq (math (count $argv) + 1); or return 1
    test (count $argv) -eq 0; or __unmask_after $argv
end"""

SHELLS: dict[str, Callable[[Verbs], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
