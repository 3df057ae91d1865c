"""State that becomes inputs and outputs: fed back call after call, in a process that never saw the model, it
gives what the model gives when it is called as often. Or it is refused with the variables' names."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.worker import client, prove
from tests.worker.conftest import converted, request

pytestmark = pytest.mark.tf

HERE = Path(__file__).parent
HOIST = {"freeze": {"hoist_state": True}}
SEQUENCE = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
import edgefreeze, numpy as np
answers = {}
for name, (path, cases, states) in json.loads(sys.argv[1]).items():
    now = {state["input"]: state["initial"] for state in states}
    worst = moved = 0.0
    with np.load(cases) as file, edgefreeze.load_frozen(path) as model:
        for call in range(1 + max(int(key.split("|")[0]) for key in file)):
            given = {k.split("|")[2]: file[k] for k in file if k.startswith(f"{call}|in|")}
            found = model({**given, **now})
            now = {state["input"]: found[state["output"]] for state in states}
            for key in (k for k in file if k.startswith(f"{call}|out|")):
                worst = max(worst, float(np.abs(found[key.split("|")[2]] - file[key]).max()))
    answers[name] = worst
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""

BOTH, ONE = ["calls", "memory"], ["memory"]
V2 = {"loop": BOTH, "branch": BOTH, "nested": BOTH, "until": ["calls"], "parts": ONE, "called": ONE}
V1 = {
    f"graph_{kind}{place}": ["mean", "window"]
    for kind in ("references", "resources")
    for place in ("", "_checkpoint")
}
KERAS = ("keras3_lstm", "keras3_gru", "keras2_lstm", "keras2_gru")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("states")
    kinds = {"v1": {}, "v2": {}, "keras3": {}, "keras2": {"TF_USE_LEGACY_KERAS": "1"}}
    for kind, env in kinds.items():
        (made / kind).mkdir()
        done = subprocess.run(
            [sys.executable, str(HERE / "make_states.py"), kind.rstrip("23") if "keras" in kind else kind,
             str(made / kind)],
            capture_output=True, text=True, env=client.environment(env),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture(scope="module")
def asked(folder):
    """(request without its folder, the calls in a row) by name."""
    found = {name: ((folder / "v2/states", {"signature": name, **HOIST}), f"v2/{name}") for name in V2}
    for name in V1:
        ends = {"inputs": ["x"], "outputs": ["y"]} if "checkpoint" in name else {}
        found[name] = ((folder / "v1" / name, {**ends, **HOIST}), f"v1/{name.removesuffix('_checkpoint')}")
    for layer in ("lstm", "gru"):
        found[f"keras3_{layer}"] = ((folder / f"keras3/{layer}.keras", HOIST), f"keras3/{layer}")
    return {name: (given, folder / f"{calls}.npz") for name, (given, calls) in found.items()}


@pytest.fixture(scope="module")
def results(folder, asked, run_many, tmp_path_factory):
    """Conversions by name, proved; and the worst difference over the calls in a row."""
    out = tmp_path_factory.mktemp("hoisted")
    replies = run_many(
        {
            name: request(model, out / name, ["frozen_pb"], **more)
            for name, ((model, more), _) in asked.items()
        }
    )
    calls = {name: cases for name, (_, cases) in asked.items()}
    for layer in ("lstm", "gru"):
        name = f"keras2_{layer}"
        calls[name] = folder / f"keras2/{layer}.npz"
        model = folder / f"keras2/{layer}.h5"
        replies[name] = {"result": client.run(request(model, out / name, ["frozen_pb"], **HOIST))}
    for name, reply in replies.items():
        assert "result" in reply, (name, reply)
    proved = {name: prove.prove(converted(r["result"]), out / name) for name, r in replies.items()}
    told = {
        name: [str(out / name / "model.pb"), str(calls[name]), replies[name]["result"]["states"]]
        for name in replies
    }
    done = subprocess.run(
        [sys.executable, "-c", SEQUENCE, json.dumps(told)],
        capture_output=True, text=True, env=client.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return proved, json.loads(done.stdout)


@pytest.mark.parametrize("name", [*V2, *V1, *KERAS])
def test_fed_back_it_gives_what_the_model_gives(results, name):
    conversion, worst = results[0][name], results[1][name]
    assert [(a.status, a.reason) for a in conversion.artifacts] == [("verified", None)]
    wanted = {**V2, **V1}.get(name)
    states = sorted(s.variable for s in conversion.states)
    if wanted is None:
        assert len(states) == (2 if "lstm" in name else 1)
        assert all("lstm" in s or "gru" in s for s in states)
    else:
        assert states == wanted
    assert worst < 1e-5


def test_the_originals_calls_differ(asked):
    for _, cases in asked.values():
        with np.load(cases) as file:
            (first,) = [k for k in file if k.startswith("0|out|")][:1]
            assert not np.allclose(file[first], file[first.replace("0|", "3|", 1)])


def refusal(model, tmp_path, **more):
    with pytest.raises(Failure) as caught:
        client.run(request(model, tmp_path / "out", ["frozen_pb"], **more))
    assert (caught.value.code, caught.value.exit_status) == ("freeze-refused", 3)
    return caught.value


@pytest.mark.parametrize(
    ("model", "names"),
    [("v1/graph_references", ["mean", "window"]), ("keras3/lstm.keras", ["lstm/rnn_state"])],
)
def test_without_the_option_the_variables_are_named(folder, tmp_path, model, names):
    failure = refusal(folder / model, tmp_path)
    assert failure.message.count("the variable '") == len(names)
    for name in names:
        assert name in failure.message
    assert "--hoist-state" in failure.next


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("v1/either_references", {}),
        ("v1/either_resources", {}),
        ("v2/states", {"signature": "cases"}),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(folder, tmp_path, model, more):
    failure = refusal(folder / model, tmp_path, **more, **HOIST)
    assert "changes the variable " in failure.message
    assert "so --hoist-state cannot help." in failure.message
    assert "'mean'" in failure.message or "'memory'" in failure.message


def test_a_counter_in_a_loop_is_stripped_where_no_output_needs_it(folder, tmp_path):
    asked = request(folder / "v2/states", tmp_path, ["frozen_pb"], signature="counted")
    conversion = prove.prove(converted(client.run(asked)), tmp_path)
    (artifact,) = conversion.artifacts
    assert (artifact.status, conversion.states) == ("verified", ())
    assert artifact.method.startswith("Assign stripped (1)")
