"""The messages of proto/cpd.proto and proto/body.proto as protobuf classes, for encoding and for their descriptors.
Decoding is in strict.py: protobuf's own parser takes more than the protocol allows."""
import os
import subprocess
import tempfile
from types import SimpleNamespace

from google.protobuf import descriptor_pb2, message_factory

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


def _load():
    folder = os.path.join(ROOT, "proto")
    with tempfile.TemporaryDirectory(prefix="cpdpy-") as scratch:
        out = os.path.join(scratch, "schema.pb")
        subprocess.run(["protoc", "-I", folder, "-o", out, "cpd.proto", "body.proto"], check=True)
        with open(out, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    return {name.split(".", 1)[1]: kind for name, kind in message_factory.GetMessages(files.file).items()}


CLASSES = _load()
pb = SimpleNamespace(**CLASSES)
_cpd = pb.Message.DESCRIPTOR.file
Reason = SimpleNamespace(**{value.name[7:]: value.number for value in _cpd.enum_types_by_name["Reason"].values})
Item = SimpleNamespace(**{value.name[5:]: value.number for value in _cpd.enum_types_by_name["ItemType"].values})
Level = SimpleNamespace(**{value.name[6:]: value.number for value in _cpd.enum_types_by_name["Level"].values})
LEVEL_NAMES = {number: name for name, number in vars(Level).items()}
REASON_NAMES = {number: name for name, number in vars(Reason).items()}
ROLES = {1: "nsp", 2: "cp", 3: "desk", 4: "partner"}
