"""`make bench`: Lifeboat beside nginx and the Apache REST fixture on this machine, in one run; prints a table for docs/benchmarks.md.

Every comparison is measured in turn (A B A B …) in the same run and quoted as medians and ratios. All servers listen on loopback and
are started and stopped here; each load is bounded in time. Figures are printed with the row's aim beside them; nothing is
hidden when an aim is missed, and then the exit code is 1.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "components"))

import components  # noqa: E402  (the path is set just above)

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS_EACH", "8"))

NGINX = """
worker_processes 1; daemon off; pid {work}/nginx-{port}.pid; error_log {work}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; sendfile on; tcp_nodelay on; open_file_cache max=100;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  {upstream}
  server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""


class Nginx:
    """One nginx with a given `server` body, in the foreground, stopped by its process id."""

    def __init__(self, work, port, server, upstream=""):
        self.port = port
        config = work / f"nginx-{port}.conf"
        config.write_text(NGINX.format(work=work, port=port, server=server, upstream=upstream))
        self.process = subprocess.Popen(["nginx", "-p", str(work), "-c", str(config)])
        wait(f"http://127.0.0.1:{port}/v1/config")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def wait(url, seconds=20):
    until = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def free_port():
    return components.free_port()


class Load:
    """The load generator, built once."""

    def __init__(self):
        # a package of its own: the main one's development dependencies would be compiled for it in release, too
        target = ROOT / "target" / "bench"
        subprocess.run(["cargo", "build", "--release", "--locked", "--target-dir", str(target)],
                       cwd=ROOT / "tests" / "bench", check=True)
        self.path = str(target / "release" / "load")

    def __call__(self, mode, **options):
        pairs = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
        return json.loads(subprocess.run([self.path, mode, *pairs], check=True, stdout=subprocess.PIPE, text=True).stdout)


def lifeboat(*arguments, **options):
    binary = str(ROOT / "target" / "release" / "lifeboat")
    return components.Lifeboat(*arguments, binary=binary, **options)


