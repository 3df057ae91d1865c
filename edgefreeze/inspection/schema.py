"""The messages of SavedModels, GraphDefs and ONNX files, as far as a reader needs them, for protobuf alone.

The real definitions come with TensorFlow and onnx, whose import costs seconds. These are the same messages
with the same field numbers in a pool of their own, so that nothing clashes where the real ones are loaded
too. What is not listed is skipped when it is read. Enumerations are plain integers.
"""

from __future__ import annotations

import functools
from typing import Any

_TENSORFLOW = """
SavedModel         1 saved_model_schema_version int64, 2 meta_graphs *MetaGraphDef
MetaGraphDef       1 meta_info_def MetaInfoDef, 2 graph_def GraphDef, 3 saver_def SaverDef,
                   5 signature_def {SignatureDef, 6 asset_file_def *AssetFileDef,
                   7 object_graph_def SavedObjectGraph
MetaInfoDef        4 tags *string, 5 tensorflow_version string
SaverDef           1 filename_tensor_name string, 2 save_tensor_name string, 3 restore_op_name string
AssetFileDef       2 filename string
SignatureDef       1 inputs {SignatureEnd, 2 outputs {SignatureEnd, 3 method_name string
SignatureEnd       1 name string, 2 dtype int32, 3 tensor_shape TensorShapeProto
SavedObjectGraph   1 nodes *SavedObject
SavedObject        1 children *ObjectReference, 3 slot_variables *SlotVariable, 4 user_object SavedUserObject,
                   7 variable SavedVariable
ObjectReference    1 node_id int32, 2 local_name string
SlotVariable       1 original_variable_node_id int32, 2 slot_name string, 3 slot_variable_node_id int32
SavedUserObject    1 identifier string
SavedVariable      1 dtype int32, 2 shape TensorShapeProto, 3 trainable bool, 6 name string
GraphDef           1 node *NodeDef, 2 library FunctionDefLibrary, 4 versions VersionDef
VersionDef         1 producer int32, 2 min_consumer int32
FunctionDefLibrary 1 function *FunctionDef
FunctionDef        1 signature OpDef, 3 node_def *NodeDef, 4 ret {string
OpDef              1 name string, 2 input_arg *ArgDef, 3 output_arg *ArgDef
ArgDef             1 name string, 3 type int32
NodeDef            1 name string, 2 op string, 3 input *string, 4 device string, 5 attr {AttrValue
AttrValue          1 list ListValue, 2 s bytes, 3 i int64, 4 f float, 5 b bool, 6 type int32,
                   7 shape TensorShapeProto, 8 tensor TensorProto, 9 placeholder string, 10 func NameAttrList
ListValue          2 s *bytes, 3 i *int64, 4 f *float, 5 b *bool, 6 type *int32, 7 shape *TensorShapeProto,
                   8 tensor *TensorProto, 9 func *NameAttrList
NameAttrList       1 name string
TensorProto        1 dtype int32, 2 tensor_shape TensorShapeProto, 4 tensor_content bytes, 5 float_val *float,
                   7 int_val *int32, 8 string_val *bytes, 10 int64_val *int64
TensorShapeProto   2 dim *Dim, 3 unknown_rank bool
Dim                1 size int64
Event              1 wall_time double, 3 file_version string, 4 graph_def bytes
"""

_ONNX = """
ModelProto         1 ir_version int64, 2 producer_name string, 3 producer_version string, 4 domain string,
                   7 graph GraphProto, 8 opset_import *OperatorSetIdProto
OperatorSetIdProto 1 domain string, 2 version int64
GraphProto         1 node *NodeProto, 2 name string, 5 initializer *TensorProto, 11 input *ValueInfoProto,
                   12 output *ValueInfoProto, 13 value_info *ValueInfoProto
NodeProto          1 input *string, 2 output *string, 3 name string, 4 op_type string,
                   5 attribute *AttributeProto, 7 domain string
AttributeProto     1 name string, 2 f float, 3 i int64, 4 s bytes, 5 t TensorProto, 6 g GraphProto,
                   7 floats *float, 8 ints *int64, 9 strings *bytes, 20 type int32
TensorProto        1 dims *int64, 2 data_type int32, 5 int32_data *int32, 7 int64_data *int64, 8 name string,
                   9 raw_data bytes
ValueInfoProto     1 name string, 2 type TypeProto
TypeProto          1 tensor_type TensorType
TensorType         1 elem_type int32, 2 shape TensorShapeProto
TensorShapeProto   1 dim *Dim
Dim                1 dim_value int64, 2 dim_param string
"""

TENSORFLOW_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16",
    16: "quint16", 17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant",
    22: "uint32", 23: "uint64",
}  # fmt: skip
"""tensorflow/core/framework/types.proto."""

ONNX_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64",
    15: "complex128", 16: "bfloat16",
}  # fmt: skip
"""onnx.proto, TensorProto.DataType."""

_ITEM_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8, "128": 16}


def item_bytes(dtype: str) -> int:
    """Bytes of one element; 0 where that is not fixed (strings, resources)."""
    if dtype == "bool":
        return 1
    if dtype in ("int4", "uint4", "int2"):
        return 1
    digits = "".join(c for c in dtype if c.isdigit())
    return _ITEM_BYTES.get(digits, 0)


def tensorflow(name: str) -> Any:
    """A new message of TensorFlow's: SavedModel, MetaGraphDef, GraphDef, Event."""
    return _messages("tensorflow", _TENSORFLOW)[name]()


def onnx(name: str) -> Any:
    """A new message of ONNX's: ModelProto."""
    return _messages("onnx", _ONNX)[name]()


@functools.cache
def _messages(package: str, text: str) -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"edgefreeze/{package}.proto", package=f"edgefreeze.{package}", syntax="proto2"
    )
    names = []
    for message, fields in _parsed(text):
        names.append(message)
        described = file.message_type.add(name=message)
        for number, name, kind in fields:
            repeated = kind[0] in "*{"
            field = described.field.add(
                name=name,
                number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
            )
            plain = kind.lstrip("*{")
            if kind[0] == "{":
                entry = described.nested_type.add(name=_entry(name))
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
                value = entry.field.add(name="value", number=2, label=kinds.LABEL_OPTIONAL)
                _typed(value, plain, package)
                field.type = kinds.TYPE_MESSAGE
                field.type_name = f".edgefreeze.{package}.{message}.{entry.name}"
            else:
                _typed(field, plain, package)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"edgefreeze.{package}.{name}"))
        for name in names
    }


def _parsed(text: str) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """(message, fields); a field that starts with a space goes on with the message above."""
    found: list[tuple[str, str]] = []
    for line in text.strip().splitlines():
        if line.startswith(" "):
            found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}"
        else:
            message, _, rest = line.partition(" ")
            found.append((message, rest.strip()))
    return [
        (
            message,
            [(int(n), name, kind) for n, name, kind in (f.split() for f in rest.rstrip(",").split(","))],
        )
        for message, rest in found
    ]


def _entry(field: str) -> str:
    """What protobuf calls the message of a map's entries."""
    return "".join(part.capitalize() for part in field.split("_")) + "Entry"


def _typed(field: Any, kind: str, package: str) -> None:
    from google.protobuf import descriptor_pb2

    if kind[0].isupper():
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".edgefreeze.{package}.{kind}"
    else:
        field.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
