//! The JSON Schema of packs, for editors: completion and a sentence for every key.
//!
//! The structs below are read by nobody but `schemars`; the parser is stricter than any schema can
//! be. A test holds the two together: whatever key the parser asks for stands here.
#![allow(dead_code, clippy::doc_markdown, reason = "the structs exist for their schema, whose texts are plain")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};

/// The JSON Schema of a pack (draft 2020-12).
pub fn json_schema() -> serde_json::Value {
    let schema: Schema = schema_for!(PackDoc);
    schema.to_value()
}

/// A length of time: 500ms, 30s, 10m, 24h, 30d.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Duration(#[schemars(regex(pattern = r"^\d+(ms|s|m|h|d)$"))] String);

/// One text, or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// A SQL condition over the columns of the kind, or a list of them that must all hold.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Conditions {
    One(String),
    Many(Vec<String>),
}

/// A weir rule pack: rules, the lists they look things up in, and their tests.
#[derive(JsonSchema)]
#[schemars(title = "weir rule pack", deny_unknown_fields)]
struct PackDoc {
    /// Version of the format: 1.
    #[schemars(range(min = 1, max = 1))]
    weir: u32,
    /// Name of the pack; absent in a file that another one includes.
    pack: Option<String>,
    /// Who answers for these rules; absent in a file that another one includes.
    owner: Option<String>,
    /// Why data may be used at all, by name.
    purposes: Option<BTreeMap<String, PurposeDoc>>,
    /// Further files of the pack, beside it or below it.
    include: Option<Texts>,
    /// Named expressions, used in conditions like columns.
    r#let: Option<BTreeMap<String, String>>,
    /// Watchlists by name.
    lists: Option<BTreeMap<String, ListDoc>>,
    /// Rules.
    rules: Option<Vec<RuleDoc>>,
    /// Tests; `weir test` runs each of them five ways.
    tests: Option<Vec<TestDoc>>,
}

/// A purpose, with the legal ground it rests on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PurposeDoc {
    /// The legal ground, in words a court would understand.
    legal_basis: Option<String>,
    /// How long alerts are kept.
    retention: Option<Duration>,
    /// Roles that decide on its alerts.
    reviewers: Option<Texts>,
}

/// The closed set of list kinds.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ListKindDoc {
    StolenVehicle,
    WantedVehicle,
    LostDocument,
    Warrant,
    MissingPerson,
    EntryBan,
    Sanctions,
    ProhibitedItem,
    RevokedCredential,
}

/// What to do with a list whose file is older than `max_age`.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum WhenStaleDoc {
    Degrade,
    Stop,
    Ignore,
}

/// What happens to a list with rows that cannot be used.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum BadRowsDoc {
    Report,
    Refuse,
}

/// How sure it is that a record is the one a list means.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum GradeDoc {
    Exact,
    Pattern,
    Candidate,
    Confusable,
    PartialRead,
}

/// A watchlist: a governed object with purpose, legal ground and an expiry for each entry.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ListDoc {
    /// Which of the closed set.
    kind: ListKindDoc,
    /// Snapshot, CSV or NDJSON file, relative to the file that declares the list.
    from: String,
    /// Key column, named like the column it meets: plate, doc_number, item_class.
    key: String,
    /// Purpose it was made for; its legal basis is stated there.
    purpose: String,
    /// Who asked for it; the pack's owner if absent.
    authority: Option<String>,
    /// Share by which it may grow from one version to the next, such as 20%; more stops the load.
    max_growth: Option<String>,
    /// What happens if rows cannot be used: they are reported and left out, or the list is refused.
    bad_rows: Option<BadRowsDoc>,
    /// Age of the file beyond which it is stale.
    max_age: Option<Duration>,
    /// What to do then.
    when_stale: Option<WhenStaleDoc>,
}

/// How urgent an alert is.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum SeverityDoc {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// Whether a person decides before anything follows from an alert.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ReviewDoc {
    Required,
    None,
}

/// Where a rule stands in its life. A shadow rule evaluates and counts, and never routes.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum StatusDoc {
    Draft,
    Shadow,
    Active,
    Retired,
}

/// After an alert, none with the same key within `for` of event time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DedupeDoc {
    /// Columns that make two alerts the same.
    key: Texts,
    /// How long repeats are held back.
    r#for: Duration,
}

