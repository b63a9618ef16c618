// The Worker with its keys in a Vault elsewhere.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { bearer, bindings, logged, send } from "./client.mjs";
import { start } from "./server.mjs";

// A real OpenBao, in which a Worker keeps its keys.
async function openbao() {
  const address = await new Promise((resolve) => {
    const listener = createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(`127.0.0.1:${port}`));
    });
  });
  const home = await mkdtemp(join(tmpdir(), "sealedge-bao-"));
  const options = ["server", "-dev", `-dev-listen-address=${address}`, "-dev-no-store-token"];
  const env = { ...process.env, HOME: home, BAO_DEV_ROOT_TOKEN_ID: "root" };
  const child = spawn(process.env.SEALEDGE_BAO, options, { env, stdio: "ignore" });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const url = `http://${address}`;
  const call = async (method, path, body) => {
    const headers = { "x-vault-token": "root" };
    const answer = await fetch(`${url}/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.status === 204 ? undefined : (await answer.json()).data;
  };
  for (let tries = 0; ; tries += 1) {
    try {
      await call("GET", "sys/health");
      break;
    } catch (error) {
      if (tries === 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await call("POST", "sys/mounts/kv", { type: "kv", options: { version: "2" } });
  await call("POST", "sys/auth/approle", { type: "approle" });
  const may = (path, ...what) => `path "${path}" { capabilities = ${JSON.stringify(what)} }`;
  const policy = may("kv/*", "create", "read", "update", "delete", "list", "patch");
  await call("PUT", "sys/policies/acl/sealedge", { policy });
  await call("POST", "auth/approle/role/sealedge", { token_policies: "sealedge" });
  const { role_id } = await call("GET", "auth/approle/role/sealedge/role-id");
  const { secret_id } = await call("POST", "auth/approle/role/sealedge/secret-id");
  return {
    url,
    variables: { ROLE: role_id, SECRET: secret_id },
    stop: async () => {
      child.kill();
      await ended;
      await rm(home, { recursive: true, force: true });
    },
  };
}

test("keys of a Vault are reached by fetch, and served while it is away", {
  skip: process.env.SEALEDGE_BAO ? false : "SEALEDGE_BAO names no program",
  timeout: 60_000,
}, async () => {
  const bao = await openbao();
  const keystore = `keystore:
  vault:
    endpoint: ${bao.url}
    version: v2
    approle: {id: "\${ROLE}", secret: "\${SECRET}"}
cache: {expiry: {any: 1s, unused: 1s, offline: 60s}}
seal:`;
  const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(/keystore:[^]*?seal:/, () => keystore);
  const remote = await start({ bindings: { ...bindings, ...bao.variables, SEALEDGE_CONFIG } });
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
