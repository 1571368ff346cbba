"""A command that is killed at its n-th file operation: python killed.py SIGNAL N VERB ...

Counted are files opened to be written, made, renamed and flushed.  KILL: at the n-th the process
ends as by SIGKILL, half of what it was writing being written; exit code 137.  TERM: it gets that
signal just before, as from a person who is elsewhere.  Else the exit code is the command's own.
"""

import builtins
import io
import os
import pathlib
import signal
import sys

import safetensors.torch

how = sys.argv.pop(1)
left = int(sys.argv.pop(1))


def counted(real, half=None):
    def operation(*given, **named):
        global left
        left -= 1
        if left == 0 and how == "TERM":
            os.kill(os.getpid(), signal.SIGTERM)
        elif left == 0:
            if half is not None:
                half(*given)
            os._exit(137)
        return real(*given, **named)

    return operation


def opened(file, mode="r", *given, real=builtins.open, **named):
    if not any(letter in mode for letter in "wax+"):
        return real(file, mode, *given, **named)
    return counted(real)(file, mode, *given, **named)


def half_written(self, content):
    with os.fdopen(os.open(self, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.write(content[: len(content) // 2])


builtins.open = io.open = opened
pathlib.Path.write_bytes = counted(pathlib.Path.write_bytes, half_written)
for name in ("mkdir", "rename", "replace", "fsync", "rmdir", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
safetensors.torch.save_file = counted(
    safetensors.torch.save_file, lambda tensors, path: half_written(path, b"half" * 1000)
)

from unmask.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
