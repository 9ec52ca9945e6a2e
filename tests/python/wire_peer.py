"""A peer of a Pentad network, written from docs/wire-protocol.md alone.

    wire_peer.py pay HOST:PORT ...      sync, take a payment, give it back, see both in blocks
    wire_peer.py serve HOST:PORT ...    sync, then serve others, honestly or not

Everything printed is a line of JSON; hashes are as displayed.
"""

import argparse
import asyncio
import json
import sys

from pentad_chain import Block, Chain, Header, Invalid, Transaction, Cursor, Wallet
from pentad_chain import hidden, sha256d, shown
from pentad_wire import Broken, Ended, Identity, Link, dial, messages

# Sections 4 to 6 of the document
VERSION = 1
HEARTBEAT_SECONDS = 5
HEADERS_MAX = 2000
BLOCKS_MAX = 128
TRANSACTIONS_MAX = 1000
# Questions open at a time while blocks are fetched, and the blocks in each.
QUESTIONS, RUN = 4, 16
FEE = 2_000


def say(**fields):
    print(json.dumps(fields), flush=True)


class Node:
    """Who this is and where it stands."""

    def __init__(self, network, genesis):
        self.identity = Identity()
        self.network, self.genesis = network, genesis
        self.chain = None
        self.listen_port = 0

    def hello(self, heartbeat=0, echo=0):
        chain = self.chain
        return messages.Handshake(
            network=self.network,
            version_min=VERSION,
            version_max=VERSION,
            genesis_hash=self.genesis,
            height=chain.height if chain else 0,
            tip=chain.tip if chain else self.genesis,
            chain_work=(chain.work if chain else 0).to_bytes(32, "big"),
            listen_port=self.listen_port,
            instance=self.identity.instance,
            heartbeat=heartbeat,
            echo=echo,
        )

    def objection(self, hello):
        """Why not to talk to the sender of a handshake."""
        if hello.instance == self.identity.instance:
            return "SELF_CONNECTION"
        if hello.network != self.network:
            return "WRONG_NETWORK"
        if hello.genesis_hash != self.genesis:
            return "WRONG_GENESIS"
        if not hello.version_min <= VERSION <= hello.version_max:
            return "UNSUPPORTED_VERSION"
        return None


class Session:
    """A link after the handshake of both sides."""

    def __init__(self, node, link):
        self.node, self.link = node, link
        self.claim = None
        self.heartbeats = 0
        # What came unasked while something else was waited for.
        self.unasked = []

    async def open(self):
        await self.link.send(self.node.hello())
        hello = await self.link.receive()
        if not isinstance(hello, messages.Handshake):
            raise Broken(f"a {type(hello).__name__} before the handshake")
        reason = self.node.objection(hello)
        if reason:
            await self.link.close(reason, "not with this one")
            raise Ended(reason)
        self.claim = hello

    async def beat(self):
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.heartbeats += 1
            await self.link.send(self.node.hello(heartbeat=self.heartbeats))

    async def receive(self):
        """The next message that is no heartbeat; heartbeats are answered."""
        while True:
            message = await self.link.receive()
            if not isinstance(message, messages.Handshake):
                return message
            self.claim = message
            if message.heartbeat:
                await self.link.send(self.node.hello(echo=message.heartbeat))

    async def answer(self, kind):
        """The next message of a kind; what else comes is kept."""
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message
            self.unasked.append(message)

    async def next(self):
        return self.unasked.pop(0) if self.unasked else await self.receive()


async def fetch(session, hashes):
    """Blocks by hash, in order; each is what was asked for, or it is Invalid."""
    runs = [hashes[at : at + RUN] for at in range(0, len(hashes), RUN)]
    for number, run in enumerate(runs):
        for ahead in runs[:QUESTIONS] if number == 0 else runs[number + QUESTIONS - 1 :][:1]:
            await session.link.send(messages.GetBlocks(hashes=ahead))
        for hash_ in run:
            message = await session.answer(messages.Block)
            if message.hash != hash_ or not message.block:
                raise Invalid(f"no answer for {shown(hash_)}")
            block = Block(message.block)
            if block.header.hash != hash_:
                raise Invalid(f"another block than {shown(hash_)}")
            yield block


async def sync(session):
    """Headers, then blocks, until the other side has shown the work that it claims."""
    node = session.node
    if node.chain is None:
        async for genesis in fetch(session, [node.genesis]):
            node.chain = Chain(genesis.header)
            node.chain.blocks[genesis.header.hash] = genesis
    chain = node.chain
    claimed = int.from_bytes(session.claim.chain_work, "big")
    while chain.work < claimed:
        await session.link.send(messages.GetHeaders(locator=chain.locator()))
        batch = (await session.answer(messages.Headers)).headers
        if not batch or len(batch) > HEADERS_MAX:
            raise Invalid(f"{len(batch)} headers, and less work than claimed")
        for raw in batch:
            chain.add(Header(raw))
    missing = [header.hash for header in chain.headers if header.hash not in chain.blocks]
    async for block in fetch(session, missing):
        chain.blocks[block.header.hash] = block
    await session.link.send(node.hello())
    total = sum(len(block.transactions) for block in chain.blocks.values())
    say(synced=chain.height, tip=shown(chain.tip), work=chain.work, total=total)


