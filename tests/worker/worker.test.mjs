// The key service as a Worker. Run by the test suite of the workspace, which builds the Worker and installs Miniflare.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request as http } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { start } from "./server.mjs";

const root = join(import.meta.dirname, "../..");

// What a fresh clone serves under `wrangler dev`.
const development = await readFile(join(root, ".dev.vars"), "utf8");
const variable = (name) => development.match(new RegExp(`^${name}=(['"]?)([^]*?)\\1$`, "m"))[2];
const bindings = {
  SEALEDGE_CONFIG: variable("SEALEDGE_CONFIG"),
  SEALEDGE_IDENTITY: variable("SEALEDGE_IDENTITY"),
};
const KEY = "kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt";
const STRANGER = "kes:v1:AAStrangerKeyThatNoPolicyAndNoConfigurationK";
const bearer = { authorization: `Bearer ${KEY}` };

let worker;
before(async () => (worker = await start({ bindings })));
after(() => worker.stop());

// What is signed for port 8787 of the configuration goes to the one that the runtime has.
const HOST = "localhost:8787";

// A request as it is written, by a client that adds nothing of its own.
function send(method, path, headers = {}, body = "", to = worker) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(to.url);
    // A connection of its own: the runtime ends those whose request it has not read.
    const request = http({ agent: false, method, hostname, port, path, headers: { host: HOST, ...headers } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (data) => (text += data));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function signed(method, path, body = "", key = KEY, host = HOST, to = worker) {
  const sign = await signer(key);
  const headers = await sign(method, `http://${host}${path}`, body);
  return send(method, path, headers, body, to);
}

const message = (answer) => JSON.parse(answer.text).message;
const base64 = (text) => Buffer.from(text).toString("base64");

// Until the log has it: it comes through a pipe.
async function logged(of, text) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (of.log().includes(text)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`the log does not have ${JSON.stringify(text)}:\n${of.log()}`);
}

test("anybody may ask for the version", async () => {
  const answer = await send("GET", "/version");
  assert.equal(answer.status, 200, answer.text);
  assert.match(JSON.parse(answer.text).version, /^\d+\.\d+\.\d+$/);
});

