//! What a rule's alerts add up to: how many a day, and where most of them come from.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::alert::Alert;

/// Days that are kept apart; what comes later is counted under the last.
const DAYS_MAX: usize = 1_000;
/// Places that are kept apart; what finds no room is counted under `(others)`.
const PLACES_MAX: usize = 10_000;

/// Alerts of one rule by day and by place. Holds no identifier.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    days: BTreeMap<String, u64>,
    places: HashMap<String, u64, RandomState>,
}

impl Tally {
    /// Counts an alert.
    pub(crate) fn add(&mut self, alert: &Alert) {
        let day = alert.ts.get(..10).unwrap_or_default();
        if let Some(count) = self.days.get_mut(day) {
            *count += 1;
        } else if self.days.len() < DAYS_MAX {
            self.days.insert(day.to_owned(), 1);
        } else {
            *self.days.values_mut().next_back().expect("there are days") += 1;
        }
        let parts = [&alert.site, &alert.zone, &alert.device].map(|part| part.as_deref().unwrap_or_default());
        let place = match alert.zone {
            Some(_) => format!("{}/{}", parts[0], parts[1]),
            None => format!("{}/{}", parts[0], parts[2]),
        };
        let place = place.trim_matches('/');
        let room = self.places.len() < PLACES_MAX || self.places.contains_key(place);
        *self.places.entry_ref(if room { place } else { "(others)" }).or_insert(0) += 1;
    }

    /// Alerts by day, `YYYY-MM-DD` in UTC.
    pub fn days(&self) -> impl Iterator<Item = (&str, u64)> {
        self.days.iter().map(|(day, count)| (day.as_str(), *count))
    }

    /// The places with most alerts: site and zone, or site and device.
    pub fn hottest(&self, places: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.places.iter().map(|(place, count)| (place.as_str(), *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(places);
        all
    }
}
