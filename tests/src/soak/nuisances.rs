//! Clients that mean no good, or have a bad line. The server has to answer them or close.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Target};
use crate::client::{Client, Error, handshake};
use crate::frames::{Frames, PREFACE, SETTINGS};
use crate::raw::Raw;

/// The frame that resets a stream (RFC 9113, 6.4).
const RST_STREAM: u8 = 3;

/// A nuisance made once; what it says is wrong with the server.
type Made = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A way of being a nuisance.
struct Nuisance {
    name: &'static str,
    /// How many are at it at any time.
    copies: u64,
    make: fn(Arc<Target>, Rng) -> Made,
}

/// A line of the table.
macro_rules! nuisance {
    ($copies:literal $make:ident) => {
        Nuisance {
            name: stringify!($make),
            copies: $copies,
            make: |target, dice| Box::pin($make(target, dice)),
        }
    };
}

/// All of them. Those that wait are many.
const NUISANCES: [Nuisance; 13] = [
    nuisance!(8 slow_head),
    nuisance!(8 slow_body),
    nuisance!(2 unread_answers),
    nuisance!(4 half_head),
    nuisance!(4 half_body),
    nuisance!(2 reset_connection),
    nuisance!(2 reset_stream),
    nuisance!(1 many_reset_streams),
    nuisance!(2 many_headers),
    nuisance!(2 endless_body),
    nuisance!(4 noise_over_http1),
    nuisance!(4 noise_over_http2),
    nuisance!(4 noise_for_a_handshake),
];

/// Has all of them begin.
pub fn begin(clients: &mut JoinSet<()>, target: &Arc<Target>, seed: u64) {
    let mut dice = Rng::with_seed(seed);
    for nuisance in NUISANCES {
        for _ in 0..nuisance.copies {
            clients.spawn(go_on(
                target.clone(),
                nuisance.make,
                nuisance.name,
                dice.fork(),
            ));
        }
    }
}

/// Makes a nuisance again and again.
async fn go_on(
    target: Arc<Target>,
    make: fn(Arc<Target>, Rng) -> Made,
    name: &'static str,
    mut dice: Rng,
) {
    while target.goes_on() {
        // A task of its own: what a client does not expect at all, it panics about.
        let mut made = JoinSet::new();
        made.spawn(make(target.clone(), dice.fork()));
        let tally = &target.tally;
        match timeout(PATIENCE, made.join_next()).await {
            Ok(Some(Ok(Ok(())))) => tally.nuisance(name),
            Ok(Some(Ok(Err(error)))) => tally.client_fault(&format!("{name}: {error}")),
            Ok(Some(Err(panic))) => tally.client_fault(&format!("{name}: {panic}")),
            _ => tally.client_fault(&format!("{name}: nothing happens")),
        }
        sleep(Duration::from_millis(dice.u64(10..100))).await;
    }
}

fn bytes(dice: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| dice.u8(..))
        .take(length)
        .collect()
}

/// Waits until a well-formed request is answered with this status.
async fn expect(target: &Target, raw: &mut Raw, status: u16) -> Result<(), Error> {
    match raw.answer().await {
        Some(answer) if answer.status == status => {
            target.tally.answered(status);
            Ok(())
        }
        answer => Err(format!("not {status}, but {answer:?}").into()),
    }
}

/// The head of `encrypt` with the key that lasts.
fn head(target: &Target, framing: &str) -> String {
    let key = target.lasting_key();
    format!("PUT /v1/key/encrypt/{key} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n")
}

/// A little at a time, but all of it within the time for a head.
async fn slow_head(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    target.tally.sent();
    for part in b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n".chunks(10) {
        raw.send(part).await;
        sleep(Duration::from_millis(dice.u64(20..200))).await;
    }
    expect(&target, &mut raw, 200).await
}

/// The same with a body, in chunks or not.
async fn slow_body(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let body = format!(
        "{{\"plaintext\":\"{}\"}}",
        "QUFB".repeat(dice.usize(1..10_000))
    );
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    target.tally.sent();
    let is_chunked = dice.bool();
    let framing = match is_chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", body.len()),
    };
    raw.send(head(&target, &framing)).await;
    for part in body.as_bytes().chunks(body.len() / 10 + 1) {
        sleep(Duration::from_millis(dice.u64(20..200))).await;
        if is_chunked {
            raw.send(format!("{:x}\r\n", part.len())).await;
            raw.send(part).await;
            raw.send("\r\n").await;
        } else {
            raw.send(part).await;
        }
    }
    if is_chunked {
        raw.send("0\r\n\r\n").await;
    }
    expect(&target, &mut raw, 200).await
}

/// Asks and asks, reads nothing and goes.
async fn unread_answers(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    let asking = async {
        let request = "GET /v1/api HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
        while raw.send(&request).await {}
    };
    // Soon it can't send any more either.
    let _ = timeout(Duration::from_millis(dice.u64(500..3000)), asking).await;
    Ok(())
}

/// Begins a head, and goes or waits for the server to close.
async fn half_head(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    let head = head(&target, "content-length: 20");
    raw.send(&head[..dice.usize(1..head.len() - 1)]).await;
    if dice.bool() {
        raw.end().await;
    }
    match raw.answer().await {
        None => Ok(()),
        Some(answer) if answer.status == 400 => Ok(()),
        answer => Err(format!("half a head is answered with {answer:?}").into()),
    }
}

/// Promises more of a body than it sends.
async fn half_body(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    let length = dice.usize(1..500_000);
    raw.send(head(&target, &format!("content-length: {length}")))
        .await;
    raw.send(" ".repeat(length / 2)).await;
    // Else the server waits as long as the route may take.
    if dice.u8(..10) > 0 {
        raw.end().await;
    }
    match raw.answer().await {
        None => Ok(()),
        Some(answer) if [400, 504].contains(&answer.status) => Ok(()),
        answer => Err(format!("half a body is answered with {answer:?}").into()),
    }
}

