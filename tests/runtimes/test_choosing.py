"""Device facts in, packages out; or the exact reason why none fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.runtimes.facts import Package
from edgefreeze.types import DeviceFacts

PI4 = DeviceFacts(
    machine="aarch64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-aarch64", bits=64,
)  # fmt: skip


@pytest.mark.parametrize(
    ("runtime", "machine", "python", "libc", "requirement"),
    [
        ("tensorflow", "x86_64", "3.11.2", "glibc 2.36", "tensorflow-cpu==2.21.*"),
        ("tensorflow", "aarch64", "3.13.5", "glibc 2.41", "tensorflow==2.21.*"),
        ("tensorflow", "aarch64", "3.9.2", "glibc 2.31", "tensorflow==2.20.*"),
        ("litert", "aarch64", "3.11.2", "glibc 2.36", "ai-edge-litert>=2.2"),
        ("litert", "aarch64", "3.10.1", "glibc 2.31", "ai-edge-litert==2.1.0"),
        ("litert", "aarch64", "3.9.2", "glibc 2.31", "ai-edge-litert==1.4.0"),
        ("litert", "aarch64", "3.8.10", "glibc 2.31", "tflite-runtime==2.13.0"),
        ("litert", "armv7l", "3.11.2", "glibc 2.36", "tflite-runtime==2.14.0"),
        ("litert", "armv7l", "3.9.2", "glibc 2.31", "tflite-runtime==2.11.0"),
        ("tensorflow", "aarch64", "3.8.10", "glibc 2.31", "tensorflow==2.13.1"),
        ("onnxruntime", "aarch64", "3.10.12", "glibc 2.35", "onnxruntime==1.23.2"),
        ("onnxruntime", "aarch64", "3.8.10", "glibc 2.31", "onnxruntime==1.19.2"),
        ("tensorrt", "aarch64", "3.12.3", "glibc 2.39", "numpy==2.3.*"),
        ("tensorrt", "aarch64", "3.10.12", "glibc 2.35", "numpy==2.2.6"),
        ("tensorrt", "aarch64", "3.8.10", "glibc 2.31", "numpy==1.24.4"),
    ],
)
def test_the_first_row_that_fits(
    runtime: str, machine: str, python: str, libc: str, requirement: str
) -> None:
    facts = replace(PI4, machine=machine, python=python, libc=libc, programs={"trtexec": "10.3.0"})
    assert runtimes.choose(runtime, facts).requirement[0] == requirement


def test_the_interpreters_own_package_is_used() -> None:
    choice = runtimes.choose("tensorflow", replace(PI4, packages={"tensorflow": "2.17.1"}))
    assert choice.own == "tensorflow 2.17.1"
    assert choice.package is None


def test_one_that_is_too_old_is_not() -> None:
    choice = runtimes.choose("tensorflow", replace(PI4, packages={"tensorflow": "2.4.0"}))
    assert choice.own is None
    assert choice.package is not None


def test_the_target_narrows_the_version() -> None:
    assert runtimes.choose("tensorflow", PI4, "==2.21.0").requirement == ("tensorflow==2.21.*,==2.21.0",)
    with pytest.raises(Failure) as caught:
        runtimes.choose("tensorflow", PI4, "==2.17.*")
    assert "the target asks for ==2.17.*" in (caught.value.expected or "")


def test_a_target_may_name_the_package_too() -> None:
    assert runtimes.choose("litert", PI4, "tflite-runtime==2.14.*").requirement == (
        "tflite-runtime==2.14.0,==2.14.*", "numpy<2",
    )  # fmt: skip
    assert runtimes.choose("litert", PI4, "tflite-runtime >=2").requirement[0] == "tflite-runtime==2.14.0,>=2"
    here = replace(PI4, packages={"ai-edge-litert": "2.3.0"})
    assert runtimes.choose("litert", here).own == "ai-edge-litert 2.3.0"
    assert runtimes.choose("litert", here, "tflite-runtime>=2").own is None
    with pytest.raises(Failure) as caught:
        runtimes.choose("litert", PI4, "tensorflow-lite>=2")
    assert "ai-edge-litert >=2.2: the target asks for tensorflow-lite" in (caught.value.expected or "")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(PI4, machine="riscv64"), "is for x86_64, aarch64"),
        (replace(PI4, machine="armv7l", python="3.13.5"), "needs Python ==3.11.*"),
        (replace(PI4, python="3.7.3"), "needs Python"),
        (replace(PI4, libc="glibc 2.19"), "needs glibc"),
        (replace(PI4, libc="musl 1.2"), "needs glibc"),
    ],
)
def test_where_nothing_fits_each_reason_is_given(facts: DeviceFacts, why: str) -> None:
    with pytest.raises(Failure) as caught:
        runtimes.choose("litert", facts)
    assert caught.value.code == "runtime-unavailable"
    assert why in (caught.value.expected or "")
    assert facts.machine in (caught.value.found or "")


def test_the_platform_that_is_resolved_for() -> None:
    assert runtimes.platform_tag(PI4) == "aarch64-manylinux_2_36"
    assert runtimes.platform_tag(replace(PI4, libc="glibc 2.30")) == "aarch64-manylinux_2_28"
    assert runtimes.platform_tag(replace(PI4, machine="armv7l")) == "armv7l-manylinux_2_36"
    assert runtimes.platform_tag(replace(PI4, libc="glibc 2.45")) == "aarch64-manylinux_2_40"


def test_a_bad_rule_of_a_target_is_named() -> None:
    with pytest.raises(Failure, match="'about two' is no version rule"):
        runtimes.choose("litert", PI4, "about two")


def test_a_program_that_the_board_must_have_is_asked_for() -> None:
    with pytest.raises(Failure) as caught:
        runtimes.choose("tensorrt", PI4)
    assert caught.value.code == "runtime-unavailable"
    assert "trtexec" in caught.value.message
    jetson = replace(PI4, packages={"numpy": "1.26.4"}, programs={"trtexec": "8.5.2"})
    choice = runtimes.choose("tensorrt", jetson)
    assert (choice.package, choice.here) == (None, "trtexec 8.5.2 with numpy 1.26.4")
    # Before TensorRT 7.2 it does not say its version.
    assert runtimes.choose("tensorrt", replace(jetson, programs={"trtexec": ""})).program == "trtexec"


def test_a_package_for_the_gpu_is_taken_where_it_is() -> None:
    both = replace(PI4, packages={"onnxruntime-gpu": "1.18.0", "onnxruntime": "1.22.0"})
    assert runtimes.choose("onnxruntime", both).own == "onnxruntime-gpu 1.18.0"


def row(**more: Any) -> Package:
    known = {
        "package": "p",
        "version": ">=1.0",
        "machine": ("aarch64",),
        "python": ">=3.9",
        "glibc": "2.31",
        "unpacked_mb": 1,
    }
    return Package(**{**known, **more})


def of_rows(*rows: Package) -> Any:
    known = runtimes.table()
    return msgspec.structs.replace(known, package={**known.package, "litert": rows})


def test_a_glibc_that_is_just_new_enough_fits() -> None:
    known = of_rows(row(glibc="2.31"))
    for libc in ("glibc 2.31", "glibc 2.32", "glibc 3.0", "glibc 2.31-13+deb11u1"):
        assert runtimes.choose("litert", replace(PI4, libc=libc), known=known).package is not None
    for libc in ("glibc 2.30", "glibc 1.99", "glibc", "uclibc 2.36"):
        with pytest.raises(Failure) as caught:
            runtimes.choose("litert", replace(PI4, libc=libc), known=known)
        assert caught.value.expected == "p >=1.0: needs glibc 2.31"
        assert caught.value.found == f"Python 3.11.2, aarch64, {libc}"


def test_what_is_shipped_is_the_rows_version_narrowed_with_what_goes_along() -> None:
    first, second = row(python=">=3.12"), row(package="q", extra=("numpy<2",))
    choice = runtimes.choose("litert", PI4, "<2", of_rows(first, second))
    assert (choice.runtime, choice.own, choice.package) == ("litert", None, second)
    assert choice.requirement == ("q>=1.0,<2", "numpy<2")
    assert (choice.program, choice.here) == (None, "")
    assert runtimes.choose("litert", PI4, None, of_rows(second)).requirement == ("q>=1.0", "numpy<2")


@pytest.mark.parametrize(
    ("version", "narrow", "fits"),
    [
        (">=1.0", "<1.0", False), (">=1.0", "<=1.0", True), ("==1.2.*", ">=1.2", True), ("==1.2.*", ">1.2.9", True), ("==1.2.*", ">=1.3", False),
        (">=1.0,<2", ">1.0", True), ("==2.0.0", "==2.0.0", True), ("==2.0.0", "!=2.0.0", False),
    ],
)  # fmt: skip
def test_a_targets_rule_must_leave_something_of_the_rows(version: str, narrow: str, fits: bool) -> None:
    known = of_rows(row(version=version))
    if fits:
        assert runtimes.choose("litert", PI4, narrow, known).package is not None
        return
    with pytest.raises(Failure) as caught:
        runtimes.choose("litert", PI4, narrow, known)
    assert caught.value.expected == f"p {version}: the target asks for {narrow}"


def test_the_interpreters_own_must_fit_the_targets_rule_too() -> None:
    own = replace(PI4, packages={"tensorflow": "2.17.1"})
    assert runtimes.choose("tensorflow", own, "==2.17.*").own == "tensorflow 2.17.1"
    assert runtimes.choose("tensorflow", own, ">=2.18").own is None


def test_a_version_that_makes_no_sense_fits_nothing_and_a_prerelease_does() -> None:
    assert runtimes.choose("tensorflow", replace(PI4, packages={"tensorflow": "unknown"})).own is None
    assert runtimes.choose("tensorflow", replace(PI4, packages={"tensorflow": "2.22.0rc1"})).own is not None
    with pytest.raises(Failure) as caught:
        runtimes.choose("litert", replace(PI4, python="3.x"), known=of_rows(row()))
    assert caught.value.expected == "p >=1.0: needs Python >=3.9"


def test_a_boards_own_program_goes_with_what_is_shipped() -> None:
    choice = runtimes.choose("tensorrt", replace(PI4, programs={"trtexec": "10.3.0"}))
    assert (choice.own, choice.program) == (None, "trtexec 10.3.0")
    assert choice.here == "trtexec 10.3.0"
