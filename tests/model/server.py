#!/usr/bin/env python3
"""A model that says what a script tells it to: the Responses API over SSE, on loopback.

    server.py SCRIPT LOG

SCRIPT is a JSON list, a turn each: a list of items that the model answers with. An item is
    {"call": NAME, "arguments": {...}}     a function call
    {"custom": NAME, "input": TEXT}        a call of a custom (freeform) tool
    {"text": TEXT}                         a message, which ends the turn of the agent
In the arguments, {"$session": true} stands for the session number that the last result has named.
The port is printed as the first line of output. LOG gets each request's body, a JSON object a line.
"""
import http.server
import json
import re
import sys
import threading

SCRIPT, LOG = sys.argv[1], sys.argv[2]
with open(SCRIPT) as file:
    TURNS = json.load(file)
STATE = {"turn": 0}
LOCK = threading.Lock()


def last_session(body):
    """The session number in the newest output of a tool that has one."""
    for item in reversed(body.get("input", [])):
        if item.get("type") in ("function_call_output", "custom_tool_call_output"):
            found = re.findall(r"session ID (\d+)|session_id\W+(\d+)", json.dumps(item["output"]))
            if found:
                return int(next(number for number in found[-1] if number))
    return None


def filled(value, body):
    if isinstance(value, dict):
        if value == {"$session": True}:
            return last_session(body)
        return {key: filled(inner, body) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, body) for inner in value]
    return value


def items(turn, number, body):
    for index, item in enumerate(turn):
        ident = f"c{number}_{index}"
        if "text" in item:
            yield {"type": "message", "role": "assistant", "id": f"m{number}_{index}",
                   "content": [{"type": "output_text", "text": item["text"], "annotations": []}]}
        elif "custom" in item:
            yield {"type": "custom_tool_call", "id": f"t{ident}", "call_id": ident, "name": item["custom"],
                   "input": item["input"]}
        else:
            yield {"type": "function_call", "id": f"f{ident}", "call_id": ident, "name": item["call"],
                   "arguments": json.dumps(filled(item["arguments"], body))}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        self.answer("application/json", b'{"data":[],"models":[],"object":"list"}')

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        if not self.path.endswith("/responses"):
            return self.answer("application/json", b"{}")
        with LOCK:
            number = STATE["turn"]
            STATE["turn"] += 1
            with open(LOG, "a") as log:
                log.write(json.dumps(body) + "\n")
        turn = TURNS[number] if number < len(TURNS) else [{"text": "done"}]
        response = {"id": f"r{number}", "object": "response", "status": "in_progress", "output": []}
        events = [{"type": "response.created", "response": response}]
        output = list(items(turn, number, body))
        for index, item in enumerate(output):
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
                 "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        done = dict(response, status="completed", output=output, usage=usage)
        events.append({"type": "response.completed", "response": done})
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.answer("text/event-stream", text.encode())

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


SERVER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(SERVER.server_address[1], flush=True)
SERVER.serve_forever()
