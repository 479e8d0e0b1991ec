//! Finds the name that somebody probably meant.

/// The known name that is at most a few slips away.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let slips_max = 1 + name.chars().count() / 5;
    let known = known.filter(|known| !known.is_empty());
    let near = known.map(|known| (slips(name, known), known)).min_by_key(|(slips, _)| *slips)?;
    (near.0 <= slips_max).then_some(near.1)
}

/// Characters to insert, to leave out or to replace (Levenshtein's distance).
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let columns = row.iter().zip(row.iter().skip(1)).zip(&b);
        for ((diagonal, above), of_b) in columns {
            let replaced = diagonal + usize::from(of_a != *of_b);
            let left = next.last().map_or(replaced, |left| left + 1);
            next.push(replaced.min(above + 1).min(left));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_insertions_deletions_and_replacements() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("grpc_adr", "grpc_addr", 1)]
        {
            assert_eq!(slips(a, b), expected, "{a} {b}");
        }
        assert_eq!(slips("kitten", "sitting"), 3);
    }

    #[test]
    fn a_name_far_from_every_other_has_no_nearest() {
        let known = ["grpc_addr", "lease_ms"];
        assert_eq!(nearest("lease", known.into_iter()), None);
        assert_eq!(nearest("leese_ms", known.into_iter()), Some("lease_ms"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
