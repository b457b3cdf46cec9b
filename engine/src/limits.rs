//! Every bound of the engine, with its name and its default.

/// Bounds that a configuration may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest record; a longer one is rejected and the next one read.
    pub record_bytes_max: usize,
    /// Bytes that sources may have handed over and shards not yet taken.
    pub intake_bytes_max: usize,
    /// Bytes a shard takes at once: with much load a batch is this large.
    pub batch_bytes_max: usize,
    /// Batches that may be judged ahead of the slowest one, per shard.
    pub turns_ahead_per_shard_max: usize,
    /// Outputs waiting for one sink; a full queue holds the pipeline back.
    pub sink_queue_max: usize,
    /// Distinct values of one symbol column in the life of a process.
    pub symbols_max: usize,
    /// Event ids remembered; the oldest minute leaves first and is counted.
    pub event_ids_max: usize,
    /// How long an event id is remembered, in event time.
    pub event_ids_for_ms: i64,
    /// Keys of one window rule, over all open panes.
    pub window_groups_max: usize,
    /// Values that windows keep one by one, over all open panes of one set: distinct values, instants of an occupancy.
    pub window_values_max: usize,
    /// Suppression entries over all rules.
    pub suppressed_keys_max: usize,
    /// Alerts that may have to be taken back; the oldest leaves first and is counted.
    pub told_alerts_max: usize,
    /// How long an alert may be taken back, in event time.
    pub told_for_ms: i64,
    /// Keys of one sequence or absence rule; what would end first leaves and is counted.
    pub sequence_keys_max: usize,
    /// Observations of one sequence or absence rule that wait for the watermark.
    pub held_observations_max: usize,
    /// A record further in the future than this is quarantined.
    pub max_ahead_ms: i64,
    /// A device silent for this long holds no window back.
    pub idle_after_ms: i64,
    /// Source read -> sink hand-over; alerts beyond it are counted as violations.
    pub latency_bound_ms: u64,
    /// Entries of one list.
    pub list_entries_max: usize,
    /// Texts of one symbol column, copies and tables included.
    pub symbol_bytes_max: usize,
    /// Memory for all that records make weir keep; lowers the bounds above (`budget`). Lists come on top of it.
    pub memory_max: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 1 << 20,
            intake_bytes_max: 32 << 20,
            batch_bytes_max: 256 << 10,
            turns_ahead_per_shard_max: 12,
            sink_queue_max: 65_536,
            symbols_max: 65_536,
            event_ids_max: 8_000_000,
            event_ids_for_ms: 10 * 60_000,
            window_groups_max: 1_000_000,
            window_values_max: 20_000_000,
            suppressed_keys_max: 1_000_000,
            told_alerts_max: 50_000,
            told_for_ms: 7 * 86_400_000,
            sequence_keys_max: 200_000,
            held_observations_max: 500_000,
            max_ahead_ms: 5 * 60_000,
            idle_after_ms: 30_000,
            latency_bound_ms: 50,
            list_entries_max: 20_000_000,
            symbol_bytes_max: 128 << 20,
            memory_max: None,
        }
    }
}

/// Longest text of a symbol column.
pub const SYMBOL_BYTES_MAX: usize = 256;
/// Longest text that a normaliser reads, credentials aside.
pub const NORMALISED_BYTES_MAX: usize = 1_024;
/// Deepest nesting of a JSON record.
pub const JSON_DEPTH_MAX: usize = 64;
/// Zones one record may lie in.
pub const ZONES_PER_RECORD_MAX: usize = 64;
/// Scored texts one record may carry.
pub const SCORED_TEXTS_MAX: usize = 32;
/// Most bytes a compressed input may give for each byte it has, once past [`INFLATE_FREE_BYTES`].
pub const INFLATE_RATIO_MAX: u64 = 100;
/// Output that is allowed whatever the ratio.
pub const INFLATE_FREE_BYTES: u64 = 16 << 20;
/// Largest Arrow IPC message, metadata and body, compressed and not.
pub const IPC_MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Most rows of an Arrow record batch.
pub const IPC_ROWS_MAX: usize = 1 << 20;
/// Earliest accepted event time: 2000-01-01.
pub const TS_MS_MIN: i64 = 946_684_800_000;
/// Latest accepted event time: 2100-01-01.
pub const TS_MS_MAX: i64 = 4_102_444_800_000;
