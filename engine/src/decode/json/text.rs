//! What strings and short lists of a valid JSON text say.

use super::scanner::hex4;

/// Appends the inside of a valid JSON string with its escapes resolved.
pub(crate) fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        let mut used = at + 2;
        match escape {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |from: usize| rest.as_bytes().get(from..from + 4).and_then(hex4).unwrap_or(0xfffd);
                let high = unit(at + 2);
                used = at + 6;
                let code = if (0xd800..0xdc00).contains(&high) {
                    let low = unit(at + 8);
                    used = at + 12;
                    0x10000 + ((high - 0xd800) << 10) + (low & 0x3ff)
                } else {
                    high
                };
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            other => out.push(char::from(other)),
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
}

/// The inside of a valid JSON string with its escapes resolved.
///
/// ```
/// assert_eq!(weir_engine::decode::json::unescaped(r"a\u00e9\n"), "aé\n");
/// ```
pub fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    unescape(text, &mut plain);
    plain
}

/// Appends the texts of a valid JSON array of texts; `false` for anything else or more than `max`.
pub(crate) fn texts(json: &str, max: usize, out: &mut Vec<String>) -> bool {
    match serde_json::from_str::<Vec<String>>(json) {
        Ok(texts) if texts.len() <= max => {
            out.extend(texts);
            true
        }
        _ => false,
    }
}

/// Appends the texts and scores of `[{"text": "...", "score": 0.9}, ...]` (also `plate`,
/// `confidence`); `false` for anything else or more than `max`.
pub(crate) fn scored_texts(json: &str, max: usize, out: &mut Vec<(String, Option<f64>)>) -> bool {
    let Ok(entries) = serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(json) else {
        return false;
    };
    for entry in &entries {
        let Some(text) = entry.get("text").or_else(|| entry.get("plate")).and_then(serde_json::Value::as_str) else {
            return false;
        };
        let score = entry.get("score").or_else(|| entry.get("confidence")).and_then(serde_json::Value::as_f64);
        out.push((text.to_owned(), score));
    }
    entries.len() <= max
}
