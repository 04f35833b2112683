use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000_000;

fn site(replicas: u32) -> Site {
    Site {
        replicas,
        template: "new".into(),
        drain_seconds: 600,
    }
}

fn pod(ordinal: u32, stage: Stage, sessions: Sessions) -> Pod {
    Pod {
        ordinal,
        template: "new".into(),
        created: NOW - 100,
        stage,
        sessions,
        rooms: 0,
    }
}

fn ready(ordinal: u32, sessions: u32) -> Pod {
    pod(ordinal, Stage::Ready, Sessions::Count(sessions))
}

fn old(pod: Pod) -> Pod {
    Pod {
        template: "old".into(),
        ..pod
    }
}

fn draining(ordinal: u32, left: u64, is_aware: bool, sessions: Sessions) -> Pod {
    let deadline = NOW + left;
    pod(ordinal, Stage::Draining { deadline, is_aware }, sessions)
}

fn drain(ordinal: u32, why: DrainReason) -> Action {
    let deadline = NOW + 600;
    Action::Drain {
        ordinal,
        deadline,
        why,
    }
}

fn delete(ordinal: u32, why: DeleteReason) -> Action {
    Action::Delete { ordinal, why }
}

#[test]
fn what_is_done_for_a_site() {
    use Action::{Create, TellDrain};
    use DeleteReason::{Deadline, Drained, Ended, NeverRan};
    use DrainReason::{Rollout, ScaleIn};
    use Sessions::{Count, Impossible, Unknown};
    let ended = |age| Pod {
        created: NOW - age,
        ..pod(0, Stage::Ended, Unknown)
    };
    let table: Vec<(&str, u32, Vec<Pod>, Vec<Action>)> = vec![
        ("nothing wanted, nothing there", 0, vec![], vec![]),
        ("all are missing", 2, vec![], vec![Create(0), Create(1)]),
        ("as it should be", 2, vec![ready(0, 5), ready(3, 0)], vec![]),
        (
            "a new pod is named after the newest",
            3,
            vec![ready(0, 5), ready(2, 0)],
            vec![Create(3)],
        ),
        (
            "not as one that has just gone, until all other names were used",
            2,
            vec![ready(3, 5)],
            vec![Create(4)],
        ),
        (
            "and then from the first on",
            2,
            vec![ready(4, 5)],
            vec![Create(0)],
        ),
        (
            "a site that was larger has its names for once",
            2,
            vec![ready(17, 5)],
            vec![Create(0)],
        ),
        (
            "a name in use is not taken, even by a pod that is going",
            1,
            vec![pod(0, Stage::Terminating, Unknown)],
            vec![Create(1)],
        ),
        (
            "the emptiest goes",
            1,
            vec![ready(0, 5), ready(1, 7)],
            vec![drain(0, ScaleIn)],
        ),
        (
            "of two as empty, the newer",
            1,
            vec![ready(0, 5), ready(1, 5)],
            vec![drain(1, ScaleIn)],
        ),
        (
            "who serves nobody goes first",
            1,
            vec![ready(0, 0), pod(1, Stage::Unready, Unknown)],
            vec![drain(1, ScaleIn)],
        ),
        (
            "who is on a pod that isn't ready for a moment counts",
            1,
            vec![ready(0, 1), pod(1, Stage::Unready, Count(300))],
            vec![drain(0, ScaleIn)],
        ),
        (
            "what never ran needs no drain",
            1,
            vec![ready(0, 0), pod(1, Stage::Unready, Impossible)],
            vec![delete(1, NeverRan)],
        ),
        (
            "who doesn't answer may have many",
            1,
            vec![ready(0, 9), pod(1, Stage::Ready, Unknown)],
            vec![drain(0, ScaleIn)],
        ),
        (
            "to none",
            0,
            vec![ready(0, 1), old(ready(1, 2))],
            vec![drain(1, ScaleIn), drain(0, ScaleIn)],
        ),
        (
            "a drained pod with sessions stays",
            0,
            vec![draining(0, 5, true, Count(1))],
            vec![],
        ),
        (
            "and so does one that doesn't answer",
            0,
            vec![draining(0, 5, true, Unknown)],
            vec![],
        ),
        (
            "until its time is over",
            0,
            vec![draining(0, 0, true, Count(9))],
            vec![delete(0, Deadline)],
        ),
        (
            "an empty one goes at once",
            0,
            vec![draining(0, 5, true, Count(0))],
            vec![delete(0, Drained)],
        ),
        (
            "but not before it knows: a session could come",
            0,
            vec![draining(0, 5, false, Count(0))],
            vec![TellDrain {
                ordinal: 0,
                seconds: 5,
            }],
        ),
        (
            "a drained pod doesn't count",
            1,
            vec![draining(0, 5, true, Count(1))],
            vec![Create(1)],
        ),
        (
            "what ended is deleted and made again",
            1,
            vec![ended(10)],
            vec![delete(0, Ended), Create(1)],
        ),
        ("but not at once", 1, vec![ended(9)], vec![]),
        (
            "rollout: one more",
            2,
            vec![old(ready(0, 5)), old(ready(1, 6))],
            vec![Create(2)],
        ),
        (
            "rollout: wait until it is ready",
            2,
            vec![
                old(ready(0, 5)),
                old(ready(1, 6)),
                pod(2, Stage::Unready, Unknown),
            ],
            vec![],
        ),
        (
            "rollout: the emptiest of the old goes",
            2,
            vec![old(ready(0, 9)), old(ready(1, 6)), ready(2, 0)],
            vec![drain(1, Rollout)],
        ),
        (
            "rollout: no other while one is going",
            2,
            vec![
                old(ready(0, 9)),
                old(draining(1, 5, true, Count(1))),
                ready(2, 0),
            ],
            vec![],
        ),
        (
            "rollout: the next one when it is gone",
            2,
            vec![old(ready(0, 9)), ready(2, 0)],
            vec![Create(3)],
        ),
        (
            "rollout: an old pod that never came up does not hold it up",
            1,
            vec![old(pod(0, Stage::Unready, Impossible)), ready(1, 0)],
            vec![delete(0, NeverRan)],
        ),
        (
            "rollout and scale-in at once",
            1,
            vec![old(ready(0, 1)), old(ready(1, 2)), old(ready(2, 3))],
            vec![drain(0, ScaleIn)],
        ),
    ];
    for (story, replicas, pods, expected) in table {
        assert_eq!(
            plan(&site(replicas), &pods, NOW).actions,
            expected,
            "{story}"
        );
    }
}

