#!/usr/bin/env python3
"""Searches code through a running Spanloom server, with the Python MCP SDK.

    pip install "mcp>=2,<3"
    python mcp_search.py "where is the retry logic" [--url http://127.0.0.1:8000/mcp]

`--mode auto` speaks the newest protocol version that the server knows, `--mode legacy`
opens a session as clients before 2026-07-28 do.
"""

import argparse
import asyncio
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TOOLS = ["semantic_search", "semantic_search_pro", "open_file"]


async def search(url: str, mode: str, query: str, limit: int) -> int:
    async with Client(streamable_http_client(url), mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        missing = [name for name in TOOLS if name not in tools]
        if missing:
            print(f"the server at {url} has no {', '.join(missing)}: it offers {', '.join(tools)}", file=sys.stderr)
            return 1
        result = await client.call_tool("semantic_search", {"query": query, "limit": limit})
        if result.is_error:
            print(result.content[0].text, file=sys.stderr)
            return 1
        answer = result.structured_content
        print(f"{answer['answer']} (protocol {client.protocol_version})")
        for finding in answer["findings"]:
            channels = ", ".join(part["channel"] for part in finding["contributions"])
            symbol = finding["symbol"] or "-"
            print(f"{finding['rank']}. {finding['path']}:{finding['start_line']}-{finding['end_line']} {symbol} [{channels}]")
        for warning in answer["warnings"]:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"ok, trace {answer['observability']['trace_id']}")
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Search code through a running Spanloom server.")
    parser.add_argument("query", help="words, identifiers or a question")
    parser.add_argument("--url", default="http://127.0.0.1:8000/mcp", help="the MCP endpoint")
    parser.add_argument("--mode", default="auto", help="auto, legacy, or a protocol version")
    parser.add_argument("--limit", type=int, default=5, help="how many findings, 1 to 100")
    arguments = parser.parse_args()
    return asyncio.run(search(arguments.url, arguments.mode, arguments.query, arguments.limit))


if __name__ == "__main__":
    sys.exit(main())
