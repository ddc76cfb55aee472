"""nginx as a bare proxy: the floor. It looks at no body, keeps nothing and knows no keys."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import wire
from benchmarks.bed import Bed, free_port, install, program
from benchmarks.servers.base import LANES, Ask, NotServed, Running

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    client_max_body_size 2m;
    client_body_buffer_size 256k;
    upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /healthz {{ return 200 "ok"; }}
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class Nginx:
    name = "nginx"
    conditions = (
        "`proxy_pass` with one worker, connections to the upstream kept, `proxy_buffering off`, no "
        "access log: it looks at nothing, keeps nothing, and knows no keys"
    )

    def install(self) -> None:
        install(self.name)

    def version(self) -> str:
        done = subprocess.run([program("nginx"), "-v"], capture_output=True, text=True, check=True)
        found = re.search(r"nginx/(\S+)", done.stderr)
        return found[1] if found else "unknown"

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        port = free_port()
        folder = bed.folder / f"nginx-{port}"
        folder.mkdir()
        # The worker of a master that is root gives up root, and then needs a way in here.
        bed.folder.chmod(0o755)
        config = folder / "nginx.conf"
        config.write_text(
            CONFIGURATION.format(folder=folder, port=port, upstream=bed.upstream_port)
        )
        with bed.process([program("nginx"), "-p", folder, "-c", config]) as process:
            bed.wait_for(process, f"http://127.0.0.1:{port}/healthz")
            yield Running([port], [process.pid], [])

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane not in LANES:
            raise NotServed("it translates nothing")
        body = wire.chat_body("gpt-4o-mini", stream=ask.stream, prompt=ask.prompt)
        return [wire.http_request(LANES[ask.lane], body, {"authorization": "Bearer benchmark"})]