#[test]
fn it_asks_to_be_woken_when_time_alone_changes_something() {
    let pods = [
        draining(0, 50, true, Sessions::Count(1)),
        draining(1, 20, true, Sessions::Count(1)),
        ready(2, 0),
    ];
    assert_eq!(plan(&site(1), &pods, NOW).wake_at, Some(NOW + 20));
    assert_eq!(plan(&site(1), &pods[2..], NOW).wake_at, None);
    let young = Pod {
        created: NOW - 3,
        ..pod(0, Stage::Ended, Sessions::Unknown)
    };
    assert_eq!(plan(&site(1), &[young], NOW).wake_at, Some(NOW + 7));
}

#[test]
fn a_site_says_how_it_is() {
    let pods = [
        old(ready(0, 5)),
        ready(1, 7),
        pod(2, Stage::Unready, Sessions::Unknown),
        draining(3, 5, true, Sessions::Count(2)),
    ];
    let summary = plan(&site(3), &pods, NOW).summary;
    assert_eq!(
        summary,
        Summary {
            replicas: 3,
            ready: 2,
            updated: 2,
            draining: 1,
            sessions: 14,
            rooms: 0,
        }
    );
    assert!(!summary.is_complete(3));
    assert!(plan(&site(1), &[ready(0, 0)], NOW).summary.is_complete(1));
}

/// A cluster small enough to be a vector: pods do what pods do, one step of one pod at a time.
#[derive(Clone, Debug)]
struct World {
    pods: Vec<Pod>,
    now: u64,
}

/// What happens, to the pod of that index or to time.
#[derive(Clone, Debug)]
enum Happening {
    Ready(usize),
    Unready(usize),
    Join(usize),
    Leave(usize),
    Aware(usize),
    Gone(usize),
    Ended(usize),
    Killed(usize),
    /// Somebody asks for its eviction, or its machine is to go.
    MustGo(usize),
    /// And that is withdrawn.
    MayStay(usize),
    Seconds(u64),
    Reconcile,
}

