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
    /// What it leads to.
    pub impact: &'static str,
    /// What to do.
    pub cure: &'static str,
    /// The mistake, with its cure in a comment, or what is right.
    pub example: &'static str,
}

/// The code with this id, in any case.
pub fn by_id(id: &str) -> Option<&'static Code> {
    all::ALL.iter().copied().find(|code| code.id.eq_ignore_ascii_case(id))
}

macro_rules! codes {
    ($($name:ident $id:literal $severity:ident $title:literal $cause:literal $impact:literal
        $cure:literal $example:literal;)*) => {
        /// Every code by its name.
        #[allow(unreachable_pub, reason = "re-exported as `codes`")]
        pub mod all {
            use super::{Code, Severity};
            $(
                #[doc = $title]
                pub static $name: Code = Code {
                    id: $id, severity: Severity::$severity, title: $title, cause: $cause,
                    impact: $impact, cure: $cure, example: $example,
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
        "The file does not load; a running weir keeps the version it has."
        "Check indentation (spaces, no tabs), colons and quotes on the line shown and the one above."
        "rules:\n  - id: a\n   kind: match    # one space too few";
    YAML_TOO_LARGE "WR0002" Error "file too large"
        "Rule and configuration files are small; a huge one is a mistake or an attack."
        "The file is not read at all."
        "Split the file. Data (lists, zones) belongs into CSV or NDJSON files."
        "include: [plates.yaml, crowd.yaml]    # instead of one huge file";
    YAML_SEVERAL_DOCUMENTS "WR0003" Error "several documents in one file"
        "`---` starts a second document, and which of the two is meant is not clear."
        "The file does not load."
        "One file, one document."
        "pack: a\n---            # delete this and what follows\npack: b";
    YAML_FEATURE "WR0004" Error "YAML feature that is not allowed"
        "Anchors, aliases and tags let a text mean something else than what is read."
        "The file does not load."
        "Write the value out where it is used."
        "for: *short     # write `for: 10m` instead";
    YAML_TOO_DEEP "WR0005" Error "nested too deep"
        "Nothing in weir's files nests deeply."
        "The file does not load."
        "Check the brackets and the indentation."
        "where: [[[[[[...]]]]]]";
    DUPLICATE_KEY "WR0006" Error "key given twice"
        "One of the two values would be ignored silently."
        "The file does not load."
        "Keep one of them."
        "severity: high\nseverity: low      # delete one";
    UNKNOWN_KEY "WR0007" Error "unknown key"
        "A mistyped key would be ignored silently, and the rule would not do what it says."
        "The file does not load. `weir check --fix` corrects a plain slip."
        "Correct the name or delete the line."
        "reveiw: none       # review: none";
    WRONG_TYPE "WR0008" Error "wrong type of value"
        "A list, a map and a single value are different things."
        "The file does not load."
        "Write the value in the form the message names."
        "key: { zone }      # key: [zone]";
    MISSING_KEY "WR0009" Error "missing key"
        "The part cannot work without it."
        "The file does not load."
        "Add the key."
        "- { id: a, kind: match, from: item }      # has no `purpose`";
    BAD_VALUE "WR0010" Error "value cannot be read"
        "The value does not have the form this key needs."
        "The file does not load."
        "Write it in the form the message names."
        "for: 10 minutes    # for: 10m";
    UNKNOWN_CHOICE "WR0011" Error "value is not one of the choices"
        "The key takes one of a closed set of words."
        "The file does not load. `weir check --fix` corrects a plain slip."
        "Take one of the words the message lists."
        "severity: hihg     # severity: high";
    UNSUPPORTED_VERSION "WR0012" Error "unsupported format version"
        "The first key says which version of the format the file is written in."
        "The file does not load."
        "Write `weir: 1`."
        "weir: 2            # weir: 1";

    PROTECTED_ATTRIBUTE "WR0101" Error "protected attribute"
        "Ethnicity, religion, politics, gender, age, skin colour, native place, biometric data and lists of special persons are refused by name, in kinds, mappings and lists alike. No setting turns this off."
        "The file does not load, and the column is never decoded."
        "Delete the column. weir is built so that it cannot judge people by what they are."
        "columns:\n  ethnicity: { type: symbol }      # delete";
    KIND_REDECLARED "WR0102" Error "kind declared twice"
        "The five built-in kinds and their columns are fixed, and a kind has one declaration."
        "The configuration does not load."
        "Choose another name."
        "kinds:\n  person: ...      # choose another name";
    BAD_NAME "WR0103" Error "name cannot be used"
        "Names of kinds and columns are lower-case letters, digits and underscores, and start with a letter."
        "The configuration does not load."
        "Rename it."
        "kinds:\n  Ticket-2: ...    # ticket_2";
    RESERVED_COLUMN "WR0104" Error "reserved column"
        "Every kind already has kind, event_id, ts, site, device, zone, lane, source and received."
        "The configuration does not load."
        "Delete the declaration; the column is there."
        "columns:\n  site: { type: symbol }      # delete";
    UNKNOWN_NORMALISER "WR0105" Error "unknown normaliser"
        "Normalisers are versioned functions shared by streams and lists."
        "The configuration does not load."
        "Take one of the names the message lists."
        "normalise: plates  # normalise: plate.v1";

    UNKNOWN_PURPOSE "WR0201" Error "unknown purpose"
        "A rule or list names a purpose that the pack does not declare."
        "The pack does not load."
        "Declare it under `purposes` with its legal basis, or correct the name."
        "purpose: road_safty      # road_safety";
    UNKNOWN_LIST "WR0202" Error "unknown list"
        "The rule names a list that the pack does not declare."
        "The pack does not load."
        "Declare it under `lists`, or correct the name."
        "list: stolen_plate       # stolen_plates";
    PURPOSES_DO_NOT_MEET "WR0203" Error "purposes do not meet"
        "A list may only be used for the purpose for which it was made, and an alert may only go where that purpose is served (purpose binding, Dir. (EU) 2016/680 art. 4)."
        "The pack does not load. A list used for something else than it was made for is a breach of law, not a slip."
        "Use a list that was made for the rule's purpose. Changing the purpose to make the message go away is misuse."
        "lists:\n  stolen: { ..., purpose: road_safety }\nrules:\n  - { ..., list: stolen, purpose: crowd_safety }      # does not meet";
    CODE_JOINED_WITH_LIST "WR0204" Error "health code joined with a list"
        "A health credential says something about health. It may be checked against revoked credentials and against nothing else."
        "The pack does not load. Health data used to hold people back for something else has ended in court."
        "Take the rule out. There is no setting that allows it."
        "- { kind: watchlist, from: code, on: holder, list: past_offences, ... }      # never compiles";
    REVIEW_REQUIRED "WR0205" Error "a person decides"
        "The rule's key or text holds a personal identifier, so its alerts need a reviewer."
        "The pack does not load. `weir check --fix` writes `required`."
        "Write `review: required`, or leave the identifier out."
        "say: \"{plate} at {site}\"\nreview: none       # review: required";
    UNKNOWN_KIND "WR0206" Error "unknown kind of record"
        "`from` names a kind that is neither built in nor declared in the configuration."
        "The pack does not load."
        "Correct the name, or declare the kind."
        "from: vehicel      # vehicle";
    UNKNOWN_COLUMN "WR0207" Error "unknown column"
        "The kind of record has no such column."
        "The pack does not load."
        "Correct the name; the message lists what there is."
        "where: confidense >= 0.85      # confidence";
    DUPLICATE_RULE "WR0208" Error "rule id used twice"
        "Alerts and state are kept by rule id."
        "The pack does not load."
        "Give one of the rules another id."
        "- { id: a, ... }\n- { id: a, ... }      # a-2";
    INVERTED_LEVELS "WR0209" Error "levels inverted"
        "A level that is left above the value at which it is entered would flap, and levels must rise."
        "The pack does not load. Such a level would be entered and left with every window."
        "Make `exit` smaller than or equal to `enter`, and list levels from low to high."
        "- { name: busy, enter: 2.0, exit: 2.5 }      # exit: 1.6";
    KEY_NOT_ALLOWED "WR0211" Error "column cannot be a window key"
        "A key must have few values and must not identify a person, vehicle or document: nobody's movements are followed."
        "The pack does not load."
        "Use zone, site, device, lane or another symbol column."
        "key: [person_id]   # key: [zone]; count people with distinct(person_id)";
    BAD_MEASURE "WR0212" Error "measure cannot be computed"
        "The measure is unknown, or its column has the wrong type."
        "The pack does not load."
        "Take one of the measures the message lists."
        "measure: sum(zone) # sum(count)";
    BAD_WINDOW "WR0213" Error "window cannot be formed"
        "A window is `{ every: 1m }` (tumbling), `{ last: 60s, every: 5s }` (hopping) or `{ gap: 5m }` (a session), and some measures and keys go with some of them only."
        "The pack does not load."
        "Correct the lengths."
        "window: { last: 5s, every: 60s }      # last: 60s, every: 5s";
    UNKNOWN_TEXT_FIELD "WR0214" Error "unknown field in a text"
        "`say` names a field that this rule does not have."
        "The pack does not load."
        "Take one of the fields the message lists."
        "say: \"{zone}: {val}\"      # {value}";
    NO_LEGAL_BASIS "WR0215" Error "no legal basis"
        "A list exists on a legal ground that can be stated; its purpose must state it."
        "The pack does not load."
        "Write the `legal_basis` of the purpose."
        "purposes:\n  road_safety: { legal_basis: \"road traffic act s.12\" }";
    KEY_TYPE "WR0216" Error "key does not fit the list"
        "The rule's column and the list's key must be normalised by the same function, or they never meet."
        "The pack does not load. The rule would never hit, and nobody would notice."
        "Use the column the list was made for."
        "lists:\n  lost: { key: doc_number, ... }\nrules:\n  - { on: plate, list: lost, ... }      # on: doc_number";
    NEVER_USED "WR0217" Warning "declared and never used"
        "No rule uses it."
        "None. It is a sign of a slip, or of a rule that was taken out."
        "Delete it, or write the rule."
        "purposes:\n  road_safety: ...   # no rule serves it";
    WINDOW_SHORTER_THAN_LATENESS "WR0219" Warning "window shorter than its lateness"
        "The value of such a window is known only after the window is long over."
        "Alerts come later than the window is long."
        "Lengthen the window, or shorten the lateness."
        "window: { every: 1s }\nlateness: 30s      # or a longer window";
    UNKNOWN_ROUTE "WR0220" Error "unknown route"
        "`route` names a sink that the configuration does not have."
        "The configuration does not load."
        "Correct the name, or declare the sink."
        "route: [tiketing]  # ticketing";
    SINK_PURPOSE "WR0221" Error "sink does not serve the purpose"
        "A sink takes alerts only for the purposes it was set up for."
        "The configuration does not load."
        "Route the rule elsewhere, or add the purpose to the sink if it really serves it."
        "route: [ticketing] # a sink that serves crowd_safety only";
    ACTUATOR_NEEDS_REVIEW "WR0222" Error "alert about a person routed to an actuator"
        "An alert that needs a reviewer must not open, close or stop anything by itself."
        "The configuration does not load."
        "Route it to a person."
        "route: [barrier]   # route: [duty_desk]";
    NO_SINK "WR0223" Error "no sink takes the alerts"
        "No sink serves the rule's purpose, so its alerts would reach nobody."
        "The configuration does not load."
        "Add the purpose to a sink, or name a sink in `route`."
        "sinks:\n  desk: { type: stdout, purposes: [crowd_safety] }";
    NO_AREA "WR0224" Error "zones without the needed figure"
        "`per` divides by a figure of the zone table: area_m2, capacity or daily_capacity."
        "The configuration does not load. A division by nothing would give no value, and no alarm."
        "Give the configuration a zone table with that column filled in and above 0."
        "zone,area_m2\nsquare,400";
    ALERT_FOR_EVERYBODY "WR0226" Error "an alert that names everybody"
        "A `match` rule without a condition on the record would write down the identifier of everybody who passes. Who did nothing leaves no trace."
        "The pack does not load."
        "Add a `where` that says what somebody must have done, or take the identifier out of `say`."
        "- { kind: match, from: vehicle, say: \"{plate}\" }      # where: speed_kmh > 120";
    FOLLOWS_SUBJECT "WR0227" Error "key that follows somebody"
        "No operator yields the passages of one person or plate over sites. A `sequence` or `absence` is tied to one site, or starts from a hit on a list."
        "The pack does not load. `weir check --fix` adds `site`."
        "Add `site` to the key, or begin with `on` and `list`."
        "key: [plate]       # key: [site, plate]";
    BAD_STEPS "WR0228" Error "steps that cannot be followed"
        "A sequence has two to eight steps; a step asks for something; only what starts a rule may look something up."
        "The pack does not load."
        "See the message."
        "steps:\n  - { name: refused, where: \"decision = 'refuse'\" }\n  - { name: passed,  where: \"decision = 'pass'\" }";
    BAD_MACRO "WR0229" Error "named expression that cannot be used"
        "A `let` name is lower-case, is no column, is defined once, and stays within bounds once written out."
        "The pack does not load."
        "Rename it, or split it."
        "let:\n  sure: confidence >= 0.85\nrules:\n  - { ..., where: sure }";
    IDENTIFIER_IN_HELD_TEXT "WR0230" Error "identifier in a text that waits"
        "A `sequence` or `absence` speaks when its records are gone, and keeps pseudonyms only. Who hits nothing leaves no trace."
        "The pack does not load."
        "Name place and time. A rule that starts from a hit may say `{hit.entry_id}`."
        "say: \"{doc_number} came back\"      # \"a refused document came back at {site}\"";
    SAME_MEANING "WR0231" Warning "two rules that mean the same"
        "Both fire for the same records."
        "Every alert comes twice."
        "Delete one of them."
        "- { id: a, where: quantity >= 1, ... }\n- { id: b, where: (quantity >= 1), ... }";
    SHADOWED_RULE "WR0232" Warning "rule that adds nothing"
        "Another rule with fewer conditions gives an alert for each of its records, at least as urgent and to the same place."
        "Each of its alerts comes beside one of the other rule."
        "Delete it, raise its severity, or route it elsewhere."
        "- { id: all,  where: quantity >= 1 }\n- { id: some, where: [quantity >= 1, \"unit = 'kg'\"] }";
    RULE_WITHOUT_TEST "WR0233" Warning "active rule without a test"
        "Nothing shows that the rule does what its author means."
        "A slip shows at night, on the square."
        "Write a test: what happens, and what must come."
        "tests:\n  - name: fireworks are told\n    rule: fireworks\n    events:\n      - { at: 0s, item: { item_class: fireworks, quantity: 3 } }\n    expect: [{ at: 0s, severity: medium }]";
    BAD_TEST "WR0234" Error "test that cannot be run"
        "The test names something that is not there, or says something that cannot be read."
        "The pack does not load."
        "See the message."
        "series:\n  - { person: { zone: square }, values: \"410x12@5s 330x6@5s\" }";
    BAD_INCLUDE "WR0235" Error "file that cannot be included"
        "A pack may be split over files that lie beside it or below it."
        "The pack does not load."
        "Correct the path."
        "include: [rules/plates.yaml, rules/crowd.yaml]";
    NO_SUCH_GRADE "WR0236" Error "grade that does not occur"
        "Grades below `pattern` tell how a camera may have misread a plate. Other columns are read without cameras, and what waits must be sure."
        "The pack does not load."
        "Ask for a grade that the column has."
        "- { kind: watchlist, from: id, on: doc_number, min_grade: confusable }   # exact";
    SMALL_AREA "WR0237" Error "density of a zone that is too small"
        "In a zone under 4 m2 one step of one person changes the density by more than a level is wide (classic density; see the bottleneck experiment)."
        "The configuration does not load. Such a rule would raise false alarms."
        "Count in a larger zone around it, or say that it is meant."
        "- { id: gate, measure: snapshot, per: area, small_areas: true, ... }";
    UNKNOWN_CLASS "WR0238" Error "class that no zone has"
        "`for_zones` names a class that does not occur in the zone table."
        "The configuration does not load. The thresholds would never hold."
        "Correct the class, or give it to a zone."
        "for_zones: [{ class: staton, enter: 5, exit: 4 }]      # station";

    SQL_SYNTAX "WR0301" Error "expression cannot be parsed"
        "The text is not a SQL expression."
        "The pack does not load."
        "Check quotes (texts stand in single quotes), brackets and operators."
        "where: status = red          # status = 'red'";
    SQL_TYPE "WR0303" Error "types do not fit"
        "The expression compares or combines values of types that do not go together."
        "The pack does not load."
        "Compare numbers with numbers, texts with texts, times with times."
        "where: quantity > 'ten'      # quantity > 10";
    SQL_NOT_BOOLEAN "WR0304" Error "not a condition"
        "`where` needs an expression that is true or false."
        "The pack does not load."
        "Add a comparison."
        "where: quantity              # quantity > 0";
    SQL_NOT_IMMUTABLE "WR0305" Error "function whose value changes"
        "`now()`, `random()` and their like would make a replay give other alerts than the live run."
        "The pack does not load."
        "Use the record's `ts`."
        "where: expires_at < now()    # expires_at < ts";
    SQL_NOT_ALLOWED "WR0306" Error "construct that is not allowed here"
        "A condition looks at one record: no sub-queries, aggregates or window functions."
        "The pack does not load."
        "Use a rule of kind `window` for counts and sums."
        "where: count(*) > 5          # kind: window, measure: reads";
    IDENTIFIER_IN_CONDITION "WR0307" Error "identifier in a condition"
        "A condition on a plate, person or document number is a watchlist without legal basis, owner or expiry."
        "The pack does not load."
        "Put whom you look for on a list. `is null` and `is not null` are allowed."
        "where: plate = 'A12345'      # kind: watchlist, on: plate, list: stolen";
    UNKNOWN_FUNCTION "WR0308" Error "unknown function"
        "There is no such function."
        "The pack does not load."
        "Correct the name."
        "where: lenght(site) > 3      # length(site)";
    NEVER_TRUE "WR0309" Error "condition that never holds"
        "It contradicts the declared range or values of a column, or another line."
        "The pack does not load: the rule would never fire, and nobody would notice."
        "Correct the number or the word."
        "where: confidence > 85       # confidence > 0.85: it lies between 0 and 1";
    ALWAYS_TRUE "WR0310" Warning "condition that always holds"
        "It says nothing about a record, given the declared range of the column."
        "The rule fires more often than its text suggests."
        "Delete the line, or correct the number."
        "where: confidence >= 0       # confidence is not null";

    FILE_NOT_READ "WR0501" Error "file cannot be read"
        "The configuration names a file that is missing or not readable."
        "The configuration does not load."
        "Correct the path; it is relative to the file that names it."
        "packs: [packs/city.yaml]     # beside weir.yaml";
    POPULATION_NEEDED "WR0502" Error "population not declared"
        "A list of persons is checked against the population it is drawn from, so that it cannot grow into a register of everybody."
        "The configuration does not load."
        "Declare `population` in the configuration."
        "population: 12000000";
    NOTHING_TO_DO "WR0503" Error "nothing to run"
        "Without a source, a pack and a sink there is nothing to do."
        "The configuration does not load."
        "Declare at least one of each."
        "sources: ...\npacks: [...]\nsinks: ...";
    BAD_SOURCE "WR0504" Error "source cannot be set up"
        "The source's settings do not fit together."
        "The configuration does not load."
        "See the message."
        "gates: { type: file, path: in.ndjson, format: ndjson }";
    NOT_LOOPBACK "WR0505" Error "bind address is not loopback"
        "This version has no TLS and no authentication, so it listens on loopback only."
        "The configuration does not load."
        "Bind to 127.0.0.1 or [::1], behind a reverse proxy."
        "address: 0.0.0.0:7000        # 127.0.0.1:7000";
    LIST_REFUSED "WR0506" Error "list refused"
        "The list's data breaks a rule of DESIGN.md 1 or cannot be read."
        "The list does not load, nor does what needs it."
        "See the message."
        "plate,entry_id,expires\nA12345,E1,2027-01-01";
    LIST_WARNING "WR0507" Warning "list needs attention"
        "The list loads, but not all of it is of use."
        "Rows that are left out never hit."
        "See the message."
        "A12345,E1,              # no expiry: the row is left out";
    BAD_ZONES "WR0508" Error "zone table cannot be used"
        "The zone table has a missing column, a bad figure or a duplicate."
        "The configuration does not load."
        "See the message."
        "zone,area_m2,capacity\nsquare,400,1200";
    NO_REVIEWER "WR0509" Error "nobody reviews unsure matches"
        "A rule counts matches less sure than `pattern`. A post must not be paged about them: a reviewer looks first, and no sink has one."
        "The configuration does not load."
        "Give a sink `audience: reviewers` and the rule's purpose, or ask the rule for `min_grade: pattern`."
        "sinks:\n  desk: { type: http, audience: reviewers, purposes: [road_safety], ... }";
    LIST_KEPT "WR0510" Warning "list kept as it was"
        "A list changed and its new version is not sound."
        "The version that was in force stays in force."
        "See the message; put a sound file in its place."
        "weir list verify lists/stolen_plates.wlist";
    BAD_KEYS "WR0511" Error "issuers' keys cannot be used"
        "The file with the keys of those who issue credentials is damaged or holds a key of an unknown kind."
        "The configuration does not load."
        "See the message."
        "credentials: { keys: [keys/eu.json] }";
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
