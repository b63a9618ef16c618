// The Worker with its keys in a Vault elsewhere.
import assert from "node:assert/strict";
import { test } from "node:test";

import { bearer, logged, send } from "./client.mjs";
import { openbao, skip } from "./openbao.mjs";
import { start } from "./server.mjs";

test("keys of a Vault are reached by fetch, and served while it is away", {
  skip,
  timeout: 60_000,
}, async () => {
  const bao = await openbao();
  const remote = await start({ bindings: bao.bindings("{any: 1s, unused: 1s, offline: 60s}") });
  const ask = (method, path, body = "") => send(remote, method, path, bearer, body);
  try {
    const racing = Array.from({ length: 10 }, () => ask("POST", "/v1/key/create/a"));
    const created = (await Promise.all(racing)).map(({ status }) => status).sort();
    assert.deepEqual(created, [200, ...Array(9).fill(400)]);
    assert.equal((await ask("POST", "/v1/key/create/b")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
    assert.deepEqual(JSON.parse((await ask("GET", "/v1/key/list/*")).text).names, ["a", "b"]);
    assert.equal((await ask("DELETE", "/v1/key/delete/b")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/b", "{}")).status, 404);
    assert.equal((await ask("GET", "/v1/ready")).status, 200);
  } finally {
    await bao.stop();
  }
  try {
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/c", "{}")).status, 502);
    assert.equal((await ask("GET", "/v1/ready")).status, 504);
    await logged(remote, `the key store ${bao.url} is away`);
  } finally {
    await remote.stop();
  }
});
