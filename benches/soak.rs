//! A soak: the daemon at half of what this machine can do, ten thousand entities, on a real Apache Kafka, for as long as one
//! asks for. Neither a test nor a benchmark of every day: `make soak ARGS="SECONDS [RECORDS-A-SECOND]"`, ten minutes without arguments.
//!
//! The ceiling is measured first, with feeder, broker and daemon on the same machine. Then, every second, what the daemon
//! holds is read from /proc, and how far it is behind from its metrics. It fails when, after a warm-up of a fifth of the
//! time, memory grows by more than 5 %, open files or threads become more, or more than one second's records wait. The machine
//! has to have nothing else to do: what waits while others work lies in memory, and is growth too.

#[path = "../tests/support/mod.rs"]
mod harness;

use std::{
    fmt::Write as _,
    fs,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use harness::{
    broker::{Broker, Extras, plain},
    daemon::{Daemon, PARTITIONS, PATIENCE, Stage},
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

const ENTITIES: usize = 10_000;
/// Records of the cold start: some windows of each entity.
const COLD_START: usize = 10 * ENTITIES;
/// How long the ceiling is measured, and the part of it at the end that counts.
const CEILING: Duration = Duration::from_secs(30);
const COUNTED: Duration = Duration::from_secs(15);
/// Growth of memory after the warm-up that is let pass.
const GROWTH: f64 = 0.05;

/// Record number `row`: entities take turns, four fields hang together.
fn record(random: &mut Xoshiro256PlusPlus, row: usize, key: &mut String, payload: &mut String) {
    let (entity, step) = (row % ENTITIES, row / ENTITIES);
    let mut noise = |size: f64| size * (random.r#gen::<f64>() - 0.5);
    let load = 50.0 + 30.0 * (step as f64 / 15.0 + entity as f64).sin() + noise(2.0);
    let (temperature, pressure) = (20.0 + 0.4 * load + noise(0.5), 3.0 + 0.02 * load + noise(0.05));
    let flow = 7.0 - 0.05 * load + noise(0.3);
    key.clear();
    payload.clear();
    let _ = write!(key, "machine-{entity}");
    let _ = write!(
        payload,
        "{{\"time\":{},\"load\":{load:.4},\"temperature\":{temperature:.4},\"pressure\":{pressure:.5},\"flow\":{flow:.4}}}",
        1_767_225_600 + step * 60
    );
}

/// Feeds until it is told to stop, at a rate that may be changed while it runs.
struct Feeding {
    per_second: Arc<AtomicUsize>,
    fed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Feeding {
    /// At first nothing but the cold start's records.
    fn start(servers: &str, topic: &str) -> Self {
        let (per_second, fed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("linger.ms", "5").set("compression.type", "lz4");
        let producer: BaseProducer = config.create().expect("a producer can be made");
        let (rate, count, end, topic) =
            (Arc::clone(&per_second), Arc::clone(&fed), Arc::clone(&stop), topic.to_owned());
        let thread = thread::spawn(move || {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(51);
            let (mut key, mut payload, mut last) = (String::new(), String::new(), Instant::now());
            let mut due = COLD_START as f64;
            while !end.load(Ordering::Relaxed) {
                let row = count.load(Ordering::Relaxed);
                if row as f64 >= due {
                    producer.poll(Duration::from_millis(2));
                    // What could not be fed in time is not made up for: after a pause there would be a flood.
                    let passed = last.elapsed().as_secs_f64().min(0.1);
                    last = Instant::now();
                    due = (row as f64).max(due) + rate.load(Ordering::Relaxed) as f64 * passed;
                    continue;
                }
                record(&mut random, row, &mut key, &mut payload);
                while producer.send(BaseRecord::to(&topic).key(&*key).payload(&*payload)).is_err() {
                    producer.poll(Duration::from_millis(5));
                }
                count.store(row + 1, Ordering::Relaxed);
            }
            producer.flush(PATIENCE).expect("the broker takes the records");
        });
        Self { per_second, fed, stop, thread: Some(thread) }
    }

    fn rate(&self, per_second: usize) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Records that were fed, once there will be no more.
    fn end(&mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it ends once").join().expect("the feeder does not fail");
        self.fed.load(Ordering::Relaxed)
    }
}

/// What the daemon holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    resident: f64,
    files: usize,
    threads: usize,
    /// Records that wait.
    lag: f64,
}

impl Sample {
    fn of(daemon: &Daemon) -> Self {
        let process = format!("/proc/{}", daemon.id());
        let count = |folder: &str| fs::read_dir(format!("{process}/{folder}")).expect("it runs").count();
        let pages = fs::read_to_string(format!("{process}/statm")).expect("it runs");
        let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).expect("a number");
        let lag = daemon.sum("strayd_consumer_lag_records");
        Self { resident: resident * 4096.0, files: count("fd"), threads: count("task"), lag }
    }
}

/// Records a second that feeder, broker and daemon manage together when the feeder holds nothing back.
fn ceiling(daemon: &mut Daemon, feeding: &Feeding) -> f64 {
    feeding.rate(10_000_000);
    thread::sleep(CEILING - COUNTED);
    let (before, start) = (daemon.sum("strayd_records_total"), Instant::now());
    thread::sleep(COUNTED);
    let ceiling = (daemon.sum("strayd_records_total") - before) / start.elapsed().as_secs_f64();
    feeding.rate(0);
    daemon.wait_for("what was fed is read", |daemon| {
        (daemon.sum("strayd_records_total") as usize >= feeding.fed.load(Ordering::Relaxed)).then_some(())
    });
    ceiling
}

/// Samples every second, and tells one every ten.
fn watch(daemon: &mut Daemon, seconds: usize) -> Vec<Sample> {
    let start = Instant::now();
    (0..seconds)
        .map(|second| {
            thread::sleep(Duration::from_secs(second as u64 + 1).saturating_sub(start.elapsed()));
            assert_eq!(daemon.ended(), None, "it ended:\n{}", daemon.log());
            let sample = Sample::of(daemon);
            if second % 10 == 9 {
                let Sample { resident, files, threads, lag } = sample;
                println!("{:>6} s  {:.1} MB, {files} files, {threads} threads, lag {lag}", second + 1, resident / 1e6);
            }
            sample
        })
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is wrong with these samples, taken at this rate; nothing, if all is well.
fn complaints(samples: &[Sample], rate: f64) -> Vec<String> {
    let samples = &samples[samples.len() / 5..];
    let part = samples.len().div_ceil(5);
    let (first, last) = (&samples[..part], &samples[samples.len() - part..]);
    let mut complaints = Vec::new();
    let [early, late] = [first, last].map(|part| median(part.iter().map(|sample| sample.resident)));
    let growth = late / early - 1.0;
    println!(
        "memory after the warm-up {:.1} MB, at the end {:.1} MB: {:+.1} %",
        early / 1e6,
        late / 1e6,
        growth * 100.0
    );
    if !(growth <= GROWTH) {
        complaints.push(format!("memory grew by {:.1} %, more than {:.0} %", growth * 100.0, GROWTH * 100.0));
    }
    for (what, of) in [("open files", (|s| s.files) as fn(&Sample) -> usize), ("threads", |s| s.threads)] {
        let [early, late] = [first, last].map(|part| part.iter().map(of).max().unwrap_or(0));
        println!("{what} after the warm-up at most {early}, at the end at most {late}");
        if late > early {
            complaints.push(format!("{what} grew from {early} to {late}"));
        }
    }
    let most = samples.iter().map(|sample| sample.lag).fold(0.0, f64::max);
    println!("lag at most {most} records, {:.2} s", most / rate);
    if !(most <= rate) {
        complaints.push(format!("{most} records waited, more than one second's {rate:.0}"));
    }
    complaints
}

fn main() -> ExitCode {
    // cargo adds a `--bench` of its own.
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut arguments = arguments.map(|argument| argument.parse::<usize>().expect("a whole number"));
    let (seconds, rate) = (arguments.next().unwrap_or(600), arguments.next());
    assert!(seconds >= 30, "{seconds} s are too short to tell anything: at least 30");
    let settings = |port: u16, controller: u16, log: &std::path::Path| {
        plain(port, controller, log)
            + "log.segment.bytes=67108864\nlog.retention.bytes=268435456\nlog.retention.check.interval.ms=10000\n"
    };
    let Some(broker) = Broker::apache_with(Extras::default(), settings) else { return ExitCode::FAILURE };
    let stage = Stage::new(&broker, "soak", COLD_START);
    let mut feeding = Feeding::start(&stage.servers, &stage.input());
    let mut daemon = Daemon::start(&stage.config(), &["--set", "kafka.on_loss=stop"]);
    daemon.wait_ready();
    let rate = rate.unwrap_or_else(|| {
        let ceiling = ceiling(&mut daemon, &feeding);
        println!("ceiling of feeder, Apache Kafka and strayd together: {ceiling:.0} records/s");
        (ceiling / 2.0) as usize
    });
    println!("{seconds} s at {rate} records/s, {ENTITIES} entities, {PARTITIONS} partitions");
    feeding.rate(rate);
    let before = feeding.fed.load(Ordering::Relaxed);
    let samples = watch(&mut daemon, seconds);
    let managed = (feeding.fed.load(Ordering::Relaxed) - before) as f64 / seconds as f64;
    let fed = feeding.end();
    let mut complaints = complaints(&samples, rate as f64);
    if managed < 0.9 * rate as f64 {
        complaints
            .push(format!("the feeder managed {managed:.0} records/s alone: the machine was busy with other things"));
    }
    daemon.wait_records(fed);
    let ended = daemon.sum("strayd_records_total") as usize;
    println!(
        "{fed} records fed, {ended} ended, {managed:.0} a second; entities held {}",
        daemon.sum("strayd_entities")
    );
    if ended != fed {
        complaints.push(format!("{fed} records were fed, and {ended} ended"));
    }
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    complaints.iter().for_each(|complaint| println!("FAILED: {complaint}"));
    ExitCode::from(u8::from(!complaints.is_empty()))
}
