//! A pack of N rules of mixed kinds over the synthetic city of `weir generate`, on standard output.
//!
//! Usage: many-rules N. Of ten rules: three `match`, two `watchlist`, three `window`, one `sequence`, one
//! `absence`. They differ as a city's rules differ: by site or zone, by threshold, by direction or class. What a
//! hundred posts each write for themselves is the common case; every tenth rule looks at all sites.
#![forbid(unsafe_code)]

use std::fmt::Write;

fn main() {
    let rules: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut text = String::from(
        "weir: 1\npack: many-rules\nowner: benches\npurposes:\n  road_safety: { legal_basis: b }\n  document_safety: { legal_basis: b }\n  goods_safety: { legal_basis: b }\n  health_safety: { legal_basis: b }\n  crowd_safety: { legal_basis: b }\nlists:\n  stolen_plates: { kind: stolen_vehicle, from: lists/stolen_plates.csv, key: plate, purpose: road_safety }\n  lost_documents: { kind: lost_document, from: lists/lost_documents.csv, key: doc_number, purpose: document_safety }\nrules:\n",
    );
    for number in 0..rules {
        let _ = writeln!(text, "  - {{ id: r{number}, {} }}", rule(number));
    }
    print!("{text}");
}

fn rule(number: usize) -> String {
    let round = number / 10;
    // Posts BY-01 to BY-40, checkpoints CP-01 to CP-36, zones Z-0000 to Z-0999.
    let post = format!("BY-{:02}", 1 + round % 40);
    let checkpoint = format!("CP-{:02}", 1 + round % 36);
    let zone = format!("Z-{:04}", (round * 7) % 1000);
    let everywhere = round % 10 == 9;
    let at = |site: &str| if everywhere { String::new() } else { format!("site = '{site}', ") };
    match number % 10 {
        0 => format!(
            "kind: watchlist, from: vehicle, on: plate, list: stolen_plates, where: [{}confidence >= 0.{}], purpose: road_safety, dedupe: {{ key: [plate, site], for: 10m }}, say: \"{{plate}} at {{site}}\"",
            at(&post),
            80 + round % 15
        ),
        1 => format!(
            "kind: window, from: person, where: [{}], key: [zone], measure: count, per: area, window: {{ last: 60s, every: 5s }}, levels: [{{ name: dense, enter: {}, exit: 2 }}], purpose: crowd_safety",
            if everywhere { String::new() } else { format!("zone = '{zone}'") },
            3 + round % 4
        ),
        2 => format!(
            "kind: match, from: item, where: [{}\"item_class in ('1203', 'fireworks')\", quantity >= {}], purpose: goods_safety, dedupe: {{ key: [site], for: 10m }}",
            at(&checkpoint),
            1 + round
        ),
        3 => format!(
            "kind: match, from: vehicle, where: [{}speed_kmh > {}, vehicle_class = 'truck'], purpose: road_safety, dedupe: {{ key: [site, lane], for: 10m }}",
            at(&post),
            100 + round % 40
        ),
        4 => format!(
            "kind: window, from: person, where: [zone = '{zone}'], key: [zone], measure: distinct(person_id), window: {{ last: 60s, every: 5s }}, levels: [{{ name: full, enter: {}, exit: 50 }}], purpose: crowd_safety",
            100 + round % 100
        ),
        5 => format!(
            "kind: watchlist, from: id, on: doc_number, list: lost_documents, where: [{}doc_type = 'passport'], purpose: document_safety, dedupe: {{ key: [doc_number], for: 1h }}",
            at(&checkpoint)
        ),
        6 => format!(
            "kind: sequence, from: id, key: [site, doc_number], where: [{}doc_type = 'passport'], steps: [decision = 'refuse', decision = 'pass'], within: {}m, purpose: document_safety",
            at(&checkpoint),
            5 + round % 30
        ),
        7 => format!(
            "kind: window, from: vehicle, where: [site = '{post}'], key: [lane], measure: reads, window: {{ last: 60s, every: 5s }}, levels: [{{ name: busy, enter: {}, exit: 10 }}], purpose: road_safety",
            200 + round % 100
        ),
        8 => format!(
            "kind: match, from: code, where: [{}status = 'red', scheme = 'city-pass'], purpose: health_safety, dedupe: {{ key: [site], for: {}m }}",
            at(&checkpoint),
            1 + round
        ),
        _ => format!(
            "kind: absence, from: vehicle, key: [site, plate], where: [site = '{post}', vehicle_class = 'truck'], after: [lane = '1', speed_kmh < 10], expect: [lane = '2'], within: {}m, purpose: road_safety",
            10 + round % 50
        ),
    }
}
