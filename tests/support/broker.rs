//! Brokers for the end-to-end tests: the embedded one, and the real Apache Kafka in KRaft mode, one node, from the jars
//! that `make test-tools` lays under `.local/kafka`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};
use strayd::kafka::embedded::{EmbeddedBroker, ReadBack, Reader};

use super::tools::{free_ports, leave_out, root};

/// How long a broker may take to start, to stop, or to make a topic.
const PATIENCE: Duration = Duration::from_secs(90);

/// A fixed cluster id: 16 bytes in URL-safe base 64, as Kafka wants it.
const CLUSTER_ID: &str = "c3RyYXlkLXRlc3RzLS0tLQ";

/// Which broker a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// librdkafka's mock cluster, in this process.
    Embedded,
    /// Apache Kafka, in a Java process.
    Apache,
}

/// A running broker; dropping the last handle ends it.
#[derive(Clone)]
pub enum Broker {
    /// In this process.
    Embedded(Rc<EmbeddedBroker>),
    /// In a Java process.
    Apache(Arc<Apache>),
}

impl Broker {
    /// An embedded broker of the test's own, which costs nothing, or the Apache Kafka that the tests of this program
    /// share, with topics of their own so that they can't meet. `None` where there is no Apache Kafka.
    pub fn shared(kind: Kind) -> Option<Self> {
        static APACHE: OnceLock<Option<Arc<Apache>>> = OnceLock::new();
        match kind {
            Kind::Embedded => Self::own(kind),
            Kind::Apache => APACHE.get_or_init(|| Apache::start().map(Arc::new)).clone().map(Self::Apache),
        }
    }

    /// One that the test has for itself, because it takes it down.
    pub fn own(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Embedded => Self::Embedded(Rc::new(EmbeddedBroker::start().expect("the embedded broker starts"))),
            Kind::Apache => Self::Apache(Arc::new(Apache::start()?)),
        })
    }

    /// An Apache Kafka with these settings, made of the port for clients, that for its controller and the folder for its
    /// log. `None` where there is none.
    pub fn apache(settings: impl FnOnce(u16, u16, &Path) -> String) -> Option<Self> {
        Self::apache_with(Extras::default(), settings)
    }

    /// The same with further arguments.
    pub fn apache_with(extras: Extras, settings: impl FnOnce(u16, u16, &Path) -> String) -> Option<Self> {
        Some(Self::Apache(Arc::new(Apache::configured(extras, settings)?)))
    }

    /// The real one, for what only that can do.
    pub fn real(&self) -> &Apache {
        match self {
            Self::Embedded(_) => panic!("the embedded broker can't do this"),
            Self::Apache(broker) => broker,
        }
    }

    /// `host:port`.
    pub fn servers(&self) -> String {
        match self {
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Apache(broker) => broker.servers(),
        }
    }

    /// Makes a topic, and waits until it is there.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        match self {
            Self::Embedded(broker) => broker.create_topic(name, partitions).expect("the topic can be made"),
            Self::Apache(broker) => broker.create_topic(name, partitions),
        }
    }

    /// The lines that `kafka:` in a configuration needs beside brokers and topics.
    pub fn properties(&self) -> String {
        match self {
            Self::Embedded(_) => {
                let pairs = EmbeddedBroker::properties();
                let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("    {key}: \"{value}\"\n")).collect();
                // It makes no topics as it is asked to.
                format!("  state_topic: null\n  properties:\n{}", lines.concat())
            }
            Self::Apache(_) => String::new(),
        }
    }

    /// Offsets that a group has committed, one per partition; `None` where it has none.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("group.id", group);
        let consumer: BaseConsumer = config.create().expect("a consumer can be made");
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|partition| {
            list.add_partition(topic, partition);
        });
        let start = Instant::now();
        // A broker that has just started has no coordinator yet.
        let committed = loop {
            match consumer.committed_offsets(list.clone(), PATIENCE) {
                Ok(committed) => break committed,
                Err(error) => assert!(start.elapsed() < PATIENCE, "the broker tells no offsets of the group: {error}"),
            }
        };
        let offset = |offset: Offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        committed.elements().iter().map(|element| offset(element.offset())).collect()
    }

    /// Takes it away: connections are cut, new ones refused.
    pub fn down(&self) {
        match self {
            Self::Embedded(broker) => broker.set_down(true).expect("the embedded broker goes down"),
            Self::Apache(broker) => broker.stop(),
        }
    }

    /// Brings it back, on the same port, with what it held.
    pub fn up(&self) {
        match self {
            Self::Embedded(broker) => broker.set_down(false).expect("the embedded broker comes back"),
            Self::Apache(broker) => broker.launch(),
        }
    }
}

/// What an Apache Kafka is started with beside its settings.
#[derive(Debug, Default)]
pub struct Extras {
    /// For Java itself.
    pub java: Vec<String>,
    /// For the tool that formats the log directory, such as users to begin with.
    pub format: Vec<String>,
}

/// Apache Kafka in KRaft mode: broker and controller in one process, on free loopback ports.
pub struct Apache {
    directory: tempfile::TempDir,
    port: u16,
    java: Vec<String>,
    running: Mutex<Option<Running>>,
}

/// A shell that ends the broker when its standard input closes: also when this process is killed.
struct Running {
    shell: Child,
    leash: Option<ChildStdin>,
}

impl Apache {
    /// With settings for tests.
    fn start() -> Option<Self> {
        Self::configured(Extras::default(), plain)
    }

