"""The official Python client against a server.

    mcp_client.py [--http URL | COMMAND ARG...]

Ends with 0 and `done` where everything is as it should be.
"""

import asyncio
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult


async def converse(streams):
    progress = []
    asked = []

    async def on_progress(done, total, message):
        progress.append((done, message))

    async def on_question(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={})

    read, write = streams[0], streams[1]
    async with ClientSession(read, write, elicitation_callback=on_question) as session:
        hello = await session.initialize()
        assert hello.server_info.name == "codex", hello
        names = [tool.name for tool in (await session.list_tools()).tools]
        assert names == ["exec_command", "write_stdin", "shell", "apply_patch", "kill", "read_output"], names

        async def call(tool, arguments, **more):
            # The client checks it against the tool's output schema.
            return (await session.call_tool(tool, arguments, **more)).structured_content

        done = await call("shell", {"command": ["sh", "-c", "echo out; touch /etc/no; exit 3"]})
        assert done["exit_code"] == 3 and done["output"]["text"].startswith("out\n"), done
        assert done["denials"][0]["target"] == "/etc/no", done

        script = "echo busy; until test -e go; do sleep 0.1; done"
        waiting = asyncio.create_task(call("shell", {"command": ["sh", "-c", script]}, progress_callback=on_progress))
        while not any(message and "busy" in message for _, message in progress):
            await asyncio.sleep(0.05)
        done = await call("shell", {"command": ["touch", "go"], "sandbox_permissions": "workspace-write"})
        assert done["exit_code"] == 0, done
        assert len(asked) == 1 and "touch go" in asked[0], asked
        done = await waiting
        assert done["exit_code"] == 0, done

        begun = await call("exec_command", {"cmd": "cat", "tty": True, "yield_time_ms": 250})
        name = begun["session_id"]
        heard = ""
        said = await call("write_stdin", {"session_id": name, "chars": "hello\n"})
        heard += said["output"]["text"]
        while heard.count("hello") < 2:
            heard += (await call("write_stdin", {"session_id": name, "yield_time_ms": 250}))["output"]["text"]
        killed = await call("kill", {"session_id": name})
        assert killed["outcome"] == "cancelled", killed

        long = await call("exec_command", {"cmd": "seq 100000"})
        uri = long["spill"]["uri"]
        listed = (await session.list_resources()).resources
        assert [str(resource.uri) for resource in listed] == [uri], listed
        piece = (await session.read_resource(uri + "?line=70000&lines=1")).contents[0]
        assert piece.text == "70000\n", piece

        refused = await session.call_tool(
            "shell", {"command": ["true"], "sandbox_permissions": "danger-full-access"}
        )
        assert refused.is_error and "exec_server.max_policy" in refused.content[0].text, refused
        assert len(asked) == 1, asked


async def main(arguments):
    if arguments[0] == "--http":
        async with streamable_http_client(arguments[1]) as streams:
            await converse(streams)
    else:
        server = StdioServerParameters(command=arguments[0], args=arguments[1:], env=dict(os.environ))
        async with stdio_client(server) as streams:
            await converse(streams)
    print("done")


asyncio.run(main(sys.argv[1:]))
