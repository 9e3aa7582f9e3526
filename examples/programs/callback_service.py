"""Receive callbacks, and fetch each video once its job has succeeded.

    ENDPOINT_SECRET=whsec_... python callback_service.py PORT FOLDER

Create the endpoint first: `rushes endpoint create http://HOST:PORT/` shows its secret.
"""

import os
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rushes_client import Callback, ClientError, InvalidCallback, Rushes, verify_callback

todo: queue.Queue[Callback] = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; the work is done elsewhere. A slow answer would be sent again."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            todo.put(verify_callback(body, dict(self.headers), os.environ["ENDPOINT_SECRET"]))
        except InvalidCallback as error:
            print(f"refused: {error}", file=sys.stderr)
            self.send_error(400)
            return
        self.send_response(204)
        self.end_headers()


def fetch_videos(folder: str) -> None:
    """Handle each callback once. A service that must survive a restart stores the ids that it has handled."""
    handled: set[str] = set()
    with Rushes.from_environment() as rushes:
        while True:
            callback = todo.get()
            if callback.id in handled:
                continue
            try:
                if callback.type == "job.succeeded":
                    job = rushes.get_job(callback.data["job_id"])
                    print(*rushes.download(job, folder), flush=True)
                handled.add(callback.id)
            except ClientError as error:
                print(f"{callback.id}: {error}", file=sys.stderr)


def main(port: str, folder: str) -> None:
    threading.Thread(target=fetch_videos, args=[folder], daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
