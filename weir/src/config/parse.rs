//! `weir.yaml` as a whole.

use std::path::Path;
use std::sync::Arc;

use weir_engine::budget::MEMORY_MIN;
use weir_engine::state::DeadLettersSpec;
use weir_engine::{JOURNAL_FOR_MS_MAX, Limits, StateSpec};
use weir_rules::diagnostic::codes;
use weir_rules::schema::parse_kinds;
use weir_rules::yaml::{self, MapReader};
use weir_rules::{Catalog, Diagnostic, Diagnostics, SourceFile, pack};

use super::list_sources::parse_list_source;
use super::sinks::parse_sink;
use super::sources::parse_source;
use super::{Config, Named, SinkDecl, beside, keys};

/// Smallest segment: the longest output is half of one.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Smallest outbox: a segment that is written and one that waits.
const CHECKPOINT_EVERY_MS_MIN: u64 = 100;
const JOURNAL_FOR_MS_MIN: u64 = 3_000;
const DEAD_LETTERS_BYTES: usize = 64 << 20;
const DEAD_LETTERS_BYTES_MIN: usize = 8 << 20;
const DEAD_LETTERS_FOR_MS_MIN: i64 = 3_600_000;
const DEAD_LETTERS_FOR_MS_MAX: i64 = 30 * 86_400_000;
const OUTBOX_BYTES_MIN: u64 = 16 << 20;

impl Config {
    /// Reads a configuration; what is wrong goes to `diagnostics`.
    pub(crate) fn parse(file: &Arc<SourceFile>, path: &Path, diagnostics: &mut Diagnostics) -> Option<Self> {
        let root = yaml::parse(file, diagnostics)?;
        let mut map = MapReader::open(file, &root, "the configuration", diagnostics)?;
        pack::check_version(file, &mut map, diagnostics);
        let mut catalog = Catalog::builtin();
        if let Some(kinds) = map.take("kinds") {
            parse_kinds(file, kinds, &mut catalog, diagnostics);
        }
        let named = |(text, node): (&str, &yaml::Node)| Named { path: beside(path, text), span: node.span.clone() };
        let population = map.take_integer("population", diagnostics);
        let zones = map.take_text("zones", diagnostics).map(named);
        let packs: Vec<Named> =
            map.take_texts("packs", diagnostics).unwrap_or_default().into_iter().map(named).collect();
        let mut sources = Vec::new();
        if let Some(mut declared) = map.take_map("sources", diagnostics) {
            for (name, key, node) in declared.entries() {
                sources.extend(parse_source(file, path, (name, key), node, &catalog, diagnostics));
            }
        }
        let mut sinks: Vec<SinkDecl> = Vec::new();
        if let Some(mut declared) = map.take_map("sinks", diagnostics) {
            for (name, key, node) in declared.entries() {
                sinks.extend(parse_sink(file, path, (name, key), node, diagnostics));
            }
        }
        let mut list_sources = Vec::new();
        if let Some(mut declared) = map.take_map("list_sources", diagnostics) {
            for (list, key, node) in declared.entries() {
                list_sources.extend(parse_list_source(file, path, (list, key), node, diagnostics));
            }
        }
        let (limits, shards) =
            map.take_map("limits", diagnostics).map_or_else(Default::default, |map| parse_limits(map, diagnostics));
        let (mut key_file, mut status_file, mut state_spec) = (None, None, None);
        if let Some(mut state) = map.take_map("state", diagnostics) {
            key_file = state
                .take_text("key_file", diagnostics)
                .map(|(text, node)| Named { path: keys::path_of(path, text), span: node.span.clone() });
            status_file = state.take_text("status_file", diagnostics).map(|(text, _)| beside(path, text));
            state_spec = parse_state(path, &mut state, key_file.is_some(), diagnostics);
            state.finish(diagnostics);
        }
        if key_file.is_none() && !list_sources.is_empty() {
            let message = "what is fetched is kept as a snapshot, which is built with a `key_file`";
            let found = Diagnostic::new(&codes::MISSING_KEY, file, map.place_of("list_sources"), message);
            diagnostics.push(found.help("add `state: { key_file: FILE }`; head -c 32 /dev/urandom > FILE makes one"));
        }
        let keeps_dead_letters = state_spec.as_ref().is_some_and(|spec: &StateSpec| spec.dead_letters.is_some());
        for source in sources.iter().filter(|_| !keeps_dead_letters) {
            if let Some(span) = &source.keeps_refused {
                let message =
                    "`keep_refused` keeps the bytes of refused records with their dead letters, and those are not kept";
                let help = "add `state: { dir: PATH, key_file: FILE, dead_letters_for: 7d }`";
                diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, file, span.clone(), message).help(help));
            }
        }
        if keeps_dead_letters && sinks.iter().any(|sink| sink.name == DeadLettersSpec::NAME) {
            let message = format!("`{}` is the name of the sink that keeps dead letters", DeadLettersSpec::NAME);
            diagnostics
                .push(Diagnostic::new(&codes::BAD_VALUE, file, map.head(), message).help("give it another name"));
        }
        let metrics = map.take_text("metrics", diagnostics).and_then(|(text, node)| {
            let address = weir_connectors::loopback_address(text);
            let fault = |message| Diagnostic::new(&codes::NOT_LOOPBACK, file, node.span.clone(), message);
            address.map_err(|message| diagnostics.push(fault(message))).ok()
        });
        let mut issuers = Vec::new();
        if let Some(mut credentials) = map.take_map("credentials", diagnostics) {
            issuers =
                credentials.take_texts("issuers", diagnostics).unwrap_or_default().into_iter().map(named).collect();
            credentials.finish(diagnostics);
        }
        for (what, there) in [("sources", map.has("sources")), ("packs", map.has("packs")), ("sinks", map.has("sinks"))]
        {
            if !there {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::NOTHING_TO_DO,
                        file,
                        map.head(),
                        format!("the configuration has no `{what}`"),
                    )
                    .help("a run needs at least one source, one pack and one sink"),
                );
            }
        }
        map.finish(diagnostics);
        Some(Self {
            file: Arc::clone(file),
            catalog,
            population,
            zones,
            packs,
            list_sources,
            sources,
            sinks,
            limits,
            shards,
            key_file,
            status_file,
            metrics,
            state: state_spec,
            issuers,
        })
    }
}

