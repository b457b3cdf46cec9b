//! The account of a run, for people and for programs.

use std::fmt::Write;

use weir_engine::alert::format_time;
use weir_engine::metrics::{Buckets, SinkCounts};
use weir_engine::runtime::RuleCounts;
use weir_engine::source::Class;
use weir_engine::state::{Found, Unusable};
use weir_engine::{ListStatus, Summary};

use super::{duration, grouped};
use crate::latency;

fn table(text: &mut String, title: &str, rows: &[(String, Buckets)]) {
    let _ = writeln!(
        text,
        "\n{title:<16} {:>12} {:>12} {:>10} {:>10} {:>10} {:>8} {:>10}",
        "received", "evaluated", "duplicate", "late", "rejected", "shed", "in flight"
    );
    for (name, b) in rows {
        let _ = writeln!(
            text,
            "{name:<16} {:>12} {:>12} {:>10} {:>10} {:>10} {:>8} {:>10}",
            grouped(b.received),
            grouped(b.evaluated),
            grouped(b.duplicate),
            grouped(b.late),
            grouped(b.rejected),
            grouped(b.shed),
            grouped(b.in_flight)
        );
    }
}

/// The account of a run, for people.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let total = summary.total();
    let seconds = summary.elapsed.as_secs_f64();
    let _ = writeln!(
        text,
        "\n{} {} records from {} devices in {seconds:.2} s: {} records/s, {} alerts",
        if summary.stopped { "Stopped after" } else { "Judged" },
        grouped(total.received),
        grouped(summary.devices as u64),
        grouped((total.received as f64 / seconds.max(1e-9)) as u64),
        grouped(summary.alerts())
    );
    let mut sources = summary.by_source.clone();
    if sources.len() > 1 {
        sources.push(("all sources".to_owned(), total));
    }
    table(&mut text, "source", &sources);
    let kinds: Vec<_> = summary.by_kind.iter().filter(|(_, buckets)| buckets.received > 0).cloned().collect();
    table(&mut text, "kind", &kinds);
    for (source, class, count) in &summary.shed {
        let what = match class {
            Class::Safety => "a list or another rule might have answered for them",
            Class::Crowd => "windows that miss them say so in `completeness`",
            Class::Other => "no rule reads them",
        };
        let _ = writeln!(
            text,
            "\nshed: source `{source}` brought more than there was room for, and {} {} records were let go; {what}",
            grouped(*count),
            class.word()
        );
    }
    if !summary.rejected_by_cause.is_empty() {
        let causes: Vec<String> =
            summary.rejected_by_cause.iter().map(|(cause, count)| format!("{cause} {}", grouped(*count))).collect();
        let _ = writeln!(text, "\nrejected: {}", causes.join(", "));
    }
    let width = summary.rules.iter().map(|rule| rule.id.chars().count()).max().unwrap_or(0).max(16);
    let _ = writeln!(
        text,
        "\n{:<width$} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "rule", "kind", "alerts", "repeats", "windows", "p50", "p99", "p99.9"
    );
    for rule in &summary.rules {
        let latency = summary.latency.get(&rule.id).cloned().unwrap_or_default();
        let at = |quantile| {
            if latency.count() == 0 { "-".to_owned() } else { duration(latency.quantile_us(quantile)) }
        };
        let _ = writeln!(
            text,
            "{:<width$} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}{}",
            rule.id,
            rule.kind,
            grouped(rule.alerts),
            grouped(rule.suppressed),
            grouped(rule.windows),
            at(0.5),
            at(0.99),
            at(0.999),
            if rule.shadow { "  shadow: counted, not sent" } else { "" }
        );
    }
    text.push_str(&latency::lines(summary));
    shadow_report(&mut text, summary);
    notes(&mut text, summary);
    text.trim_end().to_owned()
}

/// Places shown for each rule.
const PLACES_SHOWN: usize = 5;

/// What shadow rules would have sent.
fn shadow_report(text: &mut String, summary: &Summary) {
    for rule in summary.rules.iter().filter(|rule| rule.shadow && rule.alerts > 0) {
        let _ = writeln!(text, "\nshadow rule `{}` would have sent {}", rule.id, grouped(rule.alerts));
        tally(text, rule);
    }
}

