//! `weir status CONFIG`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use weir_engine::vfs::{RealVfs, Vfs};
use weir_rules::{Diagnostics, SourceFile, yaml};

use super::EXIT_WRONG;
use crate::config::Config;
use crate::present::{self, grouped};

/// Longest status file.
const STATUS_BYTES_MAX: u64 = 16 << 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration of the run.
    #[arg(default_value = "weir.yaml")]
    config: PathBuf,
    /// As it stands in the file.
    #[arg(long)]
    json: bool,
    /// Every zone and device, and not only those that matter most.
    #[arg(long)]
    all: bool,
}

/// Zones and devices that are shown, where nothing stands out.
const SHOWN: usize = 20;

pub(crate) fn run(args: &Args) -> ExitCode {
    match read(&args.config) {
        Ok(text) if args.json => {
            present::say_line(&text);
            ExitCode::SUCCESS
        }
        Ok(text) => match serde_json::from_str(&text) {
            Ok(status) => {
                present::say_line(&describe(&status, args.all));
                ExitCode::SUCCESS
            }
            Err(error) => wrong(&format!("the status file is no JSON: {error}")),
        },
        Err(message) => wrong(&message),
    }
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("weir: {message}");
    ExitCode::from(EXIT_WRONG)
}

fn read(path: &Path) -> Result<String, String> {
    let name = path.display().to_string();
    let text = RealVfs
        .read_text(path, yaml::TEXT_BYTES_MAX as u64 + 1)
        .map_err(|error| format!("{name} cannot be read: {error}"))?;
    let config = Config::parse(&SourceFile::new(name.clone(), text), path, &mut Diagnostics::new())
        .ok_or_else(|| format!("{name} is no configuration; `weir check {name}` says why"))?;
    let file = config.status_file.ok_or_else(|| {
        format!("{name} names no status file; add `state: {{ status_file: weir.status.json }}` and start it again")
    })?;
    RealVfs
        .read_text(&file, STATUS_BYTES_MAX)
        .map_err(|error| format!("status file {}: {error}; has it been started?", file.display()))
}

fn describe(status: &Value, all: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = if status["running"] == true { "running" } else { "ended" };
    let mut lines = vec![format!(
        "process {}, {state}: {} records judged, {} alerts told",
        status["pid"], status["received"], status["alerts"]
    )];
    for trouble in status["in_trouble"].as_array().into_iter().flatten() {
        let (who, since) = (text(&trouble["who"]), text(&trouble["since"]));
        let (tries, error) = (&trouble["tries"], text(&trouble["error"]));
        lines.push(if trouble["given_up"] == true {
            format!("{who}: GAVE UP at {since}, and is told nothing more in this run: {error}")
        } else {
            format!("{who}: TRYING AGAIN since {since}, {tries} tries so far: {error}")
        });
    }
    for (source, counts) in status["sources"].as_object().into_iter().flatten() {
        lines.push(format!("source {source}: {}", tally(counts, &SOURCE_COUNTS)));
    }
    for (sink, counts) in status["sinks"].as_object().into_iter().flatten() {
        lines.push(format!("sink {sink}: {}", tally(counts, &SINK_COUNTS)));
    }
    for list in status["lists"].as_array().into_iter().flatten() {
        lines.push(format!(
            "list {} ({}): version {} of {}, {} entries, {} deltas",
            text(&list["list"]),
            text(&list["kind"]),
            text(&list["version"]),
            text(&list["created"]),
            list["entries"],
            list["deltas"]
        ));
        if let Some(refused) = list.get("refused").filter(|refused| refused.is_object()) {
            lines.push(format!(
                "  the newest version was refused at {}: {}",
                text(&refused["at"]),
                text(&refused["error"])
            ));
        }
    }
    let of = |key: &str| -> &[Value] { status[key].as_array().map_or(&[], Vec::as_slice) };
    let has_level = |value: &Value| value["levels"].as_array().is_some_and(|levels| !levels.is_empty());
    let size = |value: &Value| (has_level(value) || value["silent"] == true, value["value"].as_f64().unwrap_or(0.0));
    let values = foremost(of("values"), all, size);
    lines.extend(values.iter().copied().map(value_line));
    lines.extend(unshown(values.len(), of("values").len(), "zones, of lower values and without a level"));
    let behind = |device: &Value| (device["silent"] == true, device["behind_ms"].as_f64().unwrap_or(0.0));
    let devices = foremost(of("devices"), all, behind);
    for device in &devices {
        let state = if device["silent"] == true { ", silent" } else { "" };
        let behind_s = device["behind_ms"].as_i64().unwrap_or_default() / 1_000;
        lines.push(format!(
            "device {} ({}): {behind_s} s behind{state}",
            text(&device["device"]),
            text(&device["source"])
        ));
    }
    lines.extend(unshown(devices.len(), of("devices").len(), "devices, less far behind"));
    lines.join("\n")
}

