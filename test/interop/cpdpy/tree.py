"""Section 4.5: the hash tree over a large body."""
from .crypto import H

LEAF = 4080


def leaf_count(length):
    return -(-length // LEAF)


def cut(body):
    return [body[i:i + LEAF] for i in range(0, len(body), LEAF)]


def _levels(body):
    level = [H(b"\0", leaf) for leaf in cut(body)]
    levels = [level]
    while len(level) > 1:
        level = [H(b"\1", *level[i:i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        levels.append(level)
    return levels


def root(body):
    return _levels(body)[-1][0]


def paths(body):
    """For each leaf its sibling hashes, from the leaf up."""
    levels = _levels(body)
    out = []
    for index in range(len(levels[0])):
        path = []
        for level in levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index >>= 1
        out.append(path)
    return out


def leaf_holds(length, wanted_root, index, data, path):
    """True when this leaf belongs at this place of the body with this length and root."""
    count = leaf_count(length)
    if index >= count or len(data) != min(LEAF, length - index * LEAF):
        return False
    digest, path = H(b"\0", data), list(path)
    while count > 1:
        if index ^ 1 < count:
            if not path or len(path[0]) != 32:
                return False
            sibling = path.pop(0)
            digest = H(b"\1", sibling, digest) if index & 1 else H(b"\1", digest, sibling)
        index, count = index >> 1, (count + 1) >> 1
    return not path and digest == wanted_root