/// A rule's alerts by day, and where most of them come from.
fn tally(text: &mut String, rule: &RuleCounts) {
    let days: Vec<String> = rule.tally.days().map(|(day, count)| format!("{day} {}", grouped(count))).collect();
    let _ = writeln!(text, "  by day:  {}", days.join(", "));
    let hottest = rule.tally.hottest(PLACES_SHOWN);
    let places: Vec<String> = hottest.iter().map(|(place, count)| format!("{place} {}", grouped(*count))).collect();
    let _ = writeln!(text, "  hottest: {}", places.join(", "));
}

/// What rules said over history, for people.
pub(crate) fn rules_report(summary: &Summary) -> String {
    let mut text = String::new();
    let total = summary.total();
    let _ = writeln!(
        text,
        "{} records of {} devices judged in {:.2} s: {} alerts",
        grouped(total.received),
        grouped(summary.devices as u64),
        summary.elapsed.as_secs_f64(),
        grouped(summary.rules.iter().map(|rule| rule.alerts).sum())
    );
    if total.duplicate + total.late + total.rejected > 0 {
        let _ = writeln!(
            text,
            "{} duplicate, {} late, {} refused",
            grouped(total.duplicate),
            grouped(total.late),
            grouped(total.rejected)
        );
    }
    for rule in &summary.rules {
        let _ = writeln!(
            text,
            "\n{} ({}): {} alerts, {} repeats held back, {:.0} ns a record",
            rule.id,
            rule.kind,
            grouped(rule.alerts),
            grouped(rule.suppressed),
            cost_ns(rule, summary)
        );
        if rule.alerts > 0 {
            tally(&mut text, rule);
        }
    }
    notes(&mut text, summary);
    text.trim_end().to_owned()
}

/// Time spent on a rule, for each record of the run.
fn cost_ns(rule: &RuleCounts, summary: &Summary) -> f64 {
    rule.cost_ns as f64 / summary.total().received.max(1) as f64
}

/// A rule's alerts by day and by place, for programs.
fn add_tally(row: &mut serde_json::Value, rule: &RuleCounts) {
    let days: serde_json::Map<_, _> = rule.tally.days().map(|(day, count)| (day.to_owned(), count.into())).collect();
    row["by_day"] = days.into();
    row["hottest"] = rule
        .tally
        .hottest(PLACES_SHOWN)
        .into_iter()
        .map(|(place, count)| serde_json::json!({ "place": place, "alerts": count }))
        .collect();
}

/// What rules said over history, for programs.
pub(crate) fn rules_report_json(summary: &Summary) -> serde_json::Value {
    let rules: serde_json::Map<_, _> = summary
        .rules
        .iter()
        .map(|rule| {
            let mut row = serde_json::json!({
                "kind": rule.kind, "alerts": rule.alerts, "revisions": rule.revisions, "suppressed": rule.suppressed, "late": rule.late,
                "ns_per_record": cost_ns(rule, summary),
            });
            add_tally(&mut row, rule);
            (rule.id.clone(), row)
        })
        .collect();
    serde_json::json!({
        "records": summary.total().received,
        "elapsed_s": summary.elapsed.as_secs_f64(),
        "rules": rules,
    })
}

