//! `weir test PATH...`: the tests of packs, each five ways.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::explain::Why;
use weir_engine::testing::{Failure, TestResult, run_test};
use weir_rules::pack::PackTest;
use weir_rules::{Diagnostics, Severity};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::given::{self, Given, Lists};
use crate::{present, watch};

/// Lines of "why" for one failure.
const WHY_LINES_MAX: usize = 24;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rule packs, folders of packs, or configurations.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only tests whose name or rule holds this text.
    #[arg(short = 'k', long = "filter")]
    filter: Option<String>,
    /// One JSON object for each test instead of text.
    #[arg(long)]
    json: bool,
    /// Write a `JUnit` report to this file as well.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Run again whenever a file changes, until interrupted.
    #[arg(long)]
    watch: bool,
}

/// One test that was run.
struct Ran {
    file: String,
    name: String,
    rules: Vec<String>,
    place: (usize, usize),
    test: PackTest,
    result: Result<TestResult, String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let code = once(args);
    if !args.watch {
        return code;
    }
    let changes = match watch::changes(&args.paths) {
        Ok(changes) => changes,
        Err(error) => {
            eprintln!("weir: the files cannot be watched: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    for () in changes {
        present::say_line("\n-- changed, running again");
        once(args);
    }
    code
}

fn once(args: &Args) -> ExitCode {
    let mut diagnostics = Diagnostics::new();
    let given: Vec<Given> = args.paths.iter().map(|path| given::open(path, Lists::Skip, &mut diagnostics)).collect();
    if diagnostics.has_errors() {
        diagnostics.sort();
        present::diagnostics(&diagnostics, args.json);
        let errors = diagnostics.count(Severity::Error);
        eprintln!("weir: {errors} {} to mend before tests can run", if errors == 1 { "error" } else { "errors" });
        return ExitCode::from(EXIT_WRONG);
    }
    let ran: Vec<Ran> = given.iter().flat_map(|given| run_all(given, args.filter.as_deref())).collect();
    if args.json {
        for it in &ran {
            present::say_line(&json(it).to_string());
        }
    } else {
        present::say(&text(&ran));
    }
    if let Some(path) = &args.junit
        && let Err(error) = std::fs::write(path, junit(&ran))
    {
        eprintln!("weir: {}: {error}", path.display());
        return ExitCode::from(EXIT_FAILED);
    }
    let failed = ran.iter().any(|ran| !passed(ran));
    if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
}

fn run_all(given: &Given, filter: Option<&str>) -> Vec<Ran> {
    let mut ran = Vec::new();
    for (pack, _) in &given.packs {
        for test in &pack.tests {
            let wanted = |text: &str| test.name.contains(text) || test.rules.iter().any(|rule| rule.contains(text));
            if !filter.is_none_or(wanted) {
                continue;
            }
            ran.push(Ran {
                file: test.file.name.clone(),
                name: test.name.clone(),
                rules: test.rules.clone(),
                place: test.file.line_column(test.span.start),
                test: test.clone(),
                result: run_test(&given.catalog, pack, test).map_err(|error| error.to_string()),
            });
        }
    }
    ran
}

fn passed(ran: &Ran) -> bool {
    matches!(&ran.result, Ok(result) if result.failure.is_none())
}

fn text(ran: &[Ran]) -> String {
    let mut text = String::new();
    let mut file = "";
    for it in ran {
        if it.file != file {
            file = &it.file;
            let _ = writeln!(text, "{file}");
        }
        match &it.result {
            Ok(TestResult { failure: None, ways, took }) => {
                let _ = writeln!(text, "  ok    {} ({ways} ways, {} ms)", it.name, took.as_millis());
            }
            Ok(TestResult { failure: Some(failure), .. }) => {
                let _ = writeln!(text, "  FAIL  {} (line {}, {})", it.name, it.place.0, failure.way);
                text.push_str(&failure_text(it, failure));
            }
            Err(error) => {
                let _ = writeln!(text, "  FAIL  {} (line {})\n        it cannot be run: {error}", it.name, it.place.0);
            }
        }
    }
    let failed = ran.iter().filter(|ran| !passed(ran)).count();
    let _ = writeln!(
        text,
        "\n{} {}, {} passed, {failed} failed",
        ran.len(),
        if ran.len() == 1 { "test" } else { "tests" },
        ran.len() - failed
    );
    text
}

fn failure_text(ran: &Ran, failure: &Failure) -> String {
    let mut text = String::new();
    let indent = "        ";
    let difference = &failure.difference;
    if !difference.missing.is_empty() {
        let _ = writeln!(text, "{indent}expected, and did not come:");
        for (at, nearest) in &difference.missing {
            let _ = writeln!(text, "{indent}  {}", ran.test.expect[*at].text());
            if let Some(nearest) = nearest {
                let _ = writeln!(text, "{indent}    in the nearest alert {nearest}");
            }
        }
    }
    if !difference.unexpected.is_empty() {
        let _ = writeln!(text, "{indent}came, and was not expected:");
        for alert in &difference.unexpected {
            let _ = writeln!(text, "{indent}  {alert}");
        }
    }
    for unlike in &difference.unlike {
        let _ = writeln!(text, "{indent}{unlike}");
    }
    for (rule, why) in &failure.why {
        let _ = writeln!(text, "{indent}why, by `{rule}`:");
        for line in why_lines(why).into_iter().take(WHY_LINES_MAX) {
            let _ = writeln!(text, "{indent}  {line}");
        }
    }
    text
}

/// What a rule thought, a line for each record or value that says something.
pub(super) fn why_lines(why: &Why) -> Vec<String> {
    let mut lines = Vec::new();
    for record in &why.records {
        let values: Vec<String> = record
            .checks
            .iter()
            .flat_map(|check| &check.values)
            .map(|(name, value)| format!("{name} = {value}"))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        let counted = record.outcome == "counted" || record.outcome == "it is no step";
        if !counted {
            lines.push(format!("record {} at {}: {}{values}", record.line, record.ts, record.outcome));
        }
    }
    for step in &why.windows {
        let changes = if step.changes.is_empty() { String::new() } else { format!(" -> {}", step.changes.join(", ")) };
        lines.push(format!("{} {}: {}{changes} [{}]", step.end, step.key, step.value, step.levels.join("; ")));
    }
    lines
}

fn json(ran: &Ran) -> serde_json::Value {
    let mut object = serde_json::json!({
        "file": ran.file, "line": ran.place.0, "name": ran.name, "rules": ran.rules, "passed": passed(ran),
    });
    match &ran.result {
        Ok(result) => {
            object["ways"] = result.ways.into();
            object["ms"] = (result.took.as_millis() as u64).into();
            if let Some(failure) = &result.failure {
                object["way"] = failure.way.to_string().into();
                object["missing"] =
                    failure.difference.missing.iter().map(|(at, _)| ran.test.expect[*at].text()).collect();
                object["unexpected"] = failure.difference.unexpected.clone().into();
                object["unlike"] = failure.difference.unlike.clone().into();
                object["why"] = failure.why.iter().flat_map(|(_, why)| why_lines(why)).collect();
            }
        }
        Err(error) => object["error"] = error.as_str().into(),
    }
    object
}

/// `JUnit` XML, as CI systems read it.
fn junit(ran: &[Ran]) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace(|c: char| c.is_control() && c != '\n' && c != '\t', " ")
    };
    let failed = ran.iter().filter(|ran| !passed(ran)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{failed}\">\n",
        ran.len()
    );
    let files: std::collections::BTreeSet<&str> = ran.iter().map(|ran| ran.file.as_str()).collect();
    for file in files {
        let of_file: Vec<&Ran> = ran.iter().filter(|ran| ran.file == file).collect();
        let failed = of_file.iter().filter(|ran| !passed(ran)).count();
        let _ =
            writeln!(text, "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\">", escape(file), of_file.len());
        for it in of_file {
            let seconds = it.result.as_ref().map_or(0.0, |result| result.took.as_secs_f64());
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
                escape(&it.rules.join(" ")),
                escape(&it.name)
            );
            let message = match &it.result {
                Ok(TestResult { failure: None, .. }) => None,
                Ok(TestResult { failure: Some(failure), .. }) => {
                    Some((format!("failed {}", failure.way), failure_text(it, failure)))
                }
                Err(error) => Some(("it cannot be run".to_owned(), error.clone())),
            };
            match message {
                None => text.push_str("/>\n"),
                Some((short, long)) => {
                    let _ = writeln!(
                        text,
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                        escape(&short),
                        escape(&long)
                    );
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}
