//! What happens in the city.

use weir_engine::rng::SeededRng;

/// Sites: checkpoints CP-01 to CP-25, then bayonets BY-01 to BY-51.
pub(crate) const SITES: u64 = 76;
/// Zones.
pub(crate) const ZONES: u64 = 1_000;
/// Devices at each site.
const DEVICES_PER_SITE: u64 = 4;
/// Largest disorder.
const DISORDER_MS: u64 = 5_000;
/// A crowd's life: it grows, stays, dissolves and is gone for a while.
const CROWD_CYCLE_S: f64 = 240.0;
/// Area of the zones in which crowds form.
const CROWD_ZONE_AREA_M2: f64 = 300.0;
/// Persons a second that one crowd takes at its height: 60 s of it give about 5 people/m2.
const CROWD_PERSONS_PER_S: f64 = 25.0;

const PROVINCES: [&str; 8] = ["陕", "京", "沪", "川", "甘", "晋", "豫", "鄂"];
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const COLOURS: [&str; 4] = ["blue", "yellow", "green", "white"];
const CLASSES: [&str; 4] = ["car", "truck", "bus", "van"];
const GOODS: [(&str, f64, &str); 8] = [
    ("baggage", 1.0, "piece"),
    ("parcel", 2.0, "piece"),
    ("liquid", 1.5, "L"),
    ("tool", 1.0, "piece"),
    ("food", 3.0, "kg"),
    ("electronics", 1.0, "piece"),
    ("UN1203", 20.0, "L"),
    ("fireworks", 4.0, "kg"),
];

/// What the city is like.
#[derive(Debug, Clone)]
pub(crate) struct CitySpec {
    pub(crate) seed: u64,
    pub(crate) start_ms: i64,
    /// Records a second of event time.
    pub(crate) records_per_s: f64,
    /// Share of vehicle and id records that are on a list.
    pub(crate) hit_rate: f64,
    /// Entries of each list.
    pub(crate) list_entries: u64,
}

/// What happened, beside when and where.
#[derive(Debug, Clone)]
pub(crate) enum Detail {
    Person { person_id: String, direction: &'static str, confidence: f64 },
    Vehicle { plate: String, colour: &'static str, class: &'static str, speed_kmh: f64, confidence: f64 },
    Item { class: &'static str, quantity: f64, unit: &'static str },
    Id { doc_type: &'static str, doc_number: String, issuer: &'static str },
    Code { holder: String, status: &'static str },
}

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) ts_ms: i64,
    pub(crate) site: String,
    pub(crate) device: String,
    pub(crate) zone: String,
    pub(crate) detail: Detail,
}

/// The city as it goes on.
pub(crate) struct City {
    spec: CitySpec,
    rng: SeededRng,
    number: u64,
}

/// Name of a site.
pub(crate) fn site_name(site: u64) -> String {
    if site < 25 { format!("CP-{:02}", site + 1) } else { format!("BY-{:02}", site - 24) }
}

/// Name of a zone.
pub(crate) fn zone_name(zone: u64) -> String {
    format!("Z-{zone:04}")
}

/// Area of a zone, m2.
pub(crate) fn zone_area_m2(zone: u64) -> f64 {
    if zone.is_multiple_of(7) { CROWD_ZONE_AREA_M2 } else { 60.0 + (zone * 7_919 % 1_940) as f64 }
}

/// Plate of a list entry: its last character is a letter; those of passers-by end in a digit.
pub(crate) fn listed_plate(entry: u64) -> String {
    let letter = |n: u64| char::from(LETTERS[(n % 24) as usize]);
    let province = PROVINCES[(entry % 8) as usize];
    format!("{province}{}{:04}{}", letter(entry / 8), entry / 192 % 10_000, letter(entry / 1_920_000 + entry * 7))
}

/// Number of a listed document; the letter at its end sets it apart from those of passers-by.
pub(crate) fn listed_document(entry: u64) -> String {
    format!("E{entry:07}X")
}

