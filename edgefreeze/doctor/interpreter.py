"""What programs find there: Python, the C library, what the CPU can do, the size of a page."""

from __future__ import annotations

from edgefreeze.doctor.case import Case, Finding

NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("tensorflow", "x86_64"): ("sse4_2", "avx"),
    ("onnxruntime", "x86_64"): ("sse4_1",),
    ("tensorflow", "aarch64"): ("asimd",),
    ("litert", "aarch64"): ("asimd",),
    ("onnxruntime", "aarch64"): ("asimd",),
    ("litert", "armv7l"): ("neon", "vfpv4"),
}
"""Features that the published packages are compiled for, by runtime and architecture: without them they die
of an illegal instruction. TensorFlow's since 1.6 (release notes: AVX); TFLite's armhf ones are built with
-mfpu=neon-vfpv4 (its build_pip_package_with_cmake.sh)."""


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return (python(case), libc(case), cpu_features(case), page_size(case))


def python(case: Case) -> Finding:
    """The interpreter that runs the helper, and the models."""
    facts = case.facts
    said = f"Python {facts.python} ({facts.python_executable}), for {facts.platform}"
    other = _difference(case, "python")
    if other:
        return Finding(
            name="python",
            level="warning",
            found=other,
            fix='python = "/path/to/another" for this device in edgefreeze.toml, where the board has one',
        )
    return Finding(name="python", level="fine", found=said)


def libc(case: Case) -> Finding:
    """glibc, for which packages are made, or another."""
    facts = case.facts
    if not facts.libc.startswith("glibc "):
        return Finding(
            name="libc",
            level="warning",
            found=f"{facts.libc}: the packages that could be brought are made for glibc",
            fix="a system with glibc (Debian, Ubuntu), or runtimes of the board's own that python = … has",
        )
    other = _difference(case, "libc")
    if other:
        return Finding(
            name="libc",
            level="warning",
            found=other,
            fix="a newer system on the board; see the runtimes below",
        )
    return Finding(name="libc", level="fine", found=facts.libc)


def cpu_features(case: Case) -> Finding:
    """Against what the target expects, and what the runtimes' packages are compiled for."""
    facts = case.facts
    if not facts.cpu_features:
        return Finding(name="cpu-features", level="fine", found="the CPU does not say")
    lacking = {}
    for runtime in case.runtimes:
        if runtime.reason is None:
            needed = NEEDS.get((runtime.name, facts.machine), ())
            absent = [feature for feature in needed if feature not in facts.cpu_features]
            if absent:
                lacking[runtime.name] = ", ".join(absent)
    if lacking:
        said = "; ".join(f"{name}'s package needs {absent}" for name, absent in lacking.items())
        return Finding(
            name="cpu-features",
            level="failure",
            found=f"the CPU lacks what packages are compiled for: {said}",
            fix="leave the formats out with --format, or a build of the runtime for this CPU",
        )
    other = _difference(case, "cpu-features")
    if other:
        return Finding(
            name="cpu-features", level="warning", found=other, fix="edgefreeze targets list: another board?"
        )
    wanted = [*case.target.match.features]
    for runtime in case.runtimes:
        wanted += NEEDS.get((runtime.name, facts.machine), ())
    found = f"has {', '.join(dict.fromkeys(wanted))}" if wanted else f"{len(facts.cpu_features)} features"
    return Finding(name="cpu-features", level="fine", found=found)


def page_size(case: Case) -> Finding:
    """Packages for 64-bit Arm are linked for pages of up to 64 KiB, others for 4 KiB."""
    size = case.health.page_bytes
    if size is None or size <= 4096:
        return Finding(name="page-size", level="fine", found=f"{size or 'unknown'} bytes")
    if case.facts.machine == "aarch64" and size <= 65536:
        return Finding(
            name="page-size",
            level="fine",
            found=f"{size} bytes; the packages that would be brought are linked for up to 65536",
        )
    return Finding(
        name="page-size",
        level="warning",
        found=f"{size} bytes: a library that is aligned to 4096 does not load",
        fix="where a runtime below fails to load: a kernel with pages of 4096 bytes",
    )


def _difference(case: Case, what: str) -> str | None:
    return next((d.text for d in case.target.differences(case.facts) if d.what == what), None)
