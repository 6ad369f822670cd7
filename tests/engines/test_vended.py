"""What a standby's clients get to reach its storage with: engines read with it alone, and MinIO, which holds session policies, lets it do nothing else."""

import base64
import json
import subprocess
import time
from types import SimpleNamespace

import boto3
import botocore.exceptions
import components
import engines
import pytest
from pyiceberg.catalog import load_catalog
from test_s3 import config_on, connected, keys, lifeboat_on, replica_of_home, replicate

LIFE_S = 15 * 60
VENDED = {"X-Iceberg-Access-Delegation": "vended-credentials"}
ROWS = [(number, "name") for number in range(20) if number not in (3, 13)]


@pytest.fixture(scope="module")
def standby(tmp_path_factory):
    """Tables that arrived in a bucket whose keys no client has; their primary is gone."""
    folder = tmp_path_factory.mktemp("vended")
    with components.Minio() as s3:
        bucket = boto3.resource("s3", **key_of(s3, s3.access_key, s3.secret_key)).Bucket(s3.bucket)
        with lifeboat_on(s3, folder, f"sqlite:{folder}/home.db", "home") as primary:
            fill(connected(engines.DuckDb(primary.uri), s3), load_catalog("home", type="rest", uri=primary.uri))
        config = config_on(s3, folder, f"sqlite:{folder}/away.db", "own", s3.reach())
        config.write_text(
            f"{config.read_text()}"
            f"{replica_of_home(s3)}"
            "      credentials: sts\n"
            f"      sts: {{ duration: {LIFE_S}s }}\n"
        )
        replicate(bucket, s3, "home", "away")
        with components.Lifeboat("--config", str(config)) as lifeboat:
            yield SimpleNamespace(s3=s3, bucket=bucket, uri=lifeboat.uri, prefix=lifeboat.prefix, lifeboat=lifeboat, config=config)


def fill(duckdb, catalog):
    duckdb.create_namespace("shop")
    for table in ("orders", "orders2"):
        duckdb.execute(f"CREATE TABLE lifeboat.shop.{table} (id BIGINT, name VARCHAR)")
        for start in (0, 10):
            duckdb.execute(f"INSERT INTO lifeboat.shop.{table} SELECT id::BIGINT, 'name' FROM range({start}, {start + 10}) AS it(id)")
        duckdb.execute(f"DELETE FROM lifeboat.shop.{table} WHERE id IN (3, 13)")
    with catalog.load_table("shop.orders").transaction() as change:
        change.set_properties({"s3.secret-access-key": "of-the-primary"})


def key_of(s3, id, secret, token=None):
    return {"endpoint_url": s3.endpoint, "region_name": s3.region, "aws_access_key_id": id, "aws_secret_access_key": secret,
            "aws_session_token": token}


def ask(standby, table, leaf="", headers=VENDED):
    status, body = components.http("GET", f"{standby.uri}/v1/{standby.prefix}/namespaces/shop/tables/{table}{leaf}", headers=headers)
    assert status == 200, body
    return body.decode()


def vended(standby, table):
    """The table as it is loaded, and a client with the credentials that come with it."""
    loaded = json.loads(ask(standby, table))
    config = loaded["config"]
    id, secret, token = (config[f"s3.{name}"] for name in ("access-key-id", "secret-access-key", "session-token"))
    return loaded, boto3.client("s3", **key_of(standby.s3, id, secret, token))


def connect(standby, name, request):
    match name:
        case "pyiceberg":
            return engines.PyIceberg(standby.uri)
        case "duckdb":
            return engines.DuckDb(standby.uri)
        case "spark":
            asks = {f"header.{key}": value for key, value in VENDED.items()}
            return engines.Spark(request.getfixturevalue("spark"), "vended", standby.uri, asks)
        case "trino":
            server = request.getfixturevalue("trino_server")
            server.wait_until_ready()
            asks = {"iceberg.rest-catalog.vended-credentials-enabled": "true", "fs.native-s3.enabled": "true",
                    "s3.endpoint": standby.s3.endpoint, "s3.region": standby.s3.region, "s3.path-style-access": "true"}
            return engines.Trino(server, "vended", standby.uri, asks)


