//! What a checked pack consists of.

use std::ops::Range;
use std::sync::Arc;

use super::PackTest;
use super::{AbsenceSpec, ListDecl, Lookup, SequenceSpec, Step, Template, WindowSpec};
use crate::diagnostic::SourceFile;
use crate::expr::Expression;

/// Rules that belong together: one file, or one file and those it includes.
#[derive(Debug, Clone)]
pub struct Pack {
    /// The file with its head.
    pub file: Arc<SourceFile>,
    /// Digest of the text of all its files: 16 hexadecimal digits.
    pub version: String,
    /// Name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Purposes with their legal basis.
    pub purposes: Vec<Purpose>,
    /// Lists the rules look things up in.
    pub lists: Vec<ListDecl>,
    /// Rules in the order written.
    pub rules: Vec<Rule>,
    /// Tests in the order written.
    pub tests: Vec<PackTest>,
}

impl Pack {
    /// The purpose with this name.
    pub fn purpose(&self, name: &str) -> Option<&Purpose> {
        self.purposes.iter().find(|purpose| purpose.name == name)
    }
}

/// Why data may be used at all.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// The file it stands in.
    pub file: Arc<SourceFile>,
    /// Name.
    pub name: String,
    /// Where it is declared.
    pub span: Range<usize>,
    /// The legal ground, in words a court would understand.
    pub legal_basis: String,
    /// How long alerts are kept.
    pub retention_ms: Option<i64>,
    /// Roles that decide on its alerts.
    pub reviewers: Vec<String>,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSeverity {
    /// For the record.
    Info,
    /// Look when there is time.
    Low,
    /// Look soon.
    Medium,
    /// Look now.
    High,
    /// Act now.
    Critical,
}

impl RuleSeverity {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("info", Self::Info),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

/// Whether a person decides before anything follows from an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Review {
    /// A person decides.
    Required,
    /// No personal identifier in it; may go to an actuator.
    None,
}

impl Review {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] = &[("required", Self::Required), ("none", Self::None)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        if self == Self::Required { "required" } else { "none" }
    }
}

/// Where a rule stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Checked, not run.
    Draft,
    /// Run and counted, never routed.
    Shadow,
    /// Run and routed.
    Active,
    /// Kept for the record, not run.
    Retired,
}

impl Status {
    /// Words of the language.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("draft", Self::Draft), ("shadow", Self::Shadow), ("active", Self::Active), ("retired", Self::Retired)];

    /// Whether the rule is evaluated at all.
    pub fn runs(self) -> bool {
        matches!(self, Self::Shadow | Self::Active)
    }
}

/// Keeps repeats away: after an alert, none with the same key within `for_ms` of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// Columns that make up the key.
    pub key: Vec<String>,
    /// How long, in event time.
    pub for_ms: i64,
}

/// What happens when a rule fires: common to all kinds of rule.
#[derive(Debug, Clone)]
pub struct Alerting {
    /// Urgency; a level of a window rule may have its own.
    pub severity: RuleSeverity,
    /// Whether a person decides.
    pub review: Review,
    /// Suppression of repeats.
    pub dedupe: Option<Dedupe>,
    /// Sinks by name; empty means every sink that serves the purpose.
    pub route: Vec<(String, Range<usize>)>,
    /// Text for people.
    pub say: Option<Template>,
}

/// A checked rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The file it stands in.
    pub file: Arc<SourceFile>,
    /// Name, unique in a run.
    pub id: String,
    /// Where its id stands.
    pub span: Range<usize>,
    /// Kind of record it looks at.
    pub from: String,
    /// Purpose it serves.
    pub purpose: String,
    /// Draft, shadow, active, retired.
    pub status: Status,
    /// Which records it looks at: all of these hold. In the order written, one for each line.
    pub conditions: Vec<Expression>,
    /// What it does with them.
    pub body: Body,
    /// What happens when it fires.
    pub alerting: Alerting,
    /// Digest of its meaning, not of its text: 16 hexadecimal digits.
    pub version: String,
}

/// What sets the kinds of rule apart.
#[derive(Debug, Clone)]
pub enum Body {
    /// Fires for every record that passes the condition.
    Match,
    /// Fires for a record whose column is on a list.
    Watchlist(Lookup),
    /// Fires when a measure over a window crosses a level.
    Window(WindowSpec),
    /// Fires when steps happened in order for one key.
    Sequence(SequenceSpec),
    /// Fires when something happened for a key, and what should follow did not.
    Absence(Box<AbsenceSpec>),
}

impl Body {
    /// The word in `kind:`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Watchlist(_) => "watchlist",
            Self::Window(_) => "window",
            Self::Sequence(_) => "sequence",
            Self::Absence(_) => "absence",
        }
    }

    /// Every look-up in a list: that of a watchlist rule, or those that start a sequence or an absence.
    pub fn lookups(&self) -> Vec<&Lookup> {
        match self {
            Self::Match | Self::Window(_) => Vec::new(),
            Self::Watchlist(lookup) => vec![lookup],
            Self::Sequence(spec) => spec.steps.iter().filter_map(|step| step.lookup.as_ref()).collect(),
            Self::Absence(spec) => spec.after.lookup.iter().collect(),
        }
    }
}

impl Rule {
    /// Every expression of the rule: its conditions, and those of its steps.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let steps: Vec<&Step> = match &self.body {
            Body::Sequence(spec) => spec.steps.iter().collect(),
            Body::Absence(spec) => vec![&spec.after, &spec.expect],
            Body::Match | Body::Watchlist(_) | Body::Window(_) => Vec::new(),
        };
        self.conditions.iter().chain(steps.into_iter().flat_map(|step| &step.conditions))
    }

    /// How much disorder its answer waits for; 0 for a rule that answers at once.
    pub fn lateness_ms(&self) -> i64 {
        match &self.body {
            Body::Match | Body::Watchlist(_) => 0,
            Body::Window(spec) => spec.lateness_ms,
            Body::Sequence(spec) => spec.lateness_ms,
            Body::Absence(spec) => spec.lateness_ms,
        }
    }
}
