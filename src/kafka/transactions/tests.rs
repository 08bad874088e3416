use super::*;
use crate::{record::Position, telemetry::OutputKind};

fn parcel(partition: i32, offset: i64) -> Parcel {
    Parcel {
        sender: super::super::parcel::Sender { position: Position { partition, offset }, kind: OutputKind::Anomaly },
        topic: "out".into(),
        partition: None,
        key: None,
        payload: Some(offset.to_string().into_bytes()),
        headers: rdkafka::message::OwnedHeaders::new_with_capacity(0),
    }
}

fn state(held: &[(i32, i64)]) -> State {
    State { held: held.iter().map(|(partition, offset)| parcel(*partition, *offset)).collect(), ..State::default() }
}

fn places(parcels: &[Parcel]) -> Vec<(i32, i64)> {
    parcels.iter().map(|parcel| parcel.sender.position).map(|position| (position.partition, position.offset)).collect()
}

/// A group's name is all that can be had without a broker.
fn group() -> ConsumerGroupMetadata {
    use rdkafka::{
        ClientConfig,
        consumer::{BaseConsumer, Consumer},
    };
    let consumer: BaseConsumer = ClientConfig::new().set("group.id", "g").create().unwrap();
    consumer.group_metadata().unwrap()
}

/// Partitions that are finished up to these offsets, with windows that begin one before.
fn marks(offsets: &[(i32, i64)]) -> BTreeMap<i32, Mark> {
    offsets.iter().map(|(partition, next)| (*partition, Mark { next: *next, oldest: Some(next - 1) })).collect()
}

fn job(state: &mut State, offsets: &[(i32, i64)]) -> Job {
    let offsets = marks(offsets);
    state.under_way = true;
    Job { parcels: state.take_finished(&offsets), offsets, group: group() }
}

#[test]
fn outputs_go_with_the_offset_that_passes_their_record_and_in_their_order() {
    let mut state = state(&[(0, 4), (1, 9), (0, 2), (0, 5), (2, 0)]);
    let job = job(&mut state, &[(0, 5), (1, 9)]);
    assert_eq!(places(&job.parcels), [(0, 4), (0, 2)]);
    assert_eq!(places(&state.held), [(1, 9), (0, 5), (2, 0)]);
    state.end(job, Ok(()));
    assert_eq!(state.outcome, Some(Outcome::Committed(2)));
    assert_eq!(state.ended.len(), 2);
    assert!(state.ended.iter().all(|delivery| delivery.result.is_ok()));
    assert!(!state.under_way && state.fault.is_none());
}

#[test]
fn an_aborted_transaction_changes_nothing_and_tells_why() {
    let mut state = state(&[(0, 1), (0, 2), (0, 3)]);
    let job = job(&mut state, &[(0, 3)]);
    state.held.push(parcel(0, 4));
    state.end(job, Err(Failure::Again("no room".into())));
    assert_eq!(places(&state.held), [(0, 1), (0, 2), (0, 3), (0, 4)], "as if it had never been");
    let offsets = marks(&[(0, 3)]);
    assert_eq!(state.outcome, Some(Outcome::Aborted { offsets, why: "no room".into() }));
    assert_eq!((state.fault.as_deref(), state.fatal.as_deref()), (Some("no room"), None));
    assert!(state.ended.is_empty() && state.resume.is_some());
}

#[test]
fn what_was_revoked_while_its_transaction_was_under_way_is_not_sent_again() {
    let mut state = state(&[(0, 1), (1, 1)]);
    let job = job(&mut state, &[(0, 2), (1, 2)]);
    state.revoked.insert(1);
    state.end(job, Err(Failure::Again("a member left".into())));
    assert_eq!(places(&state.held), [(0, 1)]);
    let offsets = marks(&[(0, 2)]);
    assert_eq!(state.outcome, Some(Outcome::Aborted { offsets, why: "a member left".into() }));
    assert!(state.revoked.is_empty(), "a partition that comes back is begun anew");
}

#[test]
fn a_fatal_end_is_told_for_good() {
    let mut state = state(&[(0, 1)]);
    let job = job(&mut state, &[(0, 2)]);
    state.end(job, Err(Failure::Fatal("fenced".into())));
    assert_eq!(state.fatal.as_deref(), Some("fenced"));
}
