//! What hostile lines cost: each kind of them is strewn among good records, and the time that they add is compared with
//! that of as many bytes, and as many lines, of good ones.
//!
//! Usage: `adversarial [ROUNDS] [PART OF A NAME] [APART]` (5; all; good records before a hostile line: 2; the least of so many counts, of a stream without and one with hostile lines
//! in turn). One shard; the stream goes through the framer in pieces of 64 KiB, as from a socket; dead letters go to a sink that
//! drops them.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use weir_benches::paced::Line;
use weir_benches::parse;
use weir_benches::signed::{credential, issuers};
use weir_engine::decode::{MapSpec, MappedField};
use weir_engine::{
    Feed, Format, Limits, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec, Stream, Summary,
};
use weir_rules::Catalog;
use weir_rules::expr::{Scope, compile};
use weir_rules::schema::ColumnType;

/// What every run is judged by.
const PACK: &str = "weir: 1
pack: b
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: fast, kind: match, from: vehicle, where: confidence > 0.95, purpose: p }
  - { id: lanes, kind: window, from: vehicle, key: [site], measure: distinct(plate), window: { last: 60s, every: 5s }, emit: windows, purpose: p }
";

/// How a window is told, and how it is not.
const TOLD: &str = "emit: windows";
const NOT_TOLD: &str = "levels: [{ name: full, enter: 1000000, exit: 900000, severity: high }]";

/// A rule that cannot be computed of a lane that is no number.
const COMPUTED: &str = "  - { id: computed, kind: match, from: vehicle, where: cast(lane as int) > 99999, purpose: p }
";

/// A rule that asks what a credential is worth.
const VERIFIED: &str = "  - { id: verified, kind: match, from: code, where: outcome = 'revoked', purpose: p }
";

/// Good records in a stream.
const GOOD: u64 = 400_000;
/// A hostile line comes after so many good records at least, unless told otherwise.
const APART: u64 = 2;
/// Hostile bytes in a stream, and hostile lines, at most: so many that what they add stands out of the noise.
const HOSTILE_BYTES: usize = 50 << 20;
const HOSTILE_LINES: usize = 200_000;
const PIECE: usize = 64 << 10;
/// Values of a column that good records have, and more.
const SYMBOLS_OF_GOOD: usize = 8;

fn main() {
    weir_memory::steady_memory();
    let rounds: usize = std::env::args().nth(1).map_or(5, |text| text.parse().expect("a number"));
    let wanted = std::env::args().nth(2).unwrap_or_default();
    let apart: u64 = std::env::args().nth(3).map_or(APART, |text| text.parse().expect("a number"));
    let good = Strewn::new(|_| None, apart);
    println!(
        "{:<44} {:>9} {:>12} {:>12} {:>10} {:>10} {:>14}",
        "hostile lines", "bytes", "refused", "ns/good line", "ns/byte", "ns/line", "times good ones"
    );
    let all = kinds().into_iter().map(|(name, line)| (name, Setting::Plain, line));
    let all = all.chain(kinds_of_settings());
    for (name, setting, line) in all.filter(|(name, ..)| name.contains(&wanted)) {
        let strewn = Strewn::new(|number| Some(line(number)), apart);
        let ([good_s, s], summary) = least(setting, [&good, &strewn], rounds);
        let (byte_ns, line_ns) = (good_s * 1e9 / good.good_bytes as f64, good_s * 1e9 / GOOD as f64);
        let added_ns = (s - good_s) * 1e9;
        let (of_byte, of_line) = (added_ns / strewn.bytes as f64, added_ns / strewn.lines as f64);
        println!(
            "{name:<44} {:>9} {:>12} {line_ns:>12.0} {of_byte:>10.2} {of_line:>10.0} {:>14.2}",
            strewn.bytes / strewn.lines,
            summary.total().rejected,
            (of_byte / byte_ns).min(of_line / line_ns)
        );
    }
}

/// What a stream meets.
#[derive(Clone, Copy, PartialEq)]
enum Setting {
    Plain,
    /// A rule whose condition the expression engine computes, and cannot of every record.
    Computed,
    /// A source whose records are mapped, which cannot be done with every record.
    Mapped,
    /// Credentials are verified.
    Verified,
    /// No site, device or lane is refused.
    Roomy,
    /// Each that is new is.
    Full,
    /// Windows are not told, but for a level that none reaches; nothing is refused either.
    Levels,
}

