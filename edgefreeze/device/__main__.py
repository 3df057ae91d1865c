"""The helper's command line.

python3 -I edgefreeze-device.pyz serve --root DIR [--idle SECONDS]
python3 -I edgefreeze-device.pyz runner [--cpus 2,3]
python3 -I edgefreeze-device.pyz facts        this interpreter, as JSON
python3 -I edgefreeze-device.pyz watch …      go back from a trial at its deadline, for the helper
python3 -I edgefreeze-device.pyz exec -- …    a hook, for the helper
python3 -I edgefreeze-device.pyz governor …   a governor for as long as stdin lasts, for the helper
python3 -I edgefreeze-device.pyz recover --root DIR   go back from trials that were cut, after a reboot
python3 -I edgefreeze-device.pyz install FILE [--root DIR] [--app NAME] [--enrol]   a packed release
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
    runner = commands.add_parser("runner", help="run one artifact, for the helper")
    runner.add_argument("--cpus", default="", help="processors that it and its threads may use")
    commands.add_parser("facts", help="facts about this interpreter")
    watch = commands.add_parser("watch", help="go back from a trial at its deadline, for the helper")
    for name in ("--root", "--app", "--release"):
        watch.add_argument(name, required=True)
    watch.add_argument("--deadline", type=float, required=True)
    execute = commands.add_parser("exec", help="run a hook, for the helper")
    execute.add_argument("argv", nargs="+")
    governor = commands.add_parser("governor", help="a governor for as long as stdin lasts, for the helper")
    governor.add_argument("--set", required=True)
    governor.add_argument("--sysfs", default="/sys")
    recover = commands.add_parser("recover", help="go back from trials that were cut, after a reboot")
    recover.add_argument("--root", default=os.path.expanduser("~/.edgefreeze"))
    install = commands.add_parser("install", help="install a packed release from a file")
    install.add_argument("file", help="what edgefreeze release pack made")
    install.add_argument("--root", default=os.path.expanduser("~/.edgefreeze"))
    install.add_argument("--app", default=None, help="refuse a pack of another app")
    install.add_argument(
        "--enrol", action="store_true", help="trust its signer from now on, where nobody is trusted yet"
    )
    options = parser.parse_args(arguments)
    if options.version:
        from edgefreeze.device.protocol import PROTOCOL

        print("edgefreeze-device protocol %d" % PROTOCOL)
        return 0
    if options.command == "serve":
        return _serve(options.root, options.idle)
    if options.command == "runner":
        return _runner(options.cpus)
    if options.command == "facts":
        from edgefreeze.device.probe import interpreter_facts

        print(json.dumps(interpreter_facts()))
        return 0
    if options.command == "watch":
        return _watch(options)
    if options.command == "exec":
        return _exec(options.argv)
    if options.command == "governor":
        from edgefreeze.device.governor import guard

        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))
        return guard(options.set, options.sysfs, sys.stdin.buffer, sys.stdout)
    if options.command == "recover":
        return _recover(options.root)
    if options.command == "install":
        return _install(options)
    parser.print_usage(sys.stderr)
    return 2


def _serve(root: str, idle_s: "float | None") -> int:
    from edgefreeze.device import bytecode, serve

    stdin, stdout = serve.take_stdio()
    os.umask(0o077)
    running = os.path.abspath(sys.argv[0])
    program = bytecode.source_of(running)
    folder = serve.prepare_root(root)
    status = serve.Helper(folder, program, idle_s or serve.IDLE_S, stdin, stdout).run()
    bytecode.keep(program, running)
    return status


def _runner(cpus: str) -> int:
    from edgefreeze.device import runner, serve

    if cpus:  # before there is any other thread: those to come inherit it, a runtime's pools too
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    stdin, stdout = serve.take_stdio()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))  # the helper blocks them
    return runner.main(stdin, stdout)


def _watch(options: argparse.Namespace) -> int:
    from edgefreeze.device.changeover import watch

    os.umask(0o077)
    program = os.path.abspath(sys.argv[0])
    watch(options.root, program, options.app, options.release, options.deadline)
    return 0


def _exec(argv: List[str]) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - without a shell is the point
    except OSError as error:
        print("%s: %s" % (argv[0], error.strerror), file=sys.stderr)
        return 127


def _recover(root: str) -> int:
    from edgefreeze.device.errors import DeviceError
    from edgefreeze.device.session import Session

    os.umask(0o077)
    session = Session(os.path.realpath(root), os.path.abspath(sys.argv[0]))
    status = 0
    for app in session.every_app():
        try:
            done = session.open(app.name, "recover")[1]
        except DeviceError as error:  # the other apps are put right all the same
            done = ["%s  [%s]" % (error, error.code)]
            # Whoever holds the lock has put it right, or does so when leaving.
            status = status if error.code == "locked" else 1
        for line in done:
            print("%s: %s" % (app.name, line))
    session.close()
    return status


def _install(options: argparse.Namespace) -> int:
    from edgefreeze.device import install, serve
    from edgefreeze.device.errors import DeviceError

    os.umask(0o077)
    program = os.path.abspath(sys.argv[0])
    try:
        root = serve.prepare_root(options.root)
    except DeviceError as error:
        print("error: %s  [%s]" % (error, error.code), file=sys.stderr)
        return 1
    return install.main(root, program, os.path.abspath(options.file), options.app, options.enrol)


def run() -> NoReturn:
    """The program: no waiting for the threads that read, no clean-up of an imported TensorFlow."""
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except (ImportError, OSError) as error:  # Python's own files, or nobody reads what it says
        status = 1
        _last_word("error: %s" % error)
    os._exit(status)


def _last_word(text: str) -> None:
    try:
        os.write(2, ("%s\n" % text).encode("utf-8", "replace"))
    except OSError:
        pass


if __name__ == "__main__":
    run()
