"""All APIs of a system under one address, as an ingress has them, for programs that take one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from csms.harness import System

HOP_BY_HOP = ("connection", "host", "content-length", "transfer-encoding", "content-encoding")


@contextmanager
def ingress(system: System) -> Iterator[str]:
    """Its URL, until the block ends: the first part of a path is the service."""
    with httpx.Client(timeout=30) as onward:

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                address = system.addresses[self.path.split("/")[1]]
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = onward.request(self.command, f"{address}{self.path}", headers=headers, content=body)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                """What passes is no matter."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