type Hostile = Box<dyn Fn(usize) -> Vec<u8>>;
type HostileText = Box<dyn Fn(usize) -> String>;

/// Kinds of hostile lines by name.
fn kinds() -> Vec<(&'static str, Hostile)> {
    let head = |number: usize| {
        format!(
            "{{\"kind\":\"vehicle\",\"event_id\":\"h{number}\",\"ts\":1795000000000,\"site\":\"s\",\"device\":\"d\""
        )
    };
    let whole = move |number: usize, tail: &str| format!("{},{tail}}}", head(number));
    let text: Vec<(&str, HostileText)> = vec![
        ("no hostile line but a good one", Box::new(|n| own(n, "event_id"))),
        ("nested 100,000 deep", Box::new(|_| "[".repeat(100_000))),
        (
            "nested 60 deep, in a field nobody declared",
            Box::new(move |n| whole(n, &format!("\"x\":{}1{}", "[".repeat(60), "]".repeat(60)))),
        ),
        (
            "1,000 objects in a field nobody declared",
            Box::new(move |n| whole(n, &format!("\"x\":[{}]", vec!["{\"a\":1}"; 1_000].join(",")))),
        ),
        ("500 KB of text nobody declared", Box::new(move |n| whole(n, &format!("\"x\":\"{}\"", "y".repeat(500_000))))),
        ("500 KB of text in `plate`", Box::new(move |n| whole(n, &format!("\"plate\":\"{}\"", "y".repeat(500_000))))),
        (
            "500 KB of escapes in `plate`",
            Box::new(move |n| whole(n, &format!("\"plate\":\"{}\"", "\\u0041".repeat(83_000)))),
        ),
        (
            "500 KB of digits in `confidence`",
            Box::new(move |n| whole(n, &format!("\"confidence\":0.{}", "1".repeat(500_000)))),
        ),
        ("longer than a record may be", Box::new(|_| format!("{{\"kind\":\"{}\"}}", "y".repeat(2 << 20)))),
        (
            "5,000 keys nobody declared",
            Box::new(move |n| {
                let mut keys = String::new();
                for key in 0..5_000 {
                    let _ = write!(keys, "{}\"k{n}-{key}\":1", if key > 0 { "," } else { "" });
                }
                whole(n, &keys)
            }),
        ),
        ("one key 10,000 times", Box::new(move |n| whole(n, &vec!["\"lane\":\"1\""; 10_000].join(",")))),
        (
            "fields in an order of their own",
            Box::new(|n| {
                let mut fields = [
                    "\"kind\":\"vehicle\"".to_owned(),
                    format!("\"event_id\":\"h{n}\""),
                    "\"ts\":1795000000000".to_owned(),
                    "\"site\":\"s\"".to_owned(),
                    "\"device\":\"d\"".to_owned(),
                    "\"lane\":\"1\"".to_owned(),
                    "\"confidence\":0.9".to_owned(),
                    "\"plate\":\"陕A12345\"".to_owned(),
                ];
                let mut seed = n;
                for at in (1..fields.len()).rev() {
                    fields.swap(at, seed % (at + 1));
                    seed /= at + 1;
                }
                format!("{{{}}}", fields.join(","))
            }),
        ),
        ("a new lane each", Box::new(move |n| whole(n, &format!("\"lane\":\"L{n}\",\"plate\":\"陕A12345\"")))),
        (
            "spaces everywhere",
            Box::new(move |n| whole(n, &format!("{}\"lane\" {} : \"1\"", " ".repeat(2_000), " ".repeat(2_000)))),
        ),
        ("ends within a string", Box::new(move |n| format!("{},\"plate\":\"{}", head(n), "y".repeat(2_000)))),
        ("rubbish of 1,000 bytes", Box::new(|_| "rubbish ".repeat(125))),
        ("`confidence` is no number", Box::new(move |n| whole(n, "\"plate\":\"陕A12345\",\"confidence\":\"high\""))),
        ("an empty object", Box::new(|_| "{}".to_owned())),
        ("one letter", Box::new(|_| "x".to_owned())),
        ("a number", Box::new(|_| "1".to_owned())),
        ("a thousand letters in a row", Box::new(|_| ["x"; 1_000].join("\n"))),
        ("a thousand empty objects in a row", Box::new(|_| ["{}"; 1_000].join("\n"))),
        ("an object of one field", Box::new(|n| format!("{{\"a\":{}}}", n % 10))),
        ("a kind and nothing else", Box::new(|n| format!("{{\"kind\":\"vehicle\",\"event_id\":\"{n}\"}}"))),
        ("a time long ago", Box::new(|n| own(n, "event_id").replace("1795000000000", "1700000000000"))),
        (
            "a time of its own within an hour",
            Box::new(|n| {
                own(n, "event_id").replace("1795000000000", &format!("{}", 1_795_000_000_000 - n * 7_919 % 3_600_000))
            }),
        ),
    ];
    let bytes = move |number: usize, text: &[u8]| [whole(number, "\"lane\":\"").as_bytes(), text, b"\"}"].concat();
    let of_bytes: Vec<(&str, Hostile)> = vec![
        ("no text: one byte", Box::new(|_| vec![0xff])),
        ("no text: a byte of a lane", Box::new(move |n| bytes(n, &[0xff]))),
    ];
    text.into_iter()
        .map(|(name, line)| (name, Box::new(move |n| line(n).into_bytes()) as Hostile))
        .chain(of_bytes)
        .collect()
}

