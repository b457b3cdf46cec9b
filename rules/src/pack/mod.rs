//! Rule packs: purposes, lists and rules, as an analyst writes them.
//!
//! [`parse`] reads one YAML file against a [`Catalog`](crate::Catalog) of kinds and reports every problem it finds;
//! [`check_environment`] adds what only the configuration knows (sinks, zone figures, population).
//! A pack that comes out of both without errors can be run.
//!
//! Each rule kind is one variant of [`Body`] with one parser file; a further kind adds a file here
//! and an operator in the engine.

mod environment;
mod list;
mod lookup;
mod meaning;
mod model;
mod pack_file;
mod reach;
mod rule;
mod say;
mod schema_doc;
mod steps;
mod testing;
mod window;

pub use environment::{Environment, SinkFacts, ZoneFacts, check_environment};
pub use list::{BadRows, Grade, ListDecl, ListKind, WhenStale};
pub use lookup::Lookup;
pub use model::{Alerting, Body, Dedupe, Pack, Purpose, Review, Rule, RuleSeverity, Status};
pub use pack_file::{ReadInclude, check_version, parse, parse_files};
pub use say::{Piece, Places, Template};
pub use schema_doc::json_schema;
pub use steps::{AbsenceSpec, STEPS_MAX, SequenceSpec, Step};
pub use testing::{Expectation, PackTest, TEST_EVENTS_MAX, TestEvent, Wanted};
pub use window::{
    Action, DailyTime, Forecast, Hours, LATENESS_DEFAULT_MS, Level, Measure, OccupancySpec, PANES_PER_WINDOW_MAX, Per,
    Proposal, Silence, Threshold, WhenSilent, WindowSpec,
};

#[cfg(test)]
mod tests;