/// What the operator should look at.
fn notes(text: &mut String, summary: &Summary) {
    for rule in &summary.rules {
        let mut note = |count: u64, thing: &str, what: &str| {
            if count > 0 {
                let many = if count == 1 { "" } else { "s" };
                let _ = writeln!(text, "note: rule `{}`: {} {thing}{many} {what}", rule.id, grouped(count));
            }
        };
        note(rule.condition_errors, "record", "whose condition could not be computed, taken as not passing");
        note(rule.unrouted, "alert", "that no sink took");
        let room = "that found no room in its windows (limits.window_groups, limits.window_values)";
        note(rule.groups_overflow, "record", room);
        note(rule.keys_evicted, "key", "forgotten early for want of room (limits.sequence_keys)");
        note(rule.steps_overflow, "step", "that found no room to wait in (limits.held_observations)");
        note(rule.without_figure, "value", "of zones that the zone table lacks");
        note(rule.floored, "time", "more had gone out of a zone than were inside");
        if summary.stopped {
            note(
                rule.open_panes as u64,
                "pane",
                "still open at the stop, without a value since its window was not complete",
            );
        }
    }
    if summary.reloads > 0 {
        let _ = writeln!(text, "note: the packs were changed {} times while running", grouped(summary.reloads));
    }
    if summary.withdrawn > 0 {
        let _ = writeln!(
            text,
            "note: {} alerts were taken back, since the authority withdrew the entry they stood on",
            grouped(summary.withdrawn)
        );
    }
    for rule in summary.rules.iter().filter(|rule| rule.revisions > 0) {
        let _ =
            writeln!(text, "note: rule `{}` revised or took back alerts {} times", rule.id, grouped(rule.revisions));
    }
    if summary.told_evicted > 0 {
        let _ = writeln!(
            text,
            "note: {} alerts were forgotten early and can no longer be taken back; raise limits.told_alerts",
            grouped(summary.told_evicted)
        );
    }
    for rule in summary.past_rules.iter().filter(|rule| rule.alerts > 0) {
        let _ = writeln!(text, "note: rule `{}`, since removed, gave {} alerts", rule.id, grouped(rule.alerts));
    }
    if summary.event_ids_evicted > 0 {
        let _ = writeln!(
            text,
            "note: {} event ids forgotten early (limits.event_ids); a repeat of one would count again",
            grouped(summary.event_ids_evicted)
        );
    }
    for (source, requests) in &summary.refused_requests {
        let _ = writeln!(text, "note: source `{source}` turned {} requests away", grouped(*requests));
    }
    if let Some(found) = &summary.found {
        state_notes(text, found, summary);
    }
    if summary.outputs_too_long > 0 {
        let _ = writeln!(
            text,
            "note: {} outputs were not kept: longer than half of a segment of the outbox (state.segment)",
            grouped(summary.outputs_too_long)
        );
    }
    for (sink, counts) in &summary.sinks {
        sink_notes(text, sink, counts);
    }
}

fn state_notes(text: &mut String, found: &Found, summary: &Summary) {
    let mut note = |said: String| {
        let _ = writeln!(text, "note: {said}");
    };
    if found.given_up {
        note("the state of earlier runs could not be used and was given up (--accept-state-loss)".to_owned());
    }
    for Unusable { path, what } in &found.unusable {
        note(format!("checkpoint {} could not be used: {what}", path.display()));
    }
    if let Some((epoch, at_ms)) = found.checkpoint {
        let (turns, took) = (grouped(summary.replayed.turns), duration(summary.replayed.took.as_micros() as u64));
        note(format!(
            "went on from checkpoint {} of {}; {turns} batches that came in after it were applied again in {took}",
            grouped(epoch),
            format_time(at_ms)
        ));
    }
    if summary.replayed.turns > 0 && !found.other_lists.is_empty() {
        note(format!(
            "they were judged by lists that are newer than the checkpoint, or older: {}",
            found.other_lists.join(", ")
        ));
    }
    for (path, bytes) in &summary.replayed.missing {
        note(format!(
            "{path}: {} bytes that had been judged after the checkpoint are not there any more, and are missing from \
             windows and sequences",
            grouped(*bytes)
        ));
    }
    if summary.not_retold > 0 {
        note(format!(
            "{} outputs told before did not come out again: rules or lists have changed since, or records are missing",
            grouped(summary.not_retold)
        ));
    }
    if summary.checkpoints.no_room > 0 {
        note(format!("{} checkpoints found no room on the disk", grouped(summary.checkpoints.no_room)));
    }
    if found.waiting > 0 {
        note(format!("{} outputs of an earlier run were in the outbox", grouped(found.waiting)));
    }
    if found.cut.bytes > 0 {
        note(format!(
            "a crash had broken off a write to the state folder; {} bytes of it were cut, nobody had been told of them",
            grouped(found.cut.bytes)
        ));
    }
    for sink in &found.undeclared {
        note(format!("sink `{sink}` is declared no more; what waited for it is not delivered"));
    }
}

