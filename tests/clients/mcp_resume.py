"""The official Python client, in a call that outlives its connection.

    mcp_resume.py URL SCRIPT

Ends with 0 and `done` where the call has its answer.
"""

import asyncio
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url, script):
    async with streamable_http_client(url) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            done = await session.call_tool("shell", {"command": ["sh", "-c", script]})
            done = done.structured_content
            assert done["exit_code"] == 0 and done["output"]["text"] == "done\n", done
    print("done")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
