"""What becomes of each model that the make_*.py scripts write: frozen, with which names, or refused, with
which words."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A model and how to load it. Frozen: inputs, outputs (key → tensor) and kind. Refused: code and parts of
    the message, of what was found and of the next step."""

    path: str
    options: dict = field(default_factory=dict)
    feed: dict = field(default_factory=dict)
    kind: str = ""
    inputs: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    shapes: dict = field(default_factory=dict)
    labels: list | None = None
    init: bool = False
    signature: str = "serving_default"
    legacy: bool = False
    code: str = ""
    message: str = ""
    found: str = ""
    next: str = ""


X = {"x": "x:0"}
PROBABILITIES = {"probabilities": "probabilities:0"}
ASKED = {"outputs": ["probabilities"]}
NETWORK = {"kind": "checkpoint", "options": ASKED, "inputs": X, "outputs": PROBABILITIES}
SPARSE = {"x_indices": [[0, 1], [1, 3]], "x_values": [2.0, -1.5], "x_shape": [3, 4]}

FROZEN = {
    # SavedModels of TensorFlow 1
    "table_of_an_asset": Case(
        "v1/words",
        {"signature": "look_up"},
        kind="saved_model_tf1",
        signature="look_up",
        inputs={"word": "word:0"},
        outputs={"row": "row:0", "word": "word_out:0"},
        labels=["the table 'hash_table'", "the variable 'weights'"],
        init=True,
    ),
    "names_that_are_no_identifiers": Case(
        "v1/words",
        {"signature": "rows/by id"},
        kind="saved_model_tf1",
        signature="rows/by id",
        inputs={"the ids": "the_ids:0"},
        outputs={"a row": "a_row:0"},
    ),
    "another_meta_graph": Case(
        "v1/words",
        {"signature": "look_up", "tags": ["gpu", "train"], "outputs": ["row"]},
        kind="saved_model_tf1",
        signature="look_up",
        inputs={"word": "word:0"},
        outputs={"row": "row:0"},
        init=True,
    ),
    "table_of_a_path_elsewhere": Case(
        "v1/baked_path", kind="saved_model_tf1", inputs={"word": "word:0"}, outputs={"id": "id:0"}, init=True
    ),
    "file_that_is_read": Case(
        "v1/reads_file", kind="saved_model_tf1", inputs=X, outputs={"y": "y:0"}, labels=[]
    ),
    "sparse_input": Case(
        "v1/sparse",
        feed=SPARSE,
        kind="saved_model_tf1",
        inputs={k: f"{k}:0" for k in sorted(SPARSE)},
        outputs={"y": "y:0"},
    ),
    "saved_model_as_text": Case(
        "v1/as_text",
        feed=SPARSE,
        kind="saved_model_tf1",
        inputs={k: f"{k}:0" for k in sorted(SPARSE)},
        outputs={"y": "y:0"},
    ),
    "outputs_instead_of_a_signature": Case(
        "v1/unsigned", ASKED, kind="saved_model_tf1", inputs=X, outputs=PROBABILITIES
    ),
    # Checkpoints
    "checkpoint_by_folder": Case("v1/v2", **NETWORK),
    "checkpoint_by_prefix": Case("v1/v2/model.ckpt", **NETWORK),
    "checkpoint_by_meta": Case("v1/v2/model.ckpt.meta", **NETWORK),
    "checkpoint_by_index": Case("v1/v2/model.ckpt.index", **NETWORK),
    "checkpoint_by_data": Case("v1/v2/model.ckpt.data-00000-of-00001", **NETWORK),
    "several_outputs_renamed": Case(
        "v1/v2",
        {"outputs": ["label=prediction", "logits", "dense/bias/read"], "batch": 2},
        kind="checkpoint",
        inputs=X,
        outputs={"label": "label:0", "logits": "logits:0", "dense/bias/read": "dense/bias/read:0"},
        shapes={"x": [2, 4]},
        labels=["the variable 'dense/bias'", "the variable 'dense/weights'", "the variable 'scale'"],
    ),
    "cut_at_inputs": Case(
        "v1/v2",
        {"inputs": ["scores=logits:0"], "outputs": ["probabilities"]},
        kind="checkpoint",
        inputs={"scores": "scores:0"},
        outputs=PROBABILITIES,
        labels=[],
    ),
    "placeholder_with_default_fed": Case(
        "v1/v2",
        {"inputs": ["x", "keep_prob"], "outputs": ["logits"]},
        feed={"keep_prob": 1.0},
        kind="checkpoint",
        inputs={"x": "x:0", "keep_prob": "keep_prob:0"},
        outputs={"logits": "logits:0"},
    ),
    "shards_of_version_1": Case("v1/sharded_v1", **NETWORK),
    "shards_by_pattern": Case("v1/sharded_v1/export-?????-of-00001", **NETWORK),
    "shards_by_one": Case("v1/sharded_v1/export-00000-of-00001", **NETWORK),
    "version_1_in_one_file": Case("v1/whole_v1/export", **NETWORK),
    "of_2016": Case("v1/of_2016", **NETWORK),
    "without_a_saver": Case("v1/no_saver", **NETWORK),
    "partitioned_variable": Case(
        "v1/partitioned",
        {"outputs": ["rows"]},
        kind="checkpoint",
        inputs={"ids": "ids:0"},
        outputs={"rows": "rows:0"},
    ),
    "cut_behind_the_queue": Case(
        "v1/pipeline",
        {"inputs": ["dequeue"], "outputs": ["y"]},
        kind="checkpoint",
        inputs={"dequeue": "dequeue:0"},
        outputs={"y": "y:0"},
        shapes={"dequeue": [2, 4]},
    ),
    # Frozen graphs
    "graph": Case("v1/one.bin", kind="frozen_graph", inputs=X, outputs=PROBABILITIES),
    "graph_as_text": Case("v1/one.txt", kind="frozen_graph", inputs=X, outputs=PROBABILITIES),
    "graph_renamed_and_cut": Case(
        "v1/one.bin",
        {"inputs": ["features=hidden"], "outputs": ["classes=probabilities:0"]},
        kind="frozen_graph",
        inputs={"features": "features:0"},
        outputs={"classes": "classes:0"},
    ),
    "second_output_of_a_node": Case(
        "v1/two.bin",
        {"outputs": ["mean", "halves:1"], "batch": 3},
        kind="frozen_graph",
        inputs=X,
        outputs={"mean": "mean:0", "halves:1": "halves_1:0"},
        shapes={"halves:1": [3, 2]},
    ),
    "reference_table": Case(
        "v1/old_table.bin", kind="frozen_graph", inputs={"word": "word:0"}, outputs={"id": "id:0"}, init=True
    ),
    "removed_operation": Case(
        "v1/version_8.bin", {"outputs": ["norm"]}, kind="frozen_graph", inputs=X, outputs={"norm": "norm:0"}
    ),
    # TensorFlow 2
    "several_inputs_and_outputs": Case(
        "v2/several",
        {"signature": "several", "batch": 2},
        kind="saved_model",
        signature="several",
        inputs={"x": "x:0", "scale": "scale:0"},
        outputs={"product": "product:0", "sum": "sum:0", "x": "x_out:0"},
        shapes={"x": [2, 3], "scale": []},
    ),
    "one_of_a_signatures_outputs": Case(
        "v2/several",
        {"signature": "several", "outputs": ["sum"], "tags": ["serve"]},
        kind="saved_model",
        signature="several",
        inputs={"x": "x:0", "scale": "scale:0"},
        outputs={"sum": "sum:0"},
    ),
    "fixed_batch": Case(
        "v2/several",
        {"signature": "fixed"},
        kind="saved_model",
        signature="fixed",
        inputs=X,
        outputs={"y": "y:0"},
        shapes={"x": [4, 3]},
    ),
    "asset_that_is_read": Case(
        "v2/several",
        {"signature": "noted"},
        kind="saved_model",
        signature="noted",
        inputs=X,
        outputs={"y": "y:0"},
    ),
    "table_of_tensorflow_2": Case(
        "v2/several",
        {"signature": "look_up"},
        kind="saved_model",
        signature="look_up",
        inputs={"word": "word:0"},
        outputs={"id": "id:0"},
        labels=["the table 'words'"],
        init=True,
    ),
    "session_where_the_object_loader_fails": Case(
        "v2/unknown_op",
        {"signature": "plain"},
        kind="saved_model",
        signature="plain",
        inputs=X,
        outputs={"y": "y:0"},
    ),
    # Keras 3
    **{
        name: Case(
            f"v2/{file}",
            kind="keras",
            inputs={"a": "a:0", "b": "b:0"},
            outputs={"logits": "logits:0", "parts_0": "parts_0:0", "parts_1": "parts_1:0"},
        )
        for name, file in (
            ("keras_3", "functional.keras"),
            ("keras_3_h5", "functional.h5"),
            ("keras_3_h5_by_content", "no_suffix"),
        )
    },
    "keras_3_lstm_h5": Case(
        "v2/sequential.h5", kind="keras", inputs={"series": "series:0"}, outputs={"output_0": "output_0:0"}
    ),
    **{
        f"keras_3_{name}": Case(
            f"v2/{file}",
            {"custom_objects": [f"own_layers:{layer}"]},
            kind="keras",
            inputs=X,
            outputs={"output_0": "output_0:0"},
        )
        for name, file, layer in (
            ("registered_layer", "registered.keras", "Doubling"),
            ("own_layer", "unregistered.keras", "Unregistered"),
            ("own_layer_h5", "unregistered.h5", "Unregistered"),
        )
    },
    "trusted_lambda": Case(
        "v2/lambda.keras", {"trust": True}, kind="keras", inputs=X, outputs={"output_0": "output_0:0"}
    ),
    "trusted_lambda_h5": Case(
        "v2/lambda.h5", {"trust": True}, kind="keras", inputs=X, outputs={"output_0": "output_0:0"}
    ),
    "trusted_pickle": Case(
        "v2/pickled.bin",
        {"trust": True},
        kind="pickled",
        inputs={"series": "series:0"},
        outputs={"output_0": "output_0:0"},
    ),
    # Keras 2
    **{
        f"keras_2_{file.replace('.', '_')}": Case(
            f"keras2/{file}",
            kind=kind,
            legacy=True,
            inputs={"image": "image:0"},
            outputs={"a": "a:0", "b": "b:0"},
        )
        for file, kind in (("images.h5", "keras2"), ("images.keras", "keras2"), ("saved", "saved_model"))
    },
    "keras_2_lstm": Case(
        "keras2/series.h5",
        kind="keras2",
        legacy=True,
        inputs={"series": "series:0"},
        outputs={"dense": "dense:0"},
    ),
    "keras_2_saved_without_functions": Case(
        "keras2/no_traces",
        kind="saved_model",
        legacy=True,
        inputs={"series": "series:0"},
        outputs={"dense": "dense:0"},
    ),
    "keras_2_trusted_lambda": Case(
        "keras2/lambda.h5",
        {"trust": True},
        kind="keras2",
        legacy=True,
        inputs=X,
        outputs={"lambda": "lambda:0"},
    ),
}

