"""Images: one Debian base per suite and architecture, and the device image upon it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit import host
from labkit.models import BASE_PACKAGES, Model
from labkit.shell import LabError, attempt, last_line, run, say, stage
from labkit.state import State

BASE = "edgefreeze-base"
DEVICE = "edgefreeze-device"
FOLDER = Path(__file__).resolve().parent.parent
"""The build context: the folder docker/."""
PULL_S = 90
BASE_S = 1500
BUILD_S = 900


def ensure_device_image(state: State, model: Model, source: str) -> str:
    """Have the image of a board; return its reference. Its tag names what it was built from.

    source: "registry" (the public Debian image), "mmdebstrap" (put together from the machine's own
    Debian mirror) or "auto" (the first, or where no registry can be reached the second).
    """
    base_id = ensure_base(state, model, source)
    recipe = hashlib.sha256(base_id.encode())
    for name in ("device.Dockerfile", "sshd_config"):
        recipe.update((FOLDER / name).read_bytes())
    reference = f"{DEVICE}:{model.base}-{recipe.hexdigest()[:12]}"
    if image_id(reference) is None:
        with stage(f"building {reference}"):
            run(
                [
                    *("docker", "build", "--quiet", "--platform", platform(f"{BASE}:{model.base}")),
                    *("--build-arg", f"BASE={BASE}:{model.base}"),
                    *("--build-arg", f"PACKAGES={' '.join(BASE_PACKAGES + model.packages)}"),
                    *("--tag", reference, "--file", FOLDER / "device.Dockerfile", FOLDER),
                ],
                what="docker build",
                cure=f"docker build --build-arg BASE={BASE}:{model.base} -f docker/device.Dockerfile docker/",
                timeout=BUILD_S,
            )
    return reference


def ensure_base(state: State, model: Model, source: str) -> str:
    """Have the Debian base of a board; return its image id."""
    reference = f"{BASE}:{model.base}"
    if found := image_id(reference):
        return found
    problem = (
        "" if source == "mmdebstrap" else _pull(model, reference, PULL_S if source == "auto" else BASE_S)
    )
    if problem is not None:
        if source == "registry":
            raise LabError(f"docker pull: {problem}", "docker/lab up --base mmdebstrap needs no registry")
        _bootstrap(state, model, reference)
    if found := image_id(reference):
        return found
    raise LabError(
        f"{reference} was made and is not there", "docker images; is another docker/lab removing images?"
    )


def image_id(reference: str) -> str | None:
    """The id of an image, None where docker has none of that name."""
    status, out, _ = attempt(["docker", "image", "inspect", "--format", "{{.Id}}", reference], timeout=30)
    return None if status else out


def platform(reference: str) -> str:
    """What docker takes the image's platform for: older daemons say the host's of whatever they import."""
    template = "{{.Os}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}}"
    return run(
        ["docker", "image", "inspect", "--format", template, reference],
        what=f"docker image inspect {reference}",
        cure="docker images",
    )


def remove_images() -> None:
    """Remove the images of every lab on this daemon, but for those in use, and the bases of those."""
    for tag in _tags(DEVICE):
        _remove_image(f"{DEVICE}:{tag}")
    in_use = _tags(DEVICE)
    for base in _tags(BASE):
        # docker would take its name away, and the next `up` make it anew.
        if not any(tag.startswith(f"{base}-") for tag in in_use):
            _remove_image(f"{BASE}:{base}")


def _tags(repository: str) -> list[str]:
    _, out, _ = attempt(["docker", "images", "--format", "{{.Tag}}", repository], timeout=30)
    return out.split()


def _remove_image(reference: str) -> None:
    status, _, err = attempt(["docker", "rmi", reference], timeout=60)
    say(f"kept {reference}: {last_line(err)}" if status else f"removed {reference}")


def _pull(model: Model, reference: str, timeout: float) -> str | None:
    """Name the public image `reference`; return None, or why it is not to be had."""
    image = f"debian:{model.suite}-slim"
    pull = ["docker", "pull", "--quiet", "--platform", model.architecture.docker, image]
    status, _, err = attempt(pull, timeout=timeout)
    if status:
        say(f"no registry gives {image}: {last_line(err)}")
        return last_line(err)
    # The next pull for another architecture takes the public tag away; this one stays.
    run(["docker", "tag", image, reference], what="docker tag", cure="docker images")
    say(f"pulled {image} for {model.architecture.docker}")
    return None


def _bootstrap(state: State, model: Model, reference: str) -> None:
    host.need("mmdebstrap", "mmdebstrap")
    mirror = host.debian_mirror()
    log = state.root / f"mmdebstrap-{model.base}.log"
    with _scratch(state) as scratch, stage(f"making {reference} with mmdebstrap", _patience(model)):
        options, tar = scratch / "apt.conf", scratch / "base.tar"
        options.write_text(host.apt_options())
        run(
            [
                *("env", f"TMPDIR={scratch}", "mmdebstrap", f"--architectures={model.architecture.debian}"),
                *("--variant=apt", f"--include={','.join(BASE_PACKAGES + model.packages)}"),
                # The main suite only: the security suite's index is now and then out of step.
                *(f"--aptopt={options}", "--dpkgopt=force-unsafe-io", model.suite, tar, mirror),
            ],
            what=f"mmdebstrap for {model.base}",
            cure="does `apt-get update` work on this machine?",
            timeout=BASE_S,
            log=log,
        )
        run(
            ["docker", "import", "--platform", model.architecture.docker, tar, reference],
            what="docker import",
            cure="is there room below /var/lib/docker?",
            timeout=300,
        )


def _patience(model: Model) -> str:
    return (
        " (about three minutes: its packages are set up under emulation)"
        if model.architecture.emulated
        else ""
    )


@contextmanager
def _scratch(state: State) -> Iterator[Path]:
    """A folder for a chroot in the making, gone afterwards, as is one that an earlier, killed run left."""
    for stale in state.root.glob("base-*"):
        _remove_chroot(stale)
    folder = Path(tempfile.mkdtemp(prefix="base-", dir=state.root))
    # mmdebstrap's own users (_apt) go through it.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        _remove_chroot(folder)


def _remove_chroot(folder: Path) -> None:
    # Removing through a mounted /dev or /sys would remove this machine's.
    if str(folder) in Path("/proc/self/mounts").read_text():
        say(f"{folder} still has something mounted in it: left there")
    else:
        shutil.rmtree(folder, ignore_errors=True)
