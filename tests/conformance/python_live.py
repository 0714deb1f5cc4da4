"""The official ConvexClient of PyPI, unchanged, in a process of its own, because its calls hold the interpreter's lock.

Usage: python_live.py URL; commands are JSON lines on standard input, answers JSON lines on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from convex import ConvexClient, ConvexError, ConvexInt64


def show(value: Any) -> Any:
    if isinstance(value, ConvexInt64):
        return {"int64": str(value.value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {key: show(item) for key, item in value.items()}
    return [show(item) for item in value] if isinstance(value, list) else value


def read(value: Any) -> Any:
    if isinstance(value, dict):
        if "int64" in value:
            return ConvexInt64(int(value["int64"]))
        if "bytes" in value:
            return bytes.fromhex(value["bytes"])
        if "float" in value:
            return float(value["float"])
        return {key: read(item) for key, item in value.items()}
    return [read(item) for item in value] if isinstance(value, list) else value


def say(message: Any) -> None:
    print("@" + json.dumps(message), flush=True)


async def watch(client: ConvexClient, number: int, path: str, args: dict[str, Any]) -> None:
    try:
        async for value in client.subscribe(path, args):
            say({"id": number, "value": show(value)})
    except ConvexError as error:
        say({"id": number, "error": {"isConvexError": True, "data": show(error.data)}})


def main() -> None:
    client = ConvexClient(sys.argv[1])
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        while True:
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line:
                for task in tasks:
                    task.cancel()
                return
            command = json.loads(line)
            number, what, path, args = command["id"], command["what"], command["path"], read(command.get("args") or {})
            if what == "subscribe":
                tasks.append(loop.create_task(watch(client, number, path, args)))
                continue
            try:
                given = (path, args) if path else tuple(args.values())
                say({"id": number, "value": show(getattr(client, what)(*given))})
            except ConvexError as error:
                say({"id": number, "error": {"isConvexError": True, "data": show(error.data)}})
            except Exception as error:  # noqa: BLE001 - said, whatever it is
                say({"id": number, "error": {"isConvexError": False, "message": str(error)}})

    loop.run_until_complete(run())


if __name__ == "__main__":
    main()
