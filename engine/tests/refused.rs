//! Records that are refused, through the whole engine: what is told of them however they come, and what it costs to tell it.

mod common;

use std::collections::BTreeMap;

use common::{NOW_MS, Way, parse_pack, run};
use serde_json::Value;

const PACK: &str = "weir: 1
pack: p
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: r, kind: match, from: vehicle, where: speed_kmh > 200, purpose: p }
";

/// Good records, and others of several causes in between, of which each block of a thousand has more than are told alone.
fn lines() -> Vec<String> {
    (0..3_000_usize)
        .map(|at| {
            let good = format!(
                r#"{{"kind":"vehicle","event_id":"{at}","ts":{},"site":"s","device":"d{}","speed_kmh":10}}"#,
                NOW_MS - 1_000,
                at % 3
            );
            match at % 10 {
                0 => ["x", "[]\r"][at / 10 % 2].to_owned(),
                1 => good.replace("\"site\":\"s\",", ""),
                2 if at % 100 == 2 => good.replace("10}", "\"fast\"}"),
                3 => good.replace(&(NOW_MS - 1_000).to_string(), &(NOW_MS + 3_600_000).to_string()),
                4 => good.replace("vehicle", "vessel"),
                _ => good,
            }
        })
        .collect()
}

/// The dead letters, and their causes in the account.
fn letters(way: Way) -> (Vec<Value>, BTreeMap<String, u64>, u64) {
    let (outputs, summary) = run(&parse_pack(PACK), Vec::new(), "", &lines(), way);
    let letters = outputs.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (
        letters.filter(|it| it.get("message").is_some()).collect(),
        summary.rejected_by_cause.clone(),
        summary.total().rejected,
    )
}

fn way(lines_per_block: usize, shards: usize) -> Way {
    Way { shards, lines_per_block, batch_bytes: 1 << 10 }
}

#[test]
fn what_is_told_together_is_what_is_told_alone() {
    let (alone, causes, rejected) = letters(way(1, 1));
    assert_eq!((alone.len() as u64, rejected), (1_230, 1_230));
    assert!(alone.iter().all(|it| it.get("records").is_none() && it.get("last_record").is_none()));
    let of_number: BTreeMap<u64, &Value> = alone.iter().map(|it| (it["record"].as_u64().unwrap(), it)).collect();
    for (lines_per_block, shards) in [(3, 2), (1_000, 1), (1_000, 2), (usize::MAX, 1)] {
        let (told, same_causes, same) = letters(way(lines_per_block, shards));
        assert_eq!((same, &same_causes), (rejected, &causes));
        let mut by_message: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for it in &told {
            let first = of_number[&it["record"].as_u64().unwrap()];
            let records = it.get("records").map_or(1, |records| records.as_u64().unwrap());
            let mut like_alone = it.clone();
            if records > 1 {
                let last = of_number[&it["last_record"].as_u64().unwrap()];
                assert_eq!((&last["cause"], &last["message"]), (&it["cause"], &it["message"]));
                let fields = like_alone.as_object_mut().unwrap();
                fields.retain(|name, _| name != "records" && name != "last_record");
                assert_ne!(
                    fields.insert("digest".to_owned(), first["digest"].clone()).as_ref(),
                    Some(&first["digest"])
                );
            }
            assert_eq!(&like_alone, first);
            *by_message.entry((it["cause"].as_str().unwrap(), it["message"].as_str().unwrap())).or_default() += records;
        }
        let mut wanted = BTreeMap::new();
        for it in &alone {
            *wanted.entry((it["cause"].as_str().unwrap(), it["message"].as_str().unwrap())).or_default() += 1;
        }
        assert_eq!(by_message, wanted, "by {lines_per_block}");
        if lines_per_block == 1_000 {
            assert_eq!(told.len(), 3 * (8 + 5), "of a block, eight alone and the others by their five causes");
        }
    }
}

/// Behind those that are told alone, what is shorter than any record is told so; the shortest records are not.
#[test]
fn the_shortest_record_is_a_record() {
    let shortest = |at: usize| format!(r#"{{"kind":"vehicle","event_id":{at},"ts":{NOW_MS},"device":1,"site":1}}"#);
    let short = r#"{"kind":"id","event_id":1,"ts":1"#;
    let mut lines: Vec<String> = (0..20).map(|at| if at < 10 { "{}".to_owned() } else { short.to_owned() }).collect();
    lines.extend((0..20).map(shortest));
    lines.push(format!("{short}}}"));
    let (outputs, summary) = run(&parse_pack(PACK), Vec::new(), "", &lines, way(usize::MAX, 1));
    let letters = outputs.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<(String, u64)> = letters
        .filter(|it| it.get("message").is_some())
        .map(|it| (it["message"].as_str().unwrap().to_owned(), it.get("records").map_or(1, |it| it.as_u64().unwrap())))
        .collect();
    let of = |part: &str| told.iter().filter(|(it, _)| it.contains(part)).map(|(_, records)| records).sum::<u64>();
    assert_eq!((of("no `kind`"), of("shorter than any record can be (33 bytes)")), (8, 12), "{told:?}");
    assert_eq!((summary.total().received, summary.total().rejected), (41, 21), "{told:?}");
}
