// The Worker with its keys in a Vault elsewhere, which is away for a while.
import assert from "node:assert/strict";
import { test } from "node:test";

import { bearer, logged, send } from "./client.mjs";
import { openbao, skip } from "./openbao.mjs";
import { start } from "./server.mjs";

test("keys of a Vault are served while it is away", { skip, timeout: 60_000 }, async () => {
  const bao = await openbao();
  const remote = await start({ bindings: bao.bindings("cache: {expiry: {any: 1s, unused: 1s, offline: 60s}}\n") });
  const ask = (method, path, body = "") => send(remote, method, path, bearer, body);
  try {
    assert.equal((await ask("POST", "/v1/key/create/a")).status, 200);
    assert.equal((await ask("POST", "/v1/key/generate/a", "{}")).status, 200);
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
