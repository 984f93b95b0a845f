//! Takes out of a text what chance, the clock or the next build would change.

/// Where the programs listen that mistakes are made against.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) host: String,
    pub(super) agent: String,
}

/// Letters of a digest, and of a key's id.
const DIGEST: usize = 64;
const KEY_ID: usize = 16;

/// Times of a mistake's own are of one day.
const OWN_TIME: &str = "2026-01-01T00:0";

/// Sizes below this are what a mistake says itself.
const LARGE: u64 = 10_000;

/// The same text on every machine and with every build.
pub(super) fn without_chance(text: &str, addresses: &Addresses) -> String {
    let text =
        text.replace(&addresses.host, "127.0.0.1:8080").replace(&addresses.agent, "127.0.0.1:8081");
    let mut same = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        if !first.is_ascii_alphanumeric() {
            same.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || ":.-".contains(letter);
        let end = rest.find(|letter: char| !is_part(letter)).unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches([':', '.', '-']);
        let behind = &rest[word.len()..];
        same.push_str(placeholder(word, behind).unwrap_or(word));
        rest = behind;
    }
    same
}

/// What stands for a word that chance has made, `behind` being what follows.
fn placeholder(word: &str, behind: &str) -> Option<&'static str> {
    let is_hex = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    // A mistake's own are of one digit, or count up.
    let is_random = is_hex && !word.starts_with("0123") && !word.starts_with("0000");
    if is_random && word.len() == DIGEST {
        return Some("DIGEST");
    }
    if is_random && word.len() == KEY_ID {
        return Some("KEY");
    }
    if word.len() >= 20
        && word.ends_with('Z')
        && word.as_bytes().get(10) == Some(&b'T')
        && word.starts_with("20")
        && !word.starts_with(OWN_TIME)
    {
        return Some("TIME");
    }
    if let Some(digits) = word.strip_prefix("0x") {
        // A place in a module, which is another with each build.
        let is_far = u64::from_str_radix(digits, 16).is_ok_and(|place| place >= LARGE);
        return is_far.then_some("PLACE");
    }
    let size = word.parse::<u64>().ok()?;
    if behind.starts_with(" s ahead") {
        return Some("MANY");
    }
    let is_size = behind.starts_with(" bytes") && size >= LARGE || behind.starts_with(" KiB");
    is_size.then_some("SIZE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_taken_out_and_the_rest_stays() {
        let addresses =
            Addresses { host: "127.0.0.1:40001".into(), agent: "127.0.0.1:40002".into() };
        let same = |text: &str| without_chance(text, &addresses);
        assert_eq!(same("listen on 127.0.0.1:40001: taken"), "listen on 127.0.0.1:8080: taken");
        let digest = "7ab574aef7174b7f56052a05426028aaeb7109d4cc2f7f57d69adc9373ba1773";
        assert_eq!(
            same(&format!("expected {digest} of 162506 bytes")),
            "expected DIGEST of SIZE bytes"
        );
        assert_eq!(same("key \"27995759e06b90a9\" is"), "key \"KEY\" is");
        assert_eq!(same("key 0123456789abcdef is"), "key 0123456789abcdef is");
        assert_eq!(same("until 2027-11-26T23:03:23.924Z."), "until TIME.");
        assert_eq!(same("end (at offset 0x4c6f), 0x10"), "end (at offset PLACE), 0x10");
        assert_eq!(same("has 256 bytes, a.csv: ü"), "has 256 bytes, a.csv: ü");
    }
}
