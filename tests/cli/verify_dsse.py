"""Verifies a DSSE envelope with securesystemslib: ENVELOPE, and the public key in PEM."""

import base64
import json
import sys

from securesystemslib.signer import Signature, SSlibKey

envelope = json.load(open(sys.argv[1]))
pem = open(sys.argv[2]).read()
(signature,) = envelope["signatures"]
der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))
if len(der) == 44:  # Ed25519: a head of 12 bytes, and the key
    key = SSlibKey(signature["keyid"], "ed25519", "ed25519", {"public": der[12:].hex()})
else:
    key = SSlibKey(signature["keyid"], "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})
try:
    from securesystemslib.dsse import Envelope
except ImportError:  # Debian 12's has keys and no envelopes
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key.verify_signature(Signature(key.keyid, base64.b64decode(signature["sig"]).hex()), signed)
else:
    assert Envelope.from_dict(envelope).verify([key], 1), "nobody's signature"
