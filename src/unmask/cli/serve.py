"""unmask serve: models to play with in a browser."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from unmask.cli.flags import Device, Machine, parse
from unmask.cli.runtime import Runtime, check_positive


@dataclass(frozen=True, kw_only=True)
class Serve(Device):
    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL...")]
    """Folders of models, or of runs, or names on the Hub, such as user/name; the page lets one
    choose."""
    host: str = "127.0.0.1"
    """The address to listen on.  Any but that of this machine alone lets whoever has the printed
    address in, over a connection that others on the way can read."""
    port: int = 0
    """0: any that is free."""
    open: bool = False
    """Open the page in a browser."""
    most_steps: int = 1024
    """Of a sampler, that a page may ask for; of forward-backward, steps times corrections."""
    most_num: int = 16
    """Fillings or samples that a page may ask for at a time."""
    seconds: float = 120.0
    """After so many, what a page has asked for is stopped."""


def serve(argv: list[str]) -> None:
    """A page on this machine that fills in and samples while one looks on; Ctrl-C ends it.

    It needs no network and sends nothing anywhere.
    """
    args: Any = parse(Serve, "serve", argv, serve.__doc__)
    check_positive(args, "most_steps", "most_num")
    if not args.models:
        raise ValueError("there is no model to serve: name a model's folder, or several")
    if not args.host:
        raise ValueError("--host is empty: give an address, or 0.0.0.0 for all of this machine's")
    if not 0 <= args.port < 2**16:
        raise ValueError(f"--port must be 0 to 65535, not {args.port}")
    if not args.seconds > 0:
        raise ValueError(f"--seconds must be above 0, not {args.seconds:g}")
    machine = {"device": args.device, "dtype": args.dtype, "threads": args.threads}
    runtime = Runtime(Machine(**machine))
    from unmask.kinds.editor import editor_of
    from unmask.serve.asking import Limits
    from unmask.serve.guard import LOOPBACK
    from unmask.serve.models import Served
    from unmask.serve.server import Server

    defaults = Device()
    said = []
    for name, value in machine.items():
        if value != getattr(defaults, name):
            said += [f"--{name}", str(value)]
    models = []
    for path in args.models:
        model, kind = runtime.load(path, "serve")
        editor = editor_of(kind, model.meta["length"])
        models.append(Served(path, model, kind, editor, runtime.precision, tuple(said)))
    limits = Limits(steps=args.most_steps, num=args.most_num, seconds=args.seconds)
    try:
        server = Server(models, args.host, args.port, limits)
    except OSError as error:
        raise ValueError(
            f"{args.host}, port {args.port}, cannot be listened on ({error.strerror or error}): "
            "give another --port, or 0 for any"
        ) from None
    if args.host not in LOOPBACK:
        print(
            f"warning: {args.host} is open to other machines; whoever has the whole address below "
            "can use the models, and it travels unencrypted",
            file=sys.stderr,
        )
    print(server.url, flush=True)
    print("Ctrl-C stops it", file=sys.stderr)
    if args.open:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        server.close()
