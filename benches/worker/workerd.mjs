// Workers in raw workerd, Cloudflare's runtime without the proxy that `wrangler dev` puts before it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

// A tick of the CPU time that Linux tells: 10 ms.
const TICKS_A_SECOND = 100;

// Starts a Worker whose objects have stored nothing yet, and has it answer once by `ask`, which gets its port.
//
// `modules`: its files, of which the first is where it begins. `bindings`: its variables. `objects`: the names by which
// it has Durable Objects, and their classes.
export async function start(workerd, worker, ask) {
  const folder = await mkdtemp(join(tmpdir(), "sealedge-bench-"));
  await mkdir(join(folder, "objects"));
  await writeFile(join(folder, "config.capnp"), config(folder, worker));
  const begun = performance.now();
  const child = spawn(workerd, ["serve", "--control-fd=3", join(folder, "config.capnp")], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const ended = once(child, "exit");
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true });
  };
  try {
    const port = await Promise.race([
      listening(child.stdio[3]),
      ended.then(([code]) => Promise.reject(new Error(`workerd has ended, with ${code}`))),
    ]);
    await ask(port);
    return { port, startMs: performance.now() - begun, cpuSeconds: () => cpuSeconds(child.pid), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

// The port that workerd has found free, as it says it.
async function listening(control) {
  let said = "";
  for await (const data of control) {
    said += data;
    const [, port] = said.match(/"event":"listen".*"port":(\d+)/) ?? [];
    if (port) return Number(port);
  }
  throw new Error("workerd listens nowhere");
}

// A text of capnp is written as one of JSON, if it is ASCII.
const text = (value) => JSON.stringify(value);

function config(folder, { modules, compatibilityDate, bindings = {}, objects = [] }) {
  const kinds = { wasm: "wasm", js: "esModule", mjs: "esModule" };
  const module = (path) => {
    const [name, kind] = path.match(/[^/]+\.(\w+)$/);
    return `(name = ${text(name)}, ${kinds[kind]} = embed ${text(relative(folder, path))})`;
  };
  const variables = Object.entries(bindings).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`);
  const bound = objects.map(([name, kind]) => `(name = ${text(name)}, durableObjectNamespace = ${text(kind)})`);
  const classes = objects.map(([, kind]) => `(className = ${text(kind)}, uniqueKey = ${text(kind)}, enableSql = true)`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "objects", disk = (path = ${text(join(folder, "objects"))}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (cfBlobHeader = "MF-CF-Blob"), service = "worker")],
);
const worker :Workerd.Worker = (
  modules = [${modules.map(module)}],
  compatibilityDate = ${text(compatibilityDate)},
  bindings = [${[...variables, ...bound]}],
  durableObjectNamespaces = [${classes}],
  durableObjectStorage = (localDisk = "objects"),
);
`;
}

// What a process has used of CPUs, all threads together.
async function cpuSeconds(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1");
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return (Number(user) + Number(system)) / TICKS_A_SECOND;
}
