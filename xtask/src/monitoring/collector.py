"""A collector of metrics that reads OTLP by the makers' own schema, and keeps the names it was told.

usage: collector.py FILE. Prints its port; FILE has a name a line, and is replaced with each request.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Collector(BaseHTTPRequestHandler):
    names = set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            if self.path != "/v1/metrics" or self.headers["x-key"] != "secret":
                raise ValueError(f"{self.path} or its key is wrong")
            # A member that the schema does not have is an error.
            request = json_format.Parse(body, ExportMetricsServiceRequest())
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        points = getattr(metric, metric.WhichOneof("data")).data_points
                        if all(point.time_unix_nano > point.start_time_unix_nano > 0 for point in points):
                            self.names.add(metric.name)
        except Exception as error:
            self.names.add(f"error: {error}".replace("\n", " "))
        with open(sys.argv[1] + ".new", "w") as file:
            file.write("".join(name + "\n" for name in sorted(self.names)))
        os.replace(sys.argv[1] + ".new", sys.argv[1])
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
