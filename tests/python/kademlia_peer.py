"""A node of the PyPI package kademlia, to hold Pentad's discovery against.

    kademlia_peer.py serve PORT                  listen until killed (0: any port), join others,
                                                 print the neighbours when they change
    kademlia_peer.py bootstrap HOST:PORT [...]   join, print the neighbours, leave

Everything printed is a line of JSON.
"""

import argparse
import asyncio
import json
import logging
import secrets
import socket
import sys

from kademlia.network import Server

HOST = "127.0.0.1"
# Between attempts to find a bootstrap node that is still starting.
RETRY_SECONDS = 0.2
# Between lookups of a server.
LOOKUP_SECONDS = 1


def say(**fields):
    print(json.dumps(fields), flush=True)


async def listen(port):
    server = Server()
    await server.listen(port, interface=HOST)
    address = server.transport.get_extra_info("sockname")
    return server, address


async def serve(args):
    server, (ip, port) = await listen(args.port)
    say(id=server.node.id.hex(), ip=ip, port=port)
    if args.bootstrap:
        await enter(server, args.bootstrap)
        say(joined=port)
    known = None
    while True:
        await asyncio.sleep(LOOKUP_SECONDS)
        # The package looks for others only when it is used, and once an hour.
        await server.get(secrets.token_hex(8))
        nodes = server.protocol.router.find_neighbors(server.node)
        neighbors = sorted(f"{node.ip}:{node.port}" for node in nodes)
        if neighbors != known:
            known = neighbors
            say(neighbors=neighbors)


async def enter(server, address):
    host, port = address.rsplit(":", 1)
    # The package takes no host names.
    entry = (socket.gethostbyname(host), int(port))
    while not await server.bootstrap([entry]):
        await asyncio.sleep(RETRY_SECONDS)


async def join(server, args):
    await enter(server, args.address)
    for pair in args.set:
        key, value = pair.split("=", 1)
        say(key=key, stored=await server.set(key, value))
    for node in server.protocol.router.find_neighbors(server.node):
        say(id=node.id.hex(), ip=node.ip, port=node.port)
    for key in args.get:
        say(key=key, value=await server.get(key))


async def bootstrap(args):
    server, _ = await listen(args.listen)
    try:
        await asyncio.wait_for(join(server, args), args.seconds)
    finally:
        server.stop()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)
    mode = modes.add_parser("serve", help="listen until killed")
    mode.add_argument("port", type=int)
    mode.add_argument("--bootstrap", metavar="HOST:PORT")
    mode.set_defaults(run=serve)
    mode = modes.add_parser("bootstrap", help="join, print the neighbours, leave")
    mode.add_argument("address", metavar="HOST:PORT")
    mode.add_argument("--listen", type=int, default=0, metavar="PORT")
    mode.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    mode.add_argument("--get", action="append", default=[], metavar="KEY")
    mode.add_argument("--seconds", type=float, default=30, help="give up after this long")
    mode.set_defaults(run=bootstrap)
    return parser.parse_args()


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    args = arguments()
    try:
        asyncio.run(args.run(args))
    except KeyboardInterrupt:
        pass
    except asyncio.TimeoutError:
        sys.exit(f"nobody answered within {args.seconds} seconds")


if __name__ == "__main__":
    main()