REFUSED = {
    "several_signatures": Case(
        "v1/words",
        code="model-signature-choice",
        message="has 2 signatures and none is called serving_default.",
        found="look_up(word: string(None,)); rows/by id(the ids: int64(None,))",
        next="--signature look_up",
    ),
    "unknown_signature": Case(
        "v1/words",
        {"signature": "lookup"},
        code="model-signature-choice",
        message="has no signature 'lookup'; did you mean 'look_up'?",
        found="lookup",
        next="--signature look_up",
    ),
    "unknown_tags": Case(
        "v1/words",
        {"tags": ["srve"]},
        code="model-signature-choice",
        message="has no graph with the tags srve; did you mean serve?",
        found="srve",
        next="--tags gpu,train",
    ),
    "no_signature": Case(
        "v1/unsigned",
        code="model-no-signature",
        message="has no signature, so nothing says what its inputs and outputs are.",
        found="none",
        next="--outputs prediction",
    ),
    "path_that_is_used": Case(
        "v1/uses_path",
        code="freeze-refused",
        message="uses files by their paths, which a frozen graph cannot take along.",
        found="note.txt at Const",
        next="--inputs",
    ),
    "counters": Case(
        "v1/counting",
        code="freeze-refused",
        message="The model changes the variable 'counter', the variable 'hits' whenever it is called",
        found="AssignAddVariableOp at AssignAdd, ResourceScatterAdd at ScatterAdd",
        next="training=False",
    ),
    "checkpoint_without_outputs": Case(
        "v1/v2",
        code="model-no-signature",
        message="Nothing says what the outputs of",
        found="2 nodes that may be outputs",
        next="--outputs prediction",
    ),
    "misspelt_output": Case(
        "v1/v2",
        {"outputs": ["probabilties"]},
        code="usage",
        message="which is no node of the graph; did you mean 'probabilities'?",
        found="probabilties",
        next="--outputs probabilities",
    ),
    "no_such_output": Case(
        "v1/two.bin",
        {"outputs": ["halves:7"]},
        code="usage",
        message="has no tensor 'halves:7'.",
        found="halves:7",
    ),
    "no_name_at_all": Case(
        "v1/two.bin",
        {"outputs": ["^mean"]},
        code="usage",
        message="--outputs has '^mean', which names no tensor.",
    ),
    "one_name_twice": Case(
        "v1/two.bin",
        {"outputs": ["y=mean", "y=variance"]},
        code="usage",
        message="--outputs names 'y' twice.",
        found="y=mean, y=variance",
    ),
    "graph_with_several_ends": Case(
        "v1/two.bin",
        code="model-no-signature",
        message="Nothing says what the outputs of",
        found="3 nodes that may be outputs",
        next="--outputs halves",
    ),
    "unfed_placeholder": Case(
        "v1/v2",
        {"inputs": ["labels"], "outputs": ["loss"]},
        code="model-unsupported",
        message="depend on placeholders that are no input.",
        found="x",
        next="--inputs labels,x",
    ),
    "input_pipeline": Case(
        "v1/pipeline",
        {"outputs": ["y"]},
        code="model-unsupported",
        message="come out of an input pipeline, which a frozen graph cannot take along.",
        found="QueueDequeueV2 at dequeue",
        next="--inputs dequeue",
    ),
    "graph_with_variables": Case(
        "v1/training.bin",
        ASKED,
        code="model-broken",
        message="have no value.",
        found="dense/bias, dense/weights, scale",
        next="Give the checkpoint that belongs to this graph.",
    ),
    "no_meta": Case(
        "v1/no_meta",
        code="model-unsupported",
        message="lacks model.ckpt.meta, the file with its graph.",
        found="values, such as",
        next="tf.compat.v1.train.export_meta_graph",
    ),
    "no_values": Case(
        "v1/no_values",
        ASKED,
        code="model-broken",
        message="has a graph and no values.",
        found="none of them",
        next="Copy all files of the checkpoint.",
    ),
    "weights_of_tensorflow_2": Case(
        "v2/weights",
        code="model-unsupported",
        message="holds weights only: TensorFlow 2 saves no graph with them.",
        found="values, such as model/w",
        next="model.export('saved_model')",
    ),
    "weights_of_keras_3": Case(
        "v2/sequential.weights.h5",
        code="model-unsupported",
        message="holds weights only: nothing in it says what to compute with them.",
        found="weights and no configuration",
        next="model.load_weights(FILE)",
    ),
    "weights_of_keras_2": Case(
        "keras2/weights.h5",
        legacy=True,
        code="model-unsupported",
        message="holds weights only: nothing in it says what to compute with them.",
        found="weights and no configuration",
        next="model.load_weights(FILE)",
    ),
    "unknown_operation": Case(
        "v1/custom.bin",
        code="model-unsupported",
        message="needs operations that TensorFlow does not have: AcmeWhiten.",
        found="AcmeWhiten",
        next="--inputs",
    ),
    "unknown_operation_in_a_signature": Case(
        "v2/unknown_op",
        {"signature": "odd"},
        code="model-unsupported",
        message="needs operations that TensorFlow does not have: AcmeWhiten.",
        found="AcmeWhiten",
        next="--inputs",
    ),
    "operation_of_tensorrt": Case(
        "v1/tensorrt.bin",
        code="model-unsupported",
        message="needs operations that TensorFlow does not have: TRTEngineOp.",
        found="TRTEngineOp (made by TensorRT",
        next="Made by TensorRT: freeze the model from before it.",
    ),
    "operation_for_gpus": Case(
        "v1/gpu.bin",
        code="model-unsupported",
        message="needs operations that TensorFlow cannot run on a CPU: CudnnRNN.",
        found="CudnnRNN",
        next="layers that run on a CPU",
    ),
    **{
        f"unknown_class_in_{file}": Case(
            f"v2/{file}",
            code="model-unsupported",
            message=f"needs classes or functions that Keras does not have: {layer}.",
            found=f":{layer}",
            next=f"--custom-objects {module}:{layer}",
        )
        for file, module, layer in (
            ("registered.keras", "own_layers", "Doubling"),
            ("unregistered.keras", "own_layers", "Unregistered"),
            ("unregistered.h5", "MODULE", "Unregistered"),
        )
    },
    **{
        f"untrusted_{path}": Case(
            path,
            legacy=path.startswith("keras2"),
            code="model-untrusted",
            message="holds a Lambda layer, whose code would run when it is loaded.",
            found="a Lambda layer with a Python function in the file",
            next="--trust",
        )
        for path in ("v2/lambda.keras", "v2/lambda.h5", "keras2/lambda.h5")
    },
    "untrusted_pickle": Case(
        "v2/pickled.bin",
        code="model-untrusted",
        message="is a pickle: code that its maker put into it would run when it is loaded.",
        found="a pickle",
        next="--trust",
    ),
    "no_such_module": Case(
        "v2/registered.keras",
        {"custom_objects": ["no_such_module:Layer"]},
        code="usage",
        message="The module 'no_such_module' of --custom-objects cannot be imported.",
        found="ModuleNotFoundError",
    ),
    "no_such_class": Case(
        "v2/registered.keras",
        {"custom_objects": ["own_layers:Dubling"]},
        code="usage",
        message="The module 'own_layers' has no 'Dubling'; did you mean 'Doubling'?",
        found="own_layers:Dubling",
    ),
    "no_module": Case(
        "v2/registered.keras",
        {"custom_objects": ["Doubling"]},
        code="usage",
        message="--custom-objects has 'Doubling', which names no object.",
        found="Doubling",
    ),
    "no_such_keras_output": Case(
        "v2/sequential.h5",
        {"outputs": ["output_1"]},
        code="usage",
        message="--outputs names 'output_1', which is no output of the model; did you mean 'output_0'?",
        found="output_1",
    ),
}

ALL = {**FROZEN, **REFUSED}