fn happening() -> impl Strategy<Value = Happening> {
    let pod = 0..8usize;
    prop_oneof![
        3 => pod.clone().prop_map(Happening::Ready),
        1 => pod.clone().prop_map(Happening::Unready),
        2 => pod.clone().prop_map(Happening::Join),
        2 => pod.clone().prop_map(Happening::Leave),
        2 => pod.clone().prop_map(Happening::Aware),
        2 => pod.clone().prop_map(Happening::Gone),
        1 => pod.clone().prop_map(Happening::Ended),
        1 => pod.clone().prop_map(Happening::Killed),
        2 => pod.clone().prop_map(Happening::MustGo),
        2 => pod.prop_map(Happening::MayStay),
        1 => (1..200u64).prop_map(Happening::Seconds),
        6 => Just(Happening::Reconcile),
    ]
}

impl World {
    fn happen(&mut self, site: &Site, happening: &Happening) -> Result<(), TestCaseError> {
        match *happening {
            Happening::Reconcile => return self.reconcile(site),
            Happening::Seconds(seconds) => self.now += seconds,
            Happening::Gone(i) if self.stage(i) == Some(Stage::Terminating) => {
                self.pods.remove(i);
            }
            Happening::Killed(i) if i < self.pods.len() => {
                self.pods.remove(i);
            }
            Happening::MustGo(i) | Happening::MayStay(i) => {
                let must_go = matches!(happening, Happening::MustGo(_));
                if let Some(pod) = self.pods.get_mut(i) {
                    pod.template = if must_go {
                        String::new()
                    } else {
                        site.template.clone()
                    };
                }
            }
            Happening::Ready(i)
            | Happening::Unready(i)
            | Happening::Join(i)
            | Happening::Leave(i)
            | Happening::Aware(i)
            | Happening::Ended(i) => {
                if let Some(pod) = self.pods.get_mut(i) {
                    step(pod, happening);
                }
            }
            Happening::Gone(_) | Happening::Killed(_) => {}
        }
        Ok(())
    }

    fn stage(&self, index: usize) -> Option<Stage> {
        self.pods.get(index).map(|pod| pod.stage)
    }

    /// Does what is planned, and checks what must never be done.
    fn reconcile(&mut self, site: &Site) -> Result<(), TestCaseError> {
        let plan = plan(site, &self.pods, self.now);
        for action in plan.actions {
            self.act(site, action)?;
        }
        let serving = self.pods.iter().filter(|pod| is_serving(pod)).count();
        prop_assert!(serving <= site.replicas as usize + 1, "one more at most");
        Ok(())
    }

    fn act(&mut self, site: &Site, action: Action) -> Result<(), TestCaseError> {
        let now = self.now;
        if let Action::Create(ordinal) = action {
            prop_assert!(
                self.pods.iter().all(|pod| pod.ordinal != ordinal),
                "a name twice"
            );
            self.pods.push(Pod {
                template: site.template.clone(),
                created: now,
                ..pod(ordinal, Stage::Unready, Sessions::Impossible)
            });
            return Ok(());
        }
        let (Action::Drain { ordinal, .. }
        | Action::TellDrain { ordinal, .. }
        | Action::Delete { ordinal, .. }
        | Action::Create(ordinal)) = action;
        let pod = self.pods.iter_mut().find(|pod| pod.ordinal == ordinal);
        let pod = pod.ok_or_else(|| TestCaseError::fail("no such pod"))?;
        match (action, pod.stage) {
            (Action::Drain { deadline, .. }, Stage::Unready | Stage::Ready) => {
                let is_aware = false;
                pod.stage = Stage::Draining { deadline, is_aware };
            }
            (Action::TellDrain { .. }, Stage::Draining { deadline, .. }) => {
                let is_aware = true;
                pod.stage = Stage::Draining { deadline, is_aware };
            }
            (Action::Delete { .. }, Stage::Draining { deadline, is_aware }) => {
                let empty = pod.sessions == Sessions::Count(0) && is_aware;
                let never_ran = pod.sessions == Sessions::Impossible;
                prop_assert!(empty || never_ran || deadline <= now, "cut off: {pod:?}");
                pod.stage = Stage::Terminating;
            }
            (Action::Delete { .. }, _) => {
                let never_ran = pod.sessions == Sessions::Impossible;
                prop_assert!(never_ran || pod.stage == Stage::Ended, "cut off: {pod:?}");
                pod.stage = Stage::Terminating;
            }
            (action, _) => return Err(TestCaseError::fail(format!("{action:?} of {pod:?}"))),
        }
        Ok(())
    }

