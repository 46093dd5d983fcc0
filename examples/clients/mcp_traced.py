#!/usr/bin/env python3
"""Searches code within a trace of one's own, which the server continues.

    pip install "mcp>=2,<3" opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
    python mcp_traced.py "where is the retry logic" [--url http://127.0.0.1:8000/mcp]
                         [--otlp http://127.0.0.1:4318]

The SDK puts the context of its span into `_meta` of each message by itself, once a
tracer provider is set. A server that exports to the same collector shows there as the
lower part of this client's trace.
"""

import argparse
import asyncio
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

SERVICE = "mcp-traced"
SPAN = "look for code"


async def search(url: str, query: str) -> int:
    with trace.get_tracer(SERVICE).start_as_current_span(SPAN) as span:
        own = f"{span.get_span_context().trace_id:032x}"
        async with Client(streamable_http_client(url), mode="auto") as client:
            result = await client.call_tool("semantic_search", {"query": query})
    if result.is_error:
        print(result.content[0].text, file=sys.stderr)
        return 1
    answer = result.structured_content
    print(answer["answer"])
    print(f"trace {own}, the server's {answer['observability']['trace_id']}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Search code within a trace of one's own.")
    parser.add_argument("query", help="words, identifiers or a question")
    parser.add_argument("--url", default="http://127.0.0.1:8000/mcp", help="the MCP endpoint")
    parser.add_argument("--otlp", default="http://127.0.0.1:4318", help="where spans go: OTLP over HTTP")
    arguments = parser.parse_args()
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{arguments.otlp}/v1/traces")))
    trace.set_tracer_provider(provider)
    try:
        return asyncio.run(search(arguments.url, arguments.query))
    finally:
        # Sends what is waiting.
        provider.shutdown()


if __name__ == "__main__":
    sys.exit(main())
