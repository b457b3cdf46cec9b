//! Attributes that no kind, mapping or list may carry (DESIGN.md 1).
//!
//! Names are compared after folding: lower case, separators removed, so that `Skin-Colour`,
//! `skinColor` and `SKIN_COLOUR` are one name. Short words (`age`, `sex`) match whole words only,
//! so that `storage` stays allowed. The GA/T 1400 field names come from DOMAIN.md 2.2.

/// Stems that are refused wherever they occur in the folded name.
const STEMS: &[&str] = &[
    "ethnic",
    "ethic",
    "nationality",
    "minzu",
    "religio",
    "politic",
    "partymember",
    "gender",
    "skincolo",
    "nativeplace",
    "nativecity",
    "birthplace",
    "jiguan",
    "biometric",
    "fingerprint",
    "irisscan",
    "iriscode",
    "voiceprint",
    "gaitfeature",
    "dnaprofile",
    "specialperson",
    "populationtype",
    "isforeigner",
    "immigranttype",
    "suspectedterrorist",
    "criminalinvolved",
    "criminalrecord",
    "detainee",
    "victimtype",
    "suspiciousperson",
    "maritalstatus",
    "habitualmovement",
    "physicalfeature",
    "chineseaccent",
    "sexualorientation",
    "dateofbirth",
    "birthdate",
    "birthday",
    "tradeunion",
    "pastoffence",
    "pastoffense",
    "familyaddress",
    "disability",
];

/// Words that are refused where they stand alone between separators or case changes.
const WORDS: &[&str] = &[
    "age",
    "ages",
    "race",
    "racial",
    "sex",
    "faith",
    "caste",
    "tribe",
    "hukou",
    "face",
    "faceid",
    "faceimage",
    "iris",
    "dob",
    "minority",
    "petitioner",
    "dissident",
];

/// Chinese names of the same attributes.
const CHINESE: &[&str] = &[
    "民族",
    "宗教",
    "政治面貌",
    "性别",
    "年龄",
    "肤色",
    "籍贯",
    "人脸",
    "虹膜",
    "指纹",
    "重点人员",
    "出生",
    "前科",
    "上访",
    "婚姻",
];

/// The protected attribute a name stands for, if it does.
///
/// ```
/// use weir_rules::schema::protected_attribute;
/// assert_eq!(protected_attribute("skinColor"), Some("skincolo"));
/// assert_eq!(protected_attribute("driver_age"), Some("age"));
/// assert_eq!(protected_attribute("storage"), None);
/// ```
pub fn protected_attribute(name: &str) -> Option<&'static str> {
    let folded: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if let Some(stem) = STEMS.iter().find(|stem| folded.contains(**stem)) {
        return Some(stem);
    }
    if let Some(term) = CHINESE.iter().find(|term| name.contains(**term)) {
        return Some(term);
    }
    words(name).into_iter().find_map(|word| WORDS.iter().copied().find(|known| *known == word))
}

/// Splits at separators and at changes from lower to upper case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_lower = false;
    for c in name.chars() {
        let starts_word = !c.is_alphabetic() || (previous_lower && c.is_uppercase());
        if starts_word && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("one word at least").extend(c.to_lowercase());
        }
        previous_lower = c.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::protected_attribute;

    #[test]
    fn names_of_real_vendors_are_refused() {
        for name in [
            "EthicCode",
            "ethnicity",
            "SkinColor",
            "skin_colour",
            "GenderCode",
            "AgeUpLimit",
            "age",
            "driverAge",
            "Religion",
            "PoliticsStatus",
            "NativeCityCode",
            "FaceStyle",
            "IsSuspectedTerrorist",
            "SpecialPersonClass",
            "sex",
            "face",
            "face_id",
            "民族",
            "性别代码",
            "date-of-birth",
            "nationality",
            "IsForeigner",
            "race",
        ] {
            assert!(protected_attribute(name).is_some(), "{name}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "storage",
            "page",
            "passage",
            "average_speed",
            "message",
            "surface",
            "interface_id",
            "trace_id",
            "essex_gate",
            "plate",
            "person_id",
            "issuer",
            "vehicle_class",
            "count",
            "brace",
            "third_partyref",
        ] {
            assert_eq!(protected_attribute(name), None, "{name}");
        }
    }
}
