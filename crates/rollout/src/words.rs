//! Figures as people read them.

/// A share, in per cent with one digit; two significant ones where it is small.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if !percent.is_finite() {
        return "an unknown share".to_owned();
    }
    let digits = if percent == 0.0 || percent >= 0.1 { 1 } else { 3 };
    let text = format!("{percent:.digits$}");
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: f64) -> String {
    // A cast saturates.
    let digits = (number.floor() as u64).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A factor.
pub(crate) fn times(ratio: f64) -> String {
    let text = format!("{ratio:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A time, in seconds below two minutes and in hours from two on.
pub(crate) fn minutes(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{} seconds", count(seconds))
    } else if seconds < 7200.0 {
        format!("{} minutes", count(seconds / 60.0))
    } else {
        format!("{} hours", times((seconds / 360.0).floor() / 10.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(
            [0.0, 0.021_49, 0.15, 0.000_02, 1.0].map(percent),
            ["0 %", "2.1 %", "15 %", "0.002 %", "100 %"]
        );
        assert_eq!(
            [0.0, 999.9, 12_345.0, 1e6, -1.0, f64::NAN].map(count),
            ["0", "999", "12,345", "1,000,000", "0", "0"]
        );
        assert_eq!([59.9, 3600.0, 9000.0].map(minutes), ["59 seconds", "60 minutes", "2.5 hours"]);
    }
}
