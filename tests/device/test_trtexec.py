"""trtexec's command lines, and its files, of which nobody publishes any: their form is that of its source
(samples/common/sampleReporting.cpp)."""

from __future__ import annotations

import math

import pytest

from edgefreeze.device import trtexec
from edgefreeze.device.trtexec import Program, Run
from tests.captured.test_captured import text_of

RECIPE = ["--onnx=model.onnx", "--saveEngine=model.engine", "--int8", "--fp16", "--shapes=image:1x12x12x3"]


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("[TensorRT v8201]", "8.2.1"),
        ("[TensorRT v8502]", "8.5.2"),
        ("[TensorRT v8410]", "8.4.10"),
        ("[TensorRT v7203]", "7.2.3"),
        ("[TensorRT v100300]", "10.3.0"),
        ("[TensorRT v101303] [b9]", "10.13.3"),
        ("", None),
    ],
)
def test_the_banner_says_which_tensorrt(banner: str, version: str | None) -> None:
    text = f"&&&& RUNNING TensorRT.trtexec {banner} # trtexec --help\n"
    assert trtexec.parse_version(text) == version
    assert Program("t", version, frozenset()).narrow == (version is None or int(version.split(".")[0]) < 10)


def test_the_options_of_a_help() -> None:
    options = trtexec.parse_options(text_of("trtexec/10.6-help"))
    assert {"--onnx", "--timingCacheFile", "--fp16", "--versionCompatible", "--calib"} <= options
    assert "--vc" in options
    assert not any(" " in option or "<" in option for option in options)


def test_a_build_uses_what_the_program_has() -> None:
    new = Program("/t", "10.3.0", frozenset(["--timingCacheFile", "--skipInference", "--buildOnly"]))
    assert trtexec.build_command(new, RECIPE, "/e/m", "/e/t") == [
        "/t", "--onnx=model.onnx", "--saveEngine=/e/m", "--int8", "--fp16", "--shapes=image:1x12x12x3",
        "--timingCacheFile=/e/t", "--skipInference",
    ]  # fmt: skip
    assert trtexec.build_command(Program("/t", None, frozenset()), RECIPE[:2], "/e/m", "/e/t") == [
        "/t", "--onnx=model.onnx", "--saveEngine=/e/m",
    ]  # fmt: skip


def test_an_inference_names_its_inputs_and_shapes() -> None:
    program = Program("/t", "8.5.2", frozenset(["--exposeDMA"]))
    run = Run("/e/m", {"a": "input0.bin", "b": "input1.bin"}, {"a": (1, 4)}, 25, 200)
    assert trtexec.run_command(program, run, "--exportTimes=times.json") == [
        "/t", "--loadEngine=/e/m", "--shapes=a:1x4", "--loadInputs=a:input0.bin,b:input1.bin",
        "--iterations=25", "--duration=0.2", "--warmUp=0", "--exportTimes=times.json", "--exposeDMA",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "argument",
    [
        "--dynamicPlugins=/tmp/a.so", "--saveEngine=/etc/passwd", "--loadEngine=x", "--exportTimes=/x", "--verbose",
        "--shapes=a:1x4 --plugins=x", "--shapes=", "--memPoolSize=workspace:1024/../x", "fp16", "--fp16=1",
    ],
)  # fmt: skip
def test_what_a_recipe_may_not_ask(argument: str) -> None:
    assert trtexec.refused([*RECIPE, argument]) == argument
    assert trtexec.refused(RECIPE) is None


def test_a_recipe_names_its_own_files() -> None:
    assert trtexec.refused(["--onnx=/etc/x.onnx", "--saveEngine=model.engine"])
    assert trtexec.refused(RECIPE[1:])
    assert trtexec.parse_shapes(["--shapes=a/b:0:1x4,c:2"]) == {"a/b:0": (1, 4), "c": (2,)}
    assert trtexec.parse_shapes(RECIPE[:2]) == {}


def test_outputs_as_trtexec_writes_them() -> None:
    text = """[
  { "name" : "probs"
  , "dimensions" : "1x3"
  , "values" : [ 0.25, -nan, inf ]
  }
, { "name" : "best"
  , "dimensions" : "1"
  , "values" : [ 2 ]
  }
, { "name" : "inf"
  , "dimensions" : ""
  , "values" : [ -inf ]
  }
]
"""
    found = trtexec.parse_outputs(text)
    shape, values = found["probs"]
    assert (shape, values[0], math.isnan(values[1]), values[2]) == ((1, 3), 0.25, True, math.inf)
    assert found["best"] == ((1,), [2])
    assert found["inf"] == ((), [-math.inf])


def test_times_and_profiles_as_trtexec_writes_them() -> None:
    one = (
        '{ "startEnqMs" : 0.1, "endEnqMs" : 0.2, "startH2dMs" : 0, "endH2dMs" : 0.01, "startComputeMs" : 0.01,'
        ' "endComputeMs" : 1.01, "startD2hMs" : 1.01, "endD2hMs" : 1.02, "h2dMs" : 0.01, "computeMs" : 1,'
        ' "d2hMs" : 0.01, "latencyMs" : 1.02 }\n'
    )
    assert trtexec.parse_times(f"[\n  {one}, {one}]\n") == [1_020_000, 1_020_000]
    profile = (
        '[\n  { "count" : 20 }\n, { "name" : "conv", "timeMs" : 4, "averageMs" : 0.2, "percentage" : 50 }\n'
        ', { "name" : "conv", "timeMs" : 4, "averageMs" : 0.2, "percentage" : 50 }\n]\n'
    )
    assert trtexec.parse_profile(profile) == {"conv": 400_000}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"name" : "y"}]', '[{"latencyMs" : 0}]', "[" * 2000])
def test_files_that_are_none(text: str) -> None:
    for parse in (trtexec.parse_outputs, trtexec.parse_times, trtexec.parse_profile):
        if parse is trtexec.parse_profile and "latencyMs" in text:
            continue  # a record without a name is its count
        with pytest.raises(ValueError, match=r"trtexec|output|latency|layer"):
            parse(text)


def test_a_shape_and_its_values_must_agree() -> None:
    with pytest.raises(ValueError, match="2 values for the shape 1x3"):
        trtexec.parse_outputs('[ { "name" : "y", "dimensions" : "1x3", "values" : [ 1, 2 ] } ]')