    /// Nothing goes wrong any more: pods come up, sessions of drained pods end, deleted pods go.
    fn settle(&mut self, site: &Site) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            self.reconcile(site)?;
            self.now += 11;
            self.pods.retain(|pod| pod.stage != Stage::Terminating);
            for pod in &mut self.pods {
                step(pod, &Happening::Ready(0));
                step(pod, &Happening::Aware(0));
                if is_leaving(pod) {
                    step(pod, &Happening::Leave(0));
                }
            }
        }
        Ok(())
    }
}

fn step(pod: &mut Pod, happening: &Happening) {
    match (happening, pod.stage, pod.sessions) {
        (Happening::Ready(_), Stage::Unready, _) => {
            pod.stage = Stage::Ready;
            if !matches!(pod.sessions, Sessions::Count(_)) {
                pod.sessions = Sessions::Count(0);
            }
        }
        (Happening::Unready(_), Stage::Ready, _) => {
            pod.stage = Stage::Unready;
            pod.sessions = Sessions::Unknown;
        }
        (Happening::Join(_), Stage::Ready, Sessions::Count(count)) => {
            pod.sessions = Sessions::Count(count + 1);
        }
        (Happening::Leave(_), _, Sessions::Count(count)) => {
            pod.sessions = Sessions::Count(count.saturating_sub(1));
        }
        (Happening::Aware(_), Stage::Draining { deadline, .. }, _) => {
            let is_aware = true;
            pod.stage = Stage::Draining { deadline, is_aware };
        }
        (Happening::Ended(_), Stage::Unready | Stage::Ready | Stage::Draining { .. }, _) => {
            pod.stage = Stage::Ended;
        }
        _ => {}
    }
}

proptest! {
    /// Whatever happened before, in whatever order: nobody is cut off on the way, all end alike, and then nothing more
    /// is done.
    #[test]
    fn any_history_ends_in_the_same_state(
        replicas in 0..4u32,
        start in prop::collection::vec((any::<bool>(), any::<bool>(), 0..4u32), 0..6),
        history in prop::collection::vec(happening(), 0..60),
    ) {
        let site = site(replicas);
        let start = start.into_iter().zip(0..).map(|((is_old, is_ready, sessions), ordinal)| {
            let stage = if is_ready { Stage::Ready } else { Stage::Unready };
            let pod = pod(ordinal, stage, Sessions::Count(sessions));
            if is_old { old(pod) } else { pod }
        });
        let mut world = World { pods: start.collect(), now: NOW };
        let too_many = world.pods.len() > replicas as usize;
        for happening in &history {
            world.happen(&site, happening)?;
        }
        world.settle(&site)?;
        let plan = plan(&site, &world.pods, world.now);
        prop_assert_eq!(&plan.actions, &[], "reconciling once more changes something");
        prop_assert!(plan.summary.is_complete(replicas), "{:?} {}", &world.pods, too_many);
        prop_assert_eq!(plan.summary.draining, 0);
        prop_assert_eq!(plan.wake_at, None);
    }

    /// An answer follows from the state alone, whatever order the pods are listed in.
    #[test]
    fn the_order_of_pods_does_not_matter(
        replicas in 0..4u32,
        pods in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3u32), 0..6),
    ) {
        let pods: Vec<Pod> = pods.into_iter().zip(0..).map(|((is_old, is_ready, sessions), ordinal)| {
            let stage = if is_ready { Stage::Ready } else { Stage::Unready };
            let pod = pod(ordinal, stage, Sessions::Count(sessions));
            if is_old { old(pod) } else { pod }
        }).collect();
        let reversed: Vec<Pod> = pods.iter().rev().cloned().collect();
        prop_assert_eq!(plan(&site(replicas), &pods, NOW), plan(&site(replicas), &reversed, NOW));
    }
}