/// Adds the keys that every rule has to those of one kind.
macro_rules! rule {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        struct $name {
            /// Short name, unique in a run.
            id: String,
            /// Kind of record it looks at: person, vehicle, item, id, code, or one of your own.
            from: String,
            /// Which records it looks at; all, if absent.
            r#where: Option<Conditions>,
            /// Purpose it serves.
            purpose: String,
            /// Urgency; medium if absent.
            severity: Option<SeverityDoc>,
            /// Whether a person decides; required where a personal identifier is involved.
            review: Option<ReviewDoc>,
            /// Sinks by name; every sink that serves the purpose if absent.
            route: Option<Texts>,
            /// Text for people, with {field}s.
            say: Option<String>,
            /// Active if absent.
            status: Option<StatusDoc>,
            $($(#[$field_doc])* $field: $ty,)*
        }
    };
}

rule! {
    /// Fires for every record that passes the condition.
    MatchDoc {
        /// Keeps repeats away.
        dedupe: Option<DedupeDoc>,
    }
}

rule! {
    /// Fires for a record whose column is on a list.
    WatchlistDoc {
        /// Column that is looked up.
        on: String,
        /// List out of `lists`.
        list: String,
        /// Least sure kind of match that counts; pattern if absent.
        min_grade: Option<GradeDoc>,
        /// Keeps repeats away.
        dedupe: Option<DedupeDoc>,
    }
}

rule! {
    /// Fires when a measure over a window crosses a level.
    WindowDoc {
        /// Symbol columns; one window for each combination of values.
        key: Texts,
        /// count, reads, snapshot, sum(c), avg(c), min(c), max(c), distinct(c).
        measure: String,
        /// How people inside are counted; for `measure: occupancy`.
        occupancy: Option<OccupancyDoc>,
        /// Divides by a figure of the zone.
        per: Option<PerDoc>,
        /// Length and distance of windows.
        window: WindowLengthsDoc,
        /// How much disorder is waited for; 5s if absent.
        lateness: Option<Duration>,
        /// Thresholds from low to high.
        levels: Option<Vec<LevelDoc>>,
        /// `windows` for a stream of values.
        emit: Option<EmitDoc>,
        /// What to do when devices are silent.
        when_silent: Option<WhenSilentDoc>,
        /// Whether a level of a measure that only grows is entered the moment that is certain; false if absent.
        early: Option<bool>,
        /// Whether a density of zones under 4 m2 is meant.
        small_areas: Option<bool>,
        /// For how long a window's value is told anew when late records come; only with `emit: windows`.
        revise_for: Option<Duration>,
        /// How far to look ahead, such as 15m, or with a quantile.
        forecast: Option<ForecastDoc>,
    }
}

rule! {
    /// Fires when steps happened in order for one key.
    SequenceDoc {
        /// Columns whose values must agree; with `site`, unless the first step is a hit on a list.
        key: Texts,
        /// Two to eight, each strictly later than the one before.
        steps: Vec<StepDoc>,
        /// From the first step to the last, at most.
        within: Duration,
        /// How much disorder is waited for; 5s if absent.
        lateness: Option<Duration>,
    }
}

rule! {
    /// Fires when something happened for a key, and what should have followed did not.
    AbsenceDoc {
        /// Columns whose values must agree; with `site`, unless `after` is a hit on a list.
        key: Texts,
        /// What happened.
        after: StepDoc,
        /// What should have followed, strictly later.
        expect: StepDoc,
        /// How long it had time.
        within: Duration,
        /// How much disorder is waited for; 5s if absent.
        lateness: Option<Duration>,
    }
}

/// One rule.
#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "snake_case")]
enum RuleDoc {
    /// A record for which `where` holds.
    Match(MatchDoc),
    /// A record whose `on` column is on `list`.
    Watchlist(WatchlistDoc),
    /// `measure` over a window for each `key` crosses `levels`.
    Window(WindowDoc),
    /// Steps in order, same `key`, `within`.
    Sequence(SequenceDoc),
    /// `after` happened, `expect` did not, `within`.
    Absence(AbsenceDoc),
}

/// One thing that happens: conditions, or a map with a name, conditions and a look-up.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum StepDoc {
    Condition(String),
    Conditions(Vec<String>),
    Full(FullStepDoc),
}

/// One thing that happens.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FullStepDoc {
    /// A word for people.
    name: Option<String>,
    /// Which records are it.
    r#where: Option<Conditions>,
    /// Column that is looked up; only in what starts the rule.
    on: Option<String>,
    /// List out of `lists`; only in what starts the rule.
    list: Option<String>,
    /// `exact` or `pattern`; only in what starts the rule.
    min_grade: Option<GradeDoc>,
}

/// The figure of the zone table by which a measure is divided.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum PerDoc {
    Area,
    Capacity,
    DailyCapacity,
}

