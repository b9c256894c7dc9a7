"""Start a service, wait until it is healthy, invoke it twice, end it by SIGTERM; print what it answered, as JSON.

usage: invoked_service.py COMMAND ...
"""

import http.client
import json
import signal
import subprocess
import sys
import time


def status_of(method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", 4743, timeout=120)
    connection.request(method, path)
    return connection.getresponse().status


def main() -> None:
    service = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    seen: dict[str, object] = {}
    for _ in range(1200):
        try:
            seen["health"] = status_of("GET", "/health")
        except ConnectionError:
            seen["health"] = 0
        if seen["health"] == 200 or service.poll() is not None:
            break
        time.sleep(0.1)
    seen["invoke"] = [status_of("POST", "/invoke") for _ in range(2)]
    service.send_signal(signal.SIGTERM)
    seen["end"] = service.wait(60)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
