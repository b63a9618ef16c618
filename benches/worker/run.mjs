// How large and how fast the Worker is, in raw workerd, beside a Worker in Rust that answers a constant, one in
// JavaScript that does nothing, and one that reads what a request for a DEK has:
//
//   node benches/worker/run.mjs [--rounds N]
//
// builds all of it, installs workerd as the tests do, and prints tables in Markdown. All are measured in turns and the
// ratios are of neighbours: what else the machine does changes them less than the requests a second. The CPU is that of
// the whole process as Linux tells it, with the runtime's HTTP and the objects that remember signed requests: more than
// Cloudflare counts as the Worker's. A request is lost if the runtime closes its connection in the place of an answer.
// On a busy machine this workerd does that now and then, and to a Worker in plain JavaScript that calls an object as
// well; why is not known.
import { execFileSync } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { HOST, KEY, bearer, bindings } from "../../tests/worker/client.mjs";
import { root } from "../../tests/worker/tools.mjs";
import { drive, written } from "./load.mjs";
import { start } from "./workerd.mjs";

const { rounds: wanted } = parseArgs({ options: { rounds: { type: "string", default: "5" } } }).values;
const ROUNDS = Number(wanted);
if (!(ROUNDS >= 1)) throw new Error("--rounds is a number from 1 on");
const STARTS = 9;
const CONNECTIONS = 16;
const REQUESTS = 4000;

const median = (values) => values.toSorted((one, other) => one - other)[values.length >> 1];
const times = (count, make) => Array.from({ length: count }, make);

// A client with a certificate, and what Cloudflare tells of its handshake.
const CERTIFICATE =
  "MIIBiTCCAS+gAwIBAgIUQSDq9NdObtAyd75ebmHbCtjPn2AwCgYIKoZIzj0EAwIwEDEOMAwGA1UEAwwFYmVuY2gwIBcNMjYxMTMwMDQyMzU2Wh" +
  "gPMjEyNjExMDYwNDIzNTZaMBAxDjAMBgNVBAMMBWJlbmNoMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4WtBCZnrYPA7R9v5Z1b2ZJYS1CfR" +
  "Zmwu11JXhwexhlnJ8H422xmJ1pMjviIyKF9w280gi8UP1tdY+pcMK504hqNlMGMwHQYDVR0OBBYEFJ6SRRcpCiiO5u9Lq+FWMjuQQVoOMB8GA1" +
  "UdIwQYMBaAFJ6SRRcpCiiO5u9Lq+FWMjuQQVoOMAwGA1UdEwEB/wQCMAAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwCgYIKoZIzj0EAwIDSAAwRQIh" +
  "ANuuQNTwr+sshcEZiE2d5V5MJHJvrRlbZ2labZY3pcrMAiApYNKGiplr2vEfBgb7DMOdp06Es9LagRYvC36AMx8Zzg==";
const { publicKey } = new X509Certificate(Buffer.from(CERTIFICATE, "base64"));
const identity = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("hex");
const MORE = `tls: {cloudflare: on}\npolicy: {bench: {allow: ["*"], identities: [${identity}]}}\n`;
const name = "CN=bench";
const cf = JSON.stringify({
  tlsVersion: "TLSv1.3",
  tlsClientAuth: {
    certPresented: "1", certVerified: "SUCCESS", certRevoked: "0",
    certIssuerDN: name, certSubjectDN: name, certIssuerDNRFC2253: name, certSubjectDNRFC2253: name,
    certIssuerDNLegacy: name, certSubjectDNLegacy: name,
    certSerial: "0".repeat(40), certIssuerSerial: "0".repeat(40), certSKI: "0".repeat(40), certIssuerSKI: "0".repeat(40),
    certFingerprintSHA1: "0".repeat(40), certFingerprintSHA256: "0".repeat(64),
    certNotBefore: "Nov 30 00:00:00 2026 GMT", certNotAfter: "Nov 30 00:00:00 2126 GMT",
    certRFC9440: `:${CERTIFICATE}:`, certRFC9440TooLarge: false, certChainRFC9440: "", certChainRFC9440TooLarge: false,
  },
});

