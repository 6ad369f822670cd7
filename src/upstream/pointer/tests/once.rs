//! Idempotency-Key: the same key is the same answer, and one change.

use futures::future::join_all;

use super::*;
use crate::upstream::Request;

fn keyed(request: Request, key: &uuid::Uuid) -> Request {
    with_header(request, "idempotency-key", &key.to_string())
}

#[tokio::test]
async fn a_repeat_is_answered_again_and_not_done_again() {
    for bed in beds().await {
        let key = uuid::Uuid::now_v7();
        let first = bed.ask(keyed(create("t", json!({})), &key)).await;
        bed.ask(request(Operation::UpdateTable, "t", set("k", "v"))).await;
        assert_eq!(bed.ask(keyed(create("t", json!({})), &key)).await, first);
        let elsewhere = bed.another().await.call(keyed(create("t", json!({})), &key)).await.expect("answered");
        assert_eq!(serde_json::from_slice::<Value>(&elsewhere.body).expect("JSON"), first);
        let other = bed.refused(keyed(create("u", json!({})), &key)).await;
        assert_eq!(other.kind(), Kind::Unprocessable);
        let drop = || keyed(request(Operation::DropTable, "t", Value::Null), &key);
        assert_eq!(bed.refused(drop()).await.kind(), Kind::Unprocessable);
        let key = uuid::Uuid::now_v7();
        let drop = || keyed(request(Operation::DropTable, "t", Value::Null), &key);
        bed.ask(drop()).await;
        bed.table("t", json!({})).await;
        bed.ask(drop()).await;
        bed.ask(load("t")).await;
    }
}

#[tokio::test]
async fn a_staged_create_that_is_repeated_names_the_same_place() {
    for bed in beds().await {
        let key = uuid::Uuid::now_v7();
        let stage = || keyed(create("t", json!({"stage-create": true})), &key);
        assert_eq!(bed.ask(stage()).await, bed.ask(stage()).await);
    }
}

#[tokio::test]
async fn a_final_refusal_is_kept_too() {
    for bed in beds().await {
        let key = uuid::Uuid::now_v7();
        let commit = || keyed(request(Operation::UpdateTable, "t", set("k", "v")), &key);
        let first = bed.refused(commit()).await;
        bed.table("t", json!({})).await;
        let again = bed.refused(commit()).await;
        assert_eq!((again.kind(), again.message()), (Kind::NoSuchTable, first.message()));
        assert_eq!(bed.ask(load("t")).await["metadata"]["properties"]["k"], Value::Null);
    }
}

#[tokio::test]
async fn repeats_at_once_do_one_thing() {
    for bed in beds().await {
        bed.table("t", json!({})).await;
        let key = uuid::Uuid::now_v7();
        let servers = [bed.catalog.clone(), bed.another().await];
        let commit = |n: usize| servers[n % 2].call(keyed(request(Operation::UpdateTable, "t", set("k", "v")), &key));
        let answers = join_all((0..10).map(commit)).await;
        let first = answers[0].as_ref().expect("done").body.clone();
        assert!(answers.iter().all(|answer| answer.as_ref().expect("answered").body == first));
        assert_eq!(bed.ask(load("t")).await["metadata"]["metadata-log"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn a_commit_that_changes_nothing_keeps_its_answer_and_an_odd_key_is_refused() {
    let bed = &beds().await[0];
    bed.table("t", json!({"properties": {"k": "v"}})).await;
    let key = uuid::Uuid::now_v7();
    let commit = || keyed(request(Operation::UpdateTable, "t", json!({"requirements": [], "updates": []})), &key);
    let first = bed.ask(commit()).await;
    bed.ask(request(Operation::UpdateTable, "t", set("k", "w"))).await;
    assert_eq!(bed.ask(commit()).await, first);
    let odd = with_header(create("u", json!({})), "idempotency-key", "not a key");
    assert_eq!(bed.refused(odd).await.kind(), Kind::BadRequest);
}

#[tokio::test]
async fn a_key_never_waits_for_the_table_that_it_is_about() {
    let bed = &beds().await[0];
    bed.table("t", json!({})).await;
    // more than there could be locks that keys and tables share by chance
    for n in 0..600 {
        let commit = request(Operation::UpdateTable, "t", set("k", &(n % 2).to_string()));
        let commit = bed.ask(keyed(commit, &uuid::Uuid::now_v7()));
        tokio::time::timeout(std::time::Duration::from_secs(30), commit).await.expect("answered");
    }
}
