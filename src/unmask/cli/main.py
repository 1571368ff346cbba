"""The command line: one file a verb.  torch is imported inside the verbs, so that --help and
--version are quick."""

import codecs
import os
import sys
from collections.abc import Callable

from unmask import __version__
from unmask.cli.audit import audit
from unmask.cli.bench import bench
from unmask.cli.compare import compare
from unmask.cli.demo import demo
from unmask.cli.distance import distance
from unmask.cli.evaluate import evaluate
from unmask.cli.fill import fill
from unmask.cli.prepare import prepare
from unmask.cli.sample import sample
from unmask.cli.schedule import schedule
from unmask.cli.train import train


def main(argv: list[str] | None = None) -> int:
    """Run a verb; 0, or 1 if an audit fails, 2 for an error (one line on stderr), 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        speak_utf8(stream)
    if argv and argv[0] not in (*VERBS, "-h", "--help", "-V", "--version"):
        print(
            f"unmask: there is no verb {argv[0]!r}; choose one of {', '.join(VERBS)}",
            file=sys.stderr,
        )
        return 2
    try:
        if not argv or argv[0] not in VERBS:
            print(f"unmask {__version__}" if argv[:1] in (["-V"], ["--version"]) else HELP)
            code = 0 if argv else 2
        else:
            code = VERBS[argv[0]](argv[1:])
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        print(
            f"unmask {argv[0]}: not enough memory{f' ({error})' * bool(str(error))}; {SMALLER}",
            file=sys.stderr,
        )
        return 2
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"unmask {argv[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "memory" not in str(error).lower() and "alloc" not in str(error).lower():
            raise
        said = " ".join(str(error).split())[:200]
        print(f"unmask {argv[0]}: not enough memory ({said}); {SMALLER}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"unmask {argv[0]}: {stop or 'stopped'}", file=sys.stderr)
        return 130


SMALLER = "try a smaller --batch-size, --length or --num"


def speak_utf8(stream) -> None:
    """Where there is no locale, so that a stream is ASCII, texts that are not ASCII are written as
    UTF-8."""
    if hasattr(stream, "reconfigure") and codecs.lookup(stream.encoding).name == "ascii":
        stream.reconfigure(encoding="utf-8")


VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "demo": demo, "prepare": prepare, "train": train, "eval": evaluate, "compare": compare, "audit": audit,
    "schedule": schedule, "sample": sample, "fill": fill, "distance": distance, "bench": bench,
}  # fmt: skip


HELP = """usage: unmask VERB ...      (unmask VERB --help explains its flags)

  demo                          train, evaluate, sample and fill in within minutes, with a report to look at
  prepare KIND SRC OUT          text, images, tables or proteins -> a memory map of token ids
  train PRESET --data --out     train a model; the same command continues a run that was stopped
  eval MODEL --data DIR         an upper bound on the negative log-likelihood, with its errors
  compare A.json B.json         is one of two bounds lower? their paired difference, with its error
  audit MODEL | --selftest      is the reported number a bound? checks of a model, or of this package
  schedule MODEL                what a learned schedule has learned, and a plot of it
  sample MODEL                  draw samples
  fill MODEL INPUT              fill in the [MASK]s of a text, the holes of a picture, a table or proteins
  distance A B                  Frechet distance of two files of features, yours
  bench                         measure speed on this machine

  --version, --help"""