test("without a credential, the answer says which are taken", async () => {
  const answer = await send("GET", "/v1/status");
  assert.equal(answer.status, 401, answer.text);
  assert.equal(answer.headers["www-authenticate"], 'Signature realm="sealedge", Bearer realm="sealedge"');
  assert.match(answer.headers["accept-signature"], /^sealedge=\(/);
});

test("a key lives from its creation to its end, for signed requests", async () => {
  assert.equal((await signed("POST", "/v1/key/create/life")).status, 200);
  const again = await signed("PUT", "/v1/key/create/life");
  assert.deepEqual([again.status, message(again)], [400, "key already exists"]);

  const context = base64("app");
  const generated = await signed("POST", "/v1/key/generate/life", JSON.stringify({ context }));
  assert.equal(generated.status, 200, generated.text);
  const { plaintext, ciphertext } = JSON.parse(generated.text);
  assert.equal(Buffer.from(plaintext, "base64").length, 32);
  const opened = await signed("POST", "/v1/key/decrypt/life", JSON.stringify({ ciphertext, context }));
  assert.equal(JSON.parse(opened.text).plaintext, plaintext);
  const other = JSON.stringify({ ciphertext, context: base64("another") });
  assert.equal((await signed("POST", "/v1/key/decrypt/life", other)).status, 400);

  const secret = base64("a".repeat(600_000));
  const encrypted = await signed("POST", "/v1/key/encrypt/life", JSON.stringify({ plaintext: secret }));
  const back = await signed("POST", "/v1/key/decrypt/life", encrypted.text);
  assert.equal(JSON.parse(back.text).plaintext, secret);

  assert.equal((await signed("GET", "/v1/key/describe/life")).status, 200);
  assert.equal((await signed("DELETE", "/v1/key/delete/life")).status, 200);
  for (const [method, path] of [["DELETE", "delete"], ["GET", "describe"], ["POST", "generate"]]) {
    const gone = await signed(method, `/v1/key/${path}/life`);
    assert.deepEqual([gone.status, message(gone)], [404, "key does not exist"], path);
  }
});

test("who signs has to be known, and to have signed this request for this server", async () => {
  const me = await signed("GET", "/v1/identity/self/describe");
  assert.deepEqual([JSON.parse(me.text).admin, JSON.parse(me.text).auth], [true, "signature"]);

  assert.equal((await signed("POST", "/v1/key/create/stranger", "", STRANGER)).status, 403);

  const elsewhere = await signed("POST", "/v1/key/create/elsewhere", "", KEY, "kms.example.com");
  assert.equal(elsewhere.status, 400, elsewhere.text);

  const sign = await signer(KEY);
  const headers = await sign("POST", `http://${HOST}/v1/key/create/altered`);
  for (const [method, path, body] of [
    ["PUT", "/v1/key/create/altered", ""],
    ["POST", "/v1/key/create/other", ""],
    ["POST", "/v1/key/create/altered?a", ""],
  ]) {
    const answer = await send(method, path, headers, body);
    assert.equal(answer.status, 400, `${method} ${path}: ${answer.text}`);
  }
  const both = await send("POST", "/v1/key/create/both", { ...headers, ...bearer });
  assert.match(message(both), /^more than one credential/);
});

test("a signed request is answered once, by whichever of fifty", async () => {
  const sign = await signer(KEY);
  await signed("PUT", "/v1/key/create/replay");
  const body = JSON.stringify({});
  const headers = await sign("POST", `http://${HOST}/v1/key/generate/replay`, body);
  const same = Array.from({ length: 50 }, () => send("POST", "/v1/key/generate/replay", headers, body));
  const answers = await Promise.all(same);
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.equal(answer.status, 400);
    assert.match(message(answer), /received before/);
  }
});

test("of racing creates one succeeds", async () => {
  const racing = Array.from({ length: 50 }, () => send("PUT", "/v1/key/create/race", bearer));
  const answers = await Promise.all(racing);
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.deepEqual([answer.status, message(answer)], [400, "key already exists"]);
  }
});

test("keys of all objects are listed in order, page by page", async () => {
  const names = Array.from({ length: 700 }, (_, number) => `list-${number.toString(36)}`);
  names.push("list", "list-", "list_", "list-Z", "LIST-0", "lisu");
  names.sort();
  for (let at = 0; at < names.length; at += 50) {
    const some = names.slice(at, at + 50).filter((name) => !name.endsWith("-"));
    const created = await Promise.all(some.map((name) => send("PUT", `/v1/key/create/${name}`, bearer)));
    for (const answer of created) assert.equal(answer.status, 200, answer.text);
  }
  const expected = names.filter((name) => name.startsWith("list") && !name.endsWith("-")).sort();
  const found = [];
  let pattern = "list*";
  for (let pages = 0; pattern && pages < 20; pages += 1) {
    const answer = await send("GET", `/v1/key/list/${pattern}`, bearer);
    assert.equal(answer.status, 200, answer.text);
    const page = JSON.parse(answer.text);
    found.push(...page.names);
    pattern = page.continue_at;
  }
  assert.deepEqual(found, expected);
});

test("bearer keys are taken over plain HTTP from this machine alone", async () => {
  const me = await send("GET", "/v1/identity/self/describe", bearer);
  assert.deepEqual([me.status, JSON.parse(me.text).auth], [200, "bearer"]);
  const far = await send("GET", "/v1/identity/self/describe", { ...bearer, "cf-connecting-ip": "192.0.2.1" });
  assert.equal(far.status, 400, far.text);
  assert.match(message(far), /plain HTTP/);
});

test("logs are no streams here, for those who might read them", async () => {
  for (const path of ["/v1/log/error", "/v1/log/audit"]) {
    const answer = await send("GET", path, bearer);
    assert.equal(answer.status, 501, answer.text);
    assert.match(message(answer), /logs/);
    assert.equal((await send("GET", path)).status, 401);
  }
});