/// Those that matter most: all of what stands out, then the largest, in the order in which they are told. Where there are few, or
/// all are wanted, all.
fn foremost(rows: &[Value], all: bool, weight: impl Fn(&Value) -> (bool, f64)) -> Vec<&Value> {
    if all || rows.len() <= SHOWN {
        return rows.iter().collect();
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| {
        let ((stands_out, size), (other_stands_out, other)) = (weight(&rows[*b]), weight(&rows[*a]));
        stands_out.cmp(&other_stands_out).then(size.total_cmp(&other))
    });
    let stand_out = order.iter().filter(|at| weight(&rows[**at]).0).count();
    order.truncate(stand_out.max(SHOWN));
    order.sort_unstable();
    order.into_iter().map(|at| &rows[at]).collect()
}

fn unshown(shown: usize, of: usize, what: &str) -> Option<String> {
    (shown < of).then(|| format!("and {} more {what}; --all shows them", grouped((of - shown) as u64)))
}

/// Counts that are told whatever they are (`true`), or where there is something to tell.
const SOURCE_COUNTS: [(&str, bool); 6] = [
    ("received", true),
    ("evaluated", true),
    ("duplicate", false),
    ("late", false),
    ("rejected", false),
    ("shed", false),
];
const SINK_COUNTS: [(&str, bool); 6] = [
    ("delivered", true),
    ("waiting", false),
    ("refused", false),
    ("undelivered", false),
    ("lost", false),
    ("retries", false),
];

/// `1,200 received, 1,190 evaluated, 10 rejected`
fn tally(counts: &Value, which: &[(&str, bool)]) -> String {
    let told = which.iter().filter_map(|(name, always)| {
        let count = counts[name].as_u64().unwrap_or(0);
        (*always || count > 0).then(|| format!("{} {name}", grouped(count)))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// `square (square-inside): 0.81 +-0.002, stop-selling; +0.011 a minute, full in 14 min; 100 % of its devices report`
fn value_line(value: &Value) -> String {
    let figure = |value: &Value, digits: usize| value.as_f64().map(|it| format!("{it:.digits$}"));
    let words = |value: &Value| -> String {
        let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.collect::<Vec<_>>().join(", ")
    };
    let key: Vec<&str> =
        value["key"].as_object().into_iter().flat_map(|key| key.values()).filter_map(Value::as_str).collect();
    let mut line = format!(
        "{} ({}): {}",
        key.join(", "),
        value["rule"].as_str().unwrap_or_default(),
        figure(&value["value"], 3).unwrap_or_else(|| "-".to_owned())
    );
    if let Some(margin) = figure(&value["margin"], 3) {
        line.push_str(&format!(" +-{margin}"));
    }
    let levels = words(&value["levels"]);
    line.push_str(&format!(", {}", if levels.is_empty() { "no level" } else { &levels }));
    let forecast = &value["forecast"];
    if let Some(trend) = forecast["trend_per_minute"].as_f64() {
        line.push_str(&format!("; {trend:+.3} a minute"));
    }
    if let (Some(level), Some(minutes)) = (forecast["level"].as_str(), figure(&forecast["minutes_to_level"], 0)) {
        line.push_str(&format!(", {level} in {minutes} min"));
    }
    if let Some(share) = value["completeness"].as_f64() {
        line.push_str(&format!("; {:.0} % of its devices report", share * 100.0));
    }
    if value["silent"] == true {
        line.push_str("; SILENT");
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_out_is_shown_and_the_rest_counted() {
        let zone = |n: u64| {
            let levels: &[&str] = if n.is_multiple_of(10) { &["busy"] } else { &[] };
            json!({ "rule": "r", "key": { "zone": format!("z{n:03}") }, "value": (n * 7) % 100, "levels": levels })
        };
        let zones = |many: u64| (0..many).map(zone).collect::<Vec<_>>();
        let shown =
            |many, all| describe(&json!({ "values": zones(many) }), all).lines().skip(1).map(str::to_owned).collect();
        let few: Vec<String> = shown(20, false);
        assert_eq!(few.len(), 20);
        let hundred: Vec<String> = shown(100, false);
        assert_eq!(hundred.len(), 21);
        assert_eq!(hundred[20], "and 80 more zones, of lower values and without a level; --all shows them");
        assert_eq!(hundred.iter().filter(|line| line.contains("busy")).count(), 10);
        assert!(hundred.iter().any(|line| line.starts_with("z057")) && hundred[..20].is_sorted(), "{hundred:#?}");
        let everything: Vec<String> = shown(100, true);
        assert_eq!(everything.len(), 100);
    }
}