/// A good record but for one column, which says something else each time.
fn own(number: usize, column: &str) -> String {
    let value = |name: &str, usual: &str| if name == column { format!("{name}{number}") } else { usual.to_owned() };
    format!(
        "{{\"kind\":\"vehicle\",\"event_id\":\"h{number}\",\"ts\":1795000000000,\"site\":\"{}\",\"device\":\"{}\",\"lane\":\"00000\",\"plate\":\"陕A12345\",\"confidence\":0.9}}",
        value("site", "s"),
        value("device", "d")
    )
}

/// The same where something else is asked for, or there is other room.
fn kinds_of_settings() -> Vec<(&'static str, Setting, Hostile)> {
    let with_lane = |number: usize, lane: &str| {
        format!("{{\"kind\":\"vehicle\",\"event_id\":\"h{number}\",\"ts\":1795000000000,\"site\":\"s\",\"device\":\"d\",\"lane\":\"{lane}\",\"plate\":\"陕A12345\",\"confidence\":0.9}}")
            .into_bytes()
    };
    let credential = credential();
    vec![
        ("a rule computes: a lane that is no number", Setting::Computed, Box::new(move |n| with_lane(n, "L"))),
        ("a rule computes: a new lane each", Setting::Computed, Box::new(move |n| with_lane(n, &format!("{n}")))),
        (
            "a rule computes: new lanes, no numbers",
            Setting::Computed,
            Box::new(move |n| with_lane(n, &format!("L{n}"))),
        ),
        ("a source computes: a lane that is no number", Setting::Mapped, Box::new(move |n| with_lane(n, "L"))),
        (
            "a credential that has to be verified",
            Setting::Verified,
            Box::new(move |n| {
                format!("{{\"kind\":\"code\",\"event_id\":\"h{n}\",\"ts\":1795000000000,\"site\":\"s\",\"device\":\"d\",\"credential\":{credential}}}").into_bytes()
            }),
        ),
        ("a device of its own", Setting::Roomy, Box::new(|n| own(n, "device").into_bytes())),
        ("a device for which there is no room", Setting::Full, Box::new(|n| own(n, "device").into_bytes())),
        ("a site of its own, in windows that are told", Setting::Roomy, Box::new(|n| own(n, "site").into_bytes())),
        ("a site of its own, in windows that are not", Setting::Levels, Box::new(|n| own(n, "site").into_bytes())),
        ("a site for which there is no room", Setting::Full, Box::new(|n| own(n, "site").into_bytes())),
    ]
}

