//! Records that come in: whatever the bytes, each record ends in one bucket, and how the bytes were cut or put together
//! changes nothing.

use weir_connectors::source::payload_of;
use weir_engine::source::{Framer, Payload};
use weir_engine::{Format, Limits, Output, Stream, Summary, Trial, TrialParts};
use weir_rules::{Catalog, Diagnostics, Pack, SourceFile, pack};

/// Rules that read columns of every type, and have state.
const PACK: &str = "weir: 1
pack: fuzz
owner: o
purposes: { p: { legal_basis: act 1 } }
rules:
  - { id: goods, kind: match, from: item, where: \"quantity > 3 or item_class = 'knife'\", purpose: p, dedupe: { key: [site], for: 5s }, say: \"{item_class} {quantity} {unit}\" }
  - { id: fast, kind: match, from: vehicle, where: speed_kmh > 100 and lane = '2', purpose: p, say: \"{speed_kmh} {lane}\" }
  - { id: crowd, kind: window, from: person, key: [zone], measure: count, window: { last: 10s, every: 5s }, lateness: 3s, emit: windows, purpose: p }
  - { id: twice, kind: sequence, from: id, key: [site, doc_number], steps: [{ name: a, where: decision = 'refuse' }, { name: b, where: decision = 'pass' }], within: 1m, purpose: p, review: required }
";
/// Largest body that is inflated.
const BODY_BYTES_MAX: usize = 64 << 10;

fn parse(text: &str) -> Option<Pack> {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("pack.yaml", text), &Catalog::builtin(), &mut diagnostics);
    pack.filter(|_| !diagnostics.has_errors())
}

fn trial(pack: Pack) -> Option<Trial> {
    let limits = Limits { max_ahead_ms: i64::MAX, ..Limits::default() };
    Trial::new(TrialParts { limits, ..TrialParts::new(Catalog::builtin(), vec![(pack, Vec::new())]) }).ok()
}

/// Judges payloads one by one; what comes out, and the account, which adds up.
fn judge(payloads: Vec<Payload>) -> (Vec<String>, Summary) {
    let mut trial = trial(parse(PACK).expect("a pack")).expect("it can be planned");
    for payload in payloads {
        trial.feed_payload(payload);
    }
    trial.settle(None);
    let outputs = told_by(&mut trial);
    let summary = trial.into_summary();
    let total = summary.total();
    let ended = total.evaluated + total.duplicate + total.late + total.rejected + total.shed;
    assert_eq!(total.received, ended, "every record ends somewhere: {total:?}");
    (outputs, summary)
}

/// What came out but for dead letters, which know their batch; sorted, since what is told at once has no order.
fn told_by(trial: &mut Trial) -> Vec<String> {
    let outputs = trial.outputs();
    let told = outputs.iter().filter(|output| output.stream() != Stream::DeadLetters);
    let mut told: Vec<String> = told.map(Output::to_json).collect();
    told.sort();
    told
}

/// The payloads of a stream that is read so many bytes at a time; `None` where it cannot be read on.
fn framed(format: Format, bytes: &[u8], step: usize) -> Option<Vec<Payload>> {
    let mut framer = Framer::detached(format, 1 << 16);
    let mut payloads = Vec::new();
    let mut pieces = bytes.chunks(step.max(1));
    loop {
        let piece = pieces.next();
        match piece {
            Some(piece) => framer.push(piece),
            None => framer.finish(),
        }
        while let Some(payload) = framer.next_payload().ok()? {
            payloads.push(payload);
        }
        if piece.is_none() {
            return Some(payloads);
        }
    }
}

/// The first byte says how much is read at once.
fn whole_and_in_pieces(format: Format, data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = framed(format, bytes, bytes.len());
    let pieces = framed(format, bytes, usize::from(*step) + 1);
    let Some(whole) = whole else { return };
    let (told, account) = judge(whole);
    if let Some(pieces) = pieces {
        let (told_in_pieces, account_in_pieces) = judge(pieces);
        assert_eq!(told, told_in_pieces);
        assert_eq!(account.total(), account_in_pieces.total());
    }
}

/// A CSV file with any header.
///
/// # Panics
/// On a finding.
pub fn decode_csv(data: &[u8]) {
    whole_and_in_pieces(Format::Csv, data);
}

/// An Arrow IPC stream or file.
///
/// # Panics
/// On a finding.
pub fn arrow_ipc_in(data: &[u8]) {
    whole_and_in_pieces(Format::ArrowIpc, data);
}

/// A body that is posted; the first byte says under which headers.
///
/// # Panics
/// On a finding.
pub fn http_body(data: &[u8]) {
    let Some((headers, body)) = data.split_first() else { return };
    let kind =
        ["application/json", "application/x-ndjson", "application/json; charset=utf-8"][usize::from(headers % 3)];
    let encoding = [None, Some("gzip"), Some("zstd"), Some("identity")][usize::from(headers / 3 % 4)];
    if let Some(payload) = payload_of(Some(kind), encoding, body.to_vec().into(), BODY_BYTES_MAX) {
        assert!(payload.bytes() <= BODY_BYTES_MAX.max(body.len()));
        judge(vec![payload]);
    }
}

/// Records that conditions are asked about, with values at the borders of what columns hold.
const ASKED: &str = r#"{"kind":"vehicle","event_id":"1","ts":1795500000000,"site":"s","device":"d","zone":"z","plate":"陕A12345","plate_color":"blue","vehicle_class":"truck","speed_kmh":0.1,"confidence":1,"lane":"2"}
{"kind":"vehicle","event_id":"2","ts":1795500000001,"site":"","device":"d","speed_kmh":-0.0,"confidence":0}
{"kind":"vehicle","event_id":"3","ts":1795500000002,"site":"S","device":"e","zone":"Z","speed_kmh":1e308,"direction":"in","lane":"0"}
{"kind":"vehicle","event_id":"4","ts":1795500000003,"site":"s","device":"d","plate":"é","speed_kmh":80,"direction":"out","lane":"10"}
{"kind":"vehicle","event_id":"5","ts":1795500000004,"site":"s","device":"d","speed_kmh":79.99999999999999}
"#;

/// A condition gives the same for a row whatever rows are beside it.
///
/// # Panics
/// On a finding.
pub fn rules_eval(data: &[u8]) {
    let Ok(condition) = std::str::from_utf8(data) else { return };
    let condition = condition.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
    let text = format!(
        "weir: 1\npack: f\nowner: o\npurposes: {{ p: {{ legal_basis: act 1 }} }}\nrules:\n  - {{ id: r, kind: match, from: vehicle, where: \"{condition}\", purpose: p, say: \"{{lane}}\" }}\n"
    );
    let Some(pack) = parse(&text) else { return };
    let told = |parts: Vec<&str>| {
        let mut trial = trial(pack.clone())?;
        for part in parts {
            trial.feed(part);
        }
        let outputs = told_by(&mut trial);
        let summary = trial.into_summary();
        Some((outputs, summary.rules.iter().map(|rule| rule.condition_errors).sum::<u64>()))
    };
    let together = told(vec![ASKED]);
    assert_eq!(together, told(ASKED.split_inclusive('\n').collect()), "{condition}");
    assert_eq!(together, told(ASKED.split_inclusive('\n').rev().collect()), "{condition}");
}
