"""python -m unmask."""

import os
import sys

from unmask.cli import main

code = main()
if "RANK" in os.environ:
    # a process of several: threads that PyTorch keeps for them have been seen to abort the end
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(code)
sys.exit(code)