def medians(load, urls, mode, **options):
    """Each URL in turn, ROUNDS times; the run with the median of requests a second per name."""
    runs = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            report = load(mode, url=url, **options)
            if report["errors"]:
                raise SystemExit(f"{name}: {report['errors']} errors, first: {report['first_error']}")
            runs[name].append(report)
    key = "per_second" if mode == "closed" else "p50_ms"
    return {name: sorted(reports, key=lambda r: r[key])[len(reports) // 2] for name, reports in runs.items()}


class Table:
    """Rows of the report; remembers whether an aim was missed."""

    def __init__(self):
        self.rows, self.missed = [], False

    def add(self, what, figure, aim, met):
        self.missed |= not met
        self.rows.append(f"| {what} | {figure} | {aim} | {'yes' if met else '**no**'} |")
        print(self.rows[-1], flush=True)

    def __str__(self):
        return "\n".join(["| what | figure | aim | met |", "|---|---|---|---|", *self.rows])


def static_answers(load, work, fixture_uri):
    """A table with 500 snapshots made in the fixture; its answers written down for nginx to serve."""
    made = load("fill", uri=fixture_uri, tables=1, snapshots=500)
    path = made["path"]
    folder = work / "static"
    files = {"/v1/config": None, "/v1/namespaces": None, path: None}
    for url in files:
        body = urllib.request.urlopen(fixture_uri + url).read()
        if url == "/v1/config":
            config = json.loads(body)
            config["overrides"] = {}
            body = json.dumps(config).encode()
        target = folder / (url.strip("/") + ".json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
    server = f"root {folder}; default_type application/json; location / {{ try_files $uri.json =404; }}"
    return server, path


def proxying(load, work, table, server, path):
    """Before nginx: added latency at 2,000 req/s, throughput beside `proxy_pass`, and cached loads beside a file."""
    static, passing = free_port(), free_port()
    pass_on = ("proxy_http_version 1.1; location / { proxy_pass http://catalog; proxy_set_header Connection \"\"; proxy_buffers 16 64k; "
               "proxy_busy_buffers_size 128k; proxy_buffer_size 64k; }")
    upstream = f"upstream catalog {{ server 127.0.0.1:{static}; keepalive 64; }}"
    with Nginx(work, static, server) as origin, Nginx(work, passing, pass_on, upstream):
        origin_uri, pass_uri = f"http://127.0.0.1:{origin.port}", f"http://127.0.0.1:{passing}"
        with lifeboat("--upstream", origin_uri) as proxy:
            urls = {"direct": f"{origin_uri}/v1/namespaces", "nginx": f"{pass_uri}/v1/namespaces",
                    "lifeboat": f"{proxy.uri}/v1/{proxy.prefix}/namespaces"}
            paced = medians(load, urls, "open", rate=2000, seconds=SECONDS, connections=32)
            added = paced["lifeboat"]["p50_ms"] - paced["direct"]["p50_ms"]
            table.add("added P50 at 2,000 req/s, listNamespaces before nginx",
                      f"{added:.2f} ms ({paced['direct']['p50_ms']:.2f} → {paced['lifeboat']['p50_ms']:.2f}; nginx proxy_pass {paced['nginx']['p50_ms']:.2f})",
                      "≤ 1 ms", added <= 1)
            full = medians(load, urls, "closed", seconds=SECONDS, connections=32)
            ratio = full["lifeboat"]["per_second"] / full["nginx"]["per_second"]
            table.add("throughput, listNamespaces, beside nginx proxy_pass",
                      f"{ratio:.2f} × ({full['lifeboat']['per_second']:.0f}/s, nginx {full['nginx']['per_second']:.0f}/s)", "≥ 0.5 ×", ratio >= 0.5)
        config = cached_config(work, origin_uri)
        with lifeboat("--config", str(config)) as proxy:
            urls = {"file": origin_uri + path, "lifeboat": proxy.uri + path.replace("/v1/", f"/v1/{proxy.prefix}/", 1)}
            full = medians(load, urls, "closed", seconds=SECONDS, connections=16)
            ratio = full["lifeboat"]["per_second"] / full["file"]["per_second"]
            table.add("loadTable, 500 snapshots, max-staleness 1s, beside nginx serving the same bytes from a file",
                      f"{ratio:.2f} × ({full['lifeboat']['per_second']:.0f}/s, nginx {full['file']['per_second']:.0f}/s)", "≥ 0.25 ×", ratio >= 0.25)


def cached_config(work, uri):
    path = work / f"cached-{free_port()}.yaml"
    path.write_text(f"listen: 127.0.0.1:{free_port()}\ncatalogs:\n  main:\n    upstream:\n      uri: {uri}\n    max-staleness: 1s\n")
    return path


def before_fixture(load, work, table, fixture_uri, path):
    """Before the Apache REST fixture: cached and revalidated loads beside the fixture asked directly."""
    load("closed", url=fixture_uri + path, seconds=SECONDS, connections=8)
    with lifeboat("--config", str(cached_config(work, fixture_uri))) as cached, lifeboat("--upstream", fixture_uri) as checked:
        urls = {"direct": fixture_uri + path,
                "cached": cached.uri + path.replace("/v1/", f"/v1/{cached.prefix}/", 1),
                "checked": checked.uri + path.replace("/v1/", f"/v1/{checked.prefix}/", 1)}
        full = medians(load, urls, "closed", seconds=SECONDS, connections=8)
    direct = full["direct"]["per_second"]
    ratio = full["cached"]["per_second"] / direct
    table.add("loadTable, 500 snapshots, max-staleness 1s, beside the REST fixture asked directly",
              f"{ratio:.1f} × ({full['cached']['per_second']:.0f}/s, fixture {direct:.0f}/s)", "≥ 10 ×", ratio >= 10)
    ratio = full["checked"]["per_second"] / direct
    table.add("the same with revalidation at every load", f"{ratio:.2f} × ({full['checked']['per_second']:.0f}/s)", "≥ 1 ×", ratio >= 1)


def embedded(load, work, table):
    """The embedded default under an open loop of 1,000 requests a second for 60 s."""
    data = work / "embedded"
    with lifeboat("--data", str(data)) as catalog:
        report = load("catalog", uri=catalog.uri, rate=1000, seconds=int(os.environ.get("SECONDS_EMBEDDED", "60")), connections=64, tables=50, snapshots=100)
    met = report["p95_ms"] < 50 and report["errors"] == 0
    table.add("embedded (SQLite), open loop 1,000 req/s for 60 s: 90 % loadTable (100 snapshots), 9 % list, 1 % commit, 50 tables",
              f"P50 {report['p50_ms']:.1f} ms, P95 {report['p95_ms']:.1f} ms, P99 {report['p99_ms']:.1f} ms, {report['errors']} errors, {report['per_second']:.0f}/s",
              "P95 < 50 ms, no error", met)


def main():
    if not shutil.which("nginx"):
        sys.exit("nginx is missing: run `make bench`, which installs it")
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    load, table = Load(), Table()
    # tests start Java for a minute and let it compile little; a comparison is with a server that is warm
    components.JAVA_FLAGS.remove("-XX:TieredStopAtLevel=1")
    with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder:
        work = pathlib.Path(folder)
        # nginx drops its rights for its worker: what it serves must be readable for it
        work.chmod(0o755)
        with components.RestFixture() as fixture:
            server, path = static_answers(load, work, fixture.uri)
            before_fixture(load, work, table, fixture.uri, path)
        proxying(load, work, table, server, path)
        embedded(load, work, table)
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, medians of {ROUNDS} runs of {SECONDS} s each, in turn\n\n{table}")
    sys.exit(1 if table.missed else 0)


if __name__ == "__main__":
    main()
