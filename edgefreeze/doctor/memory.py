"""Is there memory for a model?"""

from __future__ import annotations

from edgefreeze.doctor.case import Case, Finding
from edgefreeze.text import size

RESIDENT_MB = {"tensorflow": 600, "litert": 100, "onnxruntime": 150}
"""What a process takes for a runtime and a small model: measured with MobileNetV2 on x86-64, TensorFlow 640
to 820 MB, the others below what stands here. TensorRT was not measured: nothing is demanded for it."""
SWAPPED_MB = 64


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return (ram(case), swap(case))


def ram(case: Case) -> Finding:
    """What is available against what the runtimes take."""
    total, free = case.facts.ram_bytes, case.facts.ram_available_bytes
    if total is None or free is None:
        return Finding(name="ram", level="fine", found="the device does not say")
    said = f"{size(free)} of {size(total)} available"
    for runtime in sorted(case.runtimes, key=lambda r: not r.first):
        need = RESIDENT_MB.get(runtime.name, 0) * 10**6
        if runtime.reason is not None or free >= need:
            continue
        found = f"{said}; {runtime.name} with a small model takes about {size(need)}"
        if total < need and runtime.first:
            return Finding(
                name="ram",
                level="failure",
                found=found,
                fix="another format first: --format, or formats of a target of your own",
            )
        return Finding(
            name="ram",
            level="warning",
            found=found,
            fix=f"end other programs there, or leave out {', '.join(runtime.formats)} with --format",
        )
    limit = case.target.limits.memory_bytes
    if limit is not None and free < limit:
        return Finding(
            name="ram",
            level="warning",
            found=f"{said}; the target lets a model take {size(limit)}",
            fix="end other programs there, or lower memory_mb for this device",
        )
    return Finding(name="ram", level="fine", found=said)


def swap(case: Case) -> Finding:
    """What is swapped out comes back while a model is measured."""
    used = case.facts.swap_used_bytes
    if used is None:
        return Finding(name="swap", level="fine", found="the device does not say")
    if used < SWAPPED_MB * 10**6:
        return Finding(name="swap", level="fine", found=f"{size(used)} in use")
    return Finding(
        name="swap",
        level="warning",
        found=f"{size(used)} in use: figures will vary, and an SD card wears",
        fix="end other programs there; zram instead of a swap file",
    )
