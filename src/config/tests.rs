//! The configuration as a whole: every error at once, what a good file means, and the page that documents it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::schema::KEYS;
use super::*;

fn variable(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("t0p-secret-token".into()),
        "PORT" => Some("9090".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, &Environment::new(&variable, "/etc/lifeboat"))
}

fn refused(text: &str) -> String {
    parse(text).expect_err("this configuration is wrong").to_string()
}

const EVERYTHING: &str = r#"
listen: 127.0.0.1:${PORT}
auth:
  tokens:
    - name: etl
      token: ${TOKEN}
      roles: { main: write }
    - name: admin
      token-sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      roles: { "*": operator }
log: { format: json, level: debug, requests: true }
limits: { body-bytes: 1MiB, concurrent-requests: 7, stop-timeout: 90s }
storage:
  - prefix: s3://bucket/
    endpoint: http://127.0.0.1:9000
    region: eu-central-1
    access-key-id: AKIA-hidden
    secret-access-key: very-hidden-key
    path-style: true
catalogs:
  main:
    embedded: { database: "postgres://u:hidden-word@host/db", warehouse: s3://bucket/wh/ }
    client-config: { s3.endpoint: "http://127.0.0.1:9000", s3.secret-access-key: hidden-client-key }
  prod:
    upstream:
      uri: https://catalog.example/iceberg/v1/
      warehouse: lake
      auth: { oauth2: { client-id: id, client-secret: hidden-oauth } }
      read-timeout: 250ms
      headers: { X-Key: hidden-header }
    max-staleness: 2s
    namespace-separator: "."
"#;

#[test]
fn a_good_file_means_what_it_says() {
    let config = parse(EVERYTHING).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(config.listen.port(), 9090);
    let auth = config.auth.as_ref().expect("there are tokens");
    assert_eq!(auth.tokens[0].roles["main"], Role::Write);
    assert_eq!(auth.tokens[1].sha256[0], 0x2c);
    assert_eq!((config.limits.body_bytes, config.limits.concurrent_requests), (1 << 20, 7));
    assert_eq!(config.limits.stop_timeout, Duration::from_secs(90));
    assert_eq!(config.limits.answer_timeout, Duration::from_secs(300));
    assert_eq!((config.storage[0].prefix.as_str(), config.storage[0].path_style), ("s3://bucket", true));
    let [main, prod] = ["main", "prod"].map(|name| &config.catalogs[&CatalogName::parse(name).expect("plain")]);
    assert_eq!(main.client_config["s3.endpoint"].expose(), "http://127.0.0.1:9000");
    let Source::Embedded(embedded) = &main.source else { panic!("main is embedded") };
    assert_eq!(embedded.warehouse, "s3://bucket/wh");
    let Source::Upstream(upstream) = &prod.source else { panic!("prod is an upstream") };
    assert_eq!(
        (upstream.uri.as_str(), upstream.warehouse.as_deref()),
        ("https://catalog.example/iceberg", Some("lake"))
    );
    assert_eq!(upstream.read_timeout, Duration::from_millis(250));
    assert!(matches!(&upstream.auth, UpstreamAuth::OAuth2(o) if o.client_secret.expose() == "hidden-oauth"));
    assert_eq!((prod.max_staleness, prod.namespace_separator.as_str()), (Duration::from_secs(2), "."));
}

#[test]
fn no_secret_is_ever_printed() {
    let config = parse(EVERYTHING).unwrap_or_else(|p| panic!("{p}"));
    let printed = format!("{config:?}\n{config:#?}\n{}", config.to_yaml());
    for secret in ["hidden", "t0p-secret", "[44, 38,", "2c26b"] {
        assert!(!printed.contains(secret), "{secret} is printed");
    }
    // nor when the file is wrong: each secret stands where something else should
    let wrong = EVERYTHING.replace("client-id: id, ", "").replace("name: etl", "nam: etl").replace("prefix:", "prefx:");
    let printed = refused(&wrong);
    for secret in ["hidden", "t0p-secret"] {
        assert!(!printed.contains(secret), "{secret} is printed in {printed}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let text = r#"
listen: 0.0.0.0:8181
lisen: 1
tls: { certificate: /nonexistent/cert.pem }
log: { level: loud, requests: maybe, format: [json] }
limits:
  body_bytes: 32MiB
  concurrent-requests: 0
  stop-timeout: 5 parsecs
storage:
  - prefix: gs://bucket
  - prefix: s3://a/
    access-key-id: AKIA
  - prefix: s3://a
    endpoint: ${NOWHERE}
log: { level: info }
catalogs:
  bad name:
    embedded: { database: "mysql://x", warehouse: s3://wh }
  both:
    embedded: { database: "sqlite:x.db", warehouse: file:///wh }
    upstream: { uri: https://catalog.example }
  neither: {}
  prod:
    uri: https://catalog.example
    upstream:
      uri: catalog.example
      auth: { bearer: a, oauth2: { client-id: x, client-secret-file: /nonexistent/word } }
      retries-max: many
      namespace-separator: "/"
    max-stalenes: 5s
    namespace-separator: "/"
  list: [1]
"#;
    let wanted = r#"the configuration has 25 problems
  line 2: listen: 0.0.0.0:8181 can be reached from other machines, and nobody has to prove who they are: add "auth" to the configuration, or listen on 127.0.0.1:8181
  line 3: lisen: there is no such key: did you mean "listen"?
  line 4: tls.certificate: there is no file /nonexistent/cert.pem: write the path of a PEM file
  line 4: tls.key: is missing: write, for example, "key: key.pem"
  line 5: log.format: must be plain or json, but is a list
  line 5: log.level: "loud" is not known: write error or warn or info or debug or trace
  line 5: log.requests: "maybe" is neither true nor false: write one of them
  line 7: limits.body_bytes: there is no such key: did you mean "body-bytes"?
  line 8: limits.concurrent-requests: "0" is not a whole number from 1 to 1000000
  line 9: limits.stop-timeout: "5 parsecs" is not a duration: write a whole number and a unit, such as 250ms, 5s, 2m, 1h or 1d
  line 11: storage[0].prefix: a URI of scheme "gs" cannot be used here: write file://… or s3://… or s3a://… or s3n://…
  line 13: storage[1].access-key-id: is given without "secret-access-key": write both or neither
  line 15: storage[2].endpoint: the environment variable NOWHERE is not set: set it, or write ${NOWHERE:-default}
  line 16: log: is given twice, first in line 5: keep one of them
  line 18: catalogs.bad name: catalog name "bad name" must be 1 to 64 letters, digits, '-', '_' or '.', and not begin with '.'
  line 19: catalogs.bad name.embedded.database: is not a database: write sqlite:/path/catalog.db or postgres://user@host/name
  line 20: catalogs.both: has both "embedded" and "upstream": a catalog is one of them, so make it two catalogs
  line 23: catalogs.neither: has neither "embedded" nor "upstream": write one of them
  line 25: catalogs.prod.uri: there is no such key here: it belongs under "catalogs.<name>.upstream"
  line 27: catalogs.prod.upstream.uri: "catalog.example" is not a URI: write http://… or https://…
  line 28: catalogs.prod.upstream.auth: has both "bearer" and "oauth2": keep one of them
  line 29: catalogs.prod.upstream.retries-max: "many" is not a whole number from 0 to 10
  line 30: catalogs.prod.upstream.namespace-separator: there is no such key here: it belongs under "catalogs.<name>"
  line 31: catalogs.prod.max-stalenes: there is no such key: did you mean "max-staleness"?
  line 33: catalogs.list: must be a section with keys, but is a list"#;
    assert_eq!(refused(text), wanted);
}

#[test]
fn wrong_tokens_are_told_apart() {
    let text = r#"
auth:
  tokens:
    - { name: a, token: same, roles: { main: write } }
    - { name: b, token: same, roles: { mian: write } }
    - { name: a, token: other, roles: { main: owner } }
    - { name: c, roles: { "*": read } }
    - { name: d, token: x, token-file: y, token-sha256: z, roles: {} }
    - { name: e, token-sha256: 12ab, roles: {} }
    - { token: "${UNSET}", roles: {} }
catalogs:
  main: { embedded: { database: sqlite:catalog.db, warehouse: file:///wh } }
"#;
    let wanted = r#"the configuration has 9 problems
  line 5: auth.tokens[1]: is the same token as that of "a": give each caller a token of its own
  line 5: auth.tokens[1].roles.mian: there is no catalog "mian": write one of main, "*"
  line 6: auth.tokens[2].name: "a" is the name of another token too: choose another
  line 6: auth.tokens[2].roles.main: "owner" is not a role: write read, write or operator
  line 7: auth.tokens[3]: has no token: write "token: ${VARIABLE}", "token-file: path" or "token-sha256: hex"
  line 8: auth.tokens[4].token-sha256: the token itself is given too: keep one of them
  line 9: auth.tokens[5].token-sha256: it is not the SHA-256 of a token: write 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints them
  line 10: auth.tokens[6].name: is missing: write, for example, "name: …"
  line 10: auth.tokens[6].token: the environment variable UNSET is not set: set it, or write ${UNSET:-default}"#;
    assert_eq!(refused(text), wanted);
}

#[test]
fn tokens_and_secrets_come_from_files_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("can be written");
    write("word", "from-a-file\n");
    write("tokens.yaml", "- { name: etl, token-file: word, roles: { main: read } }\n");
    write(
        "lifeboat.yaml",
        "listen: 0.0.0.0:1\nauth: { tokens-file: tokens.yaml }\ncatalogs:\n  main:\n    upstream:\n      uri: http://x\n      auth: { bearer-file: word }\n",
    );
    let config = Config::load(&folder.path().join("lifeboat.yaml")).unwrap_or_else(|p| panic!("{p}"));
    let auth = config.auth.expect("there are tokens");
    let file = auth.tokens_file.expect("they are in a file");
    let names = config.catalogs.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(read_tokens(&file, &names), Ok(auth.tokens));
    let Source::Upstream(upstream) = &config.catalogs.values().next().expect("one").source else { panic!() };
    assert!(matches!(&upstream.auth, UpstreamAuth::Bearer(word) if word.expose() == "from-a-file"));

    write("tokens.yaml", "- { name: etl, token-file: word, role: { main: read } }\n- nonsense\n");
    let problems = read_tokens(&file, &names).expect_err("the file is wrong").to_string();
    assert!(problems.contains("line 1: auth.tokens[0].role: ") && problems.contains("line 2: "), "{problems}");
}

#[test]
fn where_the_upstream_judges_no_tokens_of_ours_are_needed() {
    let text = |auth: &str, other: &str| {
        format!("listen: 0.0.0.0:1\n{auth}catalogs:\n  a: {{ upstream: {{ uri: http://x, auth: caller }} }}\n{other}")
    };
    let config = parse(&text("", "")).unwrap_or_else(|p| panic!("{p}"));
    assert!(!config.is_open());
    assert!(parse(&text("auth: { tokens: [] }\n", "")).is_ok());
    let open = "  b: { upstream: { uri: http://x } }\n";
    assert!(parse(&text("", open)).is_err());
    assert!(parse(&text("auth: { tokens: [] }\n", open)).is_err());
}

#[test]
fn client_locations_must_have_a_way_back() {
    let text = |map: &str| {
        format!(
            "catalogs:\n  main:\n    upstream: {{ uri: http://x }}\n    client-locations:\n      overlay: s3a://lake/o/\n      map: {map}\n"
        )
    };
    let config = parse(&text("[{ upstream: s3://lake/w, client: s3a://lake/w }]")).unwrap_or_else(|p| panic!("{p}"));
    let locations = config.catalogs.values().next().and_then(|catalog| catalog.client_locations.clone());
    assert_eq!(
        locations,
        Some(ClientLocations {
            map: vec![("s3://lake/w".into(), "s3a://lake/w".into())],
            overlay: "s3a://lake/o".into(),
            upstream_overlay: None
        })
    );
    assert!(refused(&text("[]")).contains("names no pair"));
    assert!(
        refused(&text("[{ upstream: s3://a, client: s3://c }, { upstream: s3://b, client: s3://c }]"))
            .contains("ambiguous")
    );
    assert!(
        refused(&text("[{ upstream: s3://a, client: s3://c/x }, { upstream: s3://c, client: s3://c }]"))
            .contains("no way back")
    );
}

#[test]
fn a_standby_says_what_its_clients_get() {
    let text = |more: &str| {
        format!(
            "catalogs:\n  dr:\n    embedded: {{ database: 'sqlite:c.db', warehouse: 's3://own/w' }}\n    replica:\n      overlay: s3://own/o\n      \
             map: [{{ from: s3://prod, to: s3://dr }}]\n{more}"
        )
    };
    let credentials = |more: &str| {
        let config = parse(&text(more)).unwrap_or_else(|p| panic!("{p}"));
        config.catalogs.into_values().next().and_then(|catalog| catalog.replica).map(|replica| replica.credentials)
    };
    assert_eq!(credentials(""), Some(SiteCredentials::ClientConfig));
    assert_eq!(credentials("      credentials: none\n"), Some(SiteCredentials::None));
    let plain = Sts {
        endpoint: None,
        role_arn: None,
        duration: Duration::from_secs(3600),
        kms_keys: vec![],
        is_standby_wide: false,
    };
    assert_eq!(credentials("      credentials: sts\n"), Some(SiteCredentials::Sts(plain)));
    let all = Sts {
        endpoint: Some("http://sts".into()),
        role_arn: Some("arn:aws:iam::1:role/r".into()),
        duration: Duration::from_secs(900),
        kms_keys: vec!["arn:a".into(), "arn:b".into()],
        is_standby_wide: true,
    };
    let section = "{ endpoint: 'http://sts/', role-arn: 'arn:aws:iam::1:role/r', duration: 15m, scope: standby, kms-keys: 'arn:a, arn:b' }";
    let more = format!("      credentials: sts\n      sts: {section}\n");
    assert_eq!(credentials(&more), Some(SiteCredentials::Sts(all)));
    assert!(refused(&text("      credentials: sts\n      sts: { duration: 14m }\n")).contains("from 15m to 12h"));
    assert!(refused(&text("      sts: { duration: 15m }\n")).contains("write that too"));
}

#[test]
fn flags_alone_make_a_configuration() {
    let config = Config::embedded(Path::new("/data"), None).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8181");
    assert!(Config::embedded(Path::new("/data"), Some(([0, 0, 0, 0], 1).into())).is_err());
    let config = Config::proxy("http://x/", Some("lake"), None).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(config.catalogs.keys().map(CatalogName::as_str).collect::<Vec<_>>(), ["lake"]);
    let config = Config::proxy("http://x/", Some("s3://lake/wh"), None).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(config.catalogs.keys().map(CatalogName::as_str).collect::<Vec<_>>(), ["main"]);
    assert!(Config::proxy("x", None, None).is_err());
}

#[test]
fn the_shortest_file_is_read_back() {
    let configs = [
        Config::embedded(Path::new("/data/a b"), Some(([127, 0, 0, 1], 1).into())),
        Config::proxy("http://x/y", Some("arn:aws:lake/*"), None),
        Config::proxy("http://x/y", Some("123"), None),
    ];
    for config in configs {
        let config = config.unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(parse(&config.to_yaml()).as_ref(), Ok(&config), "{}", config.to_yaml());
    }
    let plain = Config::proxy("https://x", None, None).map(|c| c.to_yaml());
    assert_eq!(plain.as_deref(), Ok("catalogs:\n  main:\n    upstream:\n      uri: https://x\n"));
}

/// The first three cells of every row of the page's tables that begins with a key.
fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | ")).collect()
}

#[test]
fn the_page_and_the_schema_name_the_same_keys() {
    let page = include_str!("../../docs/configuration.md");
    let row = |key: &schema::Key| format!("| `{}` | {} | {}", key.path, key.form.name(), key.presence.name());
    let wanted: BTreeSet<String> = KEYS.iter().map(row).collect();
    let documented = documented(page);
    let missing: Vec<_> = wanted.difference(&documented).collect();
    let surplus: Vec<_> = documented.difference(&wanted).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not on the page: {missing:#?}\nonly on the page: {surplus:#?}");
}

#[test]
fn the_example_on_the_page_is_valid() {
    let page = include_str!("../../docs/configuration.md");
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    let variables = |name: &str| Some(format!("value of {name}"));
    for example in examples {
        let config = Config::parse(example, &Environment::new(&variables, "/etc/lifeboat"));
        let _ = config.unwrap_or_else(|problems| panic!("{problems}\n{example}"));
    }
}

#[test]
fn a_replica_publishes_with_credentials_of_its_own() {
    let text = |auth: &str| {
        format!(
            "catalogs:\n  dr:\n    upstream:\n      uri: http://x\n{auth}    replica:\n      map: [{{ from: s3://a/w, to: s3://b/w }}]\n      overlay: s3://b/o\n"
        )
    };
    assert!(parse(&text("")).is_ok());
    assert!(parse(&text("      auth: { bearer: x }\n")).is_ok());
    let problems = parse(&text("      auth: caller\n")).expect_err("whose token would it take").to_string();
    assert!(problems.contains("\"auth: caller\" exclude each other"), "{problems}");
}

#[test]
fn maintenance_is_refused_where_it_could_not_be_done() {
    let text = |more: &str| format!("catalogs:\n  main:\n{more}");
    let embedded = "    embedded: { database: \"sqlite:c.db\", warehouse: \"file:///w\" }\n";
    let upstream = "    upstream: { uri: \"http://x\", auth: caller }\n";
    let policy = "    maintenance:\n      all: { expire-snapshots: { every: 1d } }\n";
    let replica = "    replica:\n      map: [{ from: s3://a/w, to: s3://b/w }]\n      overlay: s3://b/o\n";
    let config = parse(&text(&format!("{embedded}{policy}"))).expect("valid");
    let policies = &config.catalogs.values().next().expect("one").maintenance;
    assert_eq!((policies[0].name.as_str(), policies[0].works.len()), ("all", 1));
    for (wrong, says) in [
        (format!("{embedded}{policy}{replica}"), "\"replica\" exclude each other"),
        (format!("{upstream}{policy}"), "\"auth: caller\" exclude each other"),
        (format!("{embedded}    maintenance: {{}}\n"), "names no policy"),
        (format!("{embedded}    maintenance: {{ all: {{ include: a.* }} }}\n"), "does nothing"),
        (format!("{embedded}    maintenance: {{ all: {{ compact: {{ every: 1s }} }} }}\n"), "is too often"),
        (
            format!("{embedded}    maintenance: {{ all: {{ remove-orphans: {{ every: 1d, older-than: 1h }} }} }}\n"),
            "less than a day",
        ),
        (format!("{embedded}    maintenance: {{ all: {{ expire-snapshots: {{ keep-for: 1d }} }} }}\n"), "every"),
    ] {
        let problems = parse(&text(&wrong)).expect_err(says).to_string();
        assert!(problems.contains(says), "{says}: {problems}");
    }
}