impl City {
    pub(crate) fn new(spec: CitySpec) -> Self {
        let rng = SeededRng::new(spec.seed);
        Self { spec, rng, number: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// The next record; `now_ms` is when it arrives, or nothing to follow the city's own time.
    pub(crate) fn next_record(&mut self, now_ms: Option<i64>) -> Record {
        let seconds = self.number as f64 / self.spec.records_per_s;
        let arrives_ms = now_ms.unwrap_or(self.spec.start_ms + (seconds * 1000.0) as i64);
        let ts_ms = arrives_ms - self.below(DISORDER_MS) as i64;
        let share = self.rng.unit();
        let mut zone = self.below(ZONES);
        let detail = match share {
            s if s < 0.40 => {
                zone = self.crowd_zone(seconds).unwrap_or(zone);
                let person_id = format!("P{:08}", self.below(50_000_000));
                Detail::Person { person_id, direction: self.pick(&["in", "out"]), confidence: self.confidence() }
            }
            s if s < 0.75 => self.vehicle(),
            s if s < 0.80 => {
                // Dangerous goods are rare.
                let at = if self.rng.unit() < 0.02 { 6 + self.below(2) } else { self.below(6) };
                let (class, quantity, unit) = GOODS[at as usize];
                Detail::Item { class, quantity, unit }
            }
            s if s < 0.95 => {
                let hit = self.rng.unit() < self.spec.hit_rate;
                let doc_number = if hit {
                    listed_document(self.below(self.spec.list_entries))
                } else {
                    format!("E{:08}", self.below(100_000_000))
                };
                Detail::Id {
                    doc_type: self.pick(&["passport", "id_card", "permit"]),
                    doc_number,
                    issuer: self.pick(&["UTO", "XXA", "XXB"]),
                }
            }
            _ => {
                let holder = format!("H{:08}", self.below(50_000_000));
                let status = match self.rng.unit() {
                    s if s < 0.97 => "green",
                    s if s < 0.998 => "yellow",
                    _ => "red",
                };
                Detail::Code { holder, status }
            }
        };
        let site = zone % SITES;
        let device = zone / SITES % DEVICES_PER_SITE + 1;
        self.number += 1;
        Record {
            number: self.number,
            ts_ms,
            site: site_name(site),
            device: format!("{}-{device}", site_name(site)),
            zone: zone_name(zone),
            detail,
        }
    }

    fn confidence(&mut self) -> f64 {
        ((0.80 + 0.20 * self.rng.unit()) * 100.0).round() / 100.0
    }

    fn vehicle(&mut self) -> Detail {
        let plate = if self.rng.unit() < self.spec.hit_rate {
            listed_plate(self.below(self.spec.list_entries))
        } else {
            let (province, letter) = (self.pick(&PROVINCES), char::from(self.pick(LETTERS)));
            format!("{province}{letter}{}{:04}", char::from(self.pick(LETTERS)), self.below(10_000))
        };
        let speed_kmh = (self.rng.unit() * 900.0).round() / 10.0;
        Detail::Vehicle {
            plate,
            colour: self.pick(&COLOURS),
            class: self.pick(&CLASSES),
            speed_kmh,
            confidence: self.confidence(),
        }
    }

    /// The zone of a crowd that this person joins, if he joins one.
    fn crowd_zone(&mut self, seconds: f64) -> Option<u64> {
        let persons_per_s = self.spec.records_per_s * 0.4;
        let crowds = (persons_per_s * 0.5 / CROWD_PERSONS_PER_S).round().clamp(1.0, 140.0) as u64;
        let crowd = self.below(crowds);
        let phase = (seconds + crowd as f64 * 37.0) % CROWD_CYCLE_S;
        let height = match phase {
            p if p < 80.0 => p / 80.0,
            p if p < 130.0 => 1.0,
            p if p < 190.0 => (190.0 - p) / 60.0,
            _ => 0.0,
        };
        // Crowds form in the zones whose number is a multiple of seven.
        (self.rng.unit() < 0.55 * height).then_some(crowd * 7)
    }
}