async def join(args, node):
    session = Session(node, await dial(args.address, node.identity))
    await session.open()
    say(handshake=session.claim.height, key=node.identity.public.hex())
    session.beating = asyncio.create_task(session.beat())
    await sync(session)
    return session


async def until(session, wanted):
    """Takes what is pushed until a block holds the transaction that `wanted` knows; that block."""
    chain = session.node.chain
    while True:
        message = await session.next()
        if isinstance(message, messages.Inventory):
            say(inventory=[shown(txid) for txid in message.txids])
            await session.link.send(messages.GetTransactions(txids=message.txids))
        elif isinstance(message, messages.Transactions):
            transactions = [Transaction(Cursor(raw)) for raw in message.transactions]
            say(transactions=[shown(transaction.txid) for transaction in transactions])
        elif isinstance(message, messages.Block):
            block = Block(message.block)
            chain.add(block.header)
            chain.blocks[block.header.hash] = block
            say(block=shown(block.header.hash), height=chain.height)
            await session.link.send(session.node.hello())
            if wanted(block):
                return block


async def pay(args, node):
    wallet = Wallet(int(args.secret, 16))
    say(address=wallet.address())
    session = await join(args, node)
    block = await until(session, wallet.coin)
    # Back to whoever paid: the other output of that transaction is the change.
    coin = wallet.coin(block)
    paid = next(tx for tx in block.transactions if tx.txid == coin[0][:32])
    change = next(script for _, script in paid.outputs if script != wallet.script)
    payment = wallet.pay_back(coin, change, FEE)
    txid = sha256d(payment)
    await session.link.send(messages.Transactions(transactions=[payment]))
    say(submitted=shown(txid))
    await until(session, lambda block: any(tx.txid == txid for tx in block.transactions))
    say(confirmed=shown(txid))
    session.beating.cancel()
    await session.link.close("SHUTTING_DOWN", "all is done")


def altered(raw):
    """A block under the same header, with one byte of its last transaction changed."""
    return raw[:-6] + bytes([raw[-6] ^ 1]) + raw[-5:]


async def reply(session, message, behave):
    chain, link = session.node.chain, session.link
    if isinstance(message, messages.GetHeaders):
        headers = [header.raw for header in chain.after(message.locator, HEADERS_MAX)]
        await link.send(messages.Headers(headers=headers))
    elif isinstance(message, messages.GetBlocks):
        say(asked=len(message.hashes))
        if behave == "stall":
            return
        for hash_ in message.hashes:
            block = chain.blocks.get(hash_)
            raw = block.raw if block else b""
            if raw and behave == "garbage":
                raw = altered(raw)
            await link.send(messages.Block(hash=hash_, block=raw))
    elif isinstance(message, messages.GetTransactions):
        await link.send(messages.Transactions())


async def accept(node, reader, writer, behave):
    try:
        link = Link(reader, writer, node.identity, dials=False)
        await link.open()
        session = Session(node, link)
        await session.open()
        say(peer=session.claim.height)
        beating = asyncio.create_task(session.beat())
        try:
            while True:
                await reply(session, await session.receive(), behave)
        finally:
            beating.cancel()
    except Exception as error:  # whatever ends a link, the others go on
        say(ended=f"{type(error).__name__}: {error}")
        writer.close()


async def serve(args, node):
    session = await join(args, node)
    session.beating.cancel()
    await session.link.close("SHUTTING_DOWN", "it has all blocks now")
    server = await asyncio.start_server(
        lambda reader, writer: accept(node, reader, writer, args.behave), "127.0.0.1", 0
    )
    node.listen_port = server.sockets[0].getsockname()[1]
    say(listening=node.listen_port)
    await server.serve_forever()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)
    for name, run in [("pay", pay), ("serve", serve)]:
        mode = modes.add_parser(name)
        mode.add_argument("address", metavar="HOST:PORT")
        mode.add_argument("--network", required=True)
        mode.add_argument("--genesis", required=True, help="hash of the genesis block")
        mode.set_defaults(run=run)
        if name == "pay":
            mode.add_argument("--secret", required=True, help="a secp256k1 key, hex")
        else:
            mode.add_argument("--behave", choices=["honest", "stall", "garbage"], default="honest")
    return parser.parse_args()


def main():
    args = arguments()
    node = Node(args.network, hidden(args.genesis))
    try:
        asyncio.run(args.run(args, node))
    except (Broken, Ended, Invalid) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
