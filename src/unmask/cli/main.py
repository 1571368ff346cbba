"""The command line: one file a verb.

torch is imported inside the verbs, so that --help and --version are quick.
"""

import codecs
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

from unmask import __version__
from unmask.cli.audit import audit
from unmask.cli.bench import bench
from unmask.cli.compare import compare
from unmask.cli.completion import completion
from unmask.cli.compress import compress, decompress
from unmask.cli.demo import demo
from unmask.cli.distance import distance
from unmask.cli.doctor import doctor
from unmask.cli.evaluate import evaluate
from unmask.cli.export import export_model
from unmask.cli.fill import fill
from unmask.cli.grid import grid
from unmask.cli.imports import import_model
from unmask.cli.lm_eval import lm_eval
from unmask.cli.prepare import prepare
from unmask.cli.push import push
from unmask.cli.quality import quality
from unmask.cli.report import report
from unmask.cli.sample import sample
from unmask.cli.schedule import schedule
from unmask.cli.score import score
from unmask.cli.serve import serve
from unmask.cli.train import train


def main(argv: list[str] | None = None) -> int:
    """Run a verb; 0, 1 if an audit fails, 2 for an error (one line on stderr), 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if sys.stderr is None:  # closed by who called us: there is nobody to tell
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        return failed(argv[0] if argv else "", "standard output is closed, and results go there")
    for stream in (sys.stdout, sys.stderr):
        speak_utf8(stream)
    if argv and argv[0] not in (*VERBS, "-h", "--help", "-V", "--version"):
        known = ", ".join(VERBS)
        print(f"unmask: there is no verb {argv[0]!r}; choose one of {known}", file=sys.stderr)
        return 2
    wait_briefly()
    if sys.stderr is sys.__stderr__:
        faulthandler.enable()  # data cut short while they are mapped end a process without a word
    with terminating():
        return guarded(argv)


def wait_briefly() -> None:
    """Let threads that wait for each other look again 5,000 times, and then sleep.

    It is for the GNU OpenMP of PyTorch's wheels for Linux, which reads this when torch is loaded.
    By itself it looks for milliseconds, on a core that is then not there for the thread that is
    waited for, where another process wants cores, too: beside two of them a training step took
    twenty times as long.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


@contextmanager
def shared(verb: str) -> Iterator[None]:
    """Where torchrun started several processes: they are connected, and the first alone speaks.

    ValueError for a verb whose work they cannot share.
    """
    if "RANK" not in os.environ:
        yield
        return
    from unmask.processes import together

    with ExitStack() as held:
        processes = held.enter_context(together())
        if processes.size > 1 and verb not in SHARED:
            raise ValueError(f"{verb} is no work for several processes: leave out torchrun")
        if processes.rank:
            nowhere = held.enter_context(open(os.devnull, "w"))
            held.enter_context(redirect_stdout(nowhere))
            held.enter_context(redirect_stderr(nowhere))
        yield


def guarded(argv: list[str]) -> int:
    """The exit code of a command, and one sentence for whatever stops it."""
    try:
        code = run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        said = f" ({error})" if str(error) else ""
        return failed(argv[0], f"not enough memory{said}; {smaller(argv[0])}")
    except (ValueError, FloatingPointError, OSError) as error:
        return failed(argv[0], " ".join(str(error).split()))
    except KeyboardInterrupt as stop:
        ignore_more()  # of those who send it twice
        return failed(argv[0], str(stop) or "stopped", code=130)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        memory = "memory" in said.lower() or "alloc" in said.lower()
        if isinstance(error, RuntimeError) and memory:
            return failed(argv[0], f"not enough memory ({said}); {smaller(argv[0])}")
        traceback.print_exc()
        why = f"{type(error).__name__}: {said}: this is a bug in unmask {__version__}"
        return failed(argv[0], f"{why}; please report it, with the command and the lines above", 70)


LONGEST = 1000  # characters of a sentence
# flags of verbs, by what takes memory
TAKES = {
    "train": "--batch-size or --length", "eval": "--batch-size or --length",
    "sample": "--batch-size, --length or --num", "fill": "--batch-size or --num",
} | dict.fromkeys(("score", "grid", "schedule", "compress"), "--batch-size")  # fmt: skip


