//! A fake of the world, for the tests of drivers: a clock that waits for nobody, and a server that is a
//! function.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::outgoing::{Fault, Request, Response};
use crate::platform::World;
use crate::time::Time;

/// How the server takes a request: how long, and to which end.
pub struct Reply(pub Duration, pub Result<Response, Fault>);

impl Reply {
    /// An answer in JSON, a millisecond later.
    pub fn json(status: u16, body: &str) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        let body = Zeroizing::new(body.as_bytes().to_vec());
        Self(
            Duration::from_millis(1),
            Ok(Response {
                status,
                headers,
                body,
            }),
        )
    }

    /// No answer, at once.
    pub fn refused() -> Self {
        let fault = Fault::Unreachable("connection refused".into());
        Self(Duration::ZERO, Err(fault))
    }

    /// No answer at all.
    pub fn silence() -> Self {
        Self(Duration::from_secs(3600), Err(Fault::TimedOut))
    }

    /// The same answer with one more header field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Ok(response) = &mut self.1 {
            response.headers.push((name.into(), value.into()));
        }
        self
    }

    /// The same answer, of another type.
    pub fn with_type(mut self, kind: &str) -> Self {
        if let Ok(response) = &mut self.1 {
            response.headers = vec![("content-type".into(), kind.into())];
        }
        self
    }

    /// The same answer, so much later.
    pub fn after(self, duration: Duration) -> Self {
        Self(duration, self.1)
    }
}

type Server = Box<dyn FnMut(&Request) -> Reply>;

/// A handle to the world.
#[derive(Clone, Default)]
pub struct Fake(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Nanoseconds since the start.
    now: Cell<u64>,
    /// The call that is being polled.
    call: Cell<usize>,
    next: Cell<u64>,
    /// Operations under way, by when they end and their number, with the call that began them.
    pending: RefCell<BTreeMap<(u64, u64), (usize, Outcome)>>,
    ended: RefCell<BTreeMap<u64, Outcome>>,
    server: RefCell<Option<Server>>,
    files: RefCell<BTreeMap<String, String>>,
    requests: RefCell<Vec<String>>,
    lines: RefCell<Vec<String>>,
}

enum Outcome {
    Slept,
    Answered(Result<Response, Fault>),
    Read(Result<Zeroizing<Vec<u8>>, String>),
}

impl Fake {
    /// Has this function answer requests from now on.
    pub fn serve(&self, server: impl FnMut(&Request) -> Reply + 'static) {
        *self.0.server.borrow_mut() = Some(Box::new(server));
    }

    /// Puts a file.
    pub fn put_file(&self, path: &str, content: &str) {
        let mut files = self.0.files.borrow_mut();
        files.insert(path.into(), content.into());
    }

    /// The requests since they were last asked for: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.0.requests.take()
    }

    /// The lines for the error log since they were last asked for.
    pub fn lines(&self) -> Vec<String> {
        self.0.lines.take()
    }

    /// How long it is since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.now.get())
    }

    /// Lets time pass.
    pub fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.0.now.set(self.0.now.get() + nanos);
    }

    /// Does one call.
    pub fn run<T>(&self, call: impl Future<Output = T>) -> T {
        self.run_all([call]).remove(0)
    }

    /// Does calls that begin together. Each is polled when it begins and when an operation of its own
    /// has ended, and then only: so do doors that know no wakers.
    pub fn run_all<F: Future>(&self, calls: impl IntoIterator<Item = F>) -> Vec<F::Output> {
        let mut calls: Vec<Option<Pin<Box<F>>>> =
            calls.into_iter().map(|call| Some(Box::pin(call))).collect();
        let mut done: Vec<Option<F::Output>> = calls.iter().map(|_| None).collect();
        let count = calls.len();
        let mut poll = |number: usize| {
            self.0.call.set(number);
            let mut context = Context::from_waker(Waker::noop());
            let call = calls[number].as_mut().unwrap();
            if let Poll::Ready(output) = call.as_mut().poll(&mut context) {
                done[number] = Some(output);
                calls[number] = None;
            }
        };
        (0..count).for_each(&mut poll);
        loop {
            let next = self.0.pending.borrow_mut().pop_first();
            let Some(((ends, number), (call, outcome))) = next else {
                break;
            };
            self.0.now.set(ends.max(self.0.now.get()));
            self.0.ended.borrow_mut().insert(number, outcome);
            poll(call);
        }
        let done = done.into_iter().enumerate();
        done.map(|(number, output)| match output {
            Some(output) => output,
            None => panic!("call {number} waits for nothing of its own"),
        })
        .collect()
    }

    fn perform(&self, takes: Duration, outcome: Outcome) -> impl Future<Output = Outcome> + use<> {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let ends = self.0.now.get() + u64::try_from(takes.as_nanos()).unwrap();
        let operation = (self.0.call.get(), outcome);
        self.0
            .pending
            .borrow_mut()
            .insert((ends, number), operation);
        let pending = Pending(self.clone(), (ends, number));
        poll_fn(
            move |_| match pending.0.0.ended.borrow_mut().remove(&number) {
                Some(outcome) => Poll::Ready(outcome),
                None => Poll::Pending,
            },
        )
    }
}

/// An operation under way, which ends if it is dropped.
struct Pending(Fake, (u64, u64));

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.pending.borrow_mut().remove(&self.1);
    }
}

impl World for Fake {
    fn now(&self) -> Time {
        const START: u64 = 1_795_000_000_000_000_000;
        Time::from_nanos(START + self.0.now.get())
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    async fn sleep(&self, duration: Duration) {
        self.perform(duration, Outcome::Slept).await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        let line = format!("{} {}", request.method, request.path);
        self.0.requests.borrow_mut().push(line);
        let Reply(takes, result) = match &mut *self.0.server.borrow_mut() {
            Some(server) => server(&request),
            None => Reply::refused(),
        };
        let result = match result {
            _ if takes >= request.timeout => Err(Fault::TimedOut),
            Ok(response) if response.body.len() > request.limit => Err(Fault::TooLarge),
            result => result,
        };
        let takes = takes.min(request.timeout);
        match self.perform(takes, Outcome::Answered(result)).await {
            Outcome::Answered(result) => result,
            Outcome::Slept | Outcome::Read(_) => panic!("another operation's outcome"),
        }
    }

    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let content = self.0.files.borrow().get(path).cloned();
        let content = content
            .map(|content| Zeroizing::new(content.into_bytes()))
            .ok_or_else(|| "no such file".to_owned());
        match self.perform(Duration::ZERO, Outcome::Read(content)).await {
            Outcome::Read(content) => content,
            Outcome::Slept | Outcome::Answered(_) => panic!("another operation's outcome"),
        }
    }

    fn log_error(&self, message: &str) {
        self.0.lines.borrow_mut().push(message.into());
    }
}

/// What the call brings, if it does so in time; else it is dropped, as a call past its time limit is.
pub async fn within<T>(fake: &Fake, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut timer = pin!(fake.sleep(limit));
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}
