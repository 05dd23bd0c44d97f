//! Runs the suite.

use std::{fmt, future::Future, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{
    build::Captures,
    case::{Case, CaseResult, Failure, Topic, Verdict},
    cases,
    store::{BoxFuture, Factory, StoreUnderTest},
};

/// The conformance suite, set up for one adapter.
///
/// - Every case gets an empty store of its own from the factory, when it runs and not before.
/// - Every case runs on its own multi-threaded tokio runtime and has a deadline.
/// - Only what is a [`Topic`] can be declined; declined cases are reported as ignored, with the reason.
/// - [`Harness::run`] understands the arguments of `cargo test` and `cargo nextest`.
#[derive(Clone)]
pub struct Harness {
    adapter: &'static str,
    lab: Lab,
    exceptions: Vec<(Topic, &'static str)>,
    deadline: Duration,
}

/// Where a case gets its stores and its scale from.
#[derive(Clone)]
pub(crate) struct Lab {
    fresh: Factory,
    model: Option<Factory>,
    /// How many entries the 64 concurrent claimers share.
    pub(crate) claim_race_entries: usize,
    /// How many random histories the model check runs.
    pub(crate) model_histories: u32,
    /// The seed of everything random but the differential test.
    pub(crate) seed: u64,
    /// How many random scripts the differential test runs; `None` when the adapter did not ask for it.
    pub(crate) differential: Option<u32>,
    /// The seed of these scripts.
    pub(crate) differential_seed: u64,
}

impl Lab {
    /// An empty store, and a source of captures for it.
    pub(crate) async fn store(&self) -> (StoreUnderTest, Captures) {
        let store = (self.fresh)().await;
        let captures = Captures::new(&store, self.seed);
        (store, captures)
    }

    /// An empty store of the model.
    pub(crate) async fn model(&self) -> Option<StoreUnderTest> {
        match &self.model {
            Some(model) => Some(model().await),
            None => None,
        }
    }
}

fn factory<C, F>(fresh: C) -> Factory
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = StoreUnderTest> + Send + 'static,
{
    Arc::new(move || -> BoxFuture<'static, StoreUnderTest> { Box::pin(fresh()) })
}

/// How many random scripts the differential test runs unless the environment says otherwise.
const DIFFERENTIAL_SCRIPTS: u32 = 16;

fn from_environment<T: std::str::FromStr<Err: fmt::Debug>>(name: &str) -> Option<T> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(
        number.unwrap_or_else(|| {
            panic!("{name} is `{}`; a whole number is allowed", value.display())
        }),
    )
}

impl Harness {
    /// The suite for `adapter`. `fresh` opens an empty store with a clock of its own; it may panic when it can't.
    pub fn new<C, F>(adapter: &'static str, fresh: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = StoreUnderTest> + Send + 'static,
    {
        let lab = Lab {
            fresh: factory(fresh),
            model: None,
            claim_race_entries: 2_000,
            model_histories: 48,
            seed: 0xba1d_0000,
            differential: None,
            differential_seed: 0xd1ff_0000,
        };
        Self { adapter, lab, exceptions: Vec::new(), deadline: Duration::from_mins(1) }
    }

    /// Also runs random histories against the adapter and this model, and compares every answer. The model is
    /// `baldur-memory`, the executable specification; without one, these cases are reported as ignored.
    #[must_use]
    pub fn model<C, F>(mut self, fresh: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = StoreUnderTest> + Send + 'static,
    {
        self.lab.model = Some(factory(fresh));
        self
    }

    /// Also runs random scripts of all ports against the adapter and the model, and compares every answer and, every few
    /// steps, all that they hold. Not asked for, or without a model, these cases are reported as ignored.
    ///
    /// It runs 16 scripts, the same ones each time. The environment asks for others: `BALDUR_TEST_DIFFERENTIAL_SCRIPTS` for
    /// another number, each one with a second more until the deadline, `BALDUR_TEST_DIFFERENTIAL_SEED` for another seed.
    ///
    /// # Panics
    ///
    /// When one of these is no number.
    #[must_use]
    pub fn differential(mut self) -> Self {
        let scripts = from_environment("BALDUR_TEST_DIFFERENTIAL_SCRIPTS");
        self.lab.differential = Some(scripts.unwrap_or(DIFFERENTIAL_SCRIPTS));
        if let Some(seed) = from_environment("BALDUR_TEST_DIFFERENTIAL_SEED") {
            self.lab.differential_seed = seed;
        }
        self
    }

    /// Declines a topic, for a reason that people will read in the report.
    #[must_use]
    pub fn except(mut self, topic: Topic, reason: &'static str) -> Self {
        self.exceptions.push((topic, reason));
        self
    }

    /// How many entries 64 concurrent claimers share: 2 000 unless said otherwise.
    #[must_use]
    pub fn claim_race_entries(mut self, entries: usize) -> Self {
        self.lab.claim_race_entries = entries;
        self
    }

    /// How many random histories the model check runs, from which seed. The same seed gives the same histories.
    #[must_use]
    pub fn model_histories(mut self, histories: u32, seed: u64) -> Self {
        self.lab.model_histories = histories;
        self.lab.seed = seed;
        self
    }

    /// How long one case may take: 60 s unless said otherwise.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The names of all cases.
    pub fn case_names() -> Vec<&'static str> {
        cases::all().map(|case| case.name).collect()
    }

    /// Runs the suite as a test program, with the arguments of this process.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let trials = cases::all().map(|case| self.trial(case)).collect();
        libtest_mimic::run(&arguments, trials).exit_code()
    }

    /// Runs the cases whose names contain one of `parts`, or all when there are none, and returns what became of
    /// each. Declined cases are left out.
    pub fn verdicts(&self, parts: &[&str]) -> Vec<Verdict> {
        cases::all()
            .filter(|case| parts.is_empty() || parts.iter().any(|part| case.name.contains(part)))
            .filter(|case| self.declined(case).is_none())
            .map(|case| Verdict { case: case.name, result: self.judge(case) })
            .collect()
    }

    fn trial(&self, case: &'static Case) -> Trial {
        let harness = self.clone();
        let declined = self.declined(case);
        let trial = Trial::ignorable_test(case.name, move || match declined {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => harness
                .judge(case)
                .map(|()| Completion::Completed)
                .map_err(|failure| Failed::from(failure.to_string())),
        });
        match declined {
            // The kind is printed beside the name, by `cargo test` and `cargo nextest` alike.
            Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
            None => trial,
        }
    }

    fn declined(&self, case: &Case) -> Option<&'static str> {
        if cases::needs_model(case) && self.lab.model.is_none() {
            return Some("no model was given");
        }
        if cases::is_differential(case) && self.lab.differential.is_none() {
            return Some("the differential test was not asked for");
        }
        let topic = case.topic?;
        self.exceptions.iter().find(|(declined, _)| *declined == topic).map(|(_, reason)| *reason)
    }

    fn judge(&self, case: &Case) -> CaseResult {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
        let running = runtime.spawn((case.run)(Arc::new(self.lab.clone())));
        let scripts = self.lab.differential.unwrap_or(0).saturating_sub(DIFFERENTIAL_SCRIPTS);
        let deadline = self.deadline + Duration::from_secs(u64::from(scripts));
        let verdict = runtime.block_on(async { tokio::time::timeout(deadline, running).await });
        // A case that hangs must not hang the suite, so blocked threads are left behind.
        runtime.shutdown_timeout(Duration::from_secs(1));
        match verdict {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(Failure::new(format!("the case panicked: {panicked}"))),
            Err(_) => Err(Failure::new(format!("no result within {deadline:?}"))),
        }
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("adapter", &self.adapter)
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}
