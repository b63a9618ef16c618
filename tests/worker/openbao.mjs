// A real OpenBao, in which a Worker keeps its keys.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { bindings } from "./client.mjs";
import { freePort, until } from "./tools.mjs";

const program = process.env.SEALEDGE_BAO;

// What `node:test` wants to know of tests that need one.
export const skip = program ? false : "SEALEDGE_BAO names no program";

export async function openbao() {
  const address = `127.0.0.1:${await freePort()}`;
  const home = await mkdtemp(join(tmpdir(), "sealedge-bao-"));
  const options = ["server", "-dev", `-dev-listen-address=${address}`, "-dev-no-store-token"];
  const env = { ...process.env, HOME: home, BAO_DEV_ROOT_TOKEN_ID: "root" };
  const child = spawn(program, options, { env, stdio: "ignore" });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const url = `http://${address}`;
  const call = async (method, path, body) => {
    const headers = { "x-vault-token": "root" };
    const answer = await fetch(`${url}/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.status === 204 ? undefined : (await answer.json()).data;
  };
  let why;
  const answers = () => call("GET", "sys/health").then(() => true, (error) => void (why = error));
  await until(answers, () => `OpenBao does not answer: ${why}`);
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
    // Of a Worker with its keys there. `more`: further lines of its configuration.
    bindings: (more = "") => ({
      ...bindings,
      SEALEDGE_CONFIG: bindings.SEALEDGE_CONFIG.replace(/^keystore:[^]*?(?=^seal:)/m, () => `keystore:
  vault:
    endpoint: ${url}
    version: v2
    approle: {id: "\${ROLE}", secret: "\${SECRET}"}
${more}`),
      ROLE: role_id,
      SECRET: secret_id,
    }),
    // It does nothing any more: requests wait for it.
    pause: () => child.kill("SIGSTOP"),
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
      await rm(home, { recursive: true, force: true });
    },
  };
}
