"""Apache's REST Compatibility Kit against every way Lifeboat serves a catalog.

A target passes when no test of the kit fails and exactly the tests of its list of expected skips are
skipped. Nessie does not pass the whole kit by itself; in front of it, Lifeboat must pass what Nessie
passes when it is asked directly.

The targets run two at once, each with servers of its own: one run alone leaves a processor idle.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import kit
import pytest
import targets
from components import Lifeboat, Nessie, Postgres, RestFixture, Versitygw

HERE = Path(__file__).resolve().parent
RUNS_AT_ONCE = 2

# Lifeboat's own catalog wants namespaces created and takes names with a dot; the kit assumes neither.
EMBEDDED_SWITCHES = {"rck.requires-namespace-create": "true", "rck.supports-names-with-dot": "true"}


@dataclass(frozen=True)
class Target:
    """`serve` starts what is needed on the stack and returns the URI to test and the client's properties."""

    serve: Callable
    switches: dict = field(default_factory=dict)
    skips: str | None = "skips-embedded.txt"
    must_pass: str | None = None


def embedded_on_sqlite(stack):
    return stack.enter_context(Lifeboat.on_sqlite()).uri, {}


def embedded_on_postgres(stack):
    postgres = stack.enter_context(Postgres())
    return stack.enter_context(Lifeboat.on_postgres(postgres)).uri, {}


def proxy_of_fixture(stack):
    fixture = stack.enter_context(RestFixture())
    return stack.enter_context(Lifeboat.in_front_of(fixture.uri)).uri, {}


def proxy_of_nessie(stack):
    s3, nessie = nessie_on_s3(stack)
    return stack.enter_context(Lifeboat.in_front_of(nessie.uri)).uri, nessie.client_properties()


def nessie_on_s3(stack):
    s3 = stack.enter_context(Versitygw())
    return s3, stack.enter_context(Nessie(s3))


TARGETS = {
    "proxy-of-nessie": Target(proxy_of_nessie, kit.NESSIE_SWITCHES, skips=None, must_pass="nessie-direct.txt"),
    "embedded-on-postgres": Target(embedded_on_postgres, EMBEDDED_SWITCHES),
    "embedded-on-sqlite": Target(embedded_on_sqlite, EMBEDDED_SWITCHES),
    "proxy-of-fixture": Target(proxy_of_fixture, skips="skips-fixture.txt"),
}


def targets_of(config):
    """The usual targets, or those of the command line. Such a one called like a usual one is held to
    the same lists; any other is held to the fixture's."""
    given = targets.given(config)
    if not given:
        return TARGETS
    chosen = {}
    for name, uri in given.items():
        like = TARGETS.get(name, TARGETS["proxy-of-fixture"])
        chosen[name] = Target(lambda _, uri=uri: (uri, {}), like.switches, like.skips, like.must_pass)
    return chosen


def pytest_generate_tests(metafunc):
    if "target_name" in metafunc.fixturenames:
        metafunc.parametrize("target_name", list(targets_of(metafunc.config)), scope="session")


@pytest.fixture(scope="session")
def runs(request):
    """A future of the kit's results for each selected target."""
    known = targets_of(request.config)
    selected = dict.fromkeys(item.callspec.params["target_name"] for item in request.session.items
                             if "target_name" in getattr(getattr(item, "callspec", None), "params", {}))
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        yield {name: pool.submit(run, known[name]) for name in selected}


def run(target):
    with ExitStack() as stack:
        uri, properties = target.serve(stack)
        return kit.run(uri, {**properties, **target.switches})


def test_the_kit_passes(runs, target_name, request):
    target = targets_of(request.config)[target_name]
    results = runs[target_name].result()
    failed = kit.named(results, kit.FAILED)
    if target.must_pass:
        must_pass = set(kit.read_list(HERE / target.must_pass))
        assert must_pass, f"{target.must_pass} is empty"
        missed = must_pass - kit.named(results, kit.PASSED)
        assert not missed, f"pass without Lifeboat and not through it:\n{listing(results, missed)}"
    else:
        assert not failed, f"{len(failed)} of {len(results)} tests failed:\n{listing(results, failed)}"
    if target.skips:
        expected = set(kit.read_list(HERE / target.skips))
        skipped = kit.named(results, kit.SKIPPED)
        assert skipped == expected, (
            f"skipped and not in {target.skips}:\n{listing(results, skipped - expected)}\n"
            f"in {target.skips} and not skipped:\n{listing(results, expected - skipped)}"
        )


def listing(results, names):
    lines = []
    for name in sorted(names):
        message = results[name].message if name in results else "did not run"
        lines.append(f"  {name}: {' '.join(message.split())[:300]}")
    return "\n".join(lines) or "  none"