/// How people inside are counted.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct OccupancyDoc {
    /// Time of day at which nobody is inside, such as "04:00".
    reset: Option<String>,
    /// IANA name of the time zone of `reset`; UTC if absent.
    timezone: Option<String>,
    /// Whether the share of passages that the counter misses is learned from absolute readings; true if absent.
    learn: Option<bool>,
}

/// A look ahead: a duration, or with the quantile that is compared with a level.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum ForecastDoc {
    Ahead(Duration),
    Full(FullForecastDoc),
}

/// A look ahead.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FullForecastDoc {
    /// How far.
    ahead: Duration,
    /// Share of cases in which no more will come, 0.5 to 0.99; 0.8 if absent.
    quantile: Option<f64>,
}

/// Tumbling with `every` alone, hopping with `last` and `every`, a session with `gap`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WindowLengthsDoc {
    /// Length; `every` if absent.
    last: Option<Duration>,
    /// How often a window ends.
    every: Option<Duration>,
    /// A session: the window ends when nothing has come for so long.
    gap: Option<Duration>,
}

/// A two-threshold level with dwell.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LevelDoc {
    /// A word for people.
    name: String,
    /// Entered at or above this value...
    enter: f64,
    /// ...for so long.
    r#for: Option<Duration>,
    /// Left below this value; `enter` if absent...
    exit: Option<f64>,
    /// ...for so long.
    exit_for: Option<Duration>,
    /// Urgency of the alert at this level.
    severity: Option<SeverityDoc>,
    /// Other thresholds for classes of zones and hours of the day; the last that fits counts.
    for_zones: Option<Vec<ThresholdDoc>>,
    /// What an operator is asked to do when the level is entered.
    propose: Option<ProposeDoc>,
}

/// Thresholds for some zones or hours.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ThresholdDoc {
    /// Class of the zone table.
    class: Option<String>,
    /// Part of the zone's day, such as 07:00-09:00.
    hours: Option<String>,
    /// Entered at or above this value.
    enter: f64,
    /// Left below this value; `enter` if absent.
    exit: Option<f64>,
}

/// What an operator is asked to do; nothing happens by itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ProposeDoc {
    /// What to do.
    action: ActionDoc,
    /// For limit_tickets: people a minute.
    per_minute: Option<f64>,
    /// How long the proposal stands; 10m if absent.
    valid_for: Option<Duration>,
}

/// Things that can be proposed.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ActionDoc {
    LimitTickets,
    HoldGate,
    OpenExit,
}

/// What a window rule gives beside alerts.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum EmitDoc {
    Windows,
    Alerts,
}

/// What to do when devices are silent.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WhenSilentDoc {
    /// After how long.
    after: Duration,
    /// hold, clear or alert.
    r#do: WhenSilentDoDoc,
}

/// What to do when devices are silent.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum WhenSilentDoDoc {
    Hold,
    Clear,
    Alert,
}

/// A test: what happens in virtual time, and exactly which alerts must come.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TestDoc {
    /// A sentence that says what must be.
    name: String,
    /// The rule that is tested, or several.
    rule: Texts,
    /// Entries of lists, by list.
    lists: Option<BTreeMap<String, Vec<BTreeMap<String, serde_json::Value>>>>,
    /// Zones by name.
    zones: Option<BTreeMap<String, ZoneDoc>>,
    /// Start of virtual time, RFC 3339.
    start: Option<String>,
    /// End of virtual time, from the start.
    until: Option<Duration>,
    /// Records: { at: 30s, vehicle: { plate: ..., site: ... } }.
    events: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    /// Records that repeat: { at: 0s, person: { zone: square }, values: "410x12@5s 330x6@5s" }.
    series: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    /// Alerts that must come, and no others: { at: 0s, severity: high, say: /regular expression/ }.
    expect: Vec<BTreeMap<String, serde_json::Value>>,
}

/// A zone of a test.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ZoneDoc {
    /// Area, m2.
    area_m2: Option<f64>,
    /// How many people it holds at one moment.
    capacity: Option<f64>,
    /// How many people it takes in a day.
    daily_capacity: Option<f64>,
    /// Class, such as station or scenic.
    class: Option<String>,
    /// The zone it is part of.
    parent: Option<String>,
    /// IANA name of its time zone; UTC if absent.
    timezone: Option<String>,
    /// Its opening hours, such as 08:30-17:00; always if absent.
    open: Option<String>,
    /// Devices that watch it.
    devices: Option<Texts>,
}