/// Ends a connection with a reset: before, during or after the handshake, or with a request under way.
async fn reset_connection(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    if dice.bool() {
        let mut stream = TcpStream::connect(&target.address).await?;
        let hello = [22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3];
        stream
            .write_all(&hello[..dice.usize(..hello.len())])
            .await?;
        stream.set_zero_linger()?;
        return Ok(());
    }
    let mut stream = handshake(&target.address, Arc::new(target.http1.clone())).await?;
    let request = head(&target, "content-length: 22") + "{\"plaintext\":\"QUFBQUE=\"";
    let requests = request.repeat(dice.usize(1..4));
    let length = dice.usize(..requests.len());
    stream.write_all(&requests.as_bytes()[..length]).await?;
    stream.flush().await?;
    sleep(Duration::from_micros(dice.u64(..3000))).await;
    stream.get_ref().0.set_zero_linger()?;
    Ok(())
}

/// Gives requests up by HTTP/2, on a connection that then still serves.
async fn reset_stream(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut client = Client::connect_with(&target.address, target.http2.clone()).await?;
    let path = format!("/v1/key/generate/{}", target.lasting_key());
    for _ in 0..10 {
        let given_up = Duration::from_micros(dice.u64(..2000));
        let _ = timeout(given_up, client.send("PUT", &path, &[], "")).await;
    }
    target.tally.sent();
    let answer = client.send("PUT", &path, &[], "").await?;
    target.tally.answered(answer.status);
    match answer.status {
        200 => Ok(()),
        status => Err(format!("after resets: {status}").into()),
    }
}

/// The same without end ("rapid reset").
async fn many_reset_streams(target: Arc<Target>, _: Rng) -> Result<(), Error> {
    let mut frames = greet(&target).await;
    for stream in 0..1000 {
        frames.get_version(2 * stream + 1).await;
        frames
            .frame(RST_STREAM, 0, 2 * stream + 1, &[0, 0, 0, 8])
            .await;
    }
    Ok(())
}

/// A connection by HTTP/2 that has begun as it should.
async fn greet(target: &Target) -> Frames {
    let mut frames = Frames::connect(&target.address, &target.credentials).await;
    frames.send(PREFACE).await;
    frames.frame(SETTINGS, 0, 0, &[]).await;
    frames
}

/// 10,000 headers.
async fn many_headers(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let headers = (0..10_000).map(|at| format!("x-{at}"));
    let headers: Vec<String> = headers.collect();
    if dice.bool() {
        let mut raw = Raw::connect(&target.address, &target.credentials).await;
        let lines: String = headers
            .iter()
            .map(|name| format!("{name}: y\r\n"))
            .collect();
        target.tally.sent();
        raw.send(format!(
            "GET /version HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n"
        ))
        .await;
        return expect(&target, &mut raw, 431).await;
    }
    let mut client = Client::connect_with(&target.address, target.http2.clone()).await?;
    let headers: Vec<(&str, &str)> = headers.iter().map(|name| (name.as_str(), "y")).collect();
    match client.send("GET", "/version", &headers, "").await {
        Ok(answer) if answer.status != 431 => Err(format!("10,000 headers: {answer:?}").into()),
        // The server has said how long a head may be, and may end the connection (RFC 9113, 10.5.1).
        _ => Ok(()),
    }
}

/// A body that goes on until the server closes.
async fn endless_body(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    let is_chunked = dice.bool();
    let framing = match is_chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", u64::MAX - 1),
    };
    raw.send(head(&target, &framing)).await;
    let part = " ".repeat(64 << 10);
    let part = match is_chunked {
        true => format!("{:x}\r\n{part}\r\n", part.len()),
        false => part,
    };
    while raw.send(&part).await {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Random bytes where HTTP/1.1 is spoken.
async fn noise_over_http1(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut raw = Raw::connect(&target.address, &target.credentials).await;
    let length = dice.usize(1..50_000);
    raw.send(bytes(&mut dice, length)).await;
    match raw.answer().await {
        Some(answer) if !(400..500).contains(&answer.status) => {
            Err(format!("noise is answered with {answer:?}").into())
        }
        _ => Ok(()),
    }
}

/// Random bytes where HTTP/2 is spoken: at once, or after a good begin, or as frames.
async fn noise_over_http2(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    if dice.bool() {
        let mut frames = Frames::connect(&target.address, &target.credentials).await;
        let length = dice.usize(1..5000);
        frames.send(&bytes(&mut dice, length)).await;
        frames.rest().await;
        return Ok(());
    }
    let mut frames = greet(&target).await;
    for _ in 0..dice.u8(1..20) {
        let length = dice.usize(..100);
        let payload = bytes(&mut dice, length);
        frames
            .frame(dice.u8(..12), dice.u8(..), dice.u32(..4), &payload)
            .await;
    }
    frames.rest().await;
    Ok(())
}

/// Random bytes where a handshake should be; some begin as one.
async fn noise_for_a_handshake(target: Arc<Target>, mut dice: Rng) -> Result<(), Error> {
    let mut stream = TcpStream::connect(&target.address).await?;
    let length = dice.usize(1..5000);
    let mut noise = bytes(&mut dice, length);
    if dice.bool() {
        noise.splice(..0, [22, 3, 1, dice.u8(..64), dice.u8(..)]);
    }
    // It may have closed before it has read all.
    let _ = stream.write_all(&noise).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Ok(())
}