test("bad input is an error, and the service goes on", async () => {
  const cases = [
    ["GET", "/", {}, "", 404],
    ["GET", "/v1/nothing", {}, "", 404],
    ["GET", "/v1/key/create/%", bearer, "", 400],
    ["GET", "/v1/key/create/%ff", bearer, "", 400],
    ["PUT", "/v1/key/create/a%2fb", bearer, "", 400],
    ["PUT", `/v1/key/create/${"a".repeat(5000)}`, bearer, "", 400],
    ["DELETE", "/version", {}, "", 405],
    ["PATCH", "/v1/status", bearer, "", 405],
    ["POST", "/v1/key/generate/race", bearer, "{", 400],
    ["POST", "/v1/key/generate/race", bearer, "[".repeat(100_000), 400],
    ["POST", "/v1/key/generate/race", bearer, "x".repeat((1 << 20) + 1), 400],
    ["POST", "/v1/key/generate/race", { authorization: "Bearer kes:v1:x" }, "", 400],
    ["POST", "/v1/key/generate/race", { authorization: "Bearer \u00e9" }, "", 400],
    ["POST", "/v1/key/generate/race", { signature: "x", "signature-input": "y" }, "", 400],
    ["GET", "/v1/status", { authorization: `Bearer ${"a".repeat(20_000)}` }, "", 400],
  ];
  for (const [method, path, headers, body, status] of cases) {
    const answer = await send(method, path, headers, body);
    assert.equal(answer.status, status, `${method} ${path.slice(0, 60)}: ${answer.status} ${answer.text}`);
  }
  assert.equal((await send("GET", "/v1/status", bearer)).status, 200);
  assert.doesNotMatch(worker.log(), /has stopped|a request was lost/);
});

