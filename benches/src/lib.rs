//! What the benches share: the city's records and packs.
//!
//! The benches in `benches/` measure one stage each; `bin/baselines.rs` measures what other decoders take
//! on the same bytes. RESULTS.md holds the figures with the commands that produced them.
#![forbid(unsafe_code)]

pub mod cores;
mod over_tcp;
pub mod paced;
pub mod signed;

pub use over_tcp::{STAGES, Timed, over_tcp, over_tcp_beside};

use std::path::{Path, PathBuf};

use weir_engine::{Feed, Output, Sink, SinkError, Source, SourceError};
use weir_rules::{Catalog, Diagnostics, Pack, SourceFile, pack};

/// The allocator of the binary, so that what is measured here is what runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The demo city's folder.
pub fn city() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/city")
}

/// The demo city's records as lines of NDJSON.
///
/// # Panics
/// When the example is not there.
pub fn records() -> String {
    let file = std::fs::File::open(city().join("records.ndjson.gz")).expect("the demo city is there");
    let mut reader =
        weir_engine::source::inflate(Box::new(file), weir_engine::source::Compression::Auto).expect("gzip");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("text");
    text
}

/// A pack out of YAML without errors.
///
/// # Panics
/// When it has errors.
pub fn parse(text: &str) -> Pack {
    let mut diagnostics = Diagnostics::new();
    let pack = pack::parse(&SourceFile::new("bench", text), &Catalog::builtin(), &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{:?}", diagnostics.iter().next());
    pack.expect("a pack")
}

/// Sends a text in blocks, as a file source would.
pub struct Text(pub bytes::Bytes);

impl Source for Text {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let mut framer = feed.framer("bench");
        for piece in self.0.chunks(feed.block_bytes()) {
            framer.push(piece);
            feed.send_framed(&mut framer)?;
        }
        framer.finish();
        feed.send_framed(&mut framer)
    }
}

/// Takes everything and keeps nothing.
pub struct Nothing;

impl Sink for Nothing {
    fn deliver(&mut self, _outputs: &[Output]) -> Result<(), SinkError> {
        Ok(())
    }
}