// The one that is measured, and those that it is compared with.
async function workers() {
  const wrangler = await readFile(join(root, "wrangler.toml"), "utf8");
  const [, compatibilityDate] = wrangler.match(/^compatibility_date = "(.*)"$/m);
  const objects = [...wrangler.matchAll(/^name = "(.*)"\nclass_name = "(.*)"$/gm)].map(([, ...pair]) => pair);
  const built = (folder, ...names) => names.map((name) => join(root, "target", folder, name));
  // The log is as it is by default: of errors alone.
  const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(/^log:[^]*/m, MORE);
  const modules = built("worker", "entry.mjs", "configuration.mjs", "http.mjs", "sealedge.js", "sealedge_bg.wasm");
  const sealedge = { compatibilityDate, modules, bindings: { ...bindings, SEALEDGE_CONFIG }, objects };
  const changes = SEALEDGE_CONFIG.replace("auth:\n", "auth:\n  nonces: changes\n");
  return {
    empty: { compatibilityDate, modules: [join(import.meta.dirname, "empty.mjs")] },
    reading: { compatibilityDate, modules: [join(import.meta.dirname, "reading.mjs")] },
    constant: { compatibilityDate, modules: built("constant", "entry.mjs", "constant.js", "constant_bg.wasm") },
    sealedge,
    changes: { ...sealedge, bindings: { ...bindings, SEALEDGE_CONFIG: changes } },
  };
}

// The requests of a round, made just before it.
const GENERATE = "/v1/key/generate/bench";
const BODY = "{}";
// The platform writes the client's address. One of this machine may send a bearer key without TLS.
const host = { host: HOST, "cf-connecting-ip": "127.0.0.1" };
const sign = await signer(KEY);
const same = (request) => () => times(REQUESTS, () => request);
const VERSION = written("GET", "/version", host);
const CREATE = written("PUT", "/v1/key/create/bench", { ...host, ...bearer });
const CERTIFIED = written("POST", GENERATE, { ...host, "mf-cf-blob": cf }, BODY);
const CASES = [
  ["empty", "", same(VERSION)],
  ["reading", "", same(CERTIFIED)],
  ["constant", "", same(CERTIFIED)],
  ["sealedge", "`/version`", same(VERSION)],
  ["sealedge", "a cached DEK, certificate", same(CERTIFIED)],
  ["sealedge", "a cached DEK, bearer key", same(written("POST", GENERATE, { ...host, ...bearer }, BODY))],
  ["sealedge", "a cached DEK, signed", () => Promise.all(times(REQUESTS, signed))],
  ["changes", "the same with `nonces: changes`", () => Promise.all(times(REQUESTS, signed))],
];
async function signed() {
  const headers = await sign("POST", `http://${HOST}${GENERATE}`, BODY);
  return written("POST", GENERATE, { ...host, ...headers }, BODY);
}

// Builds and installs everything: where workerd is.
async function install() {
  const run = (program, folder, ...options) => execFileSync(program, options, { cwd: folder, stdio: "inherit" });
  const build = ["run", "--quiet", "--package", "sealedge-worker-build", "--"];
  run("cargo", root, ...build);
  run("cargo", root, ...build, "constant");
  const folder = join(root, "target/node");
  await mkdir(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json"]) {
    await copyFile(join(root, "tests/worker", file), join(folder, file));
  }
  run("npm", folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent");
  return createRequire(join(folder, "package.json"))("workerd");
}

async function once(port, request) {
  const { lost } = await drive(port, [request], 1);
  if (lost) throw new Error("a Worker does not answer");
}

// Milliseconds from the start of a process to its first answer, of each Worker.
async function starts(workerd, all) {
  const measured = Object.fromEntries(Object.keys(all).map((name) => [name, []]));
  for (let round = 0; round < STARTS; round += 1) {
    for (const [name, worker] of Object.entries(all)) {
      const running = await start(workerd, worker, (port) => once(port, VERSION));
      measured[name].push(running.startMs);
      await running.stop();
    }
  }
  return measured;
}

// What each round of each case has taken, the first of which only warms up.
async function rounds(workerd, all) {
  const running = {};
  try {
    for (const [name, worker] of Object.entries(all)) {
      const first = worker.objects ? CREATE : VERSION;
      running[name] = await start(workerd, worker, (port) => once(port, first));
    }
    const measured = CASES.map(() => []);
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const [at, [name, , make]] of CASES.entries()) {
        const requests = await make();
        const { port, cpuSeconds } = running[name];
        const [cpu, own] = [await cpuSeconds(), process.cpuUsage()];
        const { seconds, lost } = await drive(port, requests, CONNECTIONS);
        const { user, system } = process.cpuUsage(own);
        const used = (await cpuSeconds()) - cpu;
        const rate = (REQUESTS - lost) / seconds;
        if (round > 0) measured[at].push({ rate, lost, used, client: (user + system) / 1e6 / seconds });
      }
    }
    return measured;
  } finally {
    for (const { stop } of Object.values(running)) await stop();
  }
}

