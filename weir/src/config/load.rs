//! What a configuration names: packs, zones, lists, files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_connectors::source::ViidAccounts;
use weir_engine::credential::Issuers;
use weir_engine::vfs::Vfs;
use weir_engine::watchlist::Watchlist;
use weir_engine::window::{Zone, ZoneTable};
use weir_rules::diagnostic::{codes, did_you_mean};
use weir_rules::pack::{self, Environment, Pack, SinkFacts, ZoneFacts};
use weir_rules::{Catalog, Diagnostic, Diagnostics, SourceFile, yaml};

use super::{
    Config, ListContext, ListFacts, SourceDecl, SourceKind, beside, keys, load_accounts, load_lists, read_key, zones,
};

/// Longest zone table.
const ZONES_BYTES_MAX: u64 = 64 << 20;

/// Everything a configuration names.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) packs: Vec<(Pack, Vec<Arc<Watchlist>>)>,
    pub(crate) zones: ZoneTable,
    pub(crate) issuers: Issuers,
    /// By source.
    pub(crate) accounts: BTreeMap<String, ViidAccounts>,
    /// Lists whose new version was refused, and why: the version in force stays.
    pub(crate) kept: Vec<(String, String)>,
}

/// Reads everything; what is wrong goes to `diagnostics`.
pub(crate) fn load(config: &Config, context: &ListContext, vfs: &dyn Vfs, diagnostics: &mut Diagnostics) -> Loaded {
    let zones = load_zones(config, vfs, diagnostics);
    check_files(config, vfs, diagnostics);
    let environment = Environment {
        sinks: config
            .sinks
            .iter()
            .map(|sink| SinkFacts {
                name: sink.name.clone(),
                purposes: sink.purposes.iter().map(|(purpose, _)| purpose.clone()).collect(),
                actuator: sink.actuator,
                reviewers: sink.reviewers,
            })
            .collect(),
        zones: zones.iter().map(facts).collect(),
        population: config.population,
        issuers: !config.issuers.is_empty(),
    };
    let facts_of_lists = ListFacts {
        limits: &config.limits,
        population: config.population,
        fetched: config.list_sources.iter().map(|it| it.list.as_str()).collect(),
    };
    let mut kept = Vec::new();
    let mut packs: Vec<(Pack, Vec<Arc<Watchlist>>)> = Vec::new();
    for named in &config.packs {
        let name = named.path.display().to_string();
        let text = match vfs.read_text(&named.path, yaml::TEXT_BYTES_MAX as u64 + 1) {
            Ok(text) => text,
            Err(error) => {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::FILE_NOT_READ,
                        &config.file,
                        named.span.clone(),
                        format!("pack {name} cannot be read: {error}"),
                    )
                    .help("the path is relative to the configuration"),
                );
                continue;
            }
        };
        let Some(pack) = read_pack(&SourceFile::new(name, text), &config.catalog, vfs, diagnostics) else {
            continue;
        };
        pack::check_environment(&pack, &environment, diagnostics);
        let lists = load_lists(&pack, &facts_of_lists, context, vfs, diagnostics, &mut kept);
        packs.push((pack, lists));
    }
    check_across_packs(config, &packs, diagnostics);
    let accounts = |source: &SourceDecl| match &source.kind {
        SourceKind::Viid(viid) => Some((source.name.clone(), load_accounts(config, viid, vfs, diagnostics))),
        _ => None,
    };
    let accounts = config.sources.iter().filter_map(accounts).collect();
    Loaded { packs, zones, issuers: keys::load_issuers(config, vfs, diagnostics), accounts, kept }
}

fn facts(zone: &Zone) -> ZoneFacts {
    ZoneFacts {
        id: zone.id.clone(),
        area_m2: zone.area_m2,
        capacity: zone.capacity,
        daily_capacity: zone.daily_capacity,
        class: zone.class.clone(),
    }
}

fn load_zones(config: &Config, vfs: &dyn Vfs, diagnostics: &mut Diagnostics) -> ZoneTable {
    let Some(named) = &config.zones else {
        return ZoneTable::default();
    };
    let name = named.path.display();
    match vfs.read_text(&named.path, ZONES_BYTES_MAX) {
        Ok(text) if named.path.extension().is_some_and(|it| it == "yaml" || it == "yml") => {
            zones::from_yaml(&SourceFile::new(name.to_string(), text), diagnostics)
        }
        Ok(text) => ZoneTable::from_csv(&text).unwrap_or_else(|error| {
            diagnostics.push(Diagnostic::new(
                &codes::BAD_ZONES,
                &config.file,
                named.span.clone(),
                format!("{name}: {error}"),
            ));
            ZoneTable::default()
        }),
        Err(error) => {
            diagnostics.push(
                Diagnostic::new(
                    &codes::FILE_NOT_READ,
                    &config.file,
                    named.span.clone(),
                    format!("zone table {name} cannot be read: {error}"),
                )
                .help("the path is relative to the configuration"),
            );
            ZoneTable::default()
        }
    }
}

