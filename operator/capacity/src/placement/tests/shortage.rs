//! Who gets what is left where it is not enough for all.

use super::*;

#[test]
fn the_limit_is_used_only_where_nothing_else_is_left() {
    let plan = planned(&[pod(0)], &[room(950)]);
    assert_eq!(
        (plan.rooms[0].shares[0].viewers, plan.rooms[0].unmet),
        (950, 0)
    );
    let plan = planned(&[pod(0)], &[room(2000)]);
    let room = &plan.rooms[0];
    assert_eq!(room.shares.len(), 1);
    assert_eq!(room.shares[0].viewers + room.unmet, 2000);
    assert!(room.shares[0].viewers <= 980);
    assert_eq!(room.why, Some(Unplaceable::Full));
}

#[test]
fn what_is_left_goes_to_rooms_that_have_no_pod_before_those_that_want_more() {
    let mut large = room(2000);
    large.present = vec![on(0, 890)];
    let plan = planned(&[pod(0)], &[large, room(0)]);
    assert_eq!(plan.rooms[1].origin(), Some(PodIndex(0)));
    assert_eq!(plan.rooms[1].unmet, 0);
    assert_eq!(plan.rooms[0].shares[0].viewers, 970);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::Full));
}

#[test]
fn what_is_kept_for_who_is_expected_is_given_up_for_who_is_there() {
    let mut large = room(1900);
    large.present = vec![
        Present {
            reserved: 970,
            ..on(0, 0)
        },
        Present {
            reserved: 930,
            parent: Some(PodIndex(0)),
            ..on(1, 100)
        },
    ];
    let mut grown = room(0);
    grown.present = vec![on(0, 9)];
    let mut pods = vec![pod(0), pod(0)];
    // An edge feeds on the first pod, and nothing is left on either.
    pods[1].other.viewers = 50;
    let rooms = [large, grown, room(0)];
    let plan = planned(&pods, &rooms);
    let of = |at: usize| -> u32 {
        let shares = plan.rooms[at].shares.iter();
        shares.map(|share| share.viewers).sum()
    };
    assert_eq!(
        (of(1), plan.rooms[1].unmet),
        (19, 0),
        "ten more than it has"
    );
    assert_eq!((of(2), plan.rooms[2].unmet), (10, 0), "as a new one");
    assert_eq!(of(0) + plan.rooms[0].unmet, 1900);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::Full));
    let again = planned(&pods, &done(&rooms, &plan));
    assert_eq!(again, plan);
}

#[test]
fn what_is_left_goes_to_those_who_are_there_before_those_who_are_expected() {
    let mut large = room(2000);
    large.present = vec![on(0, 100)];
    let mut grown = room(0);
    grown.present = vec![on(0, 860)];
    let plan = planned(&[pod(0)], &[large, grown]);
    // There are 20 left: the one may grow by 10, the other would by 86.
    assert_eq!(plan.rooms[0].shares[0].viewers, 110);
    assert_eq!(plan.rooms[1].shares[0].viewers, 870);
}

#[test]
fn a_room_does_not_spend_its_pods_on_small_parts() {
    let rules = Rules { pods: 4, ..rules() };
    let mut pods = vec![pod(0); 6];
    for pod in &mut pods {
        pod.other.viewers = 800;
    }
    let rooms = [room(2000)];
    let first = plan(&pods, &anywhere(), &rooms, &rules);
    assert_eq!(first.rooms[0].shares.len(), 1, "a host has where to go");
    assert_eq!(first.rooms[0].why, Some(Unplaceable::Full));
    pods.extend(vec![pod(0); 3]);
    let next = plan(&pods, &anywhere(), &done(&rooms, &first), &rules);
    assert_eq!((next.rooms[0].shares.len(), next.rooms[0].unmet), (4, 0));
    // One that is larger than all pods that it may have gets what there is.
    let next = plan(&pods, &anywhere(), &[room(9000)], &rules);
    assert!(
        next.rooms[0]
            .shares
            .iter()
            .all(|share| share.viewers >= 500)
    );
    assert_eq!(next.rooms[0].shares.len(), 3);
}
