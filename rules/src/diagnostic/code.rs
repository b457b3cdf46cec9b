//! The stable codes: what each means, what it leads to and how it is cured.
//!
//! A code is never reused for another meaning. `weir explain WR0205` prints the entry.

use super::Severity;

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `WR` and four digits.
    pub id: &'static str,
    /// Default severity.
    pub severity: Severity,
    /// One line.
    pub title: &'static str,
    /// Why weir minds.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

/// The code with this id, in any case.
pub fn by_id(id: &str) -> Option<&'static Code> {
    all::ALL.iter().copied().find(|code| code.id.eq_ignore_ascii_case(id))
}

macro_rules! codes {
    ($($name:ident $id:literal $severity:ident $title:literal $cause:literal $cure:literal;)*) => {
        /// Every code by its name.
        #[allow(unreachable_pub, reason = "re-exported as `codes`")]
        pub mod all {
            use super::{Code, Severity};
            $(
                #[doc = $title]
                pub static $name: Code = Code {
                    id: $id, severity: Severity::$severity, title: $title, cause: $cause, cure: $cure,
                };
            )*
            /// In order of their numbers.
            pub static ALL: &[&Code] = &[$(&$name),*];
        }
    };
}

codes! {
    YAML_SYNTAX "WR0001" Error "not valid YAML"
        "The file does not follow YAML's grammar, so nothing behind this place can be read."
        "Check indentation (spaces, no tabs), colons and quotes on the line shown and the one above.";
    YAML_TOO_LARGE "WR0002" Error "file too large"
        "Rule and configuration files are small; a huge one is a mistake or an attack."
        "Split the file. Data (lists, zones) belongs into CSV or NDJSON files.";
    YAML_SEVERAL_DOCUMENTS "WR0003" Error "several documents in one file"
        "`---` starts a second document, and which of the two is meant is not clear."
        "One file, one document.";
    YAML_FEATURE "WR0004" Error "YAML feature that is not allowed"
        "Anchors, aliases and tags let a text mean something else than what is read."
        "Write the value out where it is used.";
    YAML_TOO_DEEP "WR0005" Error "nested too deep"
        "Nothing in weir's files nests deeply."
        "Check the brackets and the indentation.";
    DUPLICATE_KEY "WR0006" Error "key given twice"
        "One of the two values would be ignored silently."
        "Keep one of them.";
    UNKNOWN_KEY "WR0007" Error "unknown key"
        "A mistyped key would be ignored silently, and the rule would not do what it says."
        "Correct the name or delete the line.";
    WRONG_TYPE "WR0008" Error "wrong type of value"
        "A list, a map and a single value are different things."
        "Write the value in the form the message names.";
    MISSING_KEY "WR0009" Error "missing key"
        "The part cannot work without it."
        "Add the key.";
    BAD_VALUE "WR0010" Error "value cannot be read"
        "The value does not have the form this key needs."
        "Write it in the form the message names.";
    UNKNOWN_CHOICE "WR0011" Error "value is not one of the choices"
        "The key takes one of a closed set of words."
        "Take one of the words the message lists.";
    UNSUPPORTED_VERSION "WR0012" Error "unsupported format version"
        "The first key says which version of the format the file is written in."
        "Write `weir: 1`.";

    PROTECTED_ATTRIBUTE "WR0101" Error "protected attribute"
        "Ethnicity, religion, politics, gender, age, skin colour, native place, biometric data and \
         lists of special persons are refused by name, in kinds, mappings and lists alike. No \
         setting turns this off."
        "Delete the column. weir is built so that it cannot judge people by what they are.";
    KIND_REDECLARED "WR0102" Error "kind declared twice"
        "The five built-in kinds and their columns are fixed, and a kind has one declaration."
        "Choose another name.";
    BAD_NAME "WR0103" Error "name cannot be used"
        "Names of kinds and columns are lower-case letters, digits and underscores, and start with a letter."
        "Rename it.";
    RESERVED_COLUMN "WR0104" Error "reserved column"
        "Every kind already has kind, event_id, ts, site, device, zone, lane, source and received."
        "Delete the declaration; the column is there.";
    UNKNOWN_NORMALISER "WR0105" Error "unknown normaliser"
        "Normalisers are versioned functions shared by streams and lists."
        "Take one of the names the message lists.";

    UNKNOWN_PURPOSE "WR0201" Error "unknown purpose"
        "A rule or list names a purpose that the pack does not declare."
        "Declare it under `purposes` with its legal basis, or correct the name.";
    UNKNOWN_LIST "WR0202" Error "unknown list"
        "The rule names a list that the pack does not declare."
        "Declare it under `lists`, or correct the name.";
    PURPOSES_DO_NOT_MEET "WR0203" Error "purposes do not meet"
        "A list may only be used for the purpose for which it was made, and an alert may only go \
         where that purpose is served (purpose binding, Dir. (EU) 2016/680 art. 4)."
        "Use a list that was made for the rule's purpose. Changing the purpose to make the message \
         go away is misuse.";
    CODE_JOINED_WITH_LIST "WR0204" Error "health code joined with a list"
        "A health credential says something about health. It may be checked against revoked \
         credentials and against nothing else."
        "Take the rule out. There is no setting that allows it.";
    REVIEW_REQUIRED "WR0205" Error "a person decides"
        "The rule's key or text holds a personal identifier, so its alerts need a reviewer."
        "Write `review: required`, or leave the identifier out.";
    UNKNOWN_KIND "WR0206" Error "unknown kind of record"
        "`from` names a kind that is neither built in nor declared in the configuration."
        "Correct the name, or declare the kind.";
    UNKNOWN_COLUMN "WR0207" Error "unknown column"
        "The kind of record has no such column."
        "Correct the name; the message lists what there is.";
    DUPLICATE_RULE "WR0208" Error "rule id used twice"
        "Alerts and state are kept by rule id."
        "Give one of the rules another id.";
    INVERTED_LEVELS "WR0209" Error "levels inverted"
        "A level that is left above the value at which it is entered would flap, and levels must rise."
        "Make `exit` smaller than or equal to `enter`, and list levels from low to high.";
    RULE_KIND_NOT_YET "WR0210" Error "rule kind not run by this version"
        "`sequence` and `absence` belong to the language, but this version cannot run them."
        "Remove the rule, or set it aside in another file.";
    KEY_NOT_ALLOWED "WR0211" Error "column cannot be a window key"
        "A key must have few values and must not identify a person, vehicle or document: nobody's \
         movements are followed."
        "Use zone, site, device, lane or another symbol column.";
    BAD_MEASURE "WR0212" Error "measure cannot be computed"
        "The measure is unknown, or its column has the wrong type."
        "Take one of the measures the message lists.";
    BAD_WINDOW "WR0213" Error "window cannot be formed"
        "A window is `{ every: 1m }` (tumbling) or `{ last: 60s, every: 5s }` (hopping), and `last` is a multiple of `every`'s pane."
        "Correct the lengths.";
    UNKNOWN_TEXT_FIELD "WR0214" Error "unknown field in a text"
        "`say` names a field that this rule does not have."
        "Take one of the fields the message lists.";
    NO_LEGAL_BASIS "WR0215" Error "no legal basis"
        "A list exists on a legal ground that can be stated; its purpose must state it."
        "Write the `legal_basis` of the purpose.";
    KEY_TYPE "WR0216" Error "key does not fit the list"
        "The rule's column and the list's key must be normalised by the same function, or they never meet."
        "Use the column the list was made for.";
    NEVER_USED "WR0217" Warning "declared and never used"
        "No rule uses it."
        "Delete it, or write the rule.";
    TESTS_NOT_RUN "WR0218" Warning "tests are not run by this version"
        "The pack carries tests, but this version has no `weir test`."
        "Keep them; a later version runs them.";
    WINDOW_SHORTER_THAN_LATENESS "WR0219" Warning "window shorter than its lateness"
        "The value of such a window is known only after the window is long over."
        "Lengthen the window, or shorten the lateness.";
    UNKNOWN_ROUTE "WR0220" Error "unknown route"
        "`route` names a sink that the configuration does not have."
        "Correct the name, or declare the sink.";
    SINK_PURPOSE "WR0221" Error "sink does not serve the purpose"
        "A sink takes alerts only for the purposes it was set up for."
        "Route the rule elsewhere, or add the purpose to the sink if it really serves it.";
    ACTUATOR_NEEDS_REVIEW "WR0222" Error "alert about a person routed to an actuator"
        "An alert that needs a reviewer must not open, close or stop anything by itself."
        "Route it to a person.";
    NO_SINK "WR0223" Error "no sink takes the alerts"
        "No sink serves the rule's purpose, so its alerts would reach nobody."
        "Add the purpose to a sink, or name a sink in `route`.";
    NO_AREA "WR0224" Error "zones without the needed figure"
        "`per: area` and `per: capacity` divide by a figure of the zone table."
        "Give the configuration a zone table with that column filled in and above 0.";
    WHEN_SILENT_NOT_YET "WR0225" Warning "`when_silent` is not acted on by this version"
        "Levels hold their state while devices are silent."
        "Keep the line; a later version acts on it.";
    ALERT_FOR_EVERYBODY "WR0226" Error "an alert that names everybody"
        "A `match` rule without a condition on the record would write down the identifier of everybody who passes. \
         Who did nothing leaves no trace."
        "Add a `where` that says what somebody must have done, or take the identifier out of `say`.";

    SQL_SYNTAX "WR0301" Error "expression cannot be parsed"
        "The text is not a SQL expression."
        "Check quotes (texts stand in single quotes), brackets and operators.";
    SQL_TYPE "WR0303" Error "types do not fit"
        "The expression compares or combines values of types that do not go together."
        "Compare numbers with numbers, texts with texts, times with times.";
    SQL_NOT_BOOLEAN "WR0304" Error "not a condition"
        "`where` needs an expression that is true or false."
        "Add a comparison.";
    SQL_NOT_IMMUTABLE "WR0305" Error "function whose value changes"
        "`now()`, `random()` and their like would make a replay give other alerts than the live run."
        "Use the record's `ts`.";
    SQL_NOT_ALLOWED "WR0306" Error "construct that is not allowed here"
        "A condition looks at one record: no sub-queries, aggregates or window functions."
        "Use a rule of kind `window` for counts and sums.";
    IDENTIFIER_IN_CONDITION "WR0307" Error "identifier in a condition"
        "A condition on a plate, person or document number is a watchlist without legal basis, owner or expiry."
        "Put whom you look for on a list. `is null` and `is not null` are allowed.";
    UNKNOWN_FUNCTION "WR0308" Error "unknown function"
        "There is no such function."
        "Correct the name.";

    FILE_NOT_READ "WR0501" Error "file cannot be read"
        "The configuration names a file that is missing or not readable."
        "Correct the path; it is relative to the file that names it.";
    POPULATION_NEEDED "WR0502" Error "population not declared"
        "A list of persons is checked against the population it is drawn from, so that it cannot grow into a register of everybody."
        "Declare `population` in the configuration.";
    NOTHING_TO_DO "WR0503" Error "nothing to run"
        "Without a source, a pack and a sink there is nothing to do."
        "Declare at least one of each.";
    BAD_SOURCE "WR0504" Error "source cannot be set up"
        "The source's settings do not fit together."
        "See the message.";
    NOT_LOOPBACK "WR0505" Error "bind address is not loopback"
        "This version has no TLS and no authentication, so it listens on loopback only."
        "Bind to 127.0.0.1 or [::1], behind a reverse proxy.";
    LIST_REFUSED "WR0506" Error "list refused"
        "The list's data breaks a rule of DESIGN.md 1 or cannot be read."
        "See the message.";
    LIST_WARNING "WR0507" Warning "list needs attention"
        "The list loads, but not all of it is of use."
        "See the message.";
    BAD_ZONES "WR0508" Error "zone table cannot be used"
        "The zone table has a missing column, a bad figure or a duplicate."
        "See the message.";
}

#[cfg(test)]
mod tests {
    use super::all::ALL;

    #[test]
    fn ids_are_unique_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(ALL.iter().all(|code| code.id.len() == 6 && code.id.starts_with("WR")));
    }
}
