//! What an EU certificate must hold (schema 1.3, the parts that can be checked without a doctor).
//!
//! Read, checked, and dropped: only which of three things it is, and its unique numbers, leave here.

use ciborium::Value;

use super::issuers::{Issuers, What};

/// What is kept for a moment.
pub(super) struct Found {
    pub(super) what: What,
    /// Unique certificate identifiers, upper case.
    pub(super) ids: Vec<String>,
}

/// Fields that each thing must have, and the value sets they are out of (vol. 2 of the technical specifications).
type Rules = &'static [(&'static str, &'static str)];
const VACCINATION: Rules = &[
    ("tg", "disease-agent-targeted"),
    ("vp", "sct-vaccines-covid-19"),
    ("mp", "vaccines-covid-19-names"),
    ("ma", "vaccines-covid-19-auth-holders"),
    ("co", "country-2-codes"),
    ("ci", ""),
    ("is", ""),
    ("dt", ""),
];
const TEST: Rules = &[
    ("tg", "disease-agent-targeted"),
    ("tt", "covid-19-lab-test-type"),
    ("tr", "covid-19-lab-result"),
    ("co", "country-2-codes"),
    ("ci", ""),
    ("is", ""),
    ("sc", ""),
];
const RECOVERY: Rules =
    &[("tg", "disease-agent-targeted"), ("co", "country-2-codes"), ("ci", ""), ("is", ""), ("fr", "")];
/// Devices for rapid tests; other tests name none.
const TEST_DEVICES: (&str, &str) = ("ma", "covid-19-lab-test-manufacturer-and-name");

/// ISO 3166-1 alpha-2, and what the EU adds.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT \
BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH EL ER ES ET EU FI FJ FK \
FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO \
JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU \
MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC \
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UK UM UN US UY \
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Reads the certificate; `None` where it breaks its schema.
pub(super) fn read(certificate: &Value, issuers: &Issuers) -> Option<Found> {
    let group = |name: &str| field(certificate, name).and_then(Value::as_array).filter(|group| !group.is_empty());
    let (what, entries, rules) = match (group("v"), group("t"), group("r")) {
        (Some(entries), None, None) => (What::Vaccination, entries, VACCINATION),
        (None, Some(entries), None) => (What::Test, entries, TEST),
        (None, None, Some(entries)) => (What::Recovery, entries, RECOVERY),
        _ => return None,
    };
    let mut ids = Vec::new();
    for entry in entries {
        for (name, value_set) in rules {
            let text = field(entry, name).and_then(Value::as_text)?;
            holds(issuers, value_set, text).then_some(())?;
        }
        if what == What::Test
            && let Some(device) = field(entry, TEST_DEVICES.0).and_then(Value::as_text)
        {
            holds(issuers, TEST_DEVICES.1, device).then_some(())?;
        }
        ids.extend(field(entry, "ci").and_then(Value::as_text).map(str::to_uppercase));
    }
    Some(Found { what, ids })
}

/// Whether a value is in its set. A set that nobody has given holds everything.
fn holds(issuers: &Issuers, value_set: &str, value: &str) -> bool {
    issuers.value_set(value_set).map_or_else(
        || value_set != "country-2-codes" || COUNTRIES.split_whitespace().any(|country| country == value),
        |values| values.contains(value),
    )
}

/// A value by its name. A text may carry the tag of a date (RFC 8949, 3.4.1; RFC 8943), as Belgium writes them.
fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let value = map.as_map()?.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)?;
    match value {
        Value::Tag(_, inner) if inner.is_text() => Some(inner),
        value => Some(value),
    }
}