def smaller(verb: str) -> str:
    """What to do where memory is not enough."""
    if verb in TAKES:
        return f"try a smaller {TAKES[verb]}"
    return "give less at a time"


def ignore_more() -> None:
    """SIGTERM has been heard: what it ends is not to be interrupted by another one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM is as Ctrl-C inside, so that what is half written is removed."""

    def stop(number, frame):
        ignore_more()
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(argv: list[str]) -> int:
    """The exit code of a verb, or of the help."""
    if not argv:
        print(HELP)
        return 2
    if argv[0] in VERBS:
        with shared(argv[0]), redirect_stdout(sys.stdout):  # put back, where a verb changes it
            return VERBS[argv[0]](argv[1:]) or 0
    print(f"unmask {__version__}" if argv[0] in ("-V", "--version") else HELP)
    return 0


def failed(verb: str, why: str, code: int = 2) -> int:
    if len(why) > LONGEST:  # it quotes a file, whose words may be of any length
        why = f"{why[: LONGEST // 2]} ... {why[-LONGEST // 2 :]}"
    rank = int(os.environ.get("RANK", 0))
    which = f" (process {rank})" if rank else ""
    print(f"unmask {verb}{which}: {why}", file=sys.stderr)
    return code


def speak_utf8(stream) -> None:
    """Write UTF-8 to a stream that is ASCII, as where there is no locale; what an encoding lacks,
    such as bytes of a name that are no text, with backslashes."""
    if not hasattr(stream, "reconfigure"):
        return
    if codecs.lookup(stream.encoding).name == "ascii":
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    elif stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "demo": demo, "prepare": prepare, "train": train, "eval": evaluate, "compare": compare,
    "audit": audit, "schedule": schedule, "sample": sample, "fill": fill, "quality": quality,
    "distance": distance, "grid": grid, "bench": bench, "doctor": doctor, "import": import_model,
    "score": score, "lm-eval": lm_eval, "push": push, "export": export_model,
    "serve": serve, "report": report, "compress": compress, "decompress": decompress,
    "completion": lambda argv: completion(argv, VERBS),
}  # fmt: skip
SHARED = {"train", "eval", "sample"}  # by several processes


HELP = """usage: unmask VERB ...      (unmask VERB --help explains its flags)

  demo                          train, evaluate, sample and fill in within minutes, with a report
  prepare KIND SRC OUT          text, images, tables or proteins -> a memory map of token ids
  train PRESET --data --out     train a model; the same command continues a run that was stopped
  eval MODEL --data DIR         an upper bound on the negative log-likelihood, with its errors
  compare A.json B.json         is one of two bounds lower? their paired difference, with its error
  audit MODEL | --selftest      is the reported number a bound? checks of a model, or this package
  schedule MODEL                what a learned schedule has learned, and a plot of it
  grid MODEL --data DIR         the numbers of reveals that are best for so few steps
  sample MODEL                  draw samples
  fill MODEL INPUT              fill in the holes of a text, a picture, a table or proteins
  serve MODEL...                a page in the browser that fills in and samples while one looks on
  report MODEL                  a page about a model: samples as they appear, fillings, its bound
  score MODEL INPUT             what each example of a file costs, or how two versions of it differ
  compress MODEL INPUT OUT      a file without loss, by the model: its likelihood, as bytes
  decompress MODEL FILE OUT     the file again
  quality SAMPLES --data DIR    how good samples are, beside real examples; a page of pictures
  lm-eval --model unmask ...    a model of text in lm-evaluation-harness, whose flags it takes
  import NAME SRC OUT           a model from elsewhere, such as a BERT or an ESM-2, as one of ours
  push RUN user/name            share a model on the Hugging Face Hub; MODEL may be such a name
  export MODEL OUT.onnx         its denoiser for other programs, as ONNX or by torch.export
  distance A B                  Frechet distance of two files of features, yours
  bench                         measure speed on this machine
  doctor                        versions, device, precision, memory, speed: for a report of a fault
  completion SHELL              completion of verbs and flags in bash, zsh or fish

  --version, --help"""
