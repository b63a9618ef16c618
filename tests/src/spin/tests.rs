//! Headers of clients stay, faults come where they are planned, operations wait for a test, and the clock knows who runs.

use std::sync::Arc;
use std::time::Duration;

use super::front::headers;
use super::request::{Request, Work};
use super::{Counts, Failure, Fault, KeyValue, Operation, Spot, Sqlite, Store};

fn stores() -> Arc<KeyValue> {
    let store = Store::Sqlite(Sqlite::open(None).unwrap());
    Arc::new(KeyValue::new(store, ["default".to_owned()].into()))
}

async fn set(stores: &KeyValue, request: &Request, value: &[u8]) -> Result<(), Failure> {
    let set = stores.store.set("default", "key", value);
    stores.perform(request, Operation::Set, "key", set).await
}

async fn get(stores: &KeyValue, request: &Request) -> Result<Option<Vec<u8>>, Failure> {
    let get = stores.store.get("default", "key");
    stores.perform(request, Operation::Get, "key", get).await
}

#[tokio::test]
async fn a_fault_comes_once_and_where_it_is_planned() {
    let stores = stores();
    let plan = |nth, operation, fault| {
        let line = "POST /two".into();
        stores.plan(
            Spot {
                line,
                operation,
                nth,
            },
            fault,
        );
    };
    plan(1, Some(Operation::Set), Fault::KillBefore);
    plan(2, Some(Operation::Set), Fault::KillAfter);
    plan(4, None, Fault::Fail("it is full".into()));
    let [one, two] = ["GET /one", "POST /two?q"].map(|line| Request::new(1, line.into()));
    assert_eq!(set(&stores, &one, b"1").await, Ok(()));
    let killed = Err(Failure::Trap("a test has killed the instance".into()));
    assert_eq!(set(&stores, &two, b"2").await, killed);
    assert_eq!(get(&stores, &two).await, Ok(Some(b"1".to_vec())));
    assert_eq!(set(&stores, &two, b"3").await, killed);
    let full = Err(Failure::Other("it is full".into()));
    assert_eq!(get(&stores, &two).await, full);
    assert_eq!(get(&stores, &two).await, Ok(Some(b"3".to_vec())));
    let counts = Counts::from([(Operation::Get, 3), (Operation::Set, 2)]);
    assert_eq!(two.times(Duration::ZERO, true).counts, counts);
    let totals = Counts::from([(Operation::Get, 3), (Operation::Set, 3)]);
    assert_eq!(stores.totals(), totals);
}

#[tokio::test]
async fn operations_go_on_in_the_order_that_a_test_wants() {
    let stores = stores();
    let mut gate = stores.gate();
    let run = |number, value: &'static [u8]| {
        let stores = stores.clone();
        let request = Request::new(number, format!("PUT /{number}"));
        tokio::spawn(async move { set(&stores, &request, value).await })
    };
    let (first, second) = (run(1, b"1"), run(2, b"2"));
    let mut waiting = [gate.next().await, gate.next().await];
    waiting.sort_by_key(|it| it.request);
    let [one, two] = waiting;
    assert_eq!(
        (&*two.line, two.operation, &*two.key),
        ("PUT /2", Operation::Set, "key")
    );
    drop(two);
    second.await.unwrap().unwrap();
    drop(one);
    first.await.unwrap().unwrap();
    drop(gate);
    let request = Request::new(3, String::new());
    assert_eq!(get(&stores, &request).await, Ok(Some(b"1".to_vec())));
}

#[tokio::test]
async fn the_clock_takes_off_what_the_instance_waits_for() {
    let stores = stores();
    let long = Duration::from_millis(50);
    stores.delay(long);
    let request = Request::new(1, String::new());
    request.begin();
    let call = async {
        std::thread::sleep(long);
        let get = get(&stores, &request);
        request.host(Work::KeyValue, get).await.unwrap();
        let work = async { std::thread::sleep(long) };
        request.host(Work::Variables, work).await;
        request.answered();
        tokio::time::sleep(long).await;
    };
    request.run(call).await;
    let times = request.times(Duration::ZERO, true);
    let (answered, returned) = (times.answered.unwrap(), times.returned.unwrap());
    assert!(answered.total >= 3 * long && returned.total >= 4 * long);
    for (spent, waited) in [(answered, Duration::ZERO), (returned, long)] {
        assert!(
            spent.key_value >= long && spent.variables >= long,
            "{spent:?}"
        );
        assert!(spent.guest >= long, "{spent:?}");
        let elsewhere = spent.key_value + spent.variables + waited;
        assert!(spent.guest <= spent.total - elsewhere, "{spent:?}");
    }
}

#[test]
fn what_spin_says_of_a_client_comes_after_what_the_client_says() {
    let request = || {
        hyper::Request::get("/v1/status?a=b")
            .header("Host", "kms.example")
            .header("Spin-Client-Addr", "10.0.0.1:1")
            .header("spin-client-addr", "10.0.0.2:2")
            .header("spin-full-url", "https://other.example/")
    };
    let client = "203.0.113.7:4711".parse().unwrap();
    let said = |is_https, name| {
        let headers = headers(&request().body(()).unwrap(), client, is_https).unwrap();
        let values = headers.get_all(name).into_iter();
        let values: Vec<_> = values.map(|it| it.to_str().unwrap().to_owned()).collect();
        values.join(" ")
    };
    let addresses = "10.0.0.1:1 10.0.0.2:2 203.0.113.7:4711";
    assert_eq!(said(false, "spin-client-addr"), addresses);
    let url = "https://other.example/ http://kms.example/v1/status?a=b";
    assert_eq!(said(false, "spin-full-url"), url);
    let url = "https://other.example/ https://kms.example/v1/status?a=b";
    assert_eq!(said(true, "spin-full-url"), url);
    assert_eq!(said(false, "spin-path-info"), "/v1/status");
    let refused = |request: hyper::http::request::Builder| {
        headers(&request.body(()).unwrap(), client, false).unwrap_err()
    };
    let no_text = request().header("x", &b"\xff"[..]);
    assert_eq!(refused(no_text), "a header is no text");
    assert_eq!(refused(hyper::Request::get("/")), "there is no Host");
    let other = request().uri("http://other.example/");
    assert_eq!(refused(other), "Host is not that of the URL");
}
