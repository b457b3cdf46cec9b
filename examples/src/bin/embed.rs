//! A pipeline inside an integrator's own process, with his own source and sink.
//!
//! `cargo run --release --bin embed`

use weir_engine::{Feed, Format, Output, Pipeline, Sink, SinkError, SinkSpec, Source, SourceError, SourceSpec};
use weir_rules::{Catalog, Diagnostics, SourceFile, pack};

const PACK: &str = "
weir: 1
pack: my-gates
owner: me
purposes: { goods_safety: { legal_basis: dangerous goods order 7 } }
rules:
  - { id: too-much-fuel, kind: match, from: item, where: item_class = '1203' and quantity > 60,
      purpose: goods_safety, severity: high, say: \"{quantity} {unit} of petrol at {site}\" }
";

/// Hands over what my gates have seen.
struct MyGates;

impl Source for MyGates {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        for (number, litres) in [20, 80, 45, 300].into_iter().enumerate() {
            feed.send_ndjson(format!(
                r#"{{"kind":"item","event_id":"{number}","ts":"2026-11-23T08:00:0{number}Z","site":"north","device":"n1","item_class":"UN 1203","quantity":{litres},"unit":"L"}}"#
            ));
        }
        Ok(())
    }
}

/// Tells my own people.
struct MyDesk;

impl Sink for MyDesk {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        for output in outputs {
            println!("{}", output.to_json());
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (catalog, mut problems) = (Catalog::builtin(), Diagnostics::new());
    let pack = pack::parse(&SourceFile::new("my-gates", PACK), &catalog, &mut problems).ok_or("no pack")?;
    assert!(!problems.has_errors(), "{:?}", problems.iter().next());
    let desk = SinkSpec::alerts("desk", ["goods_safety"]);
    let pipeline = Pipeline::builder(catalog)
        .pack(pack, vec![])
        .source(SourceSpec::new("gates", Format::Ndjson), MyGates)
        .sink(desk, MyDesk)
        .build()?;
    println!("{} alerts", pipeline.run()?.alerts());
    Ok(())
}