test("figures are those of this isolate", async () => {
  const answer = await send("GET", "/v1/metrics", bearer);
  assert.equal(answer.status, 200);
  assert.match(answer.text, /^# HELP/m);
});

test("requests are in the log, without what is secret", async () => {
  await send("PUT", "/v1/key/create/audited", bearer);
  await logged(worker, '"path":"/v1/key/create/audited"');
  assert.ok(!worker.log().includes(KEY));
});

test("keys and nonces are there after a restart", async () => {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-worker-"));
  try {
    const sign = await signer(KEY);
    const headers = await sign("PUT", `http://${HOST}/v1/key/create/kept`);
    const first = await start({ bindings, persist });
    assert.equal((await send("PUT", "/v1/key/create/kept", headers, "", first)).status, 200);
    const made = await send("POST", "/v1/key/generate/kept", bearer, "{}", first);
    await first.stop();

    const second = await start({ bindings, persist });
    const { plaintext, ciphertext } = JSON.parse(made.text);
    const opened = await send("POST", "/v1/key/decrypt/kept", bearer, JSON.stringify({ ciphertext }), second);
    assert.equal(JSON.parse(opened.text).plaintext, plaintext);
    const replayed = await send("PUT", "/v1/key/create/kept", headers, "", second);
    assert.match(message(replayed), /received before/);
    await second.stop();
  } finally {
    await rm(persist, { recursive: true });
  }
});

// A Worker that can't serve, and what its log has to say.
async function refuses(settings, lines) {
  const broken = await start(settings);
  try {
    for (const path of ["/version", "/v1/key/generate/a"]) {
      const answer = await send("GET", path, {}, "", broken);
      assert.deepEqual([answer.status, message(answer)], [500, "the service is not configured: its log says why"]);
    }
    for (const line of lines) await logged(broken, line);
  } finally {
    await broken.stop();
  }
}

test("without its secrets a Worker serves nothing, and says which are missing", async () => {
  await refuses({ bindings: {} }, ["`SEALEDGE_CONFIG`"]);
  const { SEALEDGE_CONFIG } = bindings;
  await refuses({ bindings: { SEALEDGE_CONFIG } }, ["seal.unseal.identity: the variable `SEALEDGE_IDENTITY` is not set"]);
});

test("what the platform does not have is refused, by the field", async () => {
  const wrong = `
version: v1
admin: {identity: disabled}
tls: {key: server.key, cert: server.cert, auth: on}
keystore: {fs: {path: keys}}
seal: {recipients: [], unseal: {file: node.identity}}
`;
  await refuses({ bindings: { SEALEDGE_CONFIG: wrong } }, [
    "tls.key", "tls.cert", "tls.auth", "auth.authorities", "keystore.fs", "seal.recipients", "seal.unseal.file",
  ]);
  const unsealed = "version: v1\nadmin: {identity: disabled}\nauth: {signatures: off}\n"
    + "keystore: {cloudflare: {durableobjects: {}}}\n";
  await refuses({ bindings: { SEALEDGE_CONFIG: unsealed } }, ["seal: keys in Durable Objects have to be sealed"]);
});

test("without its Durable Objects a Worker says so", async () => {
  await refuses({ bindings, objects: {} }, ["no Durable Objects are bound to `KEYS`"]);
});

// The real wasm, whose memory is made to end in the middle of a call, or after it.
test("a trap costs a 500, and the service starts anew", { timeout: 20_000 }, async () => {
  const glue = await readFile(join(root, "target/worker/sealedge.js"), "utf8");
  const entry = "export function serve(request, env) {";
  assert.ok(glue.includes(entry));
  const trap = "() => wasm.__wbindgen_malloc(0xfffffff0, 8)";
  const replace = {
    "sealedge.js": glue.replace(entry, `${entry}
      if (request.url.endsWith("/trap")) (${trap})();
      if (request.url.endsWith("/later")) { queueMicrotask(${trap}); return new Promise(() => {}); }`),
  };
  const trapped = await start({ bindings, replace });
  try {
    const ask = (path) => send("POST", path, bearer, "{}", trapped);
    assert.equal((await ask("/v1/key/create/still")).status, 200);
    for (const path of ["/trap", "/later"]) {
      assert.equal((await ask("/v1/key/generate/still")).status, 200);
      const lost = await ask(path);
      assert.deepEqual([lost.status, message(lost)], [500, "internal server error"], path);
    }
    assert.equal((await ask("/v1/key/generate/still")).status, 200);
    await logged(trapped, "the service has stopped and starts anew");
  } finally {
    await trapped.stop();
  }
});

// A fake in the place of the wasm, for what the real one should never do.
const fake = `
let panicked, calls = 0;
export function initSync() {}
export function __wbg_reset_state() {}
export function on_panic(call) { panicked = call; }
export async function serve(request) {
  calls += 1;
  switch (new URL(request.url).pathname) {
    case "/panic": panicked("on purpose"); return new Promise(() => {});
    case "/trap": throw new WebAssembly.RuntimeError("unreachable");
    case "/later": queueMicrotask(() => { throw new WebAssembly.RuntimeError("later"); }); return new Promise(() => {});
    case "/wait": return new Promise(() => {});
    default: return new Response("call " + calls);
  }
}
export class Keys {}
export class Nonces {}
`;

test("an instance that has died costs its requests a 500, and no other", { timeout: 20_000 }, async () => {
  const faked = await start({ bindings, replace: { "sealedge.js": fake } });
  try {
    for (const path of ["/panic", "/trap", "/later"]) {
      const waiting = send("GET", "/wait", {}, "", faked);
      await new Promise((resolve) => setTimeout(resolve, 200));
      const lost = await send("GET", path, {}, "", faked);
      assert.deepEqual([lost.status, message(lost)], [500, "internal server error"], path);
      assert.equal((await waiting).status, 500, `${path}: who waited`);
      assert.equal((await send("GET", "/", {}, "", faked)).status, 200, `${path}: the next`);
    }
  } finally {
    await faked.stop();
  }
});
