//! `weir explain CODE|RULE`: what a diagnostic means, or how a rule is run.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::explain::{RulePlan, plan};
use weir_rules::diagnostic::{Code, Severity, by_id, codes};

use super::{EXIT_FAILED, EXIT_WRONG};
use crate::{given, present};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A code such as WR0205, `all` for a list of them, or the id of a rule.
    what: String,
    /// Where the rule stands: a configuration, a pack, or a folder.
    #[arg(default_value = "weir.yaml")]
    path: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if args.what == "all" {
        for code in codes::ALL {
            present::say_line(&format!("{}  {}", code.id, code.title));
        }
        return ExitCode::SUCCESS;
    }
    if let Some(code) = by_id(&args.what) {
        present::say_line(&if args.json { code_json(code).to_string() } else { code_text(code) });
        return ExitCode::SUCCESS;
    }
    if !args.path.exists() {
        eprintln!(
            "weir: `{}` is no code (`weir explain all` lists them); if it is a rule, say where: weir explain {} PACK",
            args.what, args.what
        );
        return ExitCode::from(EXIT_WRONG);
    }
    let Some(given) = given::open_or_tell(&args.path, args.json) else { return ExitCode::from(EXIT_WRONG) };
    let retired = given
        .packs
        .iter()
        .flat_map(|(pack, _)| &pack.rules)
        .find(|rule| rule.id == args.what && !rule.status.runs())
        .is_some();
    match plan(&given.into_parts(), &args.what) {
        Ok(Some(plan)) => {
            present::say_line(&if args.json { serde_json::json!(plan).to_string() } else { rule_text(&plan) });
            ExitCode::SUCCESS
        }
        Ok(None) if retired => {
            eprintln!("weir: rule `{}` is a draft or retired: it has no plan", args.what);
            ExitCode::from(EXIT_WRONG)
        }
        Ok(None) => {
            eprintln!("weir: {} has no rule and no code `{}`", args.path.display(), args.what);
            ExitCode::from(EXIT_WRONG)
        }
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn code_text(code: &Code) -> String {
    let severity = if code.severity == Severity::Error { "error" } else { "warning" };
    let example: Vec<String> = code.example.lines().map(|line| format!("  {line}")).collect();
    format!(
        "{} ({severity}): {}\n\nCause:  {}\nImpact: {}\nCure:   {}\n\nExample:\n{}",
        code.id,
        code.title,
        code.cause,
        code.impact,
        code.cure,
        example.join("\n")
    )
}

fn code_json(code: &Code) -> serde_json::Value {
    serde_json::json!({
        "code": code.id,
        "severity": if code.severity == Severity::Error { "error" } else { "warning" },
        "title": code.title, "cause": code.cause, "impact": code.impact, "cure": code.cure, "example": code.example,
    })
}

fn rule_text(plan: &RulePlan) -> String {
    let mut text = String::new();
    let shared = |others: &[String]| match others {
        [] => "no other rule".to_owned(),
        [a] => format!("`{a}`"),
        [a, b] => format!("`{a}`, `{b}`"),
        [a, b, rest @ ..] => format!("`{a}`, `{b}` and {} more", rest.len()),
    };
    let _ = writeln!(text, "{} ({} over {} records, version {})", plan.rule, plan.kind, plan.from, plan.version);
    let _ = writeln!(text, "  columns read    {}", plan.columns.join(", "));
    for (at, condition) in plan.conditions.iter().enumerate() {
        let how = match condition.how {
            "index" => "index: only rows with this value are looked at",
            "plain" => "plain comparison",
            _ => "expression engine",
        };
        let asked = match condition.asked_by {
            1 => String::new(),
            users => format!(", asked {users} times and computed once"),
        };
        let title = if at == 0 { "where" } else { "" };
        let _ = writeln!(text, "  {title:<15} {}  ({how}{asked})", condition.text);
    }
    if let Some((probe, others)) = &plan.probe {
        let _ = writeln!(text, "  look-up         {probe}; shared with {}", shared(others));
    }
    if let Some((panes, others)) = &plan.panes {
        let _ = writeln!(text, "  panes           {panes}; shared with {}", shared(others));
    }
    let _ = writeln!(text, "  state at most   {}, {}", present::bytes(plan.state_bytes_max), plan.state_bound);
    let _ = write!(text, "  expected cost   {:.0} ns a record", plan.record_ns.max(1.0));
    text
}
