//! Plays a day of a sale, prints its figures, and writes them into the docs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use showrunner_capacity::autoscaling::Policy;
use showrunner_capacity::placement::Rules;
use showrunner_saleday::day::{Day, Model};
use showrunner_saleday::page::{Figures, OtherDay};
use showrunner_saleday::scale;
use showrunner_saleday::scaler::{Hpa, Showrunner};
use showrunner_saleday::site::PodModel;
use showrunner_saleday::world::{SiteModel, oracle, play};

/// Plays a day of a sale through the operator's placement and autoscaling, beside a HorizontalPodAutoscaler and an
/// oracle, and prints what came of it.
#[derive(Parser)]
#[command(name = "showrunner-saleday", version)]
struct Arguments {
    /// What all chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Viewers who come over the day.
    #[arg(long, default_value_t = 10_000_000)]
    viewers: u32,
    /// Rooms of the day.
    #[arg(long, default_value_t = 2000)]
    rooms: u32,
    /// Where to write benchmarks-scale.md and sale-day.svg; without it, figures are only printed.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

/// Pods at midnight, and the fewest at any time.
const FEWEST_PODS: u32 = 3;
/// The most.
const MOST_PODS: u32 = 1000;
/// The share of a core at which the HorizontalPodAutoscaler wants its pods.
const HPA_CPU: f64 = 0.6;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let model = Model {
        seed: arguments.seed,
        rooms: arguments.rooms,
        viewers: f64::from(arguments.viewers),
        ..Model::default()
    };
    say("making the day");
    let day = Day::new(&model);
    let site = SiteModel {
        pods: PodModel::default(),
        rules: Rules::default(),
        first_pods: FEWEST_PODS,
    };
    say("playing it with Showrunner's autoscaling");
    let ours = play(&day, &site, &mut Showrunner::new(policy()));
    say("playing it with a HorizontalPodAutoscaler");
    let hpa = play(&day, &site, &mut Hpa::new(FEWEST_PODS, MOST_PODS, HPA_CPU));
    say("measuring placement");
    let figures = Figures {
        day: &day,
        oracle: &oracle(&day, &site.pods),
        ours: &ours,
        hpa: &hpa,
        placement: scale::measure(scale::ROOMS, scale::PODS),
        others: &[],
    };
    print!("{}", figures.lines());
    let Some(docs) = arguments.docs else {
        return ExitCode::SUCCESS;
    };
    say("playing four other days");
    let others: Vec<OtherDay> = (1..=4)
        .map(|more| {
            let seed = arguments.seed + more;
            let day = Day::new(&Model {
                seed,
                ..model.clone()
            });
            let outcome = play(&day, &site, &mut Showrunner::new(policy()));
            OtherDay::new(seed, &outcome, &oracle(&day, &site.pods))
        })
        .collect();
    let figures = Figures {
        others: &others,
        ..figures
    };
    let files = [
        ("sale-day.svg", figures.picture()),
        ("benchmarks-scale.md", figures.page(&site)),
    ];
    for (name, text) in files {
        let path = docs.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            say(&format!("{} can't be written: {error}", path.display()));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Tells whoever waits; the figures have standard output to themselves.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// With the defaults: nothing is made to measure for this day.
fn policy() -> Policy {
    Policy {
        min: FEWEST_PODS,
        max: MOST_PODS,
        ..Policy::default()
    }
}
