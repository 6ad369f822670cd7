//! The rules of retention, said snapshot by snapshot.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{DAY_MS, Ref, World};
use crate::maintenance::Retention;

/// What stays: snapshots and refs.
pub fn kept(world: &World, retention: Retention, held: &[i64]) -> (BTreeSet<i64>, BTreeSet<String>) {
    let property =
        |name: &str| world.properties.get(&format!("history.expire.{name}")).and_then(|text| text.parse::<i64>().ok());
    let asked_ms = retention.keep_for.map(|time| time.as_millis() as i64);
    let keep_for_ms = property("max-snapshot-age-ms").or(asked_ms).unwrap_or(5 * DAY_MS);
    let keep_last = property("min-snapshots-to-keep").or(retention.keep_last.map(i64::from)).unwrap_or(1) as usize;
    let age_max_ms = property("max-ref-age-ms");
    let at_ms = |id: i64| world.snapshots.iter().find(|s| s.id == id).expect("there").at_ms;
    let age_ms = |id: i64| world.now_ms - at_ms(id);
    let stays = |name: &String, to: &Ref| {
        name == "main"
            || to.age_max_ms.or(age_max_ms).is_none_or(|most| age_ms(to.head) <= most)
            || to.is_branch && world.line(to.head).iter().any(|id| held.contains(id))
    };
    let refs: Vec<(&String, &Ref)> = world.refs.iter().filter(|(name, to)| stays(name, to)).collect();
    let is_kept = |id: i64| {
        let is_named = refs.iter().any(|(_, to)| to.head == id);
        let in_line = refs.iter().filter(|(_, to)| to.is_branch).any(|(_, to)| {
            let line = world.line(to.head);
            let Some(at) = line.iter().position(|other| *other == id) else { return false };
            let (last, for_ms) = (to.keep_last.unwrap_or(keep_last), to.keep_for_ms.unwrap_or(keep_for_ms));
            let by_rule = (0..=at).all(|newer| newer < last || age_ms(line[newer]) <= for_ms);
            by_rule || line[at..].iter().any(|older| held.contains(older))
        });
        let is_reached = is_named || refs.iter().any(|(_, to)| to.is_branch && world.line(to.head).contains(&id));
        is_named || in_line || held.contains(&id) || (!is_reached && age_ms(id) <= keep_for_ms)
    };
    let snapshots = world.snapshots.iter().map(|s| s.id).filter(|id| is_kept(*id)).collect();
    (snapshots, refs.into_iter().map(|(name, _)| name.clone()).collect())
}

/// A wish of somebody's.
pub fn retention(days: Option<i64>, last: Option<u32>) -> Retention {
    Retention { keep_for: days.map(|days| Duration::from_millis((days * DAY_MS) as u64)), keep_last: last }
}
