//! Plays a day of a sale and prints its figures.

use clap::Parser;
use showrunner_capacity::autoscaling::{Buffer, Policy, Spare, Targets};
use showrunner_capacity::placement::Rules;
use showrunner_saleday::day::{Day, Model};
use showrunner_saleday::scale;
use showrunner_saleday::scaler::{Hpa, Showrunner};
use showrunner_saleday::site::PodModel;
use showrunner_saleday::world::{Outcome, SiteModel, oracle, play};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 90)]
    target: u32,
    #[arg(long, default_value_t = 90)]
    place: u32,
    #[arg(long, default_value_t = 0)]
    spare: u32,
    #[arg(long, default_value_t = 0)]
    spare_number: u64,
    #[arg(long, default_value_t = 120)]
    stab: u32,
    #[arg(long, default_value_t = 5)]
    tol: u32,
    #[arg(long, default_value_t = 30)]
    forecast: u32,
    #[arg(long, default_value_t = 240)]
    announced: u32,
    #[arg(long)]
    hpa: bool,
    #[arg(long, default_value_t = 2000)]
    rooms: u32,
    #[arg(long)]
    scale: bool,
}

fn main() {
    let a = Arguments::parse();
    if a.scale {
        println!("{:?}", scale::measure(scale::ROOMS, scale::PODS));
        return;
    }
    let started = std::time::Instant::now();
    let model = Model {
        seed: a.seed,
        ..Model::default()
    };
    let day = Day::new(&model);
    println!(
        "day {:?} peak {:?}",
        started.elapsed(),
        day.viewers.iter().max()
    );
    let site = SiteModel {
        pods: PodModel::default(),
        rules: Rules {
            target_percent: a.place,
            ..Rules::default()
        },
        announced_seconds: a.announced,
        first_pods: 3,
    };
    let oracle: u64 = oracle(&day, &site.pods).into_iter().map(u64::from).sum();
    println!("oracle pod hours {}", oracle / 3600);
    let show = |name: &str, o: &Outcome| {
        println!(
            "{name}: joins {} refused {} = {:.4} % ratio {:.3} moved {} cut {} died {} maxpods {:?} {:?}",
            o.joins,
            o.refused,
            100.0 * o.refused as f64 / o.joins as f64,
            o.pod_seconds as f64 / oracle as f64,
            o.moved,
            o.cut_off,
            o.died,
            o.pods.iter().max(),
            started.elapsed()
        );
        let mut worst: Vec<(u32, usize)> = o
            .refusals
            .chunks(600)
            .map(|c| c.iter().sum::<u32>())
            .zip(0..)
            .collect();
        worst.sort_by_key(|w| std::cmp::Reverse(w.0));
        println!(
            "  worst {:?}",
            worst
                .iter()
                .take(8)
                .map(|(n, at)| (*n, at * 10 / 60, at * 10 % 60))
                .collect::<Vec<_>>()
        );
    };
    let policy = Policy {
        min: 3,
        max: 1000,
        targets: Targets {
            viewers: Some(a.target),
            rooms: Some(90),
            egress: Some(100),
            packets: None,
            cpu: Some(80),
        },
        buffer: Buffer {
            viewers: Spare {
                number: a.spare_number,
                percent: a.spare,
            },
            rooms: Spare::default(),
        },
        stabilization_seconds: a.stab,
        tolerance_percent: a.tol,
        forecast_seconds: Some(a.forecast),
        announced_seconds: Some(a.announced),
        ..Policy::default()
    };
    let mut ours = Showrunner::new(policy);
    show("ours", &play(&day, &site, &mut ours));
    if a.hpa {
        let mut hpa = Hpa::new(3, 1000, 0.6);
        show("hpa", &play(&day, &site, &mut hpa));
        let t = scale::measure(scale::ROOMS, scale::PODS);
        println!("{t:?}");
    }
}
