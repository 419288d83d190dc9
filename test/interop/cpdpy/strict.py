"""Decoding by section 2: everything it says MUST be refused is, and values come out that protobuf's own parser would
set aside (enumeration values that the schema does not know)."""
from google.protobuf.descriptor import FieldDescriptor as F

from .schema import CLASSES

NUMBERS = {F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_SINT32, F.TYPE_ENUM, F.TYPE_BOOL}


class Malformed(ValueError):
    """The bytes break a rule of the protocol; the text says which."""


class Fields:
    """A decoded message: fields as attributes, the schema's default where absent (None for a message)."""
    __slots__ = ("_type", "_values")

    def __init__(self, kind):
        self._type, self._values = kind, {}

    def has(self, name):
        return name in self._values

    def __getattr__(self, name):
        if name in self._values:
            return self._values[name]
        field = self._type.fields_by_name.get(name)
        if field is None:
            raise AttributeError(name)
        return [] if field.label == F.LABEL_REPEATED else None if field.message_type else field.default_value


def _varint(data, at, end):
    value = shift = 0
    while True:
        if at >= end:
            raise Malformed("the end is missing")
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise Malformed("a varint above 64 bits")
    if byte == 0 and shift:
        raise Malformed("a varint longer than it needs to be")
    if value >> 64:
        raise Malformed("a varint above 64 bits")
    return value, at


def _number(field, value):
    kind = field.type
    if kind in (F.TYPE_UINT32, F.TYPE_SINT32) and value >> 32:
        raise Malformed(f"{field.name}: above 32 bits")
    if kind == F.TYPE_SINT32:
        return (value >> 1) ^ -(value & 1)
    if kind == F.TYPE_ENUM:
        if value >= 1 << 63:
            value -= 1 << 64
        if not -(1 << 31) <= value < 1 << 31:
            raise Malformed(f"{field.name}: outside int32")
    if kind == F.TYPE_BOOL and value > 1:
        raise Malformed(f"{field.name}: neither 0 nor 1")
    return bool(value) if kind == F.TYPE_BOOL else value


def _text(field, data):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{field.name}: not UTF-8") from None
    if any((ord(c) < 0x20 and c not in "\n\t") or 0x7f <= ord(c) <= 0x9f for c in text):
        raise Malformed(f"{field.name}: a control character")
    return text


def decode(name, data):
    """The message of this name in these bytes, as Fields; raises Malformed."""
    return _decode(CLASSES[name].DESCRIPTOR, bytes(data), 0, len(data))


def _decode(kind, data, at, end):
    out = Fields(kind)
    values = out._values
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise Malformed(f"field number {number}")
        if wire == 0:
            value, at = _varint(data, at, end)
        elif wire in (1, 2, 5):
            length = {1: 8, 5: 4}.get(wire)
            if length is None:
                length, at = _varint(data, at, end)
            if length > end - at:
                raise Malformed("a length beyond the end")
            value, at = (at, at + length), at + length
        else:
            raise Malformed(f"wire type {wire}")
        field = kind.fields_by_number.get(number)
        if field is None:
            continue
        repeated = field.label == F.LABEL_REPEATED
        if not repeated and field.name in values:
            raise Malformed(f"{field.name} stands twice")
        if field.type in NUMBERS:
            if wire == 2 and repeated:
                place, stop = value
                numbers = []
                while place < stop:
                    one, place = _varint(data, place, stop)
                    numbers.append(_number(field, one))
            elif wire == 0:
                numbers = [_number(field, value)]
            else:
                raise Malformed(f"{field.name}: wire type {wire}")
            if repeated:
                values.setdefault(field.name, []).extend(numbers)
            else:
                values[field.name] = numbers[0]
            continue
        if field.type == F.TYPE_FIXED64:
            if wire != 1:
                raise Malformed(f"{field.name}: wire type {wire}")
            values[field.name] = int.from_bytes(data[value[0]:value[1]], "little")
            continue
        if wire != 2:
            raise Malformed(f"{field.name}: wire type {wire}")
        if field.message_type:
            value = _decode(field.message_type, data, *value)
        elif field.type == F.TYPE_STRING:
            value = _text(field, data[slice(*value)])
        else:
            value = data[slice(*value)]
        if repeated:
            values.setdefault(field.name, []).append(value)
        else:
            values[field.name] = value
    for field in kind.fields:
        if field.label == F.LABEL_REQUIRED and field.name not in values:
            raise Malformed(f"{field.name} is absent")
    return out
