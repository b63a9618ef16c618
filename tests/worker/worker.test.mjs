// What the Worker answers. All files here are run by the test suite of the workspace, which builds the Worker and
// installs Miniflare.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { HOST, KEY, bearer, bindings, logged, message, send, signed } from "./client.mjs";
import { start } from "./server.mjs";

let worker;
before(async () => (worker = await start({ bindings })));
after(() => worker.stop());

const ask = (...request) => send(worker, ...request);
const sign = (...request) => signed(worker, ...request);
const base64 = (text) => Buffer.from(text).toString("base64");

test("anybody may ask for the version", async () => {
  const answer = await ask("GET", "/version");
  assert.equal(answer.status, 200, answer.text);
  assert.match(JSON.parse(answer.text).version, /^\d+\.\d+\.\d+$/);
});

test("a key lives from its creation to its end, for signed requests", async () => {
  assert.equal((await sign("POST", "/v1/key/create/life")).status, 200);
  const again = await sign("PUT", "/v1/key/create/life");
  assert.deepEqual([again.status, message(again)], [400, "key already exists"]);

  const context = base64("app");
  const generated = await sign("POST", "/v1/key/generate/life", JSON.stringify({ context }));
  assert.equal(generated.status, 200, generated.text);
  const { plaintext, ciphertext } = JSON.parse(generated.text);
  assert.equal(Buffer.from(plaintext, "base64").length, 32);
  const opened = await sign("POST", "/v1/key/decrypt/life", JSON.stringify({ ciphertext, context }));
  assert.equal(JSON.parse(opened.text).plaintext, plaintext);
  const other = JSON.stringify({ ciphertext, context: base64("another") });
  assert.equal((await sign("POST", "/v1/key/decrypt/life", other)).status, 400);

  const secret = base64("a".repeat(600_000));
  const encrypted = await sign("POST", "/v1/key/encrypt/life", JSON.stringify({ plaintext: secret }));
  const back = await sign("POST", "/v1/key/decrypt/life", encrypted.text);
  assert.equal(JSON.parse(back.text).plaintext, secret);

  assert.equal((await sign("GET", "/v1/key/describe/life")).status, 200);
  assert.equal((await sign("DELETE", "/v1/key/delete/life")).status, 200);
  for (const [method, path] of [["DELETE", "delete"], ["GET", "describe"], ["POST", "generate"]]) {
    const gone = await sign(method, `/v1/key/${path}/life`);
    assert.deepEqual([gone.status, message(gone)], [404, "key does not exist"], path);
  }
});

test("a signed request is answered once, by whichever of fifty", async () => {
  const by = await signer(KEY);
  await sign("PUT", "/v1/key/create/replay");
  const body = JSON.stringify({});
  const headers = await by("POST", `http://${HOST}/v1/key/generate/replay`, body);
  const same = Array.from({ length: 50 }, () => ask("POST", "/v1/key/generate/replay", headers, body));
  const answers = await Promise.all(same);
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.equal(answer.status, 400);
    assert.match(message(answer), /received before/);
  }
});

test("bearer keys are taken over plain HTTP from this machine alone", async () => {
  const me = await ask("GET", "/v1/identity/self/describe", bearer);
  assert.deepEqual([me.status, JSON.parse(me.text).auth], [200, "bearer"]);
  const far = await ask("GET", "/v1/identity/self/describe", { ...bearer, "cf-connecting-ip": "192.0.2.1" });
  assert.equal(far.status, 400, far.text);
  assert.match(message(far), /plain HTTP/);
});

test("logs are no streams here, for those who might read them", async () => {
  for (const path of ["/v1/log/error", "/v1/log/audit"]) {
    const answer = await ask("GET", path, bearer);
    assert.equal(answer.status, 501, answer.text);
    assert.match(message(answer), /logs/);
    assert.equal((await ask("GET", path)).status, 401);
  }
});

test("requests are in the log, without what is secret", async () => {
  await ask("PUT", "/v1/key/create/audited", bearer);
  await logged(worker, '"path":"/v1/key/create/audited"');
  assert.ok(!worker.log().includes(KEY));
});
