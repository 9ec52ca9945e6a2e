"""The wire protocol of Pentad, written from docs/wire-protocol.md alone (sections in the comments).

The messages are compiled from proto/pentad/wire/v1/wire.proto; the rest is here.
"""

import asyncio
import importlib
import pathlib
import secrets
import struct
import sys
import tempfile

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from grpc_tools import protoc
from noise.connection import Keypair, NoiseConnection

PROTOS = pathlib.Path(__file__).parents[2] / "proto"


def compile_messages():
    """The classes of pentad.wire.v1."""
    with tempfile.TemporaryDirectory() as folder:
        source = "pentad/wire/v1/wire.proto"
        status = protoc.main(["protoc", f"-I{PROTOS}", f"--python_out={folder}", source])
        if status != 0:
            raise RuntimeError(f"protoc fails: {status}")
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("pentad.wire.v1.wire_pb2")
        finally:
            sys.path.remove(folder)


messages = compile_messages()

# Section 2
CONSENSUS, ANNOUNCEMENTS, BULK = range(3)
CHUNK_MAX = 16_384
NOISE_MAX = 65_535
TAG_LEN = 16
PLAINTEXT_MAX = NOISE_MAX - TAG_LEN
# Section 3: kind, message, limit of the payload, usual class
KINDS = [
    (1, messages.Handshake, 4 << 10, CONSENSUS),
    (2, messages.GetBlocks, 8 << 10, ANNOUNCEMENTS),
    (3, messages.Transactions, 512 << 10, ANNOUNCEMENTS),
    (4, messages.Block, (8 << 20) + (9 << 10), BULK),
    (5, messages.GetHeaders, 8 << 10, ANNOUNCEMENTS),
    (6, messages.Headers, 176 << 10, BULK),
    (7, messages.Inventory, 40 << 10, BULK),
    (8, messages.GetTransactions, 40 << 10, ANNOUNCEMENTS),
    (9, messages.Goodbye, 4 << 10, CONSENSUS),
    (10, messages.Consensus, (8 << 20) + (9 << 10), CONSENSUS),
]
BY_KIND = {kind: (message, limit) for kind, message, limit, _ in KINDS}
BY_MESSAGE = {message: (kind, limit, usual) for kind, message, limit, usual in KINDS}
CLASS_MAX = {CONSENSUS: 32 << 10, ANNOUNCEMENTS: (8 << 20) + (9 << 10), BULK: (8 << 20) + (9 << 10)}
FRAME_HEAD = struct.Struct(">BBI")
CONTEXT_MAX = 64


class Broken(Exception):
    """The other side breaks the protocol."""


class Ended(Exception):
    """The other side says goodbye or closes."""


class Identity:
    """A static key pair (section 1) and the random name of this process (section 4)."""

    def __init__(self):
        self.secret = secrets.token_bytes(32)
        public = X25519PrivateKey.from_private_bytes(self.secret).public_key()
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self.public = public.public_bytes(*raw)
        self.instance = secrets.randbits(64)


class Chunks:
    """Puts the three streams of frames together (sections 2 and 3)."""

    def __init__(self):
        self.streams = {class_: bytearray() for class_ in CLASS_MAX}

    def push(self, plaintext):
        """The frames that a plaintext completes, as (kind, payload)."""
        at, frames = 0, []
        while at < len(plaintext):
            if len(plaintext) - at < 3:
                raise Broken("a chunk is cut off")
            class_, length = struct.unpack_from(">BH", plaintext, at)
            at += 3
            if class_ not in CLASS_MAX or not 1 <= length <= CHUNK_MAX:
                raise Broken(f"a chunk of class {class_} and length {length}")
            if len(plaintext) - at < length:
                raise Broken("a chunk is cut off")
            self.streams[class_] += plaintext[at : at + length]
            at += length
            frames += self.complete(class_)
        return frames

    def complete(self, class_):
        stream, frames = self.streams[class_], []
        while len(stream) >= FRAME_HEAD.size:
            kind, context, length = FRAME_HEAD.unpack_from(stream)
            limit = min(BY_KIND[kind][1] if kind in BY_KIND else 1 << 32, CLASS_MAX[class_])
            if kind == 0 or context > CONTEXT_MAX or length > limit:
                raise Broken(f"a frame of kind {kind} with {length} bytes")
            end = FRAME_HEAD.size + context + length
            if len(stream) < end:
                break
            # A frame of an unknown kind is skipped.
            if kind in BY_KIND:
                frames.append((kind, bytes(stream[FRAME_HEAD.size + context : end])))
            del stream[:end]
        return frames


def plaintexts(class_, frame):
    """A frame in chunks, as many to a Noise message as fit."""
    message = b""
    for at in range(0, len(frame), CHUNK_MAX):
        piece = frame[at : at + CHUNK_MAX]
        if len(message) + 3 + len(piece) > PLAINTEXT_MAX:
            yield message
            message = b""
        message += struct.pack(">BH", class_, len(piece)) + piece
    yield message


class Link:
    """An encrypted link that carries messages."""

    def __init__(self, reader, writer, identity, dials):
        self.reader, self.writer = reader, writer
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_BLAKE2s")
        self.noise.set_prologue(b"pentad/1")
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, identity.secret)
        if dials:
            self.noise.set_as_initiator()
        else:
            self.noise.set_as_responder()
        self.chunks = Chunks()
        self.frames = []
        self.turn = asyncio.Lock()

    async def open(self):
        """The Noise handshake (section 1)."""
        self.noise.start_handshake()
        writes = self.noise.noise_protocol.initiator
        while not self.noise.handshake_finished:
            if writes:
                await self.write(self.noise.write_message())
            else:
                self.noise.read_message(await self.read(96))
            writes = not writes

    async def read(self, limit):
        try:
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            if length > limit:
                raise Broken(f"a Noise message of {length} bytes")
            return await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended("the other side closed the connection") from error

    async def write(self, message):
        self.writer.write(struct.pack(">H", len(message)) + bytes(message))
        await self.writer.drain()

    async def send(self, message, class_=None):
        """Sends a message in its usual class or another one."""
        kind, limit, usual = BY_MESSAGE[type(message)]
        payload = message.SerializeToString()
        assert len(payload) <= limit, f"{len(payload)} bytes for kind {kind}"
        frame = FRAME_HEAD.pack(kind, 0, len(payload)) + payload
        async with self.turn:
            for plaintext in plaintexts(usual if class_ is None else class_, frame):
                await self.write(self.noise.encrypt(plaintext))

    async def receive(self):
        """The next message; ends with Ended at a goodbye."""
        while not self.frames:
            plaintext = self.noise.decrypt(await self.read(NOISE_MAX))
            self.frames = self.chunks.push(plaintext)
        kind, payload = self.frames.pop(0)
        message = BY_KIND[kind][0].FromString(payload)
        if isinstance(message, messages.Goodbye):
            raise Ended(f"{message.reason}: {message.message}")
        return message

    async def close(self, reason, text):
        await self.send(messages.Goodbye(reason=reason, message=text))
        self.writer.close()
        await self.writer.wait_closed()


async def dial(address, identity):
    host, port = address.rsplit(":", 1)
    link = Link(*await asyncio.open_connection(host, int(port)), identity, dials=True)
    await link.open()
    return link