/// A file source that is read once must be there now.
fn check_files(config: &Config, vfs: &dyn Vfs, diagnostics: &mut Diagnostics) {
    for source in &config.sources {
        let SourceKind::File { pattern, span, follow: false } = &source.kind else {
            continue;
        };
        let text = pattern.to_string_lossy();
        if !text.contains(['*', '?', '['])
            && let Err(error) = vfs.stat(pattern)
        {
            diagnostics.push(
                Diagnostic::new(
                    &codes::FILE_NOT_READ,
                    &config.file,
                    span.clone(),
                    format!("source `{}`: {text} cannot be read: {error}", source.name),
                )
                .help("the path is relative to the configuration"),
            );
        }
    }
    let sources = config.sources.iter().filter_map(|it| Some((&it.name, it.kind.check_secrets(vfs).err()?)));
    let sinks = config.sinks.iter().filter_map(|it| Some((&it.name, it.kind.server()?.check(vfs).err()?)));
    let lists = config.list_sources.iter().filter_map(|it| Some((&it.list, it.server.check(vfs).err()?)));
    for (name, (file, message)) in sources.chain(sinks).chain(lists) {
        diagnostics.push(
            Diagnostic::new(&codes::FILE_NOT_READ, &config.file, file.span, format!("`{name}`: {message}"))
                .help("the path is relative to the configuration, or `credential:NAME` of systemd"),
        );
    }
    if let Some(key_file) = &config.key_file
        && let Err(message) = read_key(&key_file.path, vfs)
    {
        diagnostics.push(
            Diagnostic::new(&codes::FILE_NOT_READ, &config.file, key_file.span.clone(), message)
                .help("make one with: head -c 32 /dev/urandom > FILE"),
        );
    }
}

/// A pack with the files it includes.
pub(crate) fn read_pack(
    file: &Arc<SourceFile>,
    catalog: &Catalog,
    vfs: &dyn Vfs,
    diagnostics: &mut Diagnostics,
) -> Option<Pack> {
    let root = Path::new(&file.name);
    let mut read = |include: &str| {
        let path = beside(root, include);
        stay_within(root, &path)?;
        let text = vfs.read_text(&path, yaml::TEXT_BYTES_MAX as u64 + 1).map_err(|error| error.to_string())?;
        Ok(SourceFile::new(path.display().to_string(), text))
    };
    pack::parse_files(file, catalog, &mut read, diagnostics)
}

/// A symbolic link must not lead out of the pack's folder either.
fn stay_within(root: &Path, path: &Path) -> Result<(), String> {
    let folder = root.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = |path: &Path| path.canonicalize().map_err(|error| error.to_string());
    if real(path)?.starts_with(real(folder)?) {
        return Ok(());
    }
    Err("a link leads out of the pack's folder".to_owned())
}

/// What only shows when all packs are seen together.
fn check_across_packs(config: &Config, packs: &[(Pack, Vec<Arc<Watchlist>>)], diagnostics: &mut Diagnostics) {
    let mut rules: Vec<&str> = Vec::new();
    for (pack, _) in packs {
        let own: Vec<&str> = pack.rules.iter().map(|rule| rule.id.as_str()).collect();
        for rule in &pack.rules {
            if rules.contains(&rule.id.as_str()) {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::DUPLICATE_RULE,
                        &rule.file,
                        rule.span.clone(),
                        format!("another pack has a rule `{}` too", rule.id),
                    )
                    .help("alerts are kept by rule id; give one of them another"),
                );
            }
        }
        rules.extend(own);
    }
    let purposes: Vec<&str> =
        packs.iter().flat_map(|(pack, _)| &pack.purposes).map(|purpose| purpose.name.as_str()).collect();
    if packs.len() < config.packs.len() {
        return;
    }
    let lists: Vec<&str> = packs.iter().flat_map(|(pack, _)| &pack.lists).map(|list| list.id.as_str()).collect();
    for source in config.list_sources.iter().filter(|source| !lists.contains(&source.list.as_str())) {
        let message = format!("no pack declares a list `{}`", source.list);
        diagnostics.push(
            Diagnostic::new(&codes::BAD_VALUE, &config.file, source.span.clone(), message)
                .help(format!("declared lists: {}", lists.join(", ")))
                .maybe_help(did_you_mean(&source.list, lists.iter().copied())),
        );
    }
    for sink in &config.sinks {
        for (purpose, span) in &sink.purposes {
            if !purposes.contains(&purpose.as_str()) {
                diagnostics.push(
                    Diagnostic::new(
                        &codes::UNKNOWN_PURPOSE,
                        &config.file,
                        span.clone(),
                        format!("no pack declares a purpose `{purpose}`"),
                    )
                    .also(sink.span.clone(), "this sink")
                    .help(format!("declared purposes: {}", purposes.join(", ")))
                    .maybe_help(did_you_mean(purpose, purposes.iter().copied())),
                );
            }
        }
    }
}
