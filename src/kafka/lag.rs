//! How far behind the end of a partition we are, as librdkafka's statistics tell.

use rdkafka::statistics::Partition;

/// Records of a partition that were not handed to us yet; `None` where it isn't ours or its end isn't known.
pub(super) fn lag_of(partition: &Partition) -> Option<i64> {
    let known = |offset: i64| (offset >= 0).then_some(offset);
    let end = known(partition.ls_offset).or(known(partition.hi_offset))?;
    let fetched = known(partition.app_offset).or(known(partition.committed_offset)).or(known(partition.lo_offset))?;
    partition.desired.then_some((end - fetched).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_was_not_handed_over_yet_whatever_is_committed() {
        let ours = Partition {
            desired: true,
            lo_offset: 10,
            hi_offset: 120,
            ls_offset: 100,
            app_offset: -1001,
            committed_offset: -1001,
            ..Partition::default()
        };
        assert_eq!(lag_of(&ours), Some(90), "a cold start that has read nothing has all before it");
        assert_eq!(lag_of(&Partition { committed_offset: 30, ..ours.clone() }), Some(70));
        assert_eq!(lag_of(&Partition { committed_offset: 30, app_offset: 95, ..ours.clone() }), Some(5));
        assert_eq!(lag_of(&Partition { ls_offset: -1001, app_offset: 95, ..ours.clone() }), Some(25));
        assert_eq!(lag_of(&Partition { ls_offset: -1001, hi_offset: -1001, ..ours.clone() }), None);
        assert_eq!(lag_of(&Partition { desired: false, ..ours }), None, "another member's");
    }
}