    /// Formats a log directory and starts the broker; `None` where there are no jars.
    pub fn configured(extras: Extras, settings: impl FnOnce(u16, u16, &Path) -> String) -> Option<Self> {
        if !root().join(".local/kafka/libs").is_dir() {
            leave_out("KAFKA: ITS JARS ARE NOT HERE, SO NO TEST MET A REAL BROKER");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let [port, controller] = free_ports();
        let settings = settings(port, controller, &directory.path().join("log"));
        fs::write(directory.path().join("server.properties"), settings).expect("the broker's settings can be written");
        let apache = Self { directory, port, java: extras.java, running: Mutex::default() };
        let format = apache
            .arguments(Command::new("java"), "kafka.tools.StorageTool", &["format", "-t", CLUSTER_ID, "-c"])
            .args(extras.format)
            .output()
            .expect("java runs, make test-tools installs it");
        assert!(format.status.success(), "the log directory can't be formatted: {format:?}");
        apache.launch();
        Some(apache)
    }

    fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds what java needs to run this main class on the broker's settings.
    fn arguments(&self, mut command: Command, class: &str, arguments: &[&str]) -> Command {
        command
            .args(["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(&self.java)
            .arg("-cp")
            .arg(root().join(".local/kafka/libs/*"))
            .arg(class)
            .args(arguments)
            .arg(self.directory.path().join("server.properties"));
        command
    }

    fn launch(&self) {
        let output: PathBuf = self.directory.path().join("output");
        let file = || fs::File::create(&output).expect("the broker's output can be kept");
        let mut shell = Command::new("sh");
        shell.args(["-c", "java \"$@\" & read -r _; kill -9 $! 2>/dev/null; wait $!", "sh"]).stdin(Stdio::piped());
        let mut shell = self
            .arguments(shell, "kafka.Kafka", &[])
            .stdout(file())
            .stderr(file())
            .spawn()
            .expect("java runs, make test-tools installs it");
        let leash = shell.stdin.take();
        *self.lock() = Some(Running { shell, leash });
        let told = || fs::read_to_string(&output).unwrap_or_default();
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let start = Instant::now();
        while consumer.fetch_metadata(None, Duration::from_secs(2)).is_err() {
            assert!(start.elapsed() < PATIENCE, "the broker is not up after {PATIENCE:?}:\n{}", told());
        }
    }

    /// Members that the group has, as the broker knows it.
    pub fn members(&self, group: &str) -> usize {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let groups = consumer.fetch_group_list(Some(group), PATIENCE).expect("the broker tells its groups");
        groups.groups().iter().map(|group| group.members().len()).sum()
    }

    /// Kills it, as a power cut would.
    fn stop(&self) {
        if let Some(mut running) = self.lock().take() {
            drop(running.leash.take());
            let _ = running.shell.wait();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("log_level", "0");
        config
    }

    fn create_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        self.administer(async |admin, options| admin.create_topics([&topic], options).await);
    }

    /// Gives the topic more partitions, so many in all.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let wanted = NewPartitions::new(topic, partitions);
        self.administer(async |admin, options| admin.create_partitions([&wanted], options).await);
    }

    /// The offset that the partition's next record will have.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker tells its offsets").1
    }

    /// Deletes the topic.
    pub fn delete_topic(&self, topic: &str) {
        self.administer(async |admin, options| admin.delete_topics(&[topic], options).await);
    }

    /// Deletes the partition's records before this offset, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        self.administer(async |admin, options| {
            let deleted = admin.delete_records(&list, options).await?;
            let elements = deleted.elements();
            Ok(elements.iter().map(|element| element.error().map_err(|error| error.to_string())).collect())
        });
    }

    /// Has the broker do something, and asserts that it did.
    fn administer<T: std::fmt::Debug, E: std::fmt::Debug>(
        &self,
        work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<Vec<Result<T, E>>>,
    ) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client can be made");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let done = runtime.block_on(work(&admin, &options)).expect("the broker answers");
        done.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Settings for tests: no logging in, everything allowed, no copies, and nobody waits for the first members of a group.
pub fn plain(port: u16, controller: u16, log: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         log.dirs={}\nauto.create.topics.enable=false\noffsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
        log.display()
    )
}

/// Everything that is committed in a topic, up to its present end.
pub fn read_all(servers: &str, topic: &str, partitions: i32) -> Vec<ReadBack> {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", servers).create().expect("a consumer can be made");
    let is_empty = |partition| {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker tells its offsets");
        low == high
    };
    if (0..partitions).all(is_empty) {
        return Vec::new();
    }
    let reader = Reader::connect(servers, topic, partitions).expect("a reader can be made");
    let mut wait = PATIENCE;
    // The first message may take a while; a broker that has nothing more to give is silent.
    std::iter::from_fn(|| reader.next(std::mem::replace(&mut wait, Duration::from_secs(3)))).collect()
}

/// Runs kcat, an outside client, with this standard input, and gives what it wrote. `None` where there is none.
pub fn kcat(arguments: &[&str], input: &str) -> Option<String> {
    let binary = super::tools::binary("kcat")?;
    let mut child =
        Command::new(binary).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kcat starts");
    child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).expect("kcat reads its input");
    let mut output = String::new();
    child.stdout.take().expect("standard output is piped").read_to_string(&mut output).expect("kcat writes UTF-8");
    assert!(child.wait().expect("kcat ends").success(), "kcat {arguments:?} failed: {output}");
    Some(output)
}

/// Makes each test twice: on the shared embedded broker, and on the shared Apache Kafka.
macro_rules! on_both_brokers {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $name() {
                super::$name($crate::support::broker::Kind::Embedded);
            })+
        }
        mod apache {
            $(#[test]
            fn $name() {
                super::$name($crate::support::broker::Kind::Apache);
            })+
        }
    };
}
pub(crate) use on_both_brokers;
