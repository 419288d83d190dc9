"""A second implementation of cpd's protocol, as an NSP, written from docs/PROTOCOL.md, proto/cpd.proto and
proto/body.proto. It shares nothing else with cpd: what it needs of the text and does not find there is a fault of the
text.

schema    the classes of the .proto files            strict     decoding as section 2 wants it
rules     what sections 4 to 7 and 9.10 refuse       bodies     section 8: kinds, bodies, check words
crypto    section 3: hashes, signatures, keys        tree       section 4.5: hash trees
joining   section 9.11: request, anchor, kit         directory  section 9.10
store     what must survive, in SQLite               link       section 7: one link, without I/O
node      sections 6 and 9 for an NSP                daemon     the process: ZeroMQ (7.10) and a control socket
"""
