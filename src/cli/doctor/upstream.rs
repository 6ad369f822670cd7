//! An upstream: is it there, is it an Iceberg REST catalog, may we use it, what can it do, what time is it there.

use serde_json::Value;

use crate::config::{Upstream, UpstreamAuth};
use crate::model::Operation;

use super::super::probe::{Probe, prefix, routed};
use super::finding::Finding;
use super::host;

pub(super) async fn examine(name: &str, upstream: &Upstream) -> Vec<Finding> {
    const CHECK: &str = "upstream";
    let asked = async {
        let probe = Probe::new(upstream).await?;
        let answer = probe.config().await?;
        Ok::<_, String>((probe, answer))
    };
    let (probe, answer) = match asked.await {
        Ok(asked) => asked,
        Err(message) => {
            let advice = format!("check that {} is right, and that this machine can reach it", upstream.uri);
            return vec![Finding::failed(CHECK, name, message, advice)];
        }
    };
    let clock = host::clock(name, answer.clocks);
    if answer.is_refusal() {
        return vec![clock, refused(name, upstream, &answer.said())];
    }
    let Some(prefix) = prefix(&answer) else {
        let message =
            format!("{}/v1/config is not the answer of an Iceberg REST catalog: {}", upstream.uri, answer.said());
        let advice = "`lifeboat init URI` looks for the right path; a 400 or 404 may mean that \"warehouse\" is missing or wrong";
        return vec![clock, Finding::failed(CHECK, name, message, advice)];
    };
    let mut findings = vec![Finding::ok(CHECK, name, format!("{} answers", upstream.uri)), clock];
    findings.push(endpoints(name, answer.json.as_ref()));
    findings.push(rights(name, upstream, &probe, &prefix).await);
    findings
}

fn endpoints(name: &str, config: Option<&Value>) -> Finding {
    const CHECK: &str = "endpoints";
    let Some(listed) = config.and_then(|config| config.get("endpoints")).and_then(Value::as_array) else {
        return Finding::ok(CHECK, name, "not listed by the upstream: the 14 of the first specification are assumed");
    };
    let lines: Vec<&str> = listed.iter().filter_map(Value::as_str).collect();
    let known = lines.iter().filter(|line| Operation::from_endpoint(line).is_some()).count();
    let has = |operation: Operation| lines.contains(&operation.endpoint().as_str());
    if !has(Operation::LoadTable) {
        let message = format!("{} listed, and loading a table is not among them", lines.len());
        return Finding::failed(CHECK, name, message, "no engine can work with such a catalog: ask whoever runs it");
    }
    let unknown = lines.len() - known;
    let more =
        if unknown > 0 { format!(", {unknown} of them unknown to Lifeboat and not served") } else { String::new() };
    Finding::ok(CHECK, name, format!("{} listed{more}", lines.len()))
}

async fn rights(name: &str, upstream: &Upstream, probe: &Probe, prefix: &str) -> Finding {
    const CHECK: &str = "rights";
    if matches!(upstream.auth, UpstreamAuth::Caller) {
        return Finding::skipped(CHECK, name, "each caller brings its own token, so there is none to try");
    }
    match probe.get(&routed(prefix, "namespaces"), &[]).await {
        Ok(answer) if answer.is_success() => Finding::ok(CHECK, name, "namespaces can be listed"),
        Ok(answer) if answer.is_refusal() => refused(name, upstream, &answer.said()),
        Ok(answer) => {
            let message = format!("listing namespaces gave {}", answer.said());
            Finding::failed(CHECK, name, message, "look into the upstream's log")
        }
        Err(message) => Finding::failed(CHECK, name, message, "look into the upstream's log"),
    }
}

fn refused(name: &str, upstream: &Upstream, said: &str) -> Finding {
    let advice = match upstream.auth {
        UpstreamAuth::None => "the upstream wants to know who is asking: add \"auth\" under \"upstream\"",
        UpstreamAuth::Caller => {
            return Finding::skipped(
                "rights",
                name,
                format!("the upstream wants the caller's token, as it should ({said})"),
            );
        }
        _ => {
            "the credentials under \"auth\" are wrong, have expired, or may not do this: ask whoever runs the upstream"
        }
    };
    Finding::failed("rights", name, format!("the upstream refuses us with {said}"), advice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_catalog_that_cannot_load_tables_is_of_no_use() {
        let config = json!({ "endpoints": ["GET /v1/{prefix}/namespaces", "GET /v1/vendor/own"] });
        assert_eq!(endpoints("x", Some(&config)).status, Status::Failed);
        let config = json!({ "endpoints": [Operation::LoadTable.endpoint(), "GET /v1/vendor/own"] });
        let finding = endpoints("x", Some(&config));
        assert_eq!(finding.status, Status::Ok);
        assert!(finding.message.contains("1 of them unknown"), "{}", finding.message);
        assert_eq!(endpoints("x", Some(&json!({}))).status, Status::Ok);
    }
}
