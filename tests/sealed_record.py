"""Makes and opens sealed records: docs/sealed-record.md in Python, for whoever distrusts one program.

    sealed_record.py make --identity SEALEDGE-IDENTITY-1… --name NAME --recipient sealedge1… … < value > record
    sealed_record.py open --identity SEALEDGE-IDENTITY-1… --name NAME --signer sealedge1… … < record > value

Needs the package `cryptography` and nothing else.
"""

import argparse
import base64
import hashlib
import hmac
import os
import re
import struct
import sys
import time

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PREFIX = b"sealedge:v1:"
CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NAME = re.compile(r"(?!-)(?!_\Z)[A-Za-z0-9_-]{1,80}(?<!-)\Z", re.ASCII)
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """The record or a key is not as the page says."""


# HKDF (RFC 5869) and HPKE in base mode (RFC 9180)


def extract(salt, material):
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key, info, length):
    output = block = b""
    while len(output) < length:
        block = hmac.digest(key, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:length]


def labeled_extract(suite, salt, label, material):
    return extract(salt, b"HPKE-v1" + suite + label + material)


def labeled_expand(suite, key, label, info, length):
    return expand(key, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


KEM = b"KEM" + struct.pack(">H", 0x0010)
HPKE = b"HPKE" + struct.pack(">HHH", 0x0010, 0x0001, 0x0002)


def derive_key_pair(material):
    key = labeled_extract(KEM, b"", b"dkp_prk", material)
    for counter in range(256):
        candidate = labeled_expand(KEM, key, b"candidate", bytes([counter]), 32)
        if 0 < int.from_bytes(candidate, "big") < ORDER:
            return ec.derive_private_key(int.from_bytes(candidate, "big"), CURVE)
    raise Refused("no key follows from this")


def point(public, form=PublicFormat.UncompressedPoint):
    return public.public_bytes(Encoding.X962, form)


def read_point(encoded, length):
    if len(encoded) != length or encoded[0] not in ((4,) if length == 65 else (2, 3)):
        raise Refused("not a point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, encoded)
    except ValueError:
        raise Refused("not a point") from None


def hpke_cipher(shared, encapsulated, recipient, info):
    """The cipher and the nonce of the first message."""
    secret = labeled_extract(KEM, b"", b"eae_prk", shared)
    secret = labeled_expand(KEM, secret, b"shared_secret", encapsulated + recipient, 32)
    context = b"\0" + labeled_extract(HPKE, b"", b"psk_id_hash", b"")
    context += labeled_extract(HPKE, b"", b"info_hash", info)
    secret = labeled_extract(HPKE, secret, b"secret", b"")
    key = labeled_expand(HPKE, secret, b"key", context, 32)
    return AESGCM(key), labeled_expand(HPKE, secret, b"base_nonce", context, 12)


def wrap(key, recipient, info):
    ephemeral = ec.generate_private_key(CURVE)
    encapsulated = point(ephemeral.public_key())
    shared = ephemeral.exchange(ec.ECDH(), recipient)
    cipher, nonce = hpke_cipher(shared, encapsulated, point(recipient), info)
    return encapsulated + cipher.encrypt(nonce, key, b"")


def unwrap(wrapped, private, info):
    if len(wrapped) != 65 + 48:
        raise Refused("a wrapped key has 113 bytes")
    encapsulated = wrapped[:65]
    shared = private.exchange(ec.ECDH(), read_point(encapsulated, 65))
    cipher, nonce = hpke_cipher(shared, encapsulated, point(private.public_key()), info)
    return decrypt(cipher, nonce, wrapped[65:], b"")


def decrypt(cipher, nonce, ciphertext, aad):
    try:
        return cipher.decrypt(nonce, ciphertext, aad)
    except (InvalidTag, ValueError):
        raise Refused("it does not decrypt") from None


# Identities and recipients


def bech32m(text, beginning):
    """The bytes under the checksum (BIP 350)."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    if text not in (text.lower(), text.upper()):
        raise Refused("mixed case")
    found, _, data = text.lower().rpartition("1")
    if found != beginning or not all(letter in alphabet for letter in data):
        raise Refused(f"it does not begin with {beginning}1, or has another letter in it")
    values = [alphabet.index(letter) for letter in data]
    check = 1
    for value in [ord(c) >> 5 for c in found] + [0] + [ord(c) & 31 for c in found] + values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    if check != 0x2BC830A3:
        raise Refused("mistyped")
    bits = "".join(f"{value:05b}" for value in values[:-6])
    whole = len(bits) // 8 * 8
    if len(bits) - whole > 4 or "1" in bits[whole:]:
        raise Refused("bits are left over")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, whole, 8))


class Recipient:
    def __init__(self, payload):
        if len(payload) != 67 or payload[0] != 1:
            raise Refused("a recipient of another kind")
        self.opening = read_point(payload[1:34], 33)
        self.signing = read_point(payload[34:], 33)
        self.fingerprint = hashlib.sha256(payload).digest()[:16]

    @classmethod
    def read(cls, text):
        return cls(bech32m(text, "sealedge"))


class Identity:
    def __init__(self, text):
        payload = bech32m(text, "sealedge-identity-")
        if len(payload) != 33 or payload[0] != 1:
            raise Refused("an identity of another kind")
        seed = extract(b"", payload[1:])
        self.opening = derive_key_pair(expand(seed, b"sealedge:v1:opening", 32))
        self.signing = derive_key_pair(expand(seed, b"sealedge:v1:signing", 32))
        public = [point(key.public_key(), PublicFormat.CompressedPoint) for key in (self.opening, self.signing)]
        self.recipient = Recipient(b"\1" + b"".join(public))


# Records


class Reader:
    def __init__(self, record):
        self.record, self.at = record, 0

    def take(self, length):
        taken = self.record[self.at : self.at + length]
        if len(taken) != length:
            raise Refused("cut off")
        self.at += length
        return taken

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def taken(self):
        return self.record[: self.at]


def make(value, name, sealed_at, recipients, identity):
    if not NAME.match(name):
        raise Refused("not a name")
    record = PREFIX + struct.pack(">HHB", 1, 1, len(name)) + name.encode()
    record += struct.pack(">QI", sealed_at, 1) + identity.recipient.fingerprint
    info, content_key = record, os.urandom(32)
    stanzas = {recipient.fingerprint: recipient.opening for recipient in recipients}
    if not 1 <= len(stanzas) <= 64 or len(value) > 65535 - 16:
        raise Refused("no or too many recipients, or too long a value")
    record += bytes([len(stanzas)])
    for fingerprint, opening in sorted(stanzas.items()):
        wrapped = wrap(content_key, opening, info)
        record += fingerprint + struct.pack(">HH", 1, len(wrapped)) + wrapped
    record += struct.pack(">H", len(value) + 16)
    record += AESGCM(content_key).encrypt(ZERO_NONCE, value, record)
    r, s = utils.decode_dss_signature(identity.signing.sign(record, ec.ECDSA(hashes.SHA256())))
    record += r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")
    return PREFIX + base64.urlsafe_b64encode(record[len(PREFIX) :]).rstrip(b"=")


def decode(text):
    encoded = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or len(text) > 131072 or not re.fullmatch(rb"[A-Za-z0-9_-]*", encoded):
        raise Refused("no record of this format")
    try:
        record = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    except ValueError:
        raise Refused("not base64url") from None
    if base64.urlsafe_b64encode(record).rstrip(b"=") != encoded:
        raise Refused("bits are left over")
    return PREFIX + record


def open_record(text, name, identity, signers):
    reader = Reader(decode(text))
    reader.take(len(PREFIX))
    content_algorithm, signature_algorithm = reader.number(2), reader.number(2)
    found = reader.take(reader.number(1)).decode("latin-1")
    _sealed_at, version, signer = reader.number(8), reader.number(4), reader.take(16)
    info = reader.taken()
    stanzas, before = {}, b""
    count = reader.number(1)
    for _ in range(count):
        fingerprint, algorithm = reader.take(16), reader.number(2)
        stanzas[fingerprint] = algorithm, reader.take(reader.number(2))
        if fingerprint <= before:
            raise Refused("recipients out of order")
        before = fingerprint
    length = reader.number(2)
    aad = reader.taken()
    ciphertext = reader.take(length)
    if not NAME.match(found) or not 1 <= count <= 64 or len(stanzas) != count:
        raise Refused("no name, or no or too many recipients")

    check_signature(signature_algorithm, signer, signers, reader)
    if found != name:
        raise Refused(f"it belongs to {found}")
    if (version, content_algorithm) != (1, 1):
        raise Refused("a later version")
    algorithm, wrapped = stanzas.get(identity.recipient.fingerprint, (None, b""))
    if algorithm != 1:
        raise Refused("not for this identity, or by a later version")
    return decrypt(AESGCM(unwrap(wrapped, identity.opening, info)), ZERO_NONCE, ciphertext, aad)


def check_signature(algorithm, signer, signers, reader):
    signed = reader.taken()
    signature = reader.take(64)
    if algorithm != 1 or reader.at != len(reader.record):
        raise Refused("a later version, or something follows")
    key = next((trusted.signing for trusted in signers if trusted.fingerprint == signer), None)
    if key is None:
        raise Refused(f"signed by {signer.hex()}, whom you don't name")
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    if s > ORDER // 2:
        raise Refused("the other signature of the pair")
    try:
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("its signature is wrong") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command, others in (("make", "recipient"), ("open", "signer")):
        arguments = commands.add_parser(command)
        arguments.add_argument("--identity", required=True, type=Identity)
        arguments.add_argument("--name", required=True)
        arguments.add_argument(f"--{others}", required=True, action="append", type=Recipient.read, dest="others")
        if command == "make":
            arguments.add_argument("--time", type=int, default=time.time_ns(), help="nanoseconds since 1970")
    chosen = parser.parse_args()
    value = sys.stdin.buffer.read()
    if chosen.command == "make":
        result = make(value, chosen.name, chosen.time, chosen.others, chosen.identity)
    else:
        result = open_record(value, chosen.name, chosen.identity, chosen.others)
    sys.stdout.buffer.write(result)


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        sys.exit(f"refused: {why}")