@pytest.fixture(scope="module")
def connection(standby, request):
    """Each engine with no key of its own."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = connect(standby, name, request)
        return made[name]

    yield get
    if "trino" in made:
        made["trino"].server.query("DROP CATALOG vended")


# --- Engines. -------------------------------------------------------------------------------------


def test_an_engine_reads_with_vended_credentials_alone(connection, engine_name):
    engine = connection(engine_name)
    for table in ("orders", "orders2"):
        read = engine.rows(f"shop.{table}") if engine_name != "trino" else sorted(engine.execute(f"SELECT * FROM vended.shop.{table}"))
        assert read == ROWS
    if engine_name != "pyiceberg":  # both tables' credentials at once
        tables = " JOIN ".join(f"{engine.full(f'shop.{table}')} AS {table}" for table in ("orders", "orders2"))
        assert engine.execute(f"SELECT count(*) FROM {tables} ON orders.id = orders2.id") == [(len(ROWS),)]


def test_javas_client_gets_new_credentials_where_it_is_told_to(standby, spark):
    config = vended(standby, "orders")[0]["config"]
    told = {"uri": standby.uri, "credentials.uri": f"{standby.uri}/{config['client.refresh-credentials-endpoint']}"}
    provider = spark.sparkContext._jvm.org.apache.iceberg.aws.s3.VendedCredentialsProvider.create(told)
    given = provider.resolveCredentials()
    provider.close()
    assert (given.accessKeyId(), given.sessionToken()) == (config["s3.access-key-id"], config["s3.session-token"])


@pytest.mark.parametrize("name", ["spark", "trino"])
def test_what_an_engine_writes_changes_nothing(standby, connection, name):
    engine, before = connection(name), keys(standby.bucket, "")
    for sql in ("INSERT INTO {full} VALUES (100, 'new')", "DELETE FROM {full} WHERE id < 5", "DROP TABLE {full}"):
        with pytest.raises(Exception):
            engine.execute(sql.format(full=engine.full("shop.orders")))
        assert keys(standby.bucket, "") == before, sql


# --- The credentials. -----------------------------------------------------------------------------


def test_vended_credentials_read_the_table_and_do_nothing_else(standby):
    loaded, client = vended(standby, "orders")
    name, other = standby.s3.bucket, json.loads(ask(standby, "orders2"))
    data, metadata = key(loaded["metadata"]["location"]), key(loaded["metadata-location"])
    own = sorted(keys(standby.bucket, data))
    for there in (own[0], metadata):
        assert client.get_object(Bucket=name, Key=there)["Body"].read()
    assert sorted(it["Key"] for it in client.list_objects_v2(Bucket=name, Prefix=f"{data}/")["Contents"]) == own
    before = keys(standby.bucket, "")

    folder = f"{data}/data"
    refused(lambda: client.put_object(Bucket=name, Key=f"{folder}/new", Body=b"x"))
    refused(lambda: client.put_object(Bucket=name, Key=own[0], Body=b"x"))
    refused(lambda: client.put_object(Bucket=name, Key=f"{metadata}.new", Body=b"x"))
    refused(lambda: client.delete_object(Bucket=name, Key=own[0]))
    refused(lambda: client.create_multipart_upload(Bucket=name, Key=f"{folder}/new"))
    refused(lambda: client.copy_object(Bucket=name, Key=f"{folder}/new", CopySource={"Bucket": name, "Key": own[0]}))
    refused(lambda: client.put_object_tagging(Bucket=name, Key=own[0], Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}))
    refused(lambda: client.put_bucket_policy(Bucket=name, Policy="{}"))
    refused(lambda: client.create_bucket(Bucket="mine"))
    several = client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": own[0]}]})
    assert [it["Code"] for it in several["Errors"]] == ["AccessDenied"]

    theirs = [key(other["metadata"]["location"]), key(other["metadata-location"]).rsplit("/", 1)[0]]
    for place in ("home", *theirs):
        there = sorted(keys(standby.bucket, place))
        refused(lambda: client.get_object(Bucket=name, Key=there[0]))
        refused(lambda: client.head_object(Bucket=name, Key=there[0]), "403")
        refused(lambda: client.list_objects_v2(Bucket=name, Prefix=f"{place}/"))
    for prefix in ("", "away/", data.removesuffix("/")[:-1], "away-overlay/"):
        refused(lambda: client.list_objects_v2(Bucket=name, Prefix=prefix))
    assert keys(standby.bucket, "") == before


def key(location):
    return location.split("/", 3)[3]


def refused(attempt, code="AccessDenied"):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        attempt()
    assert error.value.response["Error"]["Code"] == code, error.value


def test_vended_credentials_end(standby):
    loaded, _ = vended(standby, "orders")
    config = loaded["config"]
    ends = int(config["s3.session-token-expires-at-ms"]) / 1000
    assert LIFE_S / 2 - 1 < ends - time.time() <= LIFE_S
    # when MinIO itself says that they end
    claims = config["s3.session-token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"] == ends
    assert vended(standby, "orders")[0]["config"] == config, "they are kept until half of their life is over"
    fresh = json.loads(ask(standby, "orders", "/credentials", {}))["storage-credentials"]
    assert config["client.refresh-credentials-endpoint"] == f"v1/{standby.prefix}/namespaces/shop/tables/orders/credentials"
    (only,) = fresh
    assert only["prefix"] == "s3" and only["config"].items() <= config.items()
    assert {it["config"]["s3.session-token"] for it in loaded["storage-credentials"]} == {config["s3.session-token"]}


def test_the_doctor_tries_them(standby):
    command = [components.lifeboat_program(), "doctor", "--config", standby.config, "--json"]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    assert '"credentials"' in done.stdout and "cannot write" in done.stdout, done.stdout
    assert standby.s3.secret_key not in done.stdout


def test_nobody_hears_another_key(standby):
    url = f"{standby.uri}/v1"
    texts = [ask(standby, "orders", headers=headers) for headers in (VENDED, {}, {"X-Iceberg-Access-Delegation": "remote-signing"})]
    texts += [ask(standby, "orders", "/credentials"), components.http("GET", f"{url}/config")[1].decode()]
    for text in texts:
        assert standby.s3.secret_key not in text and "of-the-primary" not in text
    unasked = json.loads(texts[1])
    assert unasked["config"].items() == standby.s3.reach().items() and not unasked.get("storage-credentials")
    log = standby.lifeboat.log.read_text()
    secret = json.loads(texts[0])["config"]["s3.secret-access-key"]
    assert secret not in log and standby.s3.secret_key not in log
