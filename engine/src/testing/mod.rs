//! Runs the tests of a pack: each one five ways, exact, in virtual time.
//!
//! A [`Way`] is a way to bring the same records: in one batch, row by row, in random pieces,
//! shuffled within the lateness of the rules, and with the state written out and read back at the
//! borders between records. What comes out must be what the test expects, and the same every time.

mod compare;
pub(crate) mod sabotage;
mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_rules::Catalog;
use weir_rules::pack::{Body, Pack, PackTest, Rule, Status, WindowSpec};

use crate::alert::{Alert, Output};
use crate::explain::{Why, why};
use crate::limits::Limits;
use crate::record::Pseudonyms;
use crate::runtime::TrialParts;
use crate::watchlist::{ListSpec, Watchlist, load_inline};
use crate::window::ZoneTable;

pub use compare::Difference;
pub use ways::Way;

/// What became of one test.
#[derive(Debug)]
pub struct TestResult {
    /// Ways that were gone.
    pub ways: usize,
    /// What went wrong, the first way that did so.
    pub failure: Option<Failure>,
    /// How long it took.
    pub took: Duration,
}

/// A test that failed.
#[derive(Debug)]
pub struct Failure {
    /// How the records were brought.
    pub way: Way,
    /// Expected beside got.
    pub difference: Difference,
    /// What each rule thought of each record, to tell why.
    pub why: Vec<(String, Why)>,
}

/// Why a test cannot be run at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TestError(String);

/// Runs a test of a checked pack.
///
/// # Errors
/// When lists, zones or rules of the test cannot be set up.
pub fn run_test(catalog: &Catalog, pack: &Pack, test: &PackTest) -> Result<TestResult, TestError> {
    let started = Instant::now();
    let parts = parts(catalog, pack, test)?;
    let expected_ways = ways::all(pack, test);
    let mut first: Option<Vec<Alert>> = None;
    for way in &expected_ways {
        let alerts = ways::go(&parts, test, *way).map_err(TestError)?;
        let difference = compare::compare(test, &alerts, first.as_deref());
        if !difference.is_empty() {
            let lines: Vec<String> = test.events.iter().map(|event| event.line.clone()).collect();
            let until_ms = test.until_ms.map(|until_ms| test.start_ms + until_ms);
            let why = test
                .rules
                .iter()
                .filter_map(|rule| Some((rule.clone(), why(&parts, rule, &lines, until_ms).ok()?)))
                .collect();
            return Ok(TestResult {
                ways: expected_ways.len(),
                failure: Some(Failure { way: *way, difference, why }),
                took: started.elapsed(),
            });
        }
        first.get_or_insert(alerts);
    }
    Ok(TestResult { ways: expected_ways.len(), failure: None, took: started.elapsed() })
}

/// The rules under test, with the lists and zones that the test declares.
fn parts(catalog: &Catalog, pack: &Pack, test: &PackTest) -> Result<TrialParts, TestError> {
    let zones = match test.zones.as_str() {
        "" => ZoneTable::default(),
        csv => ZoneTable::from_csv(csv).map_err(|error| TestError(format!("zones of the test: {error}")))?,
    };
    let mut rules: Vec<Rule> = Vec::new();
    for rule in pack.rules.iter().filter(|rule| test.rules.contains(&rule.id)) {
        if let Body::Window(WindowSpec { per: Some(_), .. }) = &rule.body
            && zones.is_empty()
        {
            return Err(TestError(format!(
                "rule `{}` divides by a figure of the zone; give the test its `zones`, such as zones: {{ square: {{ area_m2: 100, capacity: 400 }} }}",
                rule.id
            )));
        }
        // A draft is tested too, and a shadow rule as if it were routed.
        rules.push(Rule { status: Status::Active, ..rule.clone() });
    }
    let limits = Limits { max_ahead_ms: i64::MAX, ..Limits::default() };
    let mut lists: Vec<Arc<Watchlist>> = Vec::new();
    for declared in &pack.lists {
        let text = test.lists.get(&declared.id).map_or("", String::as_str);
        let name = format!("list `{}` of the test", declared.id);
        let (list, report) = load_inline(&name, text, ListSpec::new(pack, declared), &limits, test.start_ms)
            .map_err(|error| TestError(error.to_string()))?;
        if let Some(problem) = report.problems.first() {
            return Err(TestError(format!("{name}, entry {}: {}", problem.line, problem.message)));
        }
        lists.push(Arc::new(list));
    }
    let pack = Pack { rules, tests: Vec::new(), ..pack.clone() };
    Ok(TrialParts {
        catalog: catalog.with_given_outcomes(),
        packs: vec![(pack, lists)],
        zones: Arc::new(zones),
        limits,
        pseudonyms: Pseudonyms::from_root(&[0; 32]),
        issuers: Arc::default(),
    })
}

/// Alerts among outputs, in order of time.
fn alerts_of(outputs: Vec<Output>) -> Vec<Alert> {
    let mut alerts: BTreeMap<(String, String, String, u32), Alert> = BTreeMap::new();
    for output in outputs {
        if let Output::Alert(alert) = output {
            let place = (alert.ts.clone(), alert.rule.clone(), alert.alert_id.clone(), alert.revision);
            alerts.insert(place, Arc::unwrap_or_clone(alert));
        }
    }
    alerts.into_values().collect()
}

#[cfg(test)]
mod tests;
