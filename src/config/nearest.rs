//! Finds the name that was probably meant.

/// The known name that is at most a few typing errors away.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let slips_max = 1 + name.chars().count() / 5;
    let known = known.filter(|known| !known.is_empty());
    let near = known.map(|known| (strsim::levenshtein(name, known), known));
    let (slips, known) = near.min_by_key(|(slips, _)| *slips)?;
    (slips <= slips_max).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_far_from_every_other_has_no_nearest() {
        let known = ["grpc_addr", "lease_ms"];
        assert_eq!(nearest("lease", known.into_iter()), None);
        assert_eq!(nearest("leese_ms", known.into_iter()), Some("lease_ms"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
