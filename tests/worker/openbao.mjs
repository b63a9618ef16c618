// A real OpenBao, in which a Worker keeps its keys.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { bindings } from "./client.mjs";

// For `test`: why there is none.
export const skip = process.env.SEALEDGE_BAO ? false : "SEALEDGE_BAO names no program";

function free() {
  return new Promise((resolve) => {
    const listener = createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(`127.0.0.1:${port}`));
    });
  });
}

export async function openbao() {
  const address = await free();
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
  const variables = { ROLE: role_id, SECRET: secret_id };
  return {
    url,
    // What a Worker is given to use it. `expiry`: the section `cache.expiry`.
    bindings(expiry) {
      const keystore = `keystore:
  vault:
    endpoint: ${url}
    version: v2
    approle: {id: "\${ROLE}", secret: "\${SECRET}"}
cache: {expiry: ${expiry}}
seal:`;
      const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(/keystore:[^]*?seal:/, () => keystore);
      return { ...bindings, ...variables, SEALEDGE_CONFIG };
    },
    // Whether it does nothing until it goes on: requests wait for it.
    pause: () => child.kill("SIGSTOP"),
    goOn: () => child.kill("SIGCONT"),
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
      await rm(home, { recursive: true, force: true });
    },
  };
}