/// A stream of good records with hostile lines among them.
struct Strewn {
    text: Vec<u8>,
    good_bytes: usize,
    bytes: usize,
    lines: usize,
}

impl Strewn {
    fn new(hostile: impl Fn(usize) -> Option<Vec<u8>>, apart: u64) -> Self {
        let mut strewn = Self { text: Vec::new(), good_bytes: 0, bytes: 0, lines: 0 };
        let mut line = Line::default();
        let size = hostile(0).map_or(1, |text| text.len() + 1);
        let lines = (HOSTILE_BYTES / size).clamp(1, HOSTILE_LINES) as u64;
        let apart = (GOOD / lines).max(apart);
        for number in 0..GOOD {
            let before = strewn.text.len();
            // One that is on no list: not the first of a hundred.
            line.write(number * 100 + 1, number / 1_000, &mut strewn.text);
            strewn.good_bytes += strewn.text.len() - before;
            if number.is_multiple_of(apart)
                && let Some(text) = hostile((number / apart) as usize)
            {
                strewn.text.extend_from_slice(&text);
                strewn.text.push(b'\n');
                strewn.bytes += text.len() + 1;
                strewn.lines += text.split(|byte| *byte == b'\n').count();
            }
        }
        strewn
    }
}

/// Seconds of the fastest of some runs of each, in turn, and the account of one of the second.
fn least(setting: Setting, streams: [&Strewn; 2], rounds: usize) -> ([f64; 2], Summary) {
    let mut least = [f64::INFINITY; 2];
    let mut account = None;
    for _ in 0..rounds {
        for (least, strewn) in least.iter_mut().zip(streams) {
            let text = strewn.text.clone();
            let start = Instant::now();
            let summary = run(setting, text);
            *least = least.min(start.elapsed().as_secs_f64());
            assert_eq!(summary.total().received, GOOD + strewn.lines as u64, "every line is received");
            account = Some(summary);
        }
    }
    (least, account.expect("a round at least"))
}

fn run(setting: Setting, text: Vec<u8>) -> Summary {
    let pack = parse(&match setting {
        Setting::Computed => format!("{PACK}{COMPUTED}"),
        Setting::Levels => PACK.replace(TOLD, NOT_TOLD),
        Setting::Verified => format!("{PACK}{VERIFIED}"),
        _ => PACK.to_owned(),
    });
    let symbols_max = match setting {
        Setting::Roomy | Setting::Levels => HOSTILE_LINES + SYMBOLS_OF_GOOD,
        Setting::Full => SYMBOLS_OF_GOOD,
        _ => Limits::default().symbols_max,
    };
    let map = (setting == Setting::Mapped).then(mapping);
    let sink = SinkSpec { streams: vec![Stream::Windows, Stream::DeadLetters], ..SinkSpec::alerts("drop", ["p"]) };
    Pipeline::builder(Catalog::builtin())
        .shared_pack(pack, Vec::new())
        .issuers(issuers())
        .limits(Limits { max_ahead_ms: i64::MAX / 2, symbols_max, ..Limits::default() })
        .shards(1)
        .source(SourceSpec { map, ..SourceSpec::new("text", Format::Ndjson) }, Text(text))
        .sink(sink, Drop)
        .build()
        .expect("a pipeline")
        .run()
        .expect("a run")
}

/// The records as they are, but for a lane that is counted from another end.
fn mapping() -> MapSpec {
    let fields = vec![MappedField { name: "lane".to_owned(), ty: ColumnType::Text }];
    let scope = Scope {
        schema: MappedField::schema(&fields),
        identifiers: BTreeSet::new(),
        what: "source `text`".to_owned(),
        macros: Arc::default(),
    };
    let lane = compile("cast(100000 - cast(lane as int) as varchar)", &scope).expect("an expression");
    MapSpec { fields, columns: vec![("lane".to_owned(), lane)] }
}

struct Text(Vec<u8>);

impl Source for Text {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("text");
        for piece in self.0.chunks(PIECE) {
            framer.push(piece);
            feed.send_framed(&mut framer)?;
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

struct Drop;

impl Sink for Drop {
    fn deliver(&mut self, _: &[Output]) -> Result<(), SinkError> {
        Ok(())
    }
}