// What an upload of a Worker takes, in KiB.
async function size({ modules }) {
  const sizes = await Promise.all(modules.map(async (path) => gzipSync(await readFile(path)).length));
  return sizes.reduce((sum, some) => sum + some) / 1024;
}

const table = (head, ...rows) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n") + "\n";
const spread = (values, digits) => {
  const [most, least] = [Math.max(...values), Math.min(...values)];
  return `${median(values).toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
};

const { default: workerd, version } = await install();
const all = await workers();
const begun = await starts(workerd, all);
const measured = await rounds(workerd, all);

const CONSTANT = CASES.findIndex(([name]) => name === "constant");
const ratios = measured.map((some) => some.map(({ rate }, round) => rate / measured[CONSTANT][round].rate));
const cpuMs = measured.map((some) => (some.reduce((sum, { used }) => sum + used, 0) / some.length / REQUESTS) * 1000);
const [dek, bearerDek, signedDek, changesDek] = [-4, -3, -2, -1].map((at) => CASES.length + at);

console.log(`${new Date().toISOString()}, workerd ${version}, ${cpus()[0].model}, ${availableParallelism()} CPUs; ${CONNECTIONS} connections, ${ROUNDS} rounds of ${REQUESTS} requests, ${STARTS} starts; medians (least to most), CPU of all rounds\n`);

const met = (isMet) => (isMet ? "met" : "missed");
const atMost = (limit, what, value, digits) => [what, value.toFixed(digits), `at most ${limit}`, met(value <= limit)];
const atLeast = (limit, what, value, digits) => [what, value.toFixed(digits), `at least ${limit}`, met(value >= limit)];
console.log(table(
  ["", "measured", "aim", ""],
  atMost(1024, "size, KiB by gzip", await size(all.sealedge), 0),
  atMost(40, "start, sealedge - empty, ms", median(begun.sealedge) - median(begun.empty), 1),
  atLeast(0.7, "a cached DEK, certificate: requests/s, / constant", median(ratios[dek]), 2),
  ["the same, bearer key", median(ratios[bearerDek]).toFixed(2), "none", ""],
  ["the same, signed", median(ratios[signedDek]).toFixed(2), "none", ""],
  ["the same, signed, `nonces: changes`", median(ratios[changesDek]).toFixed(2), "none", ""],
  atMost(1, "a cached DEK, certificate: CPU, ms", cpuMs[dek], 3),
  atMost(1, "the same, signed", cpuMs[signedDek], 3),
));
console.log(table(
  ["", "KiB by gzip", "start to the first answer, ms"],
  ...(await Promise.all(Object.entries(all).map(async ([name, worker]) =>
    [name, (await size(worker)).toFixed(1), spread(begun[name], 1)]))),
));
console.log(table(
  ["", "", "requests/s", "/ constant", "CPU ms/request", "CPU / constant", "client busy", "lost"],
  ...CASES.map(([name, what], at) => [
    name, what,
    spread(measured[at].map(({ rate }) => rate), 0),
    spread(ratios[at], 2),
    cpuMs[at].toFixed(3),
    (cpuMs[at] / cpuMs[CONSTANT]).toFixed(2),
    `${(median(measured[at].map(({ client }) => client)) * 100).toFixed(0)} %`,
    measured[at].reduce((sum, { lost }) => sum + lost, 0),
  ]),
));