/// Where outputs are kept, if they are.
fn parse_state(
    path: &Path,
    state: &mut MapReader<'_>,
    has_key: bool,
    diagnostics: &mut Diagnostics,
) -> Option<StateSpec> {
    let folder = state.take_text("dir", diagnostics).map(|(text, _)| beside(path, text));
    let sizes = ["segment", "outbox", "reserve"].map(|key| (key, state.take_bytes(key, diagnostics)));
    let drain_for_ms = state.take_duration_ms("drain_for", diagnostics);
    let times = ["checkpoint_every", "journal_for"].map(|key| (key, state.take_duration_ms(key, diagnostics)));
    let dead_letters_for = state.take_duration_ms("dead_letters_for", diagnostics);
    let dead_letters_bytes = state.take_bytes("dead_letters", diagnostics);
    let Some(folder) = folder else {
        for (key, there) in
            [("dead_letters_for", dead_letters_for.is_some()), ("dead_letters", dead_letters_bytes.is_some())]
        {
            if there {
                let message = format!("`{key}` says what a state folder keeps, and there is none");
                let found = Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message);
                diagnostics.push(found.help("add `dir: PATH`, or leave it out"));
            }
        }
        let times = times.iter().filter(|(_, time)| time.is_some()).map(|(key, _)| key);
        for key in sizes.iter().filter(|(_, size)| size.is_some()).map(|(key, _)| key).chain(times) {
            let message = format!("`{key}` says how much a state folder may hold, and there is none");
            let help = "add `dir: PATH`, or leave it out";
            let found = Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message).help(help);
            diagnostics.push(found);
        }
        return None;
    };
    if !has_key {
        let message = "a state folder needs a `key_file`: without it alert ids change with every start";
        let help = "make a key with: head -c 32 /dev/urandom > FILE, and keep it outside of the folder";
        diagnostics
            .push(Diagnostic::new(&codes::MISSING_KEY, &state.file(), state.place_of("dir"), message).help(help));
    }
    let says_how_often = times[0].1.is_some();
    let mut spec = StateSpec::new(folder);
    for ((key, size), (bytes, least)) in sizes.into_iter().zip([
        (&mut spec.segment_bytes, SEGMENT_BYTES_MIN),
        (&mut spec.outbox_bytes_max, OUTBOX_BYTES_MIN),
        (&mut spec.reserve_bytes, 0),
    ]) {
        let Some(size) = size.map(|size| size as u64) else { continue };
        if size < least {
            let message = format!("`{key}` must be at least {} MiB", least >> 20);
            diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message));
        }
        *bytes = size;
    }
    spec.journal_segment_bytes = spec.journal_segment_bytes.min(spec.segment_bytes);
    spec.drain_for_ms = drain_for_ms.map_or(spec.drain_for_ms, |ms| ms as u64);
    for ((key, time), (ms, range)) in times.into_iter().zip([
        (&mut spec.checkpoint_every_ms, CHECKPOINT_EVERY_MS_MIN..=u64::MAX),
        (&mut spec.journal_for_ms, JOURNAL_FOR_MS_MIN..=JOURNAL_FOR_MS_MAX),
    ]) {
        let Some(time) = time.map(|time| time as u64) else { continue };
        if time < *range.start() {
            let message = format!("`{key}` must be at least {} ms", range.start());
            diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message));
        }
        if time > *range.end() {
            let message = format!("`{key}` must be at most {} min", range.end() / 60_000);
            let help = "the journal holds records of people who did nothing";
            let found = Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message).help(help);
            diagnostics.push(found);
        }
        *ms = time;
    }
    spec.dead_letters = parse_dead_letters(state, dead_letters_for, dead_letters_bytes, diagnostics);
    let most = spec.journal_for_ms / StateSpec::CHECKPOINTS_PER_JOURNAL;
    if says_how_often && spec.checkpoint_every_ms > most {
        let parts = StateSpec::CHECKPOINTS_PER_JOURNAL;
        let message = format!("`checkpoint_every` must be at most {most} ms, one part in {parts} of `journal_for`");
        let help = "checkpoints are what lets the journal be removed";
        let place = state.place_of("checkpoint_every");
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &state.file(), place, message).help(help));
    }
    Some(spec)
}

