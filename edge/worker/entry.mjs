// Where the Workers runtime comes in. All that is served is decided in wasm; what is here keeps one instance of
// it alive. An instance that has trapped is not entered again: whoever waits for it gets a 500, and the next
// call makes a new one.
import { DurableObject } from "cloudflare:workers";
import configuration from "./configuration.mjs";
import { smallBody } from "./http.mjs";
import module from "./sealedge_bg.wasm";
import * as wasm from "./sealedge.js";

// How many instances there were: what belongs to an earlier one is not used in this one.
let generation = 0;
let isAlive = false;
// How to end the calls that wait for the instance.
const waiting = new Set();
const STOPPED = "the service has stopped";

function instance() {
  if (!isAlive) {
    if (generation === 0) wasm.initSync({ module });
    else wasm.__wbg_reset_state();
    generation += 1;
    isAlive = true;
    wasm.on_panic(died);
    wasm.bundled(configuration);
  }
  return wasm;
}

function died(why) {
  isAlive = false;
  console.error(JSON.stringify({ message: `the service has stopped and starts anew: ${why}` }));
  for (const end of waiting) end(new Error(STOPPED));
  waiting.clear();
}

// What traps without a panic of Rust: the stack or the memory is at its end.
function noticed(error) {
  if (isAlive && error instanceof WebAssembly.RuntimeError) died(error.message);
}
addEventListener("error", (event) => noticed(event.error));
addEventListener("unhandledrejection", (event) => noticed(event.reason));

// A call into the instance: what it gives, or a promise of that, which ends even if the instance does not live so long.
function call(into) {
  let given;
  try {
    given = into(instance());
  } catch (error) {
    noticed(error);
    throw error;
  }
  // It may have died and yet returned.
  if (!isAlive) throw new Error(STOPPED);
  return given instanceof Promise ? ended(given) : given;
}

function ended(promise) {
  return new Promise((resolve, reject) => {
    waiting.add(reject);
    const done = (settle) => (value) => {
      waiting.delete(reject);
      settle(value);
    };
    promise.then(done(resolve), done(reject));
  });
}

async function answered(request, env, context) {
  const arrived = Date.now();
  const body = await smallBody(request);
  const ip = request.headers.get("cf-connecting-ip") ?? "";
  const { method, url } = request;
  const given = call((wasm) => wasm.serve(request, method, url, ip, arrived, body, env));
  // A client that goes away does not stop what its request has begun.
  if (given instanceof Promise) context.waitUntil(given.catch(() => {}));
  const answer = await given;
  // What no client waits for. If it dies meanwhile, that has been said.
  if (isAlive && wasm.is_to_attend()) context.waitUntil(call((wasm) => wasm.attend()).catch(() => {}));
  return answer;
}

export default {
  async fetch(request, env, context) {
    try {
      return await answered(request, env, context);
    } catch (error) {
      noticed(error);
      console.error(JSON.stringify({ message: `a request was lost: ${error}` }));
      return Response.json({ message: "internal server error" }, { status: 500 });
    }
  },
};

// A Durable Object whose methods are those of a class in wasm. They are called by RPC, and don't wait.
class Kept extends DurableObject {
  #class;
  #object;
  #generation;

  constructor(context, env, name) {
    super(context, env);
    this.#class = name;
  }

  // Not a method, which whoever is bound to the object could call.
  call = (method, ...values) => {
    try {
      const wasm = instance();
      if (this.#generation !== generation) {
        this.#object = new wasm[this.#class](this.ctx);
        this.#generation = generation;
      }
      return this.#object[method](...values);
    } catch (error) {
      noticed(error);
      throw error;
    }
  };
}

export class Keys extends Kept {
  constructor(context, env) {
    super(context, env, "Keys");
  }
  create(name, value) {
    return this.call("create", name, value);
  }
  read(name) {
    return this.call("read", name);
  }
  replace(name, old, value) {
    return this.call("replace", name, old, value);
  }
  remove(name) {
    return this.call("remove", name);
  }
  list(prefix, after, limit) {
    return this.call("list", prefix, after, limit);
  }
  status() {
    return this.call("status");
  }
}

export class Figures extends Kept {
  constructor(context, env) {
    super(context, env, "Figures");
  }
  add(build, figures) {
    return this.call("add", build, figures);
  }
}

export class Copies extends Kept {
  constructor(context, env) {
    super(context, env, "Copies");
  }
  read(name) {
    return this.call("read", name);
  }
  keep(name, copy, ticket, read, until) {
    return this.call("keep", name, copy, ticket, read, until);
  }
  bury(name, until) {
    return this.call("bury", name, until);
  }
  digUp(name, burial) {
    return this.call("dig_up", name, burial);
  }
}

export class Nonces extends Kept {
  constructor(context, env) {
    super(context, env, "Nonces");
  }
  remember(nonce, created, until) {
    return this.call("remember", nonce, created, until);
  }
}
