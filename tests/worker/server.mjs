// A Worker as it would be deployed, in the runtime that Cloudflare has, on this machine.
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { installed, root } from "./tools.mjs";

const require = createRequire(pathToFileURL(join(installed, "package.json")));
const { Miniflare } = await import(pathToFileURL(require.resolve("miniflare")));

const built = join(root, "target/worker");
const files = (await readdir(built, { recursive: true })).filter((name) => /\.(js|mjs|wasm)$/.test(name));
files.sort((one, other) => (one === "entry.mjs" ? -1 : other === "entry.mjs" ? 1 : 0));

// The wrangler.toml of the project decides what is bound, and by which date the runtime goes.
const wrangler = await readFile(join(root, "wrangler.toml"), "utf8");
const [, compatibilityDate] = wrangler.match(/^compatibility_date = "(.*)"$/m);
const bound = [...wrangler.matchAll(/^name = "(.*)"\nclass_name = "(.*)"$/gm)];
export const durableObjects = Object.fromEntries(
  bound.map(([, name, className]) => [name, { className, useSQLite: true }]),
);

// The service, for `run`. `bindings`: variables and secrets. `replace`: other texts for modules.
export async function sealedge({ bindings = {}, replace = {}, objects = durableObjects }) {
  const modules = await Promise.all(
    files.map(async (path) => ({
      type: path.endsWith(".wasm") ? "CompiledWasm" : "ESModule",
      path: join(built, path),
      contents: replace[path] ?? (await readFile(join(built, path))),
    })),
  );
  return {
    name: "sealedge",
    modulesRoot: built,
    modules,
    compatibilityDate,
    bindings,
    durableObjects: objects,
  };
}

// Runs Workers that may be bound to each other. The first has the address. `persist`: a folder for what objects keep.
export async function run(workers, persist = false) {
  let output = "";
  const miniflare = new Miniflare({
    host: "127.0.0.1",
    port: 0,
    cf: false,
    workers,
    durableObjectsPersist: persist,
    handleRuntimeStdio(...streams) {
      for (const stream of streams) stream.on("data", (data) => (output += data));
    },
  });
  const url = await miniflare.ready;
  return {
    url: url.origin,
    authority: url.host,
    log: () => output,
    miniflare,
    stop: () => miniflare.dispose(),
  };
}

// The service alone.
export const start = async (settings) => run([await sealedge(settings)], settings.persist);
