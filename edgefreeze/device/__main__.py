"""The helper's command line.

python3 -I edgefreeze-device.pyz serve --root DIR [--idle SECONDS]
python3 -I edgefreeze-device.pyz runner
python3 -I edgefreeze-device.pyz facts        this interpreter, as JSON
python3 -I edgefreeze-device.pyz --version
"""

import argparse
import json
import os
import signal
import sys
from typing import List, NoReturn


def main(arguments: List[str]) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="edgefreeze-device", description="The device side of edgefreeze.")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="speak the protocol on stdin and stdout")
    serve.add_argument("--root", default=os.path.expanduser("~/.edgefreeze"))
    serve.add_argument("--idle", type=float, default=None, help="leave after so many silent seconds")
    commands.add_parser("runner", help="run one artifact, for the helper")
    commands.add_parser("facts", help="facts about this interpreter")
    options = parser.parse_args(arguments)
    if options.version:
        from edgefreeze.device.protocol import PROTOCOL

        print("edgefreeze-device protocol %d" % PROTOCOL)
        return 0
    if options.command == "serve":
        return _serve(options.root, options.idle)
    if options.command == "runner":
        return _runner()
    if options.command == "facts":
        from edgefreeze.device.probe import interpreter_facts

        print(json.dumps(interpreter_facts()))
        return 0
    parser.print_usage(sys.stderr)
    return 2


def _serve(root: str, idle_s: "float | None") -> int:
    from edgefreeze.device import serve

    stdin, stdout = serve.take_stdio()
    os.umask(0o077)
    program = os.path.abspath(sys.argv[0])
    folder = serve.prepare_root(root)
    return serve.Helper(folder, program, idle_s or serve.IDLE_S, stdin, stdout).run()


def _runner() -> int:
    from edgefreeze.device import runner, serve

    stdin, stdout = serve.take_stdio()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))  # the helper blocks them
    return runner.main(stdin, stdout)


def run() -> NoReturn:
    """The program: no waiting for the threads that read, no clean-up of an imported TensorFlow."""
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
