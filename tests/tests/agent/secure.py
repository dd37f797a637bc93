"""A site with a certificate before one without: what comes over TLS goes to the other, and back.

secure.py CERTIFICATE KEY PORT

The port that it listens at is the first line that it writes. It ends with its standard input.
"""

import os
import socket
import ssl
import sys
import threading

certificate, key, port = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def pass_on(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    try:
        # What is read to its end ends there as well.
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    try:
        secure = context.wrap_socket(client, server_side=True)
    except OSError:
        # Whoever trusts nobody goes.
        return
    with secure, socket.create_connection(("127.0.0.1", int(port))) as site:
        back = threading.Thread(target=pass_on, args=(site, secure))
        back.start()
        pass_on(secure, site)
        back.join()


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
sys.stdin.read()
os._exit(0)
