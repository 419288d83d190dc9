"""Finds the Python that has Debian's python3-zmq, python3-protobuf and python3-nacl: this one, or Debian's own."""
import importlib.util
import os
import shutil
import sys

DEBIAN = "/usr/bin/python3"


def require():
    """Goes on under Debian's Python where this one lacks a package; without it says so and ends the check."""
    missing = [package for module, package in (("zmq", "python3-zmq"), ("google.protobuf", "python3-protobuf"), ("nacl", "python3-nacl"))
               if not _is_there(module)] + ([] if shutil.which("protoc") else ["protobuf-compiler"])
    if not missing:
        return
    if os.path.exists(DEBIAN) and os.path.realpath(sys.executable) != os.path.realpath(DEBIAN):
        os.execv(DEBIAN, [DEBIAN, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
    print(f"skipped: apt-get install {' '.join(missing)}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def _is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