fn parse_dead_letters(
    state: &MapReader<'_>,
    keep_for_ms: Option<i64>,
    bytes: Option<usize>,
    diagnostics: &mut Diagnostics,
) -> Option<DeadLettersSpec> {
    let mut wrong = |key: &str, message: String| {
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &state.file(), state.place_of(key), message));
    };
    if bytes.is_some() && keep_for_ms.is_none() {
        wrong("dead_letters", "`dead_letters` needs a `dead_letters_for`: how long they are kept".to_owned());
    }
    if bytes.is_some_and(|bytes| bytes < DEAD_LETTERS_BYTES_MIN) {
        wrong("dead_letters", format!("`dead_letters` must be at least {} MiB", DEAD_LETTERS_BYTES_MIN >> 20));
    }
    let keep_for_ms = keep_for_ms?;
    if !(DEAD_LETTERS_FOR_MS_MIN..=DEAD_LETTERS_FOR_MS_MAX).contains(&keep_for_ms) {
        wrong("dead_letters_for", "`dead_letters_for` is from 1 h to 30 d".to_owned());
    }
    let bytes_max = bytes.unwrap_or(DEAD_LETTERS_BYTES) as u64;
    Some(DeadLettersSpec { keep_for_ms, bytes_max })
}

fn parse_limits(mut map: MapReader<'_>, diagnostics: &mut Diagnostics) -> (Limits, Option<usize>) {
    let mut limits = Limits::default();
    macro_rules! set {
        ($field:ident, $take:ident, $key:literal) => {
            if let Some(value) = map.$take($key, diagnostics) {
                if value == 0 {
                    let message = concat!("`", $key, "` must be above 0");
                    diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &map.file(), map.place_of($key), message));
                }
                limits.$field = value.try_into().unwrap_or(limits.$field);
            }
        };
    }
    set!(record_bytes_max, take_bytes, "record_bytes");
    set!(intake_bytes_max, take_bytes, "intake_bytes");
    set!(batch_bytes_max, take_bytes, "batch_bytes");
    set!(sink_queue_max, take_integer, "sink_queue");
    set!(symbol_bytes_max, take_bytes, "symbol_bytes");
    set!(symbols_max, take_integer, "symbols");
    set!(event_ids_max, take_integer, "event_ids");
    set!(event_ids_for_ms, take_duration_ms, "event_ids_for");
    set!(window_groups_max, take_integer, "window_groups");
    set!(window_values_max, take_integer, "window_values");
    set!(suppressed_keys_max, take_integer, "suppressed_keys");
    set!(told_alerts_max, take_integer, "told_alerts");
    set!(told_for_ms, take_duration_ms, "told_for");
    set!(sequence_keys_max, take_integer, "sequence_keys");
    set!(held_observations_max, take_integer, "held_observations");
    set!(max_ahead_ms, take_duration_ms, "max_ahead");
    set!(idle_after_ms, take_duration_ms, "idle_after");
    set!(latency_bound_ms, take_duration_ms, "latency_bound");
    set!(list_entries_max, take_integer, "list_entries");
    limits.memory_max = map.take_bytes("memory", diagnostics);
    if limits.memory_max.is_some_and(|memory| memory < MEMORY_MIN) {
        let message = format!("`memory` must be at least {} MiB", MEMORY_MIN >> 20);
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, &map.file(), map.place_of("memory"), message));
    }
    let shards = map.take_integer("shards", diagnostics).map(|shards| shards as usize);
    map.finish(diagnostics);
    (limits, shards)
}
