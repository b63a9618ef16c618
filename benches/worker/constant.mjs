import module from "./constant_bg.wasm";
import { initSync, serve } from "./constant.js";

let isReady = false;

export default {
  fetch(request) {
    if (!isReady) initSync({ module });
    isReady = true;
    return serve(request);
  },
};
