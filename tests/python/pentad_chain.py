"""As much of Bitcoin's formats as a light client needs: headers, blocks, one kind of payment."""

import hashlib
import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

HEADER_LEN = 80
CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Invalid(Exception):
    """What a peer sent is no part of a valid chain."""


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def shown(hash_):
    """A hash as people see it."""
    return hash_[::-1].hex()


def hidden(text):
    """A hash as it is hashed."""
    return bytes.fromhex(text)[::-1]


class Header:
    def __init__(self, raw):
        if len(raw) != HEADER_LEN:
            raise Invalid(f"a header of {len(raw)} bytes")
        self.raw = raw
        self.previous, self.merkle_root = raw[4:36], raw[36:68]
        (self.bits,) = struct.unpack_from("<I", raw, 72)
        self.hash = sha256d(raw)

    def target(self):
        exponent, mantissa = self.bits >> 24, self.bits & 0x007FFFFF
        return mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)

    def work(self):
        return 2**256 // (self.target() + 1)

    def check_work(self):
        if int.from_bytes(self.hash, "little") > self.target():
            raise Invalid(f"{shown(self.hash)} is not enough work")


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        taken = self.data[self.at : self.at + length]
        if len(taken) != length:
            raise Invalid("cut off")
        self.at += length
        return taken

    def number(self, length):
        return int.from_bytes(self.take(length), "little")

    def compact(self):
        first = self.number(1)
        return first if first < 0xFD else self.number(2 << first - 0xFD)


class Transaction:
    """Where it stands in `cursor`: its id, and what it pays: (amount, script)."""

    def __init__(self, cursor):
        start = cursor.at
        cursor.take(4)
        self.inputs = []
        for _ in range(cursor.compact()):
            self.inputs.append(cursor.take(36))
            cursor.take(cursor.compact() + 4)
        self.outputs = []
        for _ in range(cursor.compact()):
            amount = cursor.number(8)
            self.outputs.append((amount, cursor.take(cursor.compact())))
        cursor.take(4)
        self.raw = cursor.data[start : cursor.at]
        self.txid = sha256d(self.raw)


class Block:
    """A block whose transactions are those that its header names."""

    def __init__(self, raw):
        self.raw = raw
        self.header = Header(raw[:HEADER_LEN])
        cursor = Cursor(raw)
        cursor.take(HEADER_LEN)
        self.transactions = [Transaction(cursor) for _ in range(cursor.compact())]
        if cursor.at != len(raw):
            raise Invalid("bytes after the last transaction")
        if merkle_root([tx.txid for tx in self.transactions]) != self.header.merkle_root:
            raise Invalid(f"the merkle root of {shown(self.header.hash)} is not of these")


def merkle_root(level):
    if not level:
        raise Invalid("a block without transactions")
    while len(level) > 1:
        level = level + level[-1:] * (len(level) % 2)
        level = [sha256d(a + b) for a, b in zip(level[::2], level[1::2])]
    return level[0]


class Chain:
    """Headers from genesis on, each checked when it comes."""

    def __init__(self, genesis):
        self.headers = [genesis]
        self.work = genesis.work()
        self.blocks = {}

    @property
    def tip(self):
        return self.headers[-1].hash

    @property
    def height(self):
        return len(self.headers) - 1

    def add(self, header):
        if header.previous != self.tip:
            raise Invalid(f"{shown(header.hash)} is not on top of {shown(self.tip)}")
        header.check_work()
        self.work += header.work()
        self.headers.append(header)

    def locator(self):
        """From the tip back, ever sparser, genesis last."""
        height, step, hashes_ = self.height, 1, []
        while height > 0 and len(hashes_) < 100:
            hashes_.append(self.headers[height].hash)
            height -= step
            step *= 2 if len(hashes_) >= 10 else 1
        return hashes_ + [self.headers[0].hash]

    def after(self, locator, limit):
        """Headers after the first hash of a locator that is on this chain."""
        places = {header.hash: height for height, header in enumerate(self.headers)}
        start = next((places[hash_] for hash_ in locator if hash_ in places), 0)
        return self.headers[start + 1 : start + 1 + limit]


class Wallet:
    """One key, its address, and payments of one input that it signs."""

    def __init__(self, secret):
        self.key = ec.derive_private_key(secret, ec.SECP256K1())
        point = serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        self.public = self.key.public_key().public_bytes(*point)
        digest = hashlib.sha256(self.public).digest()
        self.key_hash = hashlib.new("ripemd160", digest).digest()
        self.script = b"\x76\xa9\x14" + self.key_hash + b"\x88\xac"

    def address(self):
        """base58check, version 0."""
        payload = b"\x00" + self.key_hash
        number = int.from_bytes(payload + sha256d(payload)[:4], "big")
        text = ""
        while number:
            number, digit = divmod(number, 58)
            text = BASE58[digit] + text
        return "1" + text

    def coin(self, block):
        """An output of a block that pays this wallet: (outpoint, amount)."""
        for transaction in block.transactions:
            for vout, (amount, script) in enumerate(transaction.outputs):
                if script == self.script:
                    return transaction.txid + struct.pack("<I", vout), amount
        return None

    def pay_back(self, coin, script, fee):
        """A transaction that gives a coin to `script`."""
        outpoint, amount = coin
        preimage = payment(outpoint, self.script, amount - fee, script)
        digest = sha256d(preimage + struct.pack("<I", 1))
        signature = self.key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        r, s = utils.decode_dss_signature(signature)
        low = utils.encode_dss_signature(r, min(s, CURVE_ORDER - s)) + b"\x01"
        unlock = bytes([len(low)]) + low + bytes([len(self.public)]) + self.public
        return payment(outpoint, unlock, amount - fee, script)


def payment(outpoint, script_sig, amount, script):
    """One input, one output; scripts are shorter than 253 bytes."""
    return b"".join(
        [
            struct.pack("<I", 1),
            b"\x01" + outpoint + bytes([len(script_sig)]) + script_sig + b"\xff" * 4,
            b"\x01" + struct.pack("<Q", amount) + bytes([len(script)]) + script,
            struct.pack("<I", 0),
        ]
    )
