"""The engines and the catalogs they are run against, each started once for all tests."""

import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "components")]

# What these assert is told as if a test had asserted it.
pytest.register_assert_rewrite("files", "golden", "relocation")

import components  # noqa: E402
import engines  # noqa: E402
import targets  # noqa: E402

USUAL_TARGETS = ("embedded", "proxy")
ENGINES = ("pyiceberg", "spark", "trino", "duckdb")
# Iceberg's S3 client waits 10 s for what renews credentials before its Java ends.
SPARK_STOP_TIMEOUT_S = 30


def pytest_configure(config):
    # PyIceberg says so whenever a table's properties ask for merge-on-read, which Spark's do here.
    config.addinivalue_line("filterwarnings", "ignore:Merge on read is not yet supported:UserWarning")


def pytest_addoption(parser):
    targets.add_options(parser)


def pytest_generate_tests(metafunc):
    names = list(targets.given(metafunc.config)) or USUAL_TARGETS
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", names, scope="session", indirect=True)
    if "engine_name" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", ENGINES)


@pytest.fixture(scope="session")
def trino_server():
    """Launched at once and waited for when it is first used: it takes the longest."""
    server = components.Trino().launch()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def uris(request, trino_server):
    """Where each target is: URI by name."""
    given = targets.given(request.config)
    if given:
        yield given
        return
    with ExitStack() as stack:
        embedded = stack.enter_context(components.Lifeboat.on_sqlite())
        fixture = stack.enter_context(components.RestFixture())
        proxy = stack.enter_context(components.Lifeboat.in_front_of(fixture.uri))
        yield {"embedded": embedded.uri, "proxy": proxy.uri}


@pytest.fixture(scope="session")
def spark(tmp_path_factory, trino_server):
    session = engines.spark_session(tmp_path_factory.mktemp("spark"))
    yield session
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    # Spark's Java ends when its input does; we wait, so that nothing outlives the tests.
    gateway.proc.stdin.close()
    gateway.proc.wait(SPARK_STOP_TIMEOUT_S)


@dataclass
class Target:
    """One catalog with every engine connected to it."""

    name: str
    uri: str
    engines: dict


@pytest.fixture(scope="session")
def target(request, uris, spark, trino_server):
    uri = uris[request.param]
    catalog = request.param.replace("-", "_")
    trino_server.wait_until_ready()
    connected = [
        engines.PyIceberg(uri),
        engines.Spark(spark, catalog, uri),
        engines.Trino(trino_server, catalog, uri),
        engines.DuckDb(uri),
    ]
    return Target(request.param, uri, {engine.name: engine for engine in connected})


@pytest.fixture
def engine(target, engine_name):
    return target.engines[engine_name]


@pytest.fixture
def namespace(engine, request):
    """A namespace made by the engine under test. The test drops it, which only works when it is empty."""
    name = f"{request.node.originalname.split('_')[1]}_{engine.name}_{uuid.uuid4().hex[:8]}"
    engine.create_namespace(name)
    return name