fn sink_notes(text: &mut String, sink: &str, counts: &SinkCounts) {
    if counts.refused > 0 {
        let _ = writeln!(text, "note: the receiver of sink `{sink}` refused {} outputs", grouped(counts.refused));
    }
    if let Some(trouble) = &counts.trouble {
        let times = grouped(counts.retries);
        let _ =
            writeln!(text, "note: sink `{sink}` was tried again {times} times; the last time because of: {trouble}");
    }
    if counts.waiting > 0 {
        let waiting = grouped(counts.waiting);
        let _ = writeln!(
            text,
            "note: {waiting} outputs wait in the outbox for sink `{sink}`; the next start delivers them"
        );
    }
    if counts.lost > 0 {
        let lost = grouped(counts.lost);
        let _ = writeln!(
            text,
            "note: {lost} outputs for sink `{sink}` were passed over: more waited than the outbox may hold (state.outbox)"
        );
    }
}

/// The account of a run, for programs.
pub(crate) fn summary_json(summary: &Summary, lists: &[ListStatus]) -> String {
    let buckets = |rows: &[(String, Buckets)]| -> serde_json::Value {
        rows.iter()
            .map(|(name, b)| {
                let row = serde_json::json!({
                    "received": b.received, "evaluated": b.evaluated, "duplicate": b.duplicate, "late": b.late,
                    "rejected": b.rejected, "shed": b.shed, "in_flight": b.in_flight,
                });
                (name.clone(), row)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let rules: serde_json::Map<_, _> = summary
        .rules
        .iter()
        .map(|rule| {
            let mut row = serde_json::json!({
                "kind": rule.kind, "shadow": rule.shadow, "alerts": rule.alerts, "suppressed": rule.suppressed,
                "windows": rule.windows, "late": rule.late, "condition_errors": rule.condition_errors, "open_panes": rule.open_panes, "open_groups": rule.open_groups, "open_values": rule.open_values,
                "keys_evicted": rule.keys_evicted,
            });
            if rule.shadow {
                add_tally(&mut row, rule);
            }
            (rule.id.clone(), row)
        })
        .collect();
    let sinks: serde_json::Map<_, _> = summary
        .sinks
        .iter()
        .map(|(name, counts)| {
            let row = serde_json::json!({
                "delivered": counts.delivered, "undelivered": counts.undelivered, "refused": counts.refused, "error": counts.error,
                "waiting": counts.waiting, "lost": counts.lost, "retries": counts.retries,
            });
            (name.clone(), row)
        })
        .collect();
    serde_json::json!({
        "sources": buckets(&summary.by_source),
        "kinds": buckets(&summary.by_kind),
        "rejected_by_cause": summary.rejected_by_cause,
        "shed": summary.shed.iter().map(|(source, class, count)| serde_json::json!({
            "source": source, "class": class.word(), "count": count,
        })).collect::<Vec<_>>(),
        "rules": rules,
        "sinks": sinks,
        "state": summary.found.as_ref().map(|found| {
            serde_json::json!({
                "checkpoint": found.checkpoint.map(|(epoch, at_ms)| serde_json::json!({ "epoch": epoch, "at": format_time(at_ms) })),
                "given_up": found.given_up,
                "other_lists": found.other_lists,
                "unusable": found.unusable.len(),
                "replayed": summary.replayed.turns,
                "replay_us": summary.replayed.took.as_micros() as u64,
                "not_retold": summary.not_retold,
                "checkpoints": summary.checkpoints.published,
                "checkpoint_bytes": summary.checkpoints.bytes,
            })
        }),
        "elapsed_s": summary.elapsed.as_secs_f64(),
        "records_per_s": summary.total().received as f64 / summary.elapsed.as_secs_f64().max(1e-9),
        "latency_us": latency::json(summary),
        "reloads": summary.reloads,
        "withdrawn": summary.withdrawn,
        "lists": lists.iter().map(crate::status::list_json).collect::<Vec<_>>(),
        "stopped": summary.stopped,
    })
    .to_string()
}
